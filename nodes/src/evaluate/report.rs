//! The answer for people: a table, a verdict in words per budget, what every arm cost, and why.
//!
//! Costs are times, so they are no part of any artifact: they come from the records that each arm rests on.

use std::collections::BTreeMap;

use flow_engine::node::{InputCost, NodeError, Report};
use serde::Serialize;
use serde_json::json;

use super::EvaluateNode;
use super::compare::{ArmVerdict, BudgetVerdict, Verdict, arm_of, text};
use super::table::table;

/// Node kinds whose time is training time.
const TRAINING: [&str; 3] = ["pretrain", "finetune", "pseudo-label"];

/// What the names of a frozen encoder's figures begin with.
const FROZEN: [&str; 5] = ["ari.", "cluster_accuracy.", "knn.", "nmi.", "probe."];

/// What one arm took at one budget, mean over seeds, shared nodes charged in full.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct ArmCost {
    /// Seconds in which threads of training nodes ran, by the wall clock.
    seconds: f64,
    /// Images that went forward and backward through a network, views counted.
    images: f64,
}

/// What the pseudo-labels of one round were like, mean over seeds.
#[derive(Clone, Debug, Serialize)]
struct Guesses {
    node: String,
    kept_share: f64,
    precision: f64,
}

/// Adds up values by key and gives their means.
#[derive(Default)]
struct Means(BTreeMap<String, (f64, f64)>);

impl Means {
    fn add(&mut self, key: &str, value: f64) {
        let (sum, count) = self.0.entry(key.to_owned()).or_default();
        *sum += value;
        *count += 1.0;
    }

    fn get(&self, key: &str) -> Option<f64> {
        self.0.get(key).map(|(sum, count)| sum / count)
    }
}

/// Everything that the report says beside the verdict itself.
struct Evidence<'a> {
    node: &'a EvaluateNode,
    lineage: &'a [InputCost],
}

impl Evidence<'_> {
    fn of<'a>(&'a self, port: &'a str, budget: &'a str, arm: Option<&'a str>) -> impl Iterator<Item = &'a InputCost> {
        self.lineage.iter().filter(move |input| {
            let same_arm = arm.is_none_or(|arm| arm_of(self.node, &input.node, &input.bindings) == arm);
            input.port == port && text(input.bindings.get(&self.node.budget)) == budget && same_arm
        })
    }

    fn cost(&self, budget: &str, arm: &str) -> ArmCost {
        let mut means = Means::default();
        for input in self.of("compare", budget, Some(arm)) {
            let training = || input.records.iter().filter(|r| TRAINING.contains(&r.kind.as_str()));
            means.add("seconds", training().map(|r| r.cost.wall_s).sum());
            means.add(
                "images",
                training().filter_map(|r| r.metrics.get("images_trained")).sum(),
            );
        }
        ArmCost {
            seconds: means.get("seconds").unwrap_or(0.0),
            images: means.get("images").unwrap_or(0.0),
        }
    }

    fn guesses(&self, budget: &str, arm: &str) -> Vec<Guesses> {
        let (mut share, mut precision) = (Means::default(), Means::default());
        for input in self.of("compare", budget, Some(arm)) {
            for record in input.records.iter().filter(|r| r.kind == "pseudo-label") {
                let name = record.node.split('[').next().unwrap_or(&record.node);
                share.add(name, record.metrics.get("kept_share").copied().unwrap_or(0.0));
                if let Some(value) = record.metrics.get("precision") {
                    precision.add(name, *value);
                }
            }
        }
        let one = |node: &String| Guesses {
            node: node.clone(),
            kept_share: share.get(node).unwrap_or(0.0),
            precision: precision.get(node).unwrap_or(f64::NAN),
        };
        share.0.keys().map(one).collect()
    }

    /// Frozen features at a budget: the figure's name, its mean over seeds, and its range.
    fn frozen(&self, budget: &str) -> BTreeMap<String, (f64, f64, f64)> {
        let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for input in self.of("evidence", budget, None) {
            // The input's own record is the one that has these figures.
            let own = input
                .records
                .iter()
                .filter(|r| r.kind == "evaluate")
                .flat_map(|r| &r.metrics);
            let shown = |name: &str| FROZEN.iter().any(|figure| name.starts_with(figure));
            for (name, value) in own.filter(|(name, _)| shown(name)) {
                values.entry(name.clone()).or_default().push(*value);
            }
        }
        let summary = |v: Vec<f64>| {
            let least = v.iter().copied().fold(f64::INFINITY, f64::min);
            let most = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (v.iter().sum::<f64>() / v.len() as f64, least, most)
        };
        values.into_iter().map(|(name, v)| (name, summary(v))).collect()
    }
}

