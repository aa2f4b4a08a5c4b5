//! The answer for people: what must be known first, a verdict in words per budget, tables, what every arm cost, and why.
//!
//! Costs are times, so they are no part of any artifact: they come from the records that each arm depends on. So does how often the test images
//! were looked at.

use std::collections::BTreeMap;

use flow_engine::node::{InputCost, NodeError, Report};
use serde::Serialize;
use serde_json::json;

use super::CompareNode;
use super::cells::cell_name;
use super::evidence::Evidence;
use super::verdict::{CellVerdict, FEWEST_DRAWS, Verdict};
use super::words::Words;
use super::{figures, first, pareto, tables, terminal};

/// The report in its three forms.
pub(super) fn render(
    node: &CompareNode,
    verdict: &Verdict,
    lineage: &[InputCost],
    reads: Option<&str>,
) -> Result<Report, NodeError> {
    let evidence = Evidence { node, lineage };
    let first = first::words(verdict, &evidence);
    let sentences: Vec<(String, String)> = verdict
        .cells
        .iter()
        .map(|cell| {
            let words = Words {
                verdict,
                cell,
                evidence: &evidence,
            };
            (cell_name(node, &cell.cell), words.sentences())
        })
        .collect();
    let costs = pareto::sentences(verdict, &evidence);
    let mut answer: String = first.iter().map(|said| format!("{said}\n")).collect();
    if !answer.is_empty() {
        answer.push('\n');
    }
    answer.extend(costs.iter().map(|said| format!("- {said}\n")));
    answer.extend(sentences.iter().map(|(cell, said)| format!("- {cell}: {said}\n")));
    let text = all_tables(verdict, &evidence, reads);
    Ok(Report {
        markdown: format!(
            "# Verdict\n\n{answer}\n{text}\n{}",
            tables::recall_table(verdict, &evidence)
        ),
        json: json!({
            "version": 3,
            "verdict": verdict,
            "first": first,
            "words": sentences.iter().map(|(cell, said)| (cell.as_str(), said.as_str())).collect::<BTreeMap<_, _>>(),
            "cost_words": costs,
            "costs": by_arm(verdict, node, |cell, arm| Some(evidence.cost(&cell.cell, arm))),
            "pseudo_labels": by_arm(verdict, node, |cell, arm| {
                Some(evidence.guesses(&cell.cell, arm)).filter(|guesses| !guesses.is_empty())
            }),
            "frozen": verdict.cells.iter().map(|cell| (cell_name(node, &cell.cell), evidence.frozen(&cell.cell))).collect::<BTreeMap<_, _>>(),
            "test_reads": reads,
        }),
        terminal: terminal::text(verdict, &evidence, reads),
        files: Vec::new(),
        headline: Some(first::headline(verdict, &evidence)),
        figures: figures::figures(verdict, &evidence, &first, &sentences),
    })
}

/// What there is of each arm at each budget.
fn by_arm<'v, T: Serialize>(
    verdict: &'v Verdict,
    node: &CompareNode,
    value: impl Fn(&CellVerdict, &str) -> Option<T>,
) -> BTreeMap<String, BTreeMap<&'v str, T>> {
    let of_cell = |cell: &'v CellVerdict| {
        let arms = cell
            .arms
            .iter()
            .filter_map(|arm| Some((arm.arm.as_str(), value(cell, &arm.arm)?)));
        (cell_name(node, &cell.cell), arms.collect())
    };
    verdict.cells.iter().map(of_cell).collect()
}

/// All tables, and how to read them.
fn all_tables(verdict: &Verdict, evidence: &Evidence<'_>, reads: Option<&str>) -> String {
    let node = evidence.node;
    let Verdict {
        baseline,
        split,
        noun,
        images,
        ..
    } = verdict;
    let counted = |of: &dyn Fn(&CellVerdict) -> usize| {
        let (least, most) = verdict
            .cells
            .iter()
            .map(of)
            .fold((usize::MAX, 0), |(l, m), n| (l.min(n), m.max(n)));
        if least == most {
            most.to_string()
        } else {
            format!("{least} to {most}")
        }
    };
    let mut text = tables::main_table(verdict, evidence);
    text += &format!(
        "\nMean over {} run(s) of each arm, {} draw(s), on {images} {split} {noun}, with 95 % intervals that cover draws, initialisations and {noun}. \
         `+` and `-`: significantly better or worse than {} (paired, p < 0.05 after Holm's correction for all arms and budgets, and at least \
         {FEWEST_DRAWS} draws); `=`: as good, to within {:.1} points (two one-sided tests, corrected likewise). \
         Training time is the sum over all networks that the arm needs, teachers and pre-training included; \
         training {noun} are those that went forward and backward.\n",
        counted(&|cell| cell.runs),
        counted(&|cell| cell.draws),
        node.title(baseline),
        100.0 * verdict.margin,
    );
    if let Some(reads) = reads {
        text += &format!("{reads}\n");
    }
    for extra in [
        pareto::pareto_table(verdict, evidence),
        tables::frozen_table(verdict, evidence),
        tables::guesses_table(verdict, evidence),
    ] {
        if !extra.is_empty() {
            text += &format!("\n{extra}");
        }
    }
    text
}
