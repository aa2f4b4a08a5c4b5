//! What a run's networks see: the work of `kind = "inspect"`, kept in the cache under the same key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use flow_cache::{Artifact, Cost, Draft, Store, unix_ms};
use flow_engine::figure::Figure;
use flow_engine::node::{Context, Input, Inputs, Node, NodeError};

use super::{Shown, input};
use crate::InspectNode;
use crate::quiet::Quiet;

pub(super) fn figures(store: &Store, nodes: &[Shown<'_>]) -> Vec<Figure> {
    let has = |node: &&Shown<'_>, file: &str| {
        node.artifact
            .iter()
            .any(|artifact| artifact.names().any(|name| name == file))
    };
    let of_kind = |kind: &'static str| nodes.iter().filter(move |node| node.outcome.kind == kind);
    let Some(data) = of_kind("dataset").find(|node| has(node, "test.images")) else {
        return Vec::new();
    };
    let trained = |kind| of_kind(kind).filter(|node| has(node, "encoder.safetensors"));
    let mut first: Vec<&Shown<'_>> = trained("pretrain").take(1).collect();
    // Of those that classify, and of those that tell where things are, by task.
    let mut tasks = BTreeSet::new();
    first.extend(trained("finetune").filter(|node| tasks.insert(task(store, node))));
    let mut figures = Vec::new();
    for (place, network) in first.into_iter().enumerate() {
        let mut inputs = Inputs(BTreeMap::from([
            ("network", network.input().into_iter().collect::<Vec<_>>()),
            ("data", data.input().into_iter().collect()),
        ]));
        // What training saw is the same whichever network looks.
        if place == 0 {
            let view = |node: &Shown<'_>| {
                Some(Input {
                    node: node.outcome.name.clone(),
                    ..input(node.artifact.clone()?)
                })
            };
            inputs.0.insert("views", of_kind("augment").filter_map(view).collect());
        }
        match inspection(store, &network.outcome.name, inputs).and_then(|artifact| InspectNode::figures(&artifact)) {
            Ok(found) => figures.extend(found.into_iter().map(|figure| titled(figure, &network.outcome.name))),
            // Texts, or a network that is none of ours: there is nothing to see.
            Err(error) => tracing::debug!(node = network.outcome.name, %error, "a network cannot be looked into"),
        }
    }
    figures
}

/// The task that a network was trained for, as its record has it; empty for classification.
fn task(store: &Store, node: &Shown<'_>) -> String {
    let record = node.outcome.key.and_then(|key| store.record(&key).ok().flatten());
    let task = record.and_then(|record| record.components.get("param.task").cloned());
    task.map_or_else(String::new, |task| task.to_string())
}

/// From the cache, or made and put there.
fn inspection(store: &Store, of: &str, inputs: Inputs) -> Result<Artifact, NodeError> {
    let node = InspectNode::with_defaults();
    let (key, components) = node.key(&inputs).finish();
    if let Some(known) = store.peek(&key)? {
        return Ok(known);
    }
    let (started_unix_ms, began) = (unix_ms(), Instant::now());
    let threads = rayon::current_num_threads();
    let mut context = Context {
        threads,
        gpus: &[],
        files: &[],
        host: &Quiet,
    };
    let keys = inputs.0.values().flatten().map(|input| *input.artifact.key()).collect();
    let output = node.run(&inputs, &mut context)?;
    let draft = Draft {
        kind: InspectNode::KIND.to_owned(),
        node: format!("report of {of}"),
        components,
        files: output.files,
        metrics: output.metrics,
        inputs: keys,
        cost: Cost {
            wall_s: began.elapsed().as_secs_f64(),
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            peak_rss_bytes: None,
        },
        started_unix_ms,
        finished_unix_ms: unix_ms(),
        flow_version: flow_engine::build_id().to_owned(),
        ..Draft::default()
    };
    Ok(store.publish(&key, &draft)?)
}

/// With the network's name in the heading, where it is one network's.
fn titled(mut figure: Figure, of: &str) -> Figure {
    match &mut figure {
        Figure::Map(map) => map.title += &format!(": {of}"),
        Figure::Pictures(pictures) if pictures.title != crate::inspect::VIEWS => pictures.title += &format!(": {of}"),
        _ => {}
    }
    figure
}
