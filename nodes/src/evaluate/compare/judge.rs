//! From scores to a verdict.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use flow_engine::node::NodeError;
use flow_learn::stats::{Arm, Estimate, Run, difference, estimate, holm, labels_needed};

use super::CompareNode;
use super::beside::Aside;
use super::metric::{Compared, located};
use super::verdict::{
    Against, ArmVerdict, Beside, Beyond, CellVerdict, FEWEST_DRAWS, LabelsNeeded, MeanInterval, Verdict,
};
use crate::artifacts::{FeatureScore, Protocol, Scores};
use crate::evaluate::arms::{Cell, Draw, Names, Paired};
use crate::failure::{failure, refused};

/// Scores of arms, of controls, and of what has all labels.
pub(super) struct Material<'a> {
    pub(super) arms: &'a [Paired<Scores>],
    pub(super) controls: &'a [Aside<Scores>],
    pub(super) upper_bound: &'a [Aside<Scores>],
}

/// What images contribute to the figure, in one cell.
struct CellFigures<'a> {
    paired: &'a Paired<Scores>,
    design: Vec<Run>,
    arms: Vec<Arm>,
    baseline: usize,
    controls: Vec<(&'a str, Arm)>,
    upper_bound: Vec<(&'a str, Arm)>,
}

/// Compares arms with the baseline and with the best control of their cell.
///
/// # Errors
/// If scores are not of classifiers, on the same images and classes.
pub(super) fn judge(node: &CompareNode, material: &Material<'_>) -> Result<Verdict, NodeError> {
    let first = the_same_images(material)?;
    let metric = node.metric.of(first);
    let cells = material
        .arms
        .iter()
        .map(|paired| CellFigures::new((node, &metric), material, paired));
    let cells: Vec<CellFigures<'_>> = cells.collect::<Result<_, _>>()?;
    let best_controls: Vec<Option<&Arm>> = cells.iter().map(CellFigures::best_control).collect();
    let baseline = against(node, &cells, |cell, _| Some(&cell.arms[cell.baseline]));
    let control = against(node, &cells, |_, i| best_controls[i]);
    let needed = labels_saved(&cells);
    let mut verdicts = Vec::new();
    for (i, cell) in cells.iter().enumerate() {
        let mut arms = Vec::new();
        for (k, (name, scores)) in cell.paired.arms.iter().enumerate() {
            arms.push(ArmVerdict {
                baseline: baseline[i][k].filter(|_| k != cell.baseline),
                control: control[i][k],
                labels_needed: needed[i][k].filter(|_| k != cell.baseline),
                ..arm_verdict(name, (scores, &metric), &cell.arms[k], &cell.design)?
            });
        }
        let beside = |those: &[(&str, Arm)]| {
            let one = |(name, arm): &(&str, Arm)| Beside {
                name: (*name).to_owned(),
                figure: share(&estimate(arm, &cell.design)),
            };
            those.iter().map(one).collect()
        };
        verdicts.push(CellVerdict {
            cell: cell.paired.cell.clone(),
            draws: draws(&cell.design),
            runs: cell.design.len(),
            arms,
            controls: beside(&cell.controls),
            upper_bound: beside(&cell.upper_bound),
        });
    }
    Ok(Verdict {
        baseline: node.baseline.clone(),
        guessing: metric.by_guessing(first),
        metric,
        margin: node.margin,
        split: first.split,
        noun: first.noun.clone(),
        images: first.examples(),
        judged_on: first.judged_on,
        class_names: first.class_names.clone(),
        cells: verdicts,
    })
}

fn the_same_images<'a>(material: &Material<'a>) -> Result<&'a Scores, NodeError> {
    let arms = material
        .arms
        .iter()
        .flat_map(|cell| &cell.arms)
        .flat_map(|(_, runs)| runs);
    let asides = material.controls.iter().chain(material.upper_bound);
    let mut all = arms.chain(asides.map(|aside| &aside.score));
    let first = all.next().ok_or_else(|| failure("BUG: there are no scores"))?;
    for scores in all {
        let same = scores.judged_on == first.judged_on && scores.class_names == first.class_names;
        if !same || scores.split != first.split {
            let message = "the arms were not judged on the same images and classes";
            return Err(failure(message).with_help("score every arm with one evaluate node: `model = \"${arm}\"`"));
        }
    }
    Ok(first)
}