fn percent(value: f64) -> String {
    format!("{:.1}", 100.0 * value)
}

fn signed(value: f64) -> String {
    format!("{:+.1}", 100.0 * value)
}

/// What the budget's figures say, in one or two sentences.
fn words(node: &EvaluateNode, verdict: &Verdict, budget: &BudgetVerdict, evidence: &Evidence<'_>) -> String {
    let title = |arm: &ArmVerdict| node.title(&arm.arm).to_owned();
    let gain = |arm: &ArmVerdict| {
        let [mean, low, high] = arm.difference;
        format!(
            "{} ({} points, 95 % interval {} to {})",
            title(arm),
            signed(mean),
            signed(low),
            signed(high)
        )
    };
    let listed = |arms: &[&ArmVerdict]| arms.iter().map(|a| gain(a)).collect::<Vec<_>>().join("; ");
    let others = || budget.arms.iter().filter(|a| a.arm != verdict.baseline);
    let mut better: Vec<&ArmVerdict> = others().filter(|a| a.detected && a.difference[0] > 0.0).collect();
    let worse: Vec<&ArmVerdict> = others().filter(|a| a.detected && a.difference[0] < 0.0).collect();
    let open: Vec<&ArmVerdict> = others().filter(|a| !a.detected).collect();
    better.sort_by(|a, b| b.accuracy[0].total_cmp(&a.accuracy[0]));
    let baseline = node.title(&verdict.baseline);

    let mut said = match better.first() {
        Some(best) => format!(
            "**{}** is best. Detectably better than {baseline}: {}.",
            title(best),
            listed(&better)
        ),
        None => format!("**Neither**: no arm detectably beats {baseline}."),
    };
    if let [best, rest @ ..] = &better[..]
        && let Some(cheaper) = rest.iter().find(|a| a.accuracy[2] >= best.accuracy[0])
    {
        let cost = |arm: &ArmVerdict| evidence.cost(&budget.budget, &arm.arm).seconds;
        if cost(cheaper) < cost(best) {
            said += &format!(
                " {} is close to it and takes {:.0} s instead of {:.0} s.",
                title(cheaper),
                cost(cheaper),
                cost(best)
            );
        }
    }
    if !open.is_empty() {
        said += &format!(" No detectable difference: {}.", listed(&open));
    }
    if !worse.is_empty() {
        said += &format!(" Worse: {}.", listed(&worse));
    }
    for arm in others().filter(|a| !(a.detected && a.difference[0] > 0.0)) {
        said += &why_little(node, &arm.arm, &budget.budget, &verdict.noun, evidence);
    }
    said += &frozen_words(&evidence.frozen(&budget.budget));
    said
}

/// Why an arm with pseudo-labels gains little: how many were kept, and how many of those were right.
fn why_little(node: &EvaluateNode, arm: &str, budget: &str, noun: &str, evidence: &Evidence<'_>) -> String {
    let round = |g: &Guesses| {
        format!(
            "`{}` kept {} % of the {noun}, {} % of them right",
            g.node,
            percent(g.kept_share),
            percent(g.precision)
        )
    };
    let rounds: Vec<String> = evidence.guesses(budget, arm).iter().map(round).collect();
    if rounds.is_empty() {
        String::new()
    } else {
        format!(" What {} learnt from: {}.", node.title(arm), rounds.join(", "))
    }
}

