//! What labels are worth and what a frozen encoder is worth, over labels: two figures that a run has only if it measured so.

use std::collections::{BTreeMap, BTreeSet};

use flow_cache::ActionKey;
use flow_cache::name::without_bindings;
use flow_engine::figure::{Curve, Figure, Interval, Line, Lines, Panel, Panels, Point};

use super::CompareNode;
use super::cells::cell_name;
use super::evidence::{Evidence, figures_of, pretrained};
use super::tables::arms;
use super::verdict::{Beyond, CellVerdict, Verdict};

/// How many times as many labels the baseline would need for as much (1 + the utility of Newell & Deng 2020, 2003.14323).
pub(super) fn labels_saved(verdict: &Verdict, evidence: &Evidence<'_>) -> Option<Figure> {
    let node = evidence.node;
    let mut unknown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    // Of several training budgets the last, which is the largest.
    let cells = verdict.by_labels().remove(verdict.cells.last()?.cell.cost.as_str())?;
    let mut lines = Vec::new();
    for name in arms(verdict).into_iter().filter(|name| *name != verdict.baseline) {
        let mut points = Vec::new();
        for (labels, cell) in &cells {
            let Some(needed) = cell.arm(name).and_then(|arm| arm.labels_needed) else {
                continue;
            };
            let times = |needed: f64| needed / labels;
            let what = match needed.beyond {
                Beyond::No => {
                    let value = Interval {
                        mean: times(needed.labels),
                        low: times(needed.low),
                        high: times(needed.high),
                    };
                    points.push(Point {
                        x: *labels,
                        value,
                        runs: Vec::new(),
                    });
                    continue;
                }
                Beyond::Above => "more than the largest budget has",
                Beyond::Below => "fewer than the smallest budget has",
            };
            let named = format!("{} at {}", node.title(name), cell_name(node, &cell.cell));
            unknown.entry(what).or_default().push(named);
        }
        if !points.is_empty() {
            lines.push(Line {
                name: node.title(name).to_owned(),
                points,
            });
        }
    }
    let baseline = node.title(&verdict.baseline);
    let beyond = unknown
        .iter()
        .map(|(what, names)| format!("{what}: {}", names.join(", ")));
    let beyond = match beyond.collect::<Vec<_>>().join("; ") {
        none if none.is_empty() => none,
        some => format!(" Not drawn, since the budgets end before: {some}."),
    };
    let once = |(labels, _): &(f64, &CellVerdict)| Point {
        x: *labels,
        value: Interval {
            mean: 1.0,
            low: 1.0,
            high: 1.0,
        },
        runs: Vec::new(),
    };
    (!lines.is_empty()).then(|| {
        Figure::Lines(Lines {
            title: "Labels saved".into(),
            note: format!(
                "How many times as many labels {baseline} would need to be as good, by its own line over {}; bands: 95 % intervals; above the dashed \
                 line labels are saved.{beyond}",
                node.budget
            ),
            x: node.budget.clone(),
            y: format!("times the labels, for {baseline}"),
            log_x: cells.iter().all(|(labels, _)| *labels > 0.0),
            lines,
            levels: vec![Line {
                name: format!("{baseline} itself"),
                points: cells.iter().map(once).collect(),
            }],
        })
    })
}

