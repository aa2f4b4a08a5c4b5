//! What would change a verdict: how far each of its findings is from turning, by its own numbers, and what the run says nothing about.

use std::collections::BTreeSet;

use flow_learn::stats::t_quantile;

use super::cells::{cell_name, percent, signed};
use super::evidence::Evidence;
use super::pareto;
use super::verdict::{Against, ArmVerdict, CellVerdict, FEWEST_DRAWS, Figure, Verdict};

/// More draws than this nobody makes.
const MOST_DRAWS: usize = 200;

/// Sentences, with the budget that each is about; empty for all.
pub(super) fn sentences(verdict: &Verdict, evidence: &Evidence<'_>) -> Vec<(String, String)> {
    let mut said = Vec::new();
    for cell in &verdict.cells {
        let about = Cell {
            verdict,
            cell,
            evidence,
        };
        let name = cell_name(evidence.node, &cell.cell);
        let of_arms = cell.arms.iter().filter_map(|arm| about.arm(arm, arm.baseline?));
        let all = of_arms.chain(about.ranking()).chain(about.controls());
        said.extend(all.map(|sentence| (name.clone(), sentence)));
    }
    let of_all = [
        label_budgets(verdict, evidence),
        pareto::turns(verdict, evidence),
        leaks(evidence),
    ];
    said.extend(of_all.into_iter().flatten().map(|sentence| (String::new(), sentence)));
    said.push((String::new(), outside(verdict)));
    said
}

/// One budget.
struct Cell<'a> {
    verdict: &'a Verdict,
    cell: &'a CellVerdict,
    evidence: &'a Evidence<'a>,
}

impl Cell<'_> {
    fn title<'t>(&'t self, arm: &'t ArmVerdict) -> &'t str {
        self.evidence.node.title(&arm.arm)
    }

    /// What one arm has more than another in each draw.
    fn gains(&self, arm: &ArmVerdict, other: &ArmVerdict) -> Vec<f64> {
        let runs: Vec<f64> = arm.by_run.iter().zip(&other.by_run).map(|(a, b)| a - b).collect();
        // Seeds of one draw follow each other.
        let seeds = match self.cell.draws {
            draws if draws > 0 && runs.len() % draws == 0 => runs.len() / draws,
            _ => 1,
        };
        runs.chunks(seeds.max(1)).map(mean).collect()
    }

    /// How far an arm's difference from the baseline is from being another finding.
    fn arm(&self, arm: &ArmVerdict, against: Against) -> Option<String> {
        let baseline = self.cell.arm(&self.verdict.baseline)?;
        let (title, other) = (self.title(arm), self.title(baseline));
        let Figure { mean, low, high } = against.difference;
        let gains = self.gains(arm, baseline);
        if gains.len() < FEWEST_DRAWS {
            let more = FEWEST_DRAWS - gains.len();
            return Some(format!(
                "{title}: {more} more draw(s) before any difference from {other} can be called significant."
            ));
        }
        let alike = gains.iter().filter(|gain| (**gain > 0.0) == (mean > 0.0)).count();
        if against.significant {
            let near = if mean > 0.0 { low } else { high };
            let side = if mean > 0.0 { "above" } else { "below" };
            return Some(format!(
                "{title}: {side} {other} in {alike} of {} draws; something that this run does not vary, worth {} points or more, would undo it.",
                gains.len(),
                percent(near.abs())
            ));
        }
        if against.equivalent {
            return Some(format!(
                "{title}: as good as {other} only for who does not care for {} points; the interval is {} to {}.",
                percent(low.abs().max(high.abs())),
                signed(low),
                signed(high)
            ));
        }
        Some(format!("{title}: {}", self.more_draws(&gains, against.difference)))
    }

    /// After how many draws the interval would leave out 0, if mean and spread stay as they are. Its part that comes of test images stays.
    fn more_draws(&self, gains: &[f64], difference: Figure) -> String {
        let Figure { mean, low, high } = difference;
        let (half, n) = (0.5 * (high - low), gains.len());
        let of_draws = |n: usize| t_quantile(0.975, (n - 1) as f64) * spread(gains) / (n as f64).sqrt();
        let of_images = (half.powi(2) - of_draws(n).powi(2)).max(0.0);
        let seen = format!("{} points ({} to {})", signed(mean), signed(low), signed(high));
        if low > 0.0 || high < 0.0 {
            return format!(
                "{seen}; its interval leaves out 0, but not after the correction for all arms and budgets."
            );
        }
        let enough = (n + 1..=MOST_DRAWS).find(|n| of_draws(*n).powi(2) + of_images < mean.powi(2));
        match enough {
            Some(enough) => format!(
                "{seen}; at this spread the interval would leave out 0 after about {enough} draws instead of {n}."
            ),
            None if of_images >= mean.powi(2) => {
                let times = (of_images / mean.powi(2).max(f64::MIN_POSITIVE)).ceil();
                let more = match times < 100.0 {
                    true => format!("it would take {times:.0} times as many"),
                    false => "no number of draws helps".to_owned(),
                };
                format!(
                    "{seen}; with {} test {} a difference so small cannot be told from 0, however many draws there are: {more}.",
                    self.verdict.images, self.verdict.noun
                )
            }
            None => format!("{seen}; at this spread more than {MOST_DRAWS} draws would be needed to tell it from 0."),
        }
    }

    /// Whether the two best are in order. No test of the verdict says so: arms are held against the baseline alone.
    fn ranking(&self) -> Option<String> {
        let mut arms: Vec<&ArmVerdict> = self.cell.arms.iter().collect();
        arms.sort_by(|a, b| b.figure.mean.total_cmp(&a.figure.mean));
        let [first, second, ..] = arms.as_slice() else {
            return None;
        };
        if first.baseline.is_none() || second.baseline.is_none() {
            return None;
        }
        let gains = self.gains(first, second);
        let above = gains.iter().filter(|gain| **gain > 0.0).count();
        Some(format!(
            "The order of the two best is not tested: {} is above {} in {above} of {} draws, by {} points in the mean.",
            self.title(first),
            self.title(second),
            gains.len(),
            percent(mean(&gains))
        ))
    }

    /// Arms whose lead over the best control is within its interval.
    fn controls(&self) -> Option<String> {
        let control = self.cell.best_control()?;
        let close = self.cell.arms.iter().filter_map(|arm| {
            let difference = arm.control?.difference;
            (difference.mean > 0.0 && difference.low <= 0.0)
                .then(|| format!("{} ({})", self.title(arm), signed(difference.mean)))
        });
        let close: Vec<String> = close.collect();
        (!close.is_empty()).then(|| {
            format!(
                "{}, which needs no training, may be as good as: {}.",
                self.evidence.node.title(&control.name),
                close.join(", ")
            )
        })
    }
}

