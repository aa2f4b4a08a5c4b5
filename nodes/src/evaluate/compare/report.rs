//! The answer for people: a table, a verdict in words per budget, what every arm cost, and why.
//!
//! Costs are times, so they are no part of any artifact: they come from the records that each arm depends on.

use std::collections::{BTreeMap, BTreeSet};

use flow_cache::ActionKey;
use flow_engine::node::{InputCost, NodeError, Report};
use serde::Serialize;
use serde_json::json;

use super::CompareNode;
use super::verdict::{ArmVerdict, BudgetVerdict, FEWEST_DRAWS, Verdict};
use crate::artifacts::Subject;
use crate::evaluate::table::table;

/// Node kinds whose time is training time.
const TRAINING: [&str; 3] = ["pretrain", "finetune", "pseudo-label"];

/// Arms of which one trains on so many times the images of another are not on equal terms.
const UNEQUAL: f64 = 1.02;

/// What the names of a frozen encoder's figures begin with.
const FROZEN: [&str; 5] = ["ari.", "cluster_accuracy.", "knn.", "nmi.", "probe."];

/// What one arm took at one budget, mean over draws, shared nodes charged in full.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct ArmCost {
    /// Seconds in which threads of training nodes ran, by the wall clock.
    seconds: f64,
    /// Images that went forward and backward through a network, views counted.
    images: f64,
}

/// What the pseudo-labels of one round were like, mean over draws.
#[derive(Clone, Debug, Serialize)]
struct Guesses {
    node: String,
    kept_share: f64,
    /// Of those that were kept; none where nothing was.
    precision: Option<f64>,
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

/// Everything that the report says besides the verdict itself.
struct Evidence<'a> {
    node: &'a CompareNode,
    lineage: &'a [InputCost],
}

impl Evidence<'_> {
    fn of<'a>(&'a self, port: &'a str, budget: &'a str, arm: Option<&'a str>) -> impl Iterator<Item = &'a InputCost> {
        self.lineage.iter().filter(move |input| {
            let axes = self.node.axes();
            let same_arm = arm.is_none_or(|arm| axes.arm_of(&input.node, &input.bindings) == arm);
            input.port == port && axes.cell_of(&input.bindings).budget == budget && same_arm
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
            precision: precision.get(node),
        };
        share.0.keys().map(one).collect()
    }

    /// Whether an arm depends on a pre-training whose linear probe, with these labels, does not beat both controls.
    fn uncredited(&self, budget: &str, arm: &str) -> bool {
        let pretrained = |input: &InputCost| -> BTreeSet<ActionKey> {
            input
                .records
                .iter()
                .filter(|r| r.kind == "pretrain")
                .map(|r| r.key)
                .collect()
        };
        let used: BTreeSet<ActionKey> = self.of("compare", budget, Some(arm)).flat_map(pretrained).collect();
        let of_arm = |input: &&InputCost| !pretrained(input).is_disjoint(&used);
        let mut means = Means::default();
        for input in self.of("evidence", budget, None).filter(of_arm) {
            for record in input.records.iter().filter(|r| r.kind == "evaluate") {
                record.metrics.iter().for_each(|(name, value)| means.add(name, *value));
            }
        }
        let probe = |subject: Subject| means.get(&format!("probe.{}", subject.key()));
        let controls = [Subject::RandomInit, Subject::RawPixels, Subject::BagOfWords];
        probe(Subject::Encoder)
            .is_some_and(|encoder| controls.into_iter().filter_map(probe).any(|control| encoder <= control))
    }

    /// Frozen features at a budget: the figure's name, its mean over draws, and its range.
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

/// What the budget's figures say, in a few sentences.
struct Words<'a> {
    node: &'a CompareNode,
    verdict: &'a Verdict,
    budget: &'a BudgetVerdict,
    evidence: &'a Evidence<'a>,
}

