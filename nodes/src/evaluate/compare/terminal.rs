//! The verdict in 80 columns: what must be known first, a sentence for each budget, the table, and a few lines on cost and quality. The long form is the
//! Markdown page.

use super::cells::{cell_name, percent, signed};
use super::evidence::{ArmCost, Evidence};
use super::tables::{arms, beside, mark};
use super::verdict::{Against, ArmVerdict, CellVerdict, MeanInterval, Verdict};
use super::{first, pareto};

/// Columns of a terminal.
const COLUMNS: usize = 80;
/// Letters of an arm's title in the table, at most.
const TITLE: usize = 33;

pub(super) fn text(verdict: &Verdict, evidence: &Evidence<'_>, reads: Option<&str>) -> String {
    let mut text = String::from("Verdict\n");
    for said in first::short(verdict, evidence) {
        text += &wrapped(&said, "");
    }
    text += "\n";
    for said in pareto::sentences(verdict, evidence) {
        text += &wrapped(&said.replace("**", "").replace('`', ""), "");
    }
    for cell in &verdict.cells {
        text += &wrapped(&sentence(verdict, evidence, cell), "  ");
    }
    text += &format!("\n{}\n", table(verdict, evidence));
    for said in [
        Some(how_to_read(verdict, evidence)),
        cost(verdict, evidence),
        quality(verdict, evidence),
        reads.map(str::to_owned),
    ] {
        text += &said.map_or_else(String::new, |said| wrapped(&said, "  "));
    }
    text
}

/// A significant difference, or that there is none.
pub(super) fn sentence(verdict: &Verdict, evidence: &Evidence<'_>, cell: &CellVerdict) -> String {
    let node = evidence.node;
    let baseline = node.title(&verdict.baseline);
    let gain = |against: &Against| {
        let MeanInterval { mean, low, high } = against.difference;
        format!("{} points ({} to {})", signed(mean), signed(low), signed(high))
    };
    let mut others: Vec<(&ArmVerdict, Against)> =
        cell.arms.iter().filter_map(|arm| Some((arm, arm.baseline?))).collect();
    others.sort_by(|(a, _), (b, _)| b.figure.mean.total_cmp(&a.figure.mean));
    let better = |against: &Against| against.significant && against.difference.mean > 0.0;
    let worse = |against: &Against| against.significant && against.difference.mean <= 0.0;
    let listed = |wanted: &dyn Fn(&Against) -> bool, skip: usize| {
        let those = others.iter().filter(|(_, against)| wanted(against)).skip(skip);
        let one = |(arm, against): &(&ArmVerdict, Against)| {
            let doubt = match better(against) && evidence.uncredited(&cell.cell, &arm.arm) {
                true => ", without credit to its pre-training",
                false => "",
            };
            format!("{} ({}{doubt})", node.title(&arm.arm), signed(against.difference.mean))
        };
        those.map(one).collect::<Vec<_>>().join(", ")
    };
    let mut said = match (others.iter().find(|(_, against)| better(against)), others.first()) {
        (Some((best, against)), _) => {
            let doubt = match evidence.uncredited(&cell.cell, &best.arm) {
                true => {
                    ", without credit to its pre-training, whose linear probe does not beat both raw features and random weights"
                }
                false => "",
            };
            format!(
                "{} beats {baseline} by {}{doubt}",
                node.title(&best.arm),
                gain(against).trim_start_matches('+')
            )
        }
        (None, Some((highest, against))) => format!(
            "no arm is detectably better than {baseline}; the highest other is {}, {}",
            node.title(&highest.arm),
            gain(against)
        ),
        (None, None) => format!("there is nothing beside {baseline}"),
    };
    for (words, names) in [("also better", listed(&better, 1)), ("worse", listed(&worse, 0))] {
        if !names.is_empty() {
            said += &format!("; {words}: {names}");
        }
    }
    let silent = cell.arms.iter().filter(|arm| arm.without_pseudo_labels > 0);
    for arm in silent {
        let (draws, all) = (arm.without_pseudo_labels, arm.by_run.len());
        said += &format!(
            "; self-training did not happen in {draws} of {all} draws of {}",
            node.title(&arm.arm)
        );
    }
    format!("{}: {said}.", cell_name(node, &cell.cell))
}

/// `65.6 ±5.7`: the intervals lie evenly around their means.
fn around(figure: &MeanInterval) -> String {
    format!(
        "{} ±{}",
        percent(figure.mean),
        percent(0.5 * (figure.high - figure.low))
    )
}