/// Between which label budgets the best arm becomes another.
fn label_budgets(verdict: &Verdict, evidence: &Evidence<'_>) -> Option<String> {
    let node = evidence.node;
    let mut cells: Vec<(f64, &CellVerdict)> = verdict
        .cells
        .iter()
        .filter(|cell| cell.cell.cost == verdict.cells[0].cell.cost)
        .filter_map(|cell| Some((cell.labels()?, cell)))
        .collect();
    cells.sort_by(|a, b| a.0.total_cmp(&b.0));
    let best = |cell: &'_ CellVerdict| {
        let best = cell.arms.iter().max_by(|a, b| a.figure.mean.total_cmp(&b.figure.mean));
        best.map_or_else(String::new, |arm| node.title(&arm.arm).to_owned())
    };
    let turns: Vec<String> = cells
        .windows(2)
        .filter(|pair| best(pair[0].1) != best(pair[1].1))
        .map(|pair| {
            let ((few, before), (many, after)) = (pair[0], pair[1]);
            format!("{} at {few:.0}, {} at {many:.0}", best(before), best(after))
        })
        .collect();
    (!turns.is_empty()).then(|| {
        format!(
            "Another number of {}: the highest arm is {}; in between it may be either.",
            node.budget,
            turns.join("; ")
        )
    })
}

/// Images that are in two splits, where data sets looked for them.
fn leaks(evidence: &Evidence<'_>) -> Option<String> {
    let mut seen = BTreeSet::new();
    let records = evidence.lineage.iter().flat_map(|input| &input.records);
    let (mut exact, mut near, mut dropped) = (0.0, 0.0, 0.0);
    for record in records.filter(|record| record.kind == "dataset" && seen.insert(record.key)) {
        let metric = |name: &str| record.metrics.get(name).copied().unwrap_or(0.0);
        exact += metric("leaks_exact");
        near += metric("leaks_near");
        dropped += metric("leaks_dropped");
    }
    (exact + near > 0.0 && dropped == 0.0).then(|| {
        format!(
            "Leaks: {exact:.0} pair(s) of equal and {near:.0} of nearly equal images are in two splits; `on_leak = \"drop\"` leaves them out of what is \
             trained on, and figures may be lower then."
        )
    })
}

/// What no number of this run speaks of.
fn outside(verdict: &Verdict) -> String {
    let mut costs: Vec<&str> = verdict.cells.iter().map(|cell| cell.cell.cost.as_str()).collect();
    costs.dedup();
    let length = if costs.len() > 1 {
        ""
    } else {
        ", another length of training"
    };
    format!(
        "Not tried here: other settings of each arm (an arm whose settings were searched less may only look worse){length}, other data, other networks."
    )
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The standard deviation.
fn spread(values: &[f64]) -> f64 {
    let centre = mean(values);
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    (squares / (values.len().max(2) - 1) as f64).sqrt()
}
