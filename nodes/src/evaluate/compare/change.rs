//! What would change a verdict: how far each of its findings is from turning, by its own numbers, and what the run says nothing about.

use flow_engine::figure::{Figure, Table, Words};
use flow_learn::stats::{mean, t_quantile, variance};

use super::cells::{cell_name, percent, signed};
use super::evidence::Evidence;
use super::pareto;
use super::verdict::{Against, ArmVerdict, CellVerdict, FEWEST_DRAWS, MeanInterval, Verdict};

/// More draws than this nobody makes.
const MOST_DRAWS: usize = 200;

/// The figures of it: what each finding is away from turning, and sentences on all of them.
pub(super) fn figures(verdict: &Verdict, evidence: &Evidence<'_>) -> Vec<Figure> {
    let (mut said, mut rows) = (Vec::new(), Vec::new());
    for cell in &verdict.cells {
        let about = AtBudget {
            verdict,
            cell,
            evidence,
        };
        let name = cell_name(evidence.node, &cell.cell);
        let all = about.ranking().into_iter().chain(about.controls());
        said.extend(all.map(|sentence| (name.clone(), sentence)));
        rows.extend(cell.arms.iter().filter_map(|arm| about.row(arm, arm.baseline?)));
    }
    let of_all = [
        label_budgets(verdict, evidence),
        pareto::turns(verdict, evidence),
        Some(outside(verdict)),
    ];
    said.extend(of_all.into_iter().flatten().map(|sentence| (String::new(), sentence)));
    let baseline = evidence.node.title(&verdict.baseline);
    let head = [
        "at",
        "arm",
        &format!("over {baseline}, points"),
        "draws above it",
        "found",
        "it would turn with",
    ];
    let table = Table {
        title: "How far each finding is from turning".into(),
        head: head.iter().map(ToString::to_string).collect(),
        rows,
    };
    let words = Words {
        title: "What would change this verdict".into(),
        sentences: said,
    };
    vec![Figure::Words(words), Figure::Table(table)]
}

/// One budget.
struct AtBudget<'a> {
    verdict: &'a Verdict,
    cell: &'a CellVerdict,
    evidence: &'a Evidence<'a>,
}

impl AtBudget<'_> {
    fn title<'t>(&'t self, arm: &'t ArmVerdict) -> &'t str {
        self.evidence.node.title(&arm.arm)
    }

    /// What one arm has more than another in each draw.
    fn gains(&self, arm: &ArmVerdict, other: &ArmVerdict) -> Vec<f64> {
        let runs: Vec<f64> = arm.by_run.iter().zip(&other.by_run).map(|(a, b)| a - b).collect();
        // Seeds of one draw follow each other.
        let seeds = match self.cell.draws {
            draws if draws > 0 && runs.len().is_multiple_of(draws) => runs.len() / draws,
            _ => 1,
        };
        runs.chunks(seeds.max(1)).map(mean).collect()
    }

    /// An arm's difference from the baseline, and how far it is from being another finding.
    fn row(&self, arm: &ArmVerdict, against: Against) -> Option<Vec<String>> {
        let gains = self.gains(arm, self.cell.arm(&self.verdict.baseline)?);
        let bias = |size| format!("a bias of {} points from what this run does not vary", percent(size));
        let MeanInterval { mean, low, high } = against.difference;
        let (found, turns) = match (against.significant, against.equivalent) {
            _ if gains.len() < FEWEST_DRAWS => {
                let more = FEWEST_DRAWS - gains.len();
                (
                    "cannot be tested",
                    format!("{more} more draw(s), before which nothing is called significant"),
                )
            }
            (true, _) if mean > 0.0 => ("better", bias(low)),
            (true, _) => ("worse", bias(-high)),
            (_, true) => (
                "as good",
                format!("a margin below {} points", percent(low.abs().max(high.abs()))),
            ),
            _ => ("open", more_draws(&gains, against.difference, &self.verdict.noun)),
        };
        let above = gains.iter().filter(|gain| **gain > 0.0).count();
        Some(vec![
            cell_name(self.evidence.node, &self.cell.cell),
            self.title(arm).to_owned(),
            format!("{} ({} to {})", signed(mean), signed(low), signed(high)),
            format!("{above} of {}", gains.len()),
            found.to_owned(),
            turns,
        ])
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
    let cells = verdict.by_labels().remove(verdict.cells.first()?.cell.cost.as_str())?;
    let best = |cell: &CellVerdict| pareto::best(cell).map_or_else(String::new, |arm| node.title(&arm.arm).to_owned());
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

/// After how many draws the interval would leave out 0, if mean and spread stay as they are. Its part that comes of test images stays.
pub(super) fn more_draws(gains: &[f64], MeanInterval { mean, low, high }: MeanInterval, noun: &str) -> String {
    if low > 0.0 || high < 0.0 {
        return "fewer arms and budgets to correct for: its own interval leaves out 0".to_owned();
    }
    let (half, n) = (0.5 * (high - low), gains.len());
    let of_draws = |n: usize| t_quantile(0.975, (n - 1) as f64) * variance(gains).sqrt() / (n as f64).sqrt();
    let of_images = (half.powi(2) - of_draws(n).powi(2)).max(0.0);
    let enough = (n + 1..=MOST_DRAWS).find(|n| of_draws(*n).powi(2) + of_images < mean.powi(2));
    let times = of_images / mean.powi(2).max(f64::MIN_POSITIVE);
    match enough {
        Some(enough) => format!("about {enough} draws instead of {n}, at this spread"),
        None if (1.0..100.0).contains(&times) => {
            format!("{:.0} times as many test {noun}, however many draws", times.ceil())
        }
        None => format!("more than {MOST_DRAWS} draws, at this spread"),
    }
}