impl Words<'_> {
    fn title(&self, arm: &ArmVerdict) -> String {
        self.node.title(&arm.arm).to_owned()
    }

    fn listed(&self, arms: &[&ArmVerdict]) -> String {
        let gain = |arm: &&ArmVerdict| {
            let [mean, low, high] = arm.difference;
            let (mean, low, high) = (signed(mean), signed(low), signed(high));
            format!("{} ({mean} points, 95 % interval {low} to {high})", self.title(arm))
        };
        arms.iter().map(gain).collect::<Vec<_>>().join("; ")
    }

    /// Whether what an arm gains cannot be its pre-training's merit: the frozen encoder is no better than no training at all.
    fn is_without_credit(&self, arm: &ArmVerdict) -> bool {
        self.evidence.uncredited(&self.budget.budget, &arm.arm)
    }

    fn sentences(&self) -> String {
        let Self {
            node,
            verdict,
            budget,
            evidence,
        } = self;
        let others = || budget.arms.iter().filter(|a| a.arm != verdict.baseline);
        let won = |a: &&ArmVerdict| a.significant && a.difference[0] > 0.0;
        let (doubtful, mut better): (Vec<&ArmVerdict>, Vec<&ArmVerdict>) =
            others().filter(won).partition(|a| self.is_without_credit(a));
        let worse: Vec<&ArmVerdict> = others().filter(|a| a.significant && a.difference[0] < 0.0).collect();
        let open: Vec<&ArmVerdict> = others().filter(|a| !a.significant).collect();
        better.sort_by(|a, b| b.accuracy[0].total_cmp(&a.accuracy[0]));
        let baseline = node.title(&verdict.baseline);
        let mut said = self.unequal();
        said += &match better.first() {
            Some(best) => format!(
                "**{}** is best. Significantly better than {baseline}: {}.",
                self.title(best),
                self.listed(&better)
            ),
            None if verdict.draws.0 < FEWEST_DRAWS => format!(
                "No arm is significantly better than {baseline}: with fewer than {FEWEST_DRAWS} draws of each arm significance cannot be tested."
            ),
            None => format!("No arm is significantly better than {baseline}."),
        };
        said += &self.cheaper(&better);
        if !doubtful.is_empty() {
            said += &format!(
                " Higher, but no credit to its pre-training, whose linear probe does not beat both raw features and random weights: {}.",
                self.listed(&doubtful)
            );
        }
        if !open.is_empty() {
            said += &format!(" No significant difference: {}.", self.listed(&open));
        }
        if !worse.is_empty() {
            said += &format!(" Significantly worse: {}.", self.listed(&worse));
        }
        for arm in budget.arms.iter().filter(|arm| arm.without_pseudo_labels > 0) {
            said += &format!(
                " Self-training did not happen in {} of {} draws of {}: no pseudo-label was kept.",
                arm.without_pseudo_labels,
                arm.by_draw.len(),
                self.title(arm)
            );
        }
        for arm in others().filter(|a| !won(a)) {
            said += &why_little(node, &arm.arm, &budget.budget, &verdict.noun, evidence);
        }
        said + &frozen_words(&evidence.frozen(&budget.budget))
    }

    /// Said first where arms trained on different numbers of images: then a difference may be one of budget, and not of method.
    fn unequal(&self) -> String {
        let images = |arm: &&ArmVerdict| self.evidence.cost(&self.budget.budget, &arm.arm).images;
        let by_images = |a: &&ArmVerdict, b: &&ArmVerdict| images(a).total_cmp(&images(b));
        let arms = || self.budget.arms.iter();
        match arms().min_by(by_images).zip(arms().max_by(by_images)) {
            Some((least, most)) if images(&most) > UNEQUAL * images(&least) => format!(
                "Not on equal terms: {} trained on {:.0} images, forward and backward, and {} on {:.0}. ",
                self.title(least),
                images(&least),
                self.title(most),
                images(&most)
            ),
            _ => String::new(),
        }
    }

    /// The arm that is as good as the best for less.
    fn cheaper(&self, better: &[&ArmVerdict]) -> String {
        let cost = |arm: &ArmVerdict| self.evidence.cost(&self.budget.budget, &arm.arm).seconds;
        match better {
            [best, rest @ ..] => {
                let close = rest.iter().find(|a| a.accuracy[2] >= best.accuracy[0]);
                close
                    .filter(|arm| cost(arm) < cost(best))
                    .map_or_else(String::new, |arm| {
                        let (its, of_best) = (cost(arm), cost(best));
                        format!(
                            " {} is close to it and takes {its:.0} s instead of {of_best:.0} s.",
                            self.title(arm)
                        )
                    })
            }
            [] => String::new(),
        }
    }
}

/// Why an arm with pseudo-labels gains little: how many were kept, and how many of those were right.
fn why_little(node: &CompareNode, arm: &str, budget: &str, noun: &str, evidence: &Evidence<'_>) -> String {
    let round = |g: &Guesses| {
        format!(
            "`{}` kept {} % of the {noun}, {}",
            g.node,
            percent(g.kept_share),
            g.precision
                .map_or("none".to_owned(), |right| format!("{} % of them right", percent(right)))
        )
    };
    let rounds: Vec<String> = evidence.guesses(budget, arm).iter().map(round).collect();
    if rounds.is_empty() {
        String::new()
    } else {
        format!(" What {} learnt from: {}.", node.title(arm), rounds.join(", "))
    }
}

/// What the frozen encoder is worth compared with its controls, in a sentence; empty without evidence.
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

fn budget_name(node: &CompareNode, budget: &str) -> String {
    if budget.is_empty() {
        "all".to_owned()
    } else {
        format!("{} {budget}", node.budget)
    }
}

/// Accuracy, interval, training time and images of every arm at every budget.
fn main_table(node: &CompareNode, verdict: &Verdict, evidence: &Evidence<'_>) -> String {
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
                    let mark = if a.significant {
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
fn frozen_table(node: &CompareNode, verdict: &Verdict, evidence: &Evidence<'_>) -> String {
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
fn guesses_table(node: &CompareNode, verdict: &Verdict, evidence: &Evidence<'_>) -> String {
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
                    guesses.precision.map_or("none".to_owned(), percent)
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
pub(super) fn render(node: &CompareNode, verdict: &Verdict, lineage: &[InputCost]) -> Result<Report, NodeError> {
    let evidence = Evidence { node, lineage };
    let mut text = main_table(node, verdict, &evidence);
    let Verdict {
        baseline,
        split,
        noun,
        images,
        draws: (least, most),
        replicates,
        ..
    } = verdict;
    let seeds = if least == most {
        least.to_string()
    } else {
        format!("{least} to {most}")
    };
    text += &format!(
        "\nMean over {seeds} draw(s) of each arm on {images} {split} {noun}, with 95 % bootstrap intervals ({replicates} replicates over draws and {noun}). \
         `+` and `-`: significantly better or worse than {} (paired, Holm-corrected p < 0.05, the same sign for every draw, and at least {FEWEST_DRAWS} draws). \
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
        .map(|budget| {
            let words = Words {
                node,
                verdict,
                budget,
                evidence: &evidence,
            };
            (budget_name(node, &budget.budget), words.sentences())
        })
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
            "version": 2, "verdict": verdict, "words": words, "costs": costs, "pseudo_labels": guesses, "frozen": frozen,
        }),
        terminal: format!("{text}\nVerdict\n{}", answer.replace("**", "").replace('`', "")),
        files: Vec::new(),
    })
}