impl<'a> CellFigures<'a> {
    fn new(
        (node, metric): (&CompareNode, &Compared),
        material: &Material<'a>,
        paired: &'a Paired<Scores>,
    ) -> Result<Self, NodeError> {
        let contributions = |scores: &Scores| metric.contributions(scores);
        let mut arms = Vec::new();
        for (_, runs) in &paired.arms {
            arms.push(Arm {
                runs: runs.iter().map(contributions).collect::<Result<_, _>>()?,
            });
        }
        let beside = |port: &str, asides: &'a [Aside<Scores>]| {
            let found = super::beside::of_cell(&node.axes(), port, asides, &paired.cell, &paired.draws);
            let mut arms = Vec::new();
            for (name, scores) in found.map_err(refused)? {
                let runs = scores
                    .into_iter()
                    .map(contributions)
                    .collect::<Result<_, NodeError>>()?;
                arms.push((name, Arm { runs }));
            }
            Ok::<_, NodeError>(arms)
        };
        Ok(Self {
            paired,
            design: design(&node.repeat, &paired.draws),
            arms,
            baseline: paired
                .arms
                .iter()
                .position(|(arm, _)| *arm == node.baseline)
                .unwrap_or_default(),
            controls: beside("controls", material.controls)?,
            upper_bound: beside("upper_bound", material.upper_bound)?,
        })
    }

    fn best_control(&self) -> Option<&Arm> {
        let mean = |arm: &Arm| estimate(arm, &self.design).mean;
        let controls = self.controls.iter().map(|(_, arm)| arm);
        controls.max_by(|a, b| mean(a).total_cmp(&mean(b)))
    }
}

/// Which label draw and which initialisation each run is of: the first variable that repeats, and the others.
fn design(repeat: &Names, draws: &[Draw]) -> Vec<Run> {
    let named = |draw: &Draw, names: &[String]| {
        let values: Vec<&str> = names
            .iter()
            .filter_map(|name| draw.0.get(name))
            .map(String::as_str)
            .collect();
        values.join(", ")
    };
    let run = |draw: &Draw| {
        let (of_draw, of_seed) = repeat.all().split_at(1.min(repeat.all().len()));
        Run {
            draw: named(draw, of_draw),
            seed: named(draw, of_seed),
        }
    };
    draws.iter().map(run).collect()
}

/// How often what differs from run to run was drawn anew.
fn draws(design: &[Run]) -> usize {
    let draws: BTreeSet<&str> = design.iter().map(|run| run.draw.as_str()).collect();
    let seeds: BTreeSet<&str> = design.iter().map(|run| run.seed.as_str()).collect();
    if draws.len() > 1 { draws.len() } else { seeds.len() }
}

/// The score of a classifier: what frozen features achieved is no arm's.
pub(super) fn classifier(scores: &Scores) -> Result<&FeatureScore, NodeError> {
    match scores.scores.as_slice() {
        [score] if score.protocol == Protocol::FineTuned || score.of.is_control() => Ok(score),
        _ => Err(
            failure("scores of frozen features found among the arms, expected those of classifiers")
                .with_help("name evaluate nodes with `model` in `compare`, those with `encoder` in `evidence`"),
        ),
    }
}

/// Each arm of each cell against another, corrected over all of them.
fn against<'a, 'b>(
    node: &CompareNode,
    cells: &'b [CellFigures<'a>],
    other: impl Fn(&'b CellFigures<'a>, usize) -> Option<&'b Arm>,
) -> Vec<Vec<Option<Against>>> {
    let mut estimates: Vec<(usize, usize, Estimate)> = Vec::new();
    for (i, cell) in cells.iter().enumerate() {
        let Some(other) = other(cell, i) else { continue };
        for (k, arm) in cell
            .arms
            .iter()
            .enumerate()
            .filter(|(_, arm)| !std::ptr::eq(*arm, other))
        {
            estimates.push((i, k, difference(arm, other, &cell.design)));
        }
    }
    let p = holm(&estimates.iter().map(|(_, _, e)| e.p()).collect::<Vec<_>>());
    let not_equivalent: Vec<f64> = estimates
        .iter()
        .map(|(_, _, e)| e.p_not_equivalent(node.margin))
        .collect();
    let not_equivalent = holm(&not_equivalent);
    let mut found: Vec<Vec<Option<Against>>> = cells.iter().map(|cell| vec![None; cell.arms.len()]).collect();
    for (((i, k, estimate), p), p_not_equivalent) in estimates.into_iter().zip(p).zip(not_equivalent) {
        let enough = draws(&cells[i].design) >= FEWEST_DRAWS;
        let (low, high) = estimate.interval();
        found[i][k] = Some(Against {
            difference: MeanInterval {
                mean: estimate.mean,
                low,
                high,
            },
            better: estimate.above_zero(),
            p,
            significant: enough && p < 0.05,
            p_not_equivalent,
            equivalent: enough && p_not_equivalent < 0.05,
        });
    }
    found
}

