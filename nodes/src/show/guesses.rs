//! Pseudo-labels: how many were kept, how many of these are right, of which classes they are, and whether a teacher is as right as it is sure.

use flow_engine::figure::{Bars, Curve, Figure, Panel, Panels};
use flow_learn::metrics::argmax;

use super::{Shown, entry, mean};
use crate::artifacts::{Dataset, SplitName};

/// Bins of the confidence.
const BINS: usize = 20;

/// Nodes that make pseudo-labels of one round for one value of the first variable.
#[derive(Default)]
struct Group<'a> {
    round: u32,
    base: String,
    first: String,
    nodes: Vec<&'a Shown<'a>>,
}

impl Group<'_> {
    fn name(&self, rounds: bool) -> String {
        let round = rounds.then(|| format!("round {}", self.round));
        let parts = [self.first.replace('=', " "), round.unwrap_or_default()];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        format!("{} {}", self.base, parts.join(", ")).trim().to_owned()
    }

    /// The mean over its nodes.
    fn metric(&self, name: &str) -> Option<f64> {
        let values = self
            .nodes
            .iter()
            .filter_map(|node| node.outcome.metrics.get(name).copied());
        let values: Vec<f64> = values.collect();
        (!values.is_empty()).then(|| mean(&values))
    }

    /// How many guesses of a class were kept; none where guesses are not of classes.
    fn kept_of(&self, class: usize) -> Option<f64> {
        self.metric(&format!("kept_by_class.{class}"))
    }
}

