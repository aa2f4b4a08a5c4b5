//! What the figures of one budget say, in a few sentences.

use std::collections::BTreeMap;

use super::cells::{percent, signed};
use super::evidence::{Evidence, Guesses};
use super::verdict::{Against, ArmVerdict, Beyond, CellVerdict, FEWEST_DRAWS, Verdict};

/// One budget of a verdict, with what the records say.
pub(super) struct Words<'a> {
    pub(super) verdict: &'a Verdict,
    pub(super) cell: &'a CellVerdict,
    pub(super) evidence: &'a Evidence<'a>,
}

/// The arms but the baseline, by what was found of them.
#[derive(Default)]
struct Sorted<'a> {
    /// Significantly better.
    better: Vec<(&'a ArmVerdict, Against)>,
    /// So too, but with a pre-training that is worth nothing by itself.
    doubtful: Vec<(&'a ArmVerdict, Against)>,
    worse: Vec<(&'a ArmVerdict, Against)>,
    /// As good, to within the margin.
    same: Vec<(&'a ArmVerdict, Against)>,
    /// Different by itself, but not among so many comparisons.
    corrected: Vec<(&'a ArmVerdict, Against)>,
    /// Neither different nor the same, as far as can be told.
    open: Vec<(&'a ArmVerdict, Against)>,
}

impl<'a> Words<'a> {
    fn title<'t>(&'t self, arm: &'t ArmVerdict) -> &'t str {
        self.evidence.node.title(&arm.arm)
    }

    fn listed(&self, arms: &[(&ArmVerdict, Against)]) -> String {
        let gain = |(arm, against): &(&ArmVerdict, Against)| {
            let difference = against.difference;
            let (mean, low, high) = (signed(difference.mean), signed(difference.low), signed(difference.high));
            format!("{} ({mean} points, 95 % interval {low} to {high})", self.title(arm))
        };
        arms.iter().map(gain).collect::<Vec<_>>().join("; ")
    }

    fn sorted(&self) -> Sorted<'a> {
        let mut sorted = Sorted::default();
        for arm in &self.cell.arms {
            let Some(against) = arm.baseline else { continue };
            let group = match (against.significant, against.difference.mean > 0.0) {
                (true, true) if self.evidence.uncredited(&self.cell.cell, &arm.arm) => &mut sorted.doubtful,
                (true, true) => &mut sorted.better,
                (true, false) => &mut sorted.worse,
                (false, _) if against.equivalent => &mut sorted.same,
                (false, _) if self.cell.draws >= FEWEST_DRAWS && excludes_zero(&against) => &mut sorted.corrected,
                (false, _) => &mut sorted.open,
            };
            group.push((arm, against));
        }
        sorted
            .better
            .sort_by(|(a, _), (b, _)| b.figure.mean.total_cmp(&a.figure.mean));
        sorted
    }

    /// Who is best, who else is better, worse or as good, and what explains it.
    pub(super) fn sentences(&self) -> String {
        let sorted = self.sorted();
        let baseline = self.evidence.node.title(&self.verdict.baseline);
        let mut said = match sorted.better.as_slice() {
            [(best, against), others @ ..] => {
                let mut said = format!(
                    "**{}** is best, {} %: {} points over {baseline} (95 % interval {} to {}; better with a chance of {}).",
                    self.title(best),
                    percent(best.figure.mean),
                    signed(against.difference.mean),
                    signed(against.difference.low),
                    signed(against.difference.high),
                    chance(against.better)
                );
                if !others.is_empty() {
                    said += &format!(" Also better: {}.", self.listed(others));
                }
                said
            }
            [] if self.cell.draws < FEWEST_DRAWS => format!(
                "No arm is significantly better than {baseline}: with fewer than {FEWEST_DRAWS} draws of each arm significance cannot be tested."
            ),
            [] if !sorted.doubtful.is_empty() => {
                format!("No arm that can be credited is significantly better than {baseline}.")
            }
            [] => format!("No arm is significantly better than {baseline}."),
        };
        said += &self.cheaper(&sorted.better);
        for (words, arms) in [
            (
                "Higher, but no credit to its pre-training, whose linear probe does not beat both raw features and random weights",
                &sorted.doubtful,
            ),
            (
                &*format!(
                    "As good as {baseline}, to within {} point(s)",
                    points(self.verdict.margin)
                ),
                &sorted.same,
            ),
            (
                "Not significant after Holm's correction for all comparisons, though the interval by itself leaves out zero",
                &sorted.corrected,
            ),
            ("Not detectable", &sorted.open),
            ("Significantly worse", &sorted.worse),
        ] {
            if !arms.is_empty() {
                said += &format!(" {words}: {}.", self.listed(arms));
            }
        }
        said += &self.labels_saved(&sorted.better);
        for arm in self.cell.arms.iter().filter(|arm| arm.without_pseudo_labels > 0) {
            said += &format!(
                " Self-training did not happen in {} of {} draws of {}: no pseudo-label was kept.",
                arm.without_pseudo_labels,
                arm.by_run.len(),
                self.title(arm)
            );
        }
        for (arm, _) in [sorted.same, sorted.corrected, sorted.open, sorted.worse]
            .iter()
            .flatten()
        {
            said += &self.why_little(arm);
        }
        said + &frozen_words(&self.evidence.frozen(&self.cell.cell))
    }

    /// The arm that is as good as the best for less.
    fn cheaper(&self, better: &[(&ArmVerdict, Against)]) -> String {
        let cost = |arm: &ArmVerdict| self.evidence.cost(&self.cell.cell, &arm.arm).seconds;
        let [(best, _), rest @ ..] = better else {
            return String::new();
        };
        let close = rest
            .iter()
            .map(|(arm, _)| *arm)
            .find(|arm| arm.figure.high >= best.figure.mean);
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

    /// How many labels the baseline would need for as much, of the arms that are better.
    fn labels_saved(&self, better: &[(&ArmVerdict, Against)]) -> String {
        let baseline = self.evidence.node.title(&self.verdict.baseline);
        let one = |(arm, _): &(&ArmVerdict, Against)| {
            let needed = arm.labels_needed?;
            let labels = match needed.beyond {
                Beyond::No => format!("{:.0} ({:.0} to {:.0})", needed.labels, needed.low, needed.high),
                Beyond::Above => format!("more than {:.0}", needed.labels),
                Beyond::Below => return None,
            };
            Some(format!(" {} is worth {labels} labels of {baseline}.", self.title(arm)))
        };
        better.iter().filter_map(one).collect()
    }

    /// Why an arm with pseudo-labels gains little: how many were kept, and how many of those were right.
    fn why_little(&self, arm: &ArmVerdict) -> String {
        let round = |g: &Guesses| {
            format!(
                "`{}` kept {} % of the {}, {}",
                g.node,
                percent(g.kept_share),
                self.verdict.noun,
                g.precision
                    .map_or("none".to_owned(), |right| format!("{} % of them right", percent(right)))
            )
        };
        let rounds: Vec<String> = self
            .evidence
            .guesses(&self.cell.cell, &arm.arm)
            .iter()
            .map(round)
            .collect();
        if rounds.is_empty() {
            String::new()
        } else {
            format!(" What {} learnt from: {}.", self.title(arm), rounds.join(", "))
        }
    }
}

fn excludes_zero(against: &Against) -> bool {
    against.difference.low > 0.0 || against.difference.high < 0.0
}

fn chance(share: f64) -> String {
    if share > 0.995 {
        "more than 99 %".into()
    } else {
        format!("{:.0} %", 100.0 * share)
    }
}

/// 0.01 is 1 point.
fn points(margin: f64) -> String {
    let points = format!("{:.2}", 100.0 * margin);
    points.trim_end_matches('0').trim_end_matches('.').to_owned()
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
