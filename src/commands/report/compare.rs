//! `flow report --compare A B …`: what changed in the workflow, and what changed in the results.

use std::collections::BTreeSet;
use std::path::Path;

use flow_cache::name::without_bindings;
use flow_cache::{Access, Store};
use flow_engine::figure::{Figure, Table};
use flow_engine::{NodeOutcome, Run, Runs};
use flow_nodes::show;
use serde::Serialize;
use similar::TextDiff;

use super::content::Content;
use crate::output::{duration, when};

/// Version of what `--format json` writes.
const VERSION: u32 = 1;

/// Lines around a change that are shown with it.
const AROUND: usize = 2;

/// One run beside others.
#[derive(Serialize)]
pub(super) struct Comparison {
    version: u32,
    /// The run that the others are held against.
    pub(super) first: String,
    pub(super) title: String,
    pub(super) others: Vec<Other>,
}

/// A run that is held against the first.
#[derive(Serialize)]
pub(super) struct Other {
    pub(super) run: String,
    /// The first run's workflow and this one's: lines that went begin with `-`, new ones with `+`. Empty if the texts are equal.
    pub(super) workflow: String,
    /// Both runs in a table, results, and parameters that differ.
    pub(super) figures: Vec<Figure>,
}

impl Comparison {
    pub(super) fn of(cache: &Path, runs: &Runs, first: &Run, others: &[Run]) -> Self {
        let store = Store::open(cache, Access::ReadOnly).ok();
        let a = Content::of(cache, runs, first);
        let other = |run: &Run| {
            let b = Content::of(cache, runs, run);
            let diff = TextDiff::from_lines(&a.workflow, &b.workflow);
            let mut figures = vec![overview(first, run)];
            if let Some(store) = &store {
                if let (Some(first), Some(second)) = (a.judged().next(), b.judged().next()) {
                    figures.extend(show::differences(store, first, second));
                }
                figures.extend(parameters(store, first, run));
            }
            Other {
                run: run.id.clone(),
                workflow: diff.unified_diff().context_radius(AROUND).to_string(),
                figures,
            }
        };
        let others = others.iter().map(other).collect();
        Self {
            version: VERSION,
            first: first.id.clone(),
            title: a.title().to_owned(),
            others,
        }
    }
}

fn table(title: &str, head: &[&str], rows: Vec<Vec<String>>) -> Figure {
    Figure::Table(Table {
        title: title.to_owned(),
        head: head.iter().map(|&name| name.to_owned()).collect(),
        rows,
    })
}

fn overview(a: &Run, b: &Run) -> Figure {
    let both = [a, b].map(|run| run.summary.as_ref());
    let row = |name: &str, of: &dyn Fn(&flow_engine::runs::Summary) -> String| {
        let cell = |summary: Option<&flow_engine::runs::Summary>| summary.map_or_else(|| "not finished".to_owned(), of);
        vec![name.to_owned(), cell(both[0]), cell(both[1])]
    };
    let rows = vec![
        row("overrides", &|summary| summary.overrides.join("  ")),
        row("began", &|summary| when(summary.started_unix_ms)),
        row("ended", &|summary| format!("{:?}", summary.status).to_lowercase()),
        row("took", &|summary| {
            duration(summary.finished_unix_ms.saturating_sub(summary.started_unix_ms) as f64 / 1e3)
        }),
        row("nodes", &|summary| summary.nodes.len().to_string()),
        row("CPU threads", &|summary| summary.threads.to_string()),
    ];
    table("Both runs", &["", &a.id, &b.id], rows)
}

/// Parameters that differ, those of a node's instances once.
fn parameters(store: &Store, a: &Run, b: &Run) -> Option<Figure> {
    let nodes = |run: &'_ Run| {
        run.summary
            .as_ref()
            .map_or_else(Vec::new, |summary| summary.nodes.clone())
    };
    let (of_a, of_b) = (nodes(a), nodes(b));
    let base = |node: &NodeOutcome| without_bindings(&node.name).to_owned();
    let mut rows: BTreeSet<Vec<String>> = BTreeSet::new();
    for node in &of_a {
        let record = |node: &NodeOutcome| store.record(&node.key?).ok()?;
        let Some(other) = of_b.iter().find(|other| other.name == node.name) else {
            rows.insert(vec![base(node), "node".into(), "there".into(), "-".into()]);
            continue;
        };
        if node.key == other.key {
            continue;
        }
        if let (Some(x), Some(y)) = (record(node), record(other)) {
            let text =
                |value: Option<serde_json::Value>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
            for change in x.components.diff(&y.components) {
                if let Some(name) = change.name.strip_prefix("param.") {
                    rows.insert(vec![
                        base(node),
                        name.to_owned(),
                        text(change.old.clone()),
                        text(change.new.clone()),
                    ]);
                }
            }
        }
    }
    let new = of_b
        .iter()
        .filter(|node| of_a.iter().all(|other| other.name != node.name));
    rows.extend(new.map(|node| vec![base(node), "node".into(), "-".into(), "there".into()]));
    (!rows.is_empty()).then(|| {
        table(
            "Parameters that differ",
            &["node", "", "first", "second"],
            rows.into_iter().collect(),
        )
    })
}
