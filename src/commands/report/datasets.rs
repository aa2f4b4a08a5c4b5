//! The data sets of a run: how large they are, and what was found out about their images.

use std::collections::BTreeMap;

use flow_cache::name::without_bindings;
use flow_cache::{ActionKey, Digest};
use flow_engine::NodeOutcome;
use flow_engine::figure::{Figure, Table};

use super::drawing::short;

/// How many digits of a digest are shown.
const DIGITS: usize = 16;

/// Instances of a node that are alike in all that was measured.
struct Group<'a> {
    node: &'a str,
    metrics: &'a BTreeMap<String, f64>,
    instances: Vec<&'a NodeOutcome>,
}

/// A row for each group; none if no data set is done. `digests` are of all outputs, by key.
pub(super) fn table<'a>(
    outcomes: impl Iterator<Item = &'a NodeOutcome>,
    digests: &BTreeMap<ActionKey, Digest>,
) -> Option<Figure> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for outcome in outcomes.filter(|outcome| outcome.kind == "dataset" && outcome.key.is_some()) {
        let node = without_bindings(&outcome.name);
        let same = |group: &&mut Group<'_>| group.node == node && group.metrics == &outcome.metrics;
        match groups.iter_mut().find(same) {
            Some(group) => group.instances.push(outcome),
            None => groups.push(Group {
                node,
                metrics: &outcome.metrics,
                instances: vec![outcome],
            }),
        }
    }
    let mut measured: Vec<&str> = groups
        .iter()
        .flat_map(|group| group.metrics.keys().map(String::as_str))
        .collect();
    measured.sort_by_key(|name| (rank(name), *name));
    measured.dedup();
    let row = |group: &Group<'_>| {
        let name = match group.instances.len() {
            1 => group.instances[0].name.clone(),
            several => format!("{} x {several}", group.node),
        };
        let values = measured
            .iter()
            .map(|name| group.metrics.get(*name).map_or_else(String::new, |value| short(*value)));
        let mut contents: Vec<&Digest> = group
            .instances
            .iter()
            .filter_map(|outcome| digests.get(&outcome.key?))
            .collect();
        contents.sort_unstable();
        contents.dedup();
        let content = match contents.as_slice() {
            [] => String::new(),
            [one] => one.to_string().chars().take(DIGITS).collect(),
            several => format!("{} different", several.len()),
        };
        std::iter::once(name).chain(values).chain([content]).collect()
    };
    (!groups.is_empty()).then(|| {
        let titles = measured.iter().map(|name| name.replace('_', " "));
        Figure::Table(Table {
            title: "Data sets".into(),
            head: std::iter::once("data set".to_owned())
                .chain(titles)
                .chain(["BLAKE3 of its files".to_owned()])
                .collect(),
            rows: groups.iter().map(row).collect(),
        })
    })
}

/// Sizes first, in the order of use.
fn rank(metric: &str) -> usize {
    let order = ["train", "validation", "test", "examples"];
    order
        .iter()
        .position(|begin| metric.starts_with(begin))
        .unwrap_or(order.len())
}
