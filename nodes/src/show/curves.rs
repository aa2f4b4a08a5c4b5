//! How trainings went: losses and monitors over steps and epochs, and throughput.

use std::collections::BTreeSet;

use flow_engine::figure::{Curve, Figure, Panel, Panels};

use super::{Shown, entry};
use crate::artifacts::History;

/// Points of a curve, at most.
const POINTS: usize = 160;

/// Of each class one, which only bars show well.
const BY_CLASS: &str = "guessed.";

/// The values of one metric over a training, with what they are over.
struct Series {
    metric: String,
    x: String,
    points: Vec<(f64, f64)>,
}

pub(super) fn figures(nodes: &[Shown<'_>]) -> Vec<Figure> {
    let mut panels: Vec<(String, Panel)> = Vec::new();
    for node in nodes
        .iter()
        .filter(|node| matches!(node.outcome.kind.as_str(), "pretrain" | "finetune"))
    {
        for series in of_training(node) {
            let panel = entry(&mut panels, &format!("{} {}", node.node(), series.metric));
            node.node().clone_into(&mut panel.group);
            (panel.title, panel.x) = (in_words(&series.metric), series.x);
            panel.y.clone_from(&panel.title);
            panel.curves.push(Curve {
                name: node.outcome.name.clone(),
                like: node.first(),
                points: series.points,
            });
        }
    }
    // The groups in the order of the workflow; in each the loss first, the throughput last.
    let mut panels: Vec<Panel> = panels.into_iter().map(|(_, panel)| panel).collect();
    let mut groups: Vec<String> = Vec::new();
    for panel in &panels {
        if !groups.contains(&panel.group) {
            groups.push(panel.group.clone());
        }
    }
    let place = |panel: &Panel| match panel.title.as_str() {
        "loss" => 0,
        "images/s" => 2,
        _ => 1,
    };
    panels.sort_by_key(|panel| (groups.iter().position(|group| *group == panel.group), place(panel)));
    let figure = Panels {
        title: "Learning curves".into(),
        note: "One line for each training; the same colour and dash for those with the same first variable.".into(),
        panels,
    };
    (!figure.panels.is_empty())
        .then_some(Figure::Panels(figure))
        .into_iter()
        .collect()
}

fn in_words(metric: &str) -> String {
    metric.replace('_', " ")
}

fn of_training(node: &Shown<'_>) -> Vec<Series> {
    let steps = node.told.map_or(&[][..], |told| &told.steps);
    let mut all: Vec<Series> = Vec::new();
    let names: BTreeSet<&str> = steps
        .iter()
        .flat_map(|step| &step.metrics)
        .map(|metric| metric.name.as_str())
        .collect();
    // Which epoch a step is of says nothing of how the training went.
    for name in names.into_iter().filter(|name| *name != "epoch") {
        let value = |step: &flow_engine::timeline::Step| {
            let metric = step.metrics.iter().find(|metric| metric.name == name)?;
            Some((step.step as f64, metric.value?))
        };
        all.push(Series {
            metric: name.to_owned(),
            x: steps.first().map(|step| step.unit.clone()).unwrap_or_default(),
            points: steps.iter().filter_map(value).collect(),
        });
    }
    let history = node.input().and_then(|input| History::read(&input).ok());
    let epochs = history.map_or_else(Vec::new, |history| history.epochs);
    let x = match node.outcome.kind.as_str() {
        "pretrain" => "epoch",
        _ => "part of the training",
    };
    let mut add = |metric: &str, points: Vec<(f64, f64)>| {
        // The finer of the two.
        let known = all.iter().position(|series| series.metric == metric);
        if known.is_some_and(|place| all[place].points.len() >= points.len()) {
            return;
        }
        known.map(|place| all.remove(place));
        all.push(Series {
            metric: metric.to_owned(),
            x: x.to_owned(),
            points,
        });
    };
    let over = |value: &dyn Fn(&crate::artifacts::Epoch) -> Option<f32>| -> Vec<(f64, f64)> {
        let at = epochs.iter().enumerate();
        at.filter_map(|(i, epoch)| Some((i as f64 + 1.0, f64::from(value(epoch)?))))
            .collect()
    };
    let names: BTreeSet<&String> = epochs.iter().flat_map(|epoch| epoch.metrics.keys()).collect();
    add("loss", over(&|epoch| Some(epoch.loss)));
    for name in names.into_iter().filter(|name| !name.starts_with(BY_CLASS)) {
        add(name, over(&|epoch| epoch.metrics.get(name).copied()));
    }
    for series in &mut all {
        series.points.retain(|(_, value)| value.is_finite());
        series.points = thinned(std::mem::take(&mut series.points));
    }
    all.retain(|series| series.points.len() > 1);
    all
}

/// At most so many points as are seen, the last among them.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.into_iter().enumerate();
    kept.filter(|(i, _)| i % step == 0 || *i == last)
        .map(|(_, point)| point)
        .collect()
}