/// For each pre-training that was judged frozen: its linear probe, the controls of that, and the arms that trained on from it.
pub(super) fn probe_and_fine_tuning(verdict: &Verdict, evidence: &Evidence<'_>) -> Option<Figure> {
    let node = evidence.node;
    let mut panels: Vec<Panel> = Vec::new();
    for cell in &verdict.cells {
        let Some(labels) = cell.labels() else { continue };
        let encoders = evidence.encoders(&cell.cell);
        for encoder in &encoders {
            let frozen = figures_of(evidence.of_encoder(&cell.cell, encoder));
            let title = pretrainings(evidence, cell, encoder);
            let panel = panel_of(&mut panels, (verdict, node), cell, title);
            for (of, name) in PROBED {
                if let Some(reached) = frozen.get(&format!("probe.{of}")) {
                    add(panel, name, (labels, 100.0 * reached.0));
                }
            }
            let of_encoder: BTreeSet<ActionKey> =
                evidence.of_encoder(&cell.cell, encoder).flat_map(pretrained).collect();
            // Where one encoder alone was judged, it stands for those that were trained for a part of its budget, too.
            let from_it = |arms: BTreeSet<ActionKey>| match encoders.len() {
                1 => !arms.is_empty(),
                _ => !arms.is_disjoint(&of_encoder),
            };
            for arm in &cell.arms {
                let mut inputs = evidence.of_arm(&cell.cell, &arm.arm);
                if inputs.any(|input| from_it(pretrained(input))) {
                    add(panel, node.title(&arm.arm), (labels, 100.0 * arm.figure.mean));
                }
            }
        }
    }
    panels.iter_mut().for_each(|panel| {
        panel.log_x = panel
            .curves
            .iter()
            .flat_map(|curve| &curve.points)
            .all(|point| point.0 > 0.0);
    });
    (!panels.is_empty()).then(|| {
        Figure::Panels(Panels {
            title: "Linear probe against fine-tuning".into(),
            note: "What a linear probe reaches on each encoder as its pre-training left it, beside the same probe on raw inputs and on random weights, and \
                   what the arms reach that have such a pre-training, or one for a part of its budget; means over draws."
                .into(),
            panels,
        })
    })
}

/// The panel of an encoder at a training budget, made where there is none.
fn panel_of<'p>(
    panels: &'p mut Vec<Panel>,
    (verdict, node): (&Verdict, &CompareNode),
    cell: &CellVerdict,
    title: String,
) -> &'p mut Panel {
    let group = match &node.cost {
        Some(name) if !cell.cell.cost.is_empty() => format!("{name} {}", cell.cell.cost),
        _ => String::new(),
    };
    let known = panels
        .iter()
        .position(|panel| panel.title == title && panel.group == group);
    let place = known.unwrap_or_else(|| {
        panels.push(Panel {
            group,
            title,
            x: node.budget.clone(),
            y: format!("{}, %", verdict.metric.title()),
            log_x: true,
            marks: true,
            ..Panel::default()
        });
        panels.len() - 1
    });
    &mut panels[place]
}

/// The nodes that pre-trained an encoder.
fn pretrainings(evidence: &Evidence<'_>, cell: &CellVerdict, encoder: &str) -> String {
    let records = evidence
        .of_encoder(&cell.cell, encoder)
        .flat_map(|input| &input.records);
    let nodes = records
        .filter(|record| record.kind == "pretrain")
        .map(|record| without_bindings(&record.node));
    let nodes: BTreeSet<&str> = nodes.collect();
    match nodes.is_empty() {
        true => evidence.node.title(encoder).to_owned(),
        false => nodes.into_iter().collect::<Vec<_>>().join(", "),
    }
}

/// What probes are on, and in words.
const PROBED: [(&str, &str); 4] = [
    ("encoder", "frozen, linear probe"),
    ("raw_pixels", "raw pixels, linear probe"),
    ("bag_of_words", "bag of words, linear probe"),
    ("random_init", "random weights, linear probe"),
];

fn add(panel: &mut Panel, name: &str, point: (f64, f64)) {
    let curve = match panel.curves.iter_mut().find(|curve| curve.name == name) {
        Some(curve) => curve,
        None => {
            panel.curves.push(Curve {
                name: name.to_owned(),
                like: name.to_owned(),
                points: Vec::new(),
            });
            panel.curves.last_mut().expect("BUG: it was pushed")
        }
    };
    curve.points.push(point);
    curve.points.sort_by(|a, b| a.0.total_cmp(&b.0));
}