pub(super) fn figures<'a>(nodes: &'a [Shown<'a>]) -> Vec<Figure> {
    let mut groups: Vec<(String, Group<'a>)> = Vec::new();
    for node in nodes.iter().filter(|node| node.outcome.kind == "pseudo-label") {
        let group = entry(&mut groups, &format!("{} {}", node.node(), node.first()));
        (group.round, group.base, group.first) = (node.round(), node.base().to_owned(), node.first());
        group.nodes.push(node);
    }
    let groups: Vec<Group<'a>> = groups.into_iter().map(|(_, group)| group).collect();
    if groups.is_empty() {
        return Vec::new();
    }
    let rounds = groups.iter().any(|group| group.round > 1);
    let mut figures = vec![if rounds { by_round(&groups) } else { by_group(&groups) }];
    // Masks and boxes have neither one class an image nor one confidence.
    let of_classes: Vec<Group<'a>> = groups.into_iter().filter(|group| group.kept_of(0).is_some()).collect();
    figures.extend(by_class(&of_classes, rounds));
    figures.extend(reliability(&of_classes, rounds));
    figures
}

const KEPT: (&str, &str) = ("kept_share", "kept of all guesses");
const RIGHT: (&str, &str) = ("precision", "right of those kept");

fn by_group(groups: &[Group<'_>]) -> Figure {
    let row = |group: &Group<'_>| {
        let share = |name| 100.0 * group.metric(name).unwrap_or(0.0);
        (group.name(false), vec![share(KEPT.0), share(RIGHT.0)])
    };
    Figure::Bars(Bars {
        title: "Pseudo-labels: how many, how right".into(),
        note: "Mean over draws.".into(),
        x: "%".into(),
        series: vec![KEPT.1.into(), RIGHT.1.into()],
        rows: groups.iter().map(row).collect(),
    })
}

fn by_round(groups: &[Group<'_>]) -> Figure {
    let panel = |(metric, title): (&str, &str)| {
        let mut curves: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
        for group in groups {
            let name = format!("{} {}", group.base, group.first.replace('=', " "));
            if let Some(value) = group.metric(metric) {
                entry(&mut curves, name.trim()).push((f64::from(group.round), 100.0 * value));
            }
        }
        let curve = |(name, points): (String, Vec<(f64, f64)>)| Curve {
            like: name.clone(),
            name,
            points,
        };
        Panel {
            title: title.to_owned(),
            x: "round".into(),
            y: "%".into(),
            marks: true,
            curves: curves.into_iter().map(curve).collect(),
            ..Panel::default()
        }
    };
    Figure::Panels(Panels {
        title: "Pseudo-labels by round".into(),
        note: "Mean over draws.".into(),
        panels: [KEPT, RIGHT].map(panel).to_vec(),
    })
}

/// The share of each class among what was kept.
fn by_class(groups: &[Group<'_>], rounds: bool) -> Option<Figure> {
    let input = groups
        .iter()
        .flat_map(|group| &group.nodes)
        .find_map(|node| node.input())?;
    let classes = Dataset::read(&input, &[]).ok()?.class_names;
    let share = |group: &Group<'_>, class: usize| {
        let count = |class: usize| group.kept_of(class).unwrap_or(0.0);
        let all: f64 = (0..classes.len()).map(count).sum();
        100.0 * count(class) / all.max(1.0)
    };
    let row =
        |(class, name): (usize, &String)| (name.clone(), groups.iter().map(|group| share(group, class)).collect());
    Some(Figure::Bars(Bars {
        title: "Classes of the pseudo-labels".into(),
        note: format!(
            "Of all that were kept, mean over draws. Were all classes guessed as often, each bar would be at {:.1} %.",
            100.0 / classes.len() as f64
        ),
        x: "% of those kept".into(),
        series: groups.iter().map(|group| group.name(rounds)).collect(),
        rows: classes.iter().enumerate().map(row).collect(),
    }))
}

/// How often guesses are right over how sure the teacher was, where targets are its distributions. Sums over draws.
fn reliability(groups: &[Group<'_>], rounds: bool) -> Option<Figure> {
    let panels: Vec<Panel> = groups.iter().filter_map(|group| panel(group, rounds)).collect();
    (!panels.is_empty()).then(|| {
        Figure::Panels(Panels {
            title: "Is the teacher as right as it is sure?".into(),
            note: "Reliability of the guesses that were kept: on the diagonal, of those with 90 % confidence 90 % are right. ECE: the mean \
                   distance from it."
                .into(),
            panels,
        })
    })
}

fn panel(group: &Group<'_>, rounds: bool) -> Option<Panel> {
    // Confidence, right guesses and guesses by bin.
    let mut bins = [(0.0_f64, 0.0_f64, 0_usize); BINS];
    for node in &group.nodes {
        let data = Dataset::read(&node.input()?, &[SplitName::Train]).ok()?;
        let (labels, examples) = (data.train().ok()?.labels(), data.examples.as_ref()?);
        for (row, index) in examples.targets.chunks_exact(data.classes()).zip(&examples.indices) {
            let class = argmax(row);
            let Some(truth) = labels[*index as usize] else { continue };
            let confidence = f64::from(row[class]);
            let bin = &mut bins[((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1];
            bin.0 += confidence;
            bin.1 += f64::from(u8::from(class == usize::from(truth)));
            bin.2 += 1;
        }
    }
    let filled: Vec<(f64, f64, usize)> = bins.into_iter().filter(|bin| bin.2 > 0).collect();
    let all: usize = filled.iter().map(|bin| bin.2).sum();
    // Hard targets say nothing of how sure the teacher was.
    if all == 0 || filled.iter().all(|(sum, _, count)| *sum == *count as f64) {
        return None;
    }
    let ece = filled.iter().map(|(sure, right, _)| (sure - right).abs()).sum::<f64>() / all as f64;
    let point =
        |(sure, right, count): &(f64, f64, usize)| (100.0 * sure / *count as f64, 100.0 * right / *count as f64);
    Some(Panel {
        title: format!("{}: ECE {:.1} %, {all} guesses", group.name(rounds), 100.0 * ece),
        x: "confidence, %".into(),
        y: "right, %".into(),
        marks: true,
        diagonal: true,
        curves: vec![Curve {
            name: group.name(rounds),
            like: String::new(),
            points: filled.iter().map(point).collect(),
        }],
        ..Panel::default()
    })
}