/// What the frozen encoder is worth beside its controls, in a sentence; empty without evidence.
fn frozen_words(frozen: &BTreeMap<String, (f64, f64, f64)>) -> String {
    let probe = |of: &str| frozen.get(&format!("probe.{of}")).map(|(mean, _, _)| percent(*mean));
    let raw = [("raw_pixels", "raw pixels"), ("bag_of_words", "a bag of words")];
    let raw = raw.into_iter().find_map(|(of, name)| Some((probe(of)?, name)));
    match (probe("encoder"), raw, probe("random_init")) {
        (Some(encoder), Some((raw, name)), Some(random)) => format!(
            " A linear probe reaches {encoder} % on the frozen encoder, {raw} % on {name} and {random} % on random weights."
        ),
        _ => String::new(),
    }
}

fn budget_name(node: &EvaluateNode, budget: &str) -> String {
    if budget.is_empty() {
        "all".to_owned()
    } else {
        format!("{} {budget}", node.budget)
    }
}

/// Accuracy, interval, training time and images of every arm at every budget.
fn main_table(node: &EvaluateNode, verdict: &Verdict, evidence: &Evidence<'_>) -> String {
    let arms: Vec<&str> = verdict
        .budgets
        .first()
        .map_or(vec![], |b| b.arms.iter().map(|a| a.arm.as_str()).collect());
    let mut head = vec!["accuracy, %".to_owned()];
    head.extend(verdict.budgets.iter().map(|b| budget_name(node, &b.budget)));
    head.extend(["training time, s".to_owned(), format!("training {}", verdict.noun)]);
    let rows: Vec<Vec<String>> = arms
        .iter()
        .map(|arm| {
            let mut row = vec![node.title(arm).to_owned()];
            let mut costs = Vec::new();
            for budget in &verdict.budgets {
                let found = budget.arms.iter().find(|a| a.arm == *arm);
                row.push(found.map_or_else(String::new, |a| {
                    let [mean, low, high] = a.accuracy;
                    let mark = if a.detected {
                        if a.difference[0] > 0.0 { " +" } else { " -" }
                    } else {
                        ""
                    };
                    format!("{} [{}, {}]{mark}", percent(mean), percent(low), percent(high))
                }));
                costs.push(evidence.cost(&budget.budget, arm));
            }
            let range = |values: Vec<f64>| {
                let (least, most) = values
                    .iter()
                    .fold((f64::INFINITY, 0.0f64), |(l, m), v| (l.min(*v), m.max(*v)));
                if format!("{least:.0}") == format!("{most:.0}") {
                    format!("{most:.0}")
                } else {
                    format!("{least:.0} to {most:.0}")
                }
            };
            row.push(range(costs.iter().map(|c| c.seconds).collect()));
            row.push(range(costs.iter().map(|c| c.images).collect()));
            row
        })
        .collect();
    table(&head, &rows)
}

/// Frozen features at every budget; empty without evidence.
fn frozen_table(node: &EvaluateNode, verdict: &Verdict, evidence: &Evidence<'_>) -> String {
    let columns: Vec<BTreeMap<String, (f64, f64, f64)>> =
        verdict.budgets.iter().map(|b| evidence.frozen(&b.budget)).collect();
    let Some(first) = columns.first().filter(|c| !c.is_empty()) else {
        return String::new();
    };
    let mut head = vec!["frozen features, %".to_owned()];
    head.extend(verdict.budgets.iter().map(|b| budget_name(node, &b.budget)));
    let cell = |(mean, least, most): &(f64, f64, f64)| {
        format!("{} ({} to {})", percent(*mean), percent(*least), percent(*most))
    };
    let rows: Vec<Vec<String>> = first
        .keys()
        .map(|name| {
            let mut row = vec![name.replace('.', " of ").replace('_', " ")];
            row.extend(columns.iter().map(|c| c.get(name).map_or_else(String::new, cell)));
            row
        })
        .collect();
    table(&head, &rows)
}