/// Columns as wide as they need; budgets that do not fit beside the others stand below them.
fn table(verdict: &Verdict, evidence: &Evidence<'_>) -> String {
    let node = evidence.node;
    let short = |title: &str| match title.chars().count() > TITLE {
        true => title.chars().take(TITLE - 1).chain(['…']).collect(),
        false => title.to_owned(),
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut head = vec![format!("{}, %", verdict.metric.title())];
    head.extend(verdict.cells.iter().map(|cell| cell_name(node, &cell.cell)));
    rows.push(head);
    for name in arms(verdict) {
        let figure = |arm: &ArmVerdict| format!("{}{}", around(&arm.figure), mark(arm.baseline.as_ref()));
        let cells = verdict
            .cells
            .iter()
            .map(|cell| cell.arm(name).map_or_else(String::new, figure));
        rows.push(std::iter::once(short(node.title(name))).chain(cells).collect());
    }
    for (kind, name) in beside(verdict) {
        let cells = verdict.cells.iter().map(|cell| {
            cell.beside(name)
                .map_or_else(String::new, |found| around(&found.figure))
        });
        let sign = if kind == "control" { "o" } else { "^" };
        rows.push(
            std::iter::once(short(&format!("{sign} {}", node.title(name))))
                .chain(cells)
                .collect(),
        );
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    let mut from = 1;
    while from < widths.len() {
        let mut to = from + 1;
        let wide = |to: usize| widths[0] + widths[from..to].iter().map(|width| width + 2).sum::<usize>();
        while to < widths.len() && wide(to + 1) <= COLUMNS {
            to += 1;
        }
        for row in &rows {
            let cells = std::iter::once(0).chain(from..to);
            let line: Vec<String> = cells
                .map(|column| format!("{:width$}", row[column], width = widths[column]))
                .collect();
            text += &format!("{}\n", line.join("  ").trim_end());
        }
        if to < widths.len() {
            text += "\n";
        }
        from = to;
    }
    text
}

fn range(least: usize, most: usize) -> String {
    if least == most {
        most.to_string()
    } else {
        format!("{least} to {most}")
    }
}

fn how_to_read(verdict: &Verdict, evidence: &Evidence<'_>) -> String {
    let runs = || verdict.cells.iter().map(|cell| cell.runs);
    let runs = range(runs().min().unwrap_or(0), runs().max().unwrap_or(0));
    format!(
        "± is half a 95 % interval over draws, initialisations and {} test {}; means of {} run{}. + and -: better or worse than {} (Holm, p < 0.05); =: within \
         {:.1} points. o: needs no training; ^: all labels.",
        verdict.images,
        verdict.noun,
        runs,
        if runs == "1" { "" } else { "s" },
        evidence.node.title(&verdict.baseline),
        100.0 * verdict.margin
    )
}

/// The cheapest and the dearest arm.
fn cost(verdict: &Verdict, evidence: &Evidence<'_>) -> Option<String> {
    let costs = verdict.cells.iter().flat_map(|cell| {
        cell.arms
            .iter()
            .map(move |arm| (arm, evidence.cost(&cell.cell, &arm.arm)))
    });
    let costs: Vec<(&ArmVerdict, ArmCost)> = costs.filter(|(_, cost)| cost.seconds > 0.0).collect();
    let by_time = |a: &&(&ArmVerdict, ArmCost), b: &&(&ArmVerdict, ArmCost)| a.1.seconds.total_cmp(&b.1.seconds);
    let (least, most) = (costs.iter().min_by(by_time)?, costs.iter().max_by(by_time)?);
    let images = || costs.iter().filter_map(|(_, cost)| Some(cost.images?.round() as usize));
    let on = images().min().zip(images().max());
    let on = on.map_or_else(String::new, |(least, most)| {
        format!(", on {} {}", range(least, most), verdict.noun)
    });
    Some(format!(
        "training time of an arm, all its networks: {:.0} s ({}) to {:.0} s ({}){on}.",
        least.1.seconds,
        evidence.node.title(&least.0.arm),
        most.1.seconds,
        evidence.node.title(&most.0.arm),
    ))
}

/// What was learnt from, and what frozen features are worth, at the first budget that says so.
fn quality(verdict: &Verdict, evidence: &Evidence<'_>) -> Option<String> {
    let mut said = Vec::new();
    for cell in &verdict.cells {
        let name = cell_name(evidence.node, &cell.cell);
        let frozen = evidence.frozen(&cell.cell);
        let probe = |of: &str| frozen.get(&format!("probe.{of}")).map(|found| percent(found.0));
        let raw = probe("raw_pixels").or_else(|| probe("bag_of_words"));
        if let (Some(encoder), Some(raw)) = (probe("encoder"), raw) {
            said.push(format!("{name}: linear probe {encoder} %, {raw} % on raw features"));
        }
        let arms = cell.arms.iter().flat_map(|arm| evidence.guesses(&cell.cell, &arm.arm));
        if let Some(last) = arms.last() {
            let right = last
                .precision
                .map_or_else(|| "none".to_owned(), |right| format!("{} % right", percent(right)));
            said.push(format!(
                "{name}: {} % pseudo-labels kept, {right}",
                percent(last.kept_share)
            ));
        }
    }
    (!said.is_empty()).then(|| format!("{}.", said.join("; ")))
}

/// Lines of at most [`COLUMNS`] letters, all but the first indented.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("BUG: there is a line");
        let long = last.chars().count() + 1 + word.chars().count() > COLUMNS;
        if long && !last.trim().is_empty() {
            lines.push(format!("{indent}{word}"));
        } else {
            if !last.trim().is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