/// An estimate of a figure that lies in [0, 1].
fn share(estimate: &Estimate) -> MeanInterval {
    let (low, high) = estimate.interval();
    MeanInterval {
        mean: estimate.mean,
        low: low.max(0.0),
        high: high.min(1.0),
    }
}

/// The figure of each run: the mean of what images contribute.
fn by_run(arm: &Arm) -> Vec<f64> {
    let mean = |run: &Vec<f64>| run.iter().sum::<f64>() / run.len() as f64;
    arm.runs.iter().map(mean).collect()
}

fn arm_verdict(
    name: &str,
    (scores, metric): (&[Scores], &Compared),
    arm: &Arm,
    design: &[Run],
) -> Result<ArmVerdict, NodeError> {
    let classes = scores.first().map_or(0, |scores| scores.class_names.len());
    let (accuracy, macro_f1, recall) = match metric {
        Compared::Classes(_) => of_classes(scores, classes)?,
        Compared::Places(figure) => (None, None, of_places(scores, figure, classes)?),
    };
    Ok(ArmVerdict {
        arm: name.to_owned(),
        figure: share(&estimate(arm, design)),
        by_run: by_run(arm),
        accuracy,
        macro_f1,
        recall,
        baseline: None,
        control: None,
        labels_needed: None,
        without_pseudo_labels: scores.iter().filter(|scores| scores.pseudo_labels == Some(0)).count(),
    })
}

/// Accuracy, macro F1 and the share of each class that is right, over runs.
type OfClasses = (Option<f64>, Option<f64>, Vec<f64>);

fn of_classes(scores: &[Scores], classes: usize) -> Result<OfClasses, NodeError> {
    let judged = scores.iter().map(classifier).collect::<Result<Vec<_>, _>>()?;
    let mean =
        |figure: &dyn Fn(&FeatureScore) -> f64| judged.iter().map(|s| figure(s)).sum::<f64>() / judged.len() as f64;
    let recall = |score: &FeatureScore, class: usize| {
        let row = &score.confusion[class];
        row[class] as f64 / row.iter().sum::<u64>().max(1) as f64
    };
    let recalls = (0..classes).map(|class| mean(&|score| recall(score, class))).collect();
    Ok((
        Some(mean(&|score| score.accuracy)),
        Some(mean(&|score| score.macro_f1)),
        recalls,
    ))
}

/// The figure of each class, over runs.
fn of_places(scores: &[Scores], figure: &str, classes: usize) -> Result<Vec<f64>, NodeError> {
    let judged = scores
        .iter()
        .map(|scores| located(scores, figure))
        .collect::<Result<Vec<_>, _>>()?;
    let of_class = |class: usize| {
        let values = judged
            .iter()
            .map(|score| score.by_class.get(class).copied().unwrap_or_default());
        values.sum::<f64>() / judged.len().max(1) as f64
    };
    Ok((0..classes).map(of_class).collect())
}

/// For each arm of each cell the labels with which the baseline would be as good: where the cells of its training budget are a grid of labels.
fn labels_saved(cells: &[CellFigures<'_>]) -> Vec<Vec<Option<LabelsNeeded>>> {
    let mut grids: BTreeMap<&str, Vec<(f64, Vec<f64>)>> = BTreeMap::new();
    for cell in cells {
        let Cell { budget, cost } = &cell.paired.cell;
        if let Ok(labels) = budget.parse::<f64>() {
            let reference = by_run(&cell.arms[cell.baseline]);
            grids.entry(cost).or_default().push((labels, reference));
        }
    }
    for grid in grids.values_mut() {
        grid.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let of_arm = |cell: &CellFigures<'_>, arm: &Arm| {
        let (labels, reference): (Vec<f64>, Vec<Vec<f64>>) =
            grids.get(cell.paired.cell.cost.as_str())?.iter().cloned().unzip();
        let found = labels_needed(&labels, &reference, &by_run(arm))?;
        Some(LabelsNeeded {
            labels: found.labels,
            low: found.interval.0,
            high: found.interval.1,
            beyond: match found.censored {
                Ordering::Less => Beyond::Below,
                Ordering::Equal => Beyond::No,
                Ordering::Greater => Beyond::Above,
            },
        })
    };
    let of_cell = |cell: &CellFigures<'_>| cell.arms.iter().map(|arm| of_arm(cell, arm)).collect();
    cells.iter().map(of_cell).collect()
}