/// Share and precision of the pseudo-labels of every arm and round; empty if there are none.
fn guesses_table(node: &EvaluateNode, verdict: &Verdict, evidence: &Evidence<'_>) -> String {
    let mut head = vec!["pseudo-labels: kept, right, %".to_owned()];
    head.extend(verdict.budgets.iter().map(|b| budget_name(node, &b.budget)));
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (column, budget) in verdict.budgets.iter().enumerate() {
        for arm in &budget.arms {
            for guesses in evidence.guesses(&budget.budget, &arm.arm) {
                let row = rows
                    .entry(format!("{} ({})", node.title(&arm.arm), guesses.node))
                    .or_default();
                row.resize(column, String::new());
                row.push(format!(
                    "{}, {}",
                    percent(guesses.kept_share),
                    percent(guesses.precision)
                ));
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let whole = |(name, mut cells): (String, Vec<String>)| {
        cells.resize(head.len() - 1, String::new());
        [vec![name], cells].concat()
    };
    let rows: Vec<Vec<String>> = rows.into_iter().map(whole).collect();
    table(&head, &rows)
}

/// The report in its three forms.
pub(super) fn render(node: &EvaluateNode, verdict: &Verdict, lineage: &[InputCost]) -> Result<Report, NodeError> {
    let evidence = Evidence { node, lineage };
    let mut text = main_table(node, verdict, &evidence);
    let Verdict {
        baseline,
        split,
        noun,
        images,
        seeds,
        replicates,
        ..
    } = verdict;
    text += &format!(
        "\nMean over {seeds} seed(s) on {images} {split} {noun}, with 95 % bootstrap intervals ({replicates} draws over seeds and {noun}). \
         `+` and `-`: detectably better or worse than {} (paired, Holm-corrected p < 0.05, and the same sign for every seed). \
         Training time is the sum over all networks that the arm needs, teachers and pre-training included; \
         training {noun} are those that went forward and backward.\n",
        node.title(baseline)
    );
    for extra in [
        frozen_table(node, verdict, &evidence),
        guesses_table(node, verdict, &evidence),
    ] {
        if !extra.is_empty() {
            text += &format!("\n{extra}");
        }
    }
    let sentences: Vec<(String, String)> = verdict
        .budgets
        .iter()
        .map(|b| (budget_name(node, &b.budget), words(node, verdict, b, &evidence)))
        .collect();
    let answer: String = sentences
        .iter()
        .map(|(budget, said)| format!("- {budget}: {said}\n"))
        .collect();
    let costs: BTreeMap<&str, BTreeMap<&str, ArmCost>> = verdict
        .budgets
        .iter()
        .map(|b| {
            (
                b.budget.as_str(),
                b.arms
                    .iter()
                    .map(|a| (a.arm.as_str(), evidence.cost(&b.budget, &a.arm)))
                    .collect(),
            )
        })
        .collect();
    let guesses: BTreeMap<&str, BTreeMap<&str, Vec<Guesses>>> = verdict
        .budgets
        .iter()
        .map(|b| {
            let of_arms = b
                .arms
                .iter()
                .map(|a| (a.arm.as_str(), evidence.guesses(&b.budget, &a.arm)));
            (b.budget.as_str(), of_arms.filter(|(_, g)| !g.is_empty()).collect())
        })
        .collect();
    let frozen: BTreeMap<&str, BTreeMap<String, (f64, f64, f64)>> = verdict
        .budgets
        .iter()
        .map(|b| (b.budget.as_str(), evidence.frozen(&b.budget)))
        .collect();
    let words: BTreeMap<&str, &str> = sentences
        .iter()
        .map(|(budget, said)| (budget.as_str(), said.as_str()))
        .collect();
    Ok(Report {
        markdown: format!("# Verdict\n\n{answer}\n{text}"),
        json: json!({
            "version": 1, "verdict": verdict, "words": words, "costs": costs, "pseudo_labels": guesses, "frozen": frozen,
        }),
        terminal: format!("{text}\nVerdict\n{}", answer.replace("**", "").replace('`', "")),
        files: Vec::new(),
    })
}
