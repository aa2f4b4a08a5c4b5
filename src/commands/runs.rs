//! `flow runs`: earlier runs.

use std::collections::BTreeSet;
use std::path::Path;

use flow_cache::{Access, Record, Store};
use flow_engine::run_list::{Row, RunList, filter};
use flow_engine::{NodeOutcome, Run, Runs, RunsError};
use serde_json::{Value, json};

use crate::cli::{Cli, RunsCommand};
use crate::exit::{Exit, Failure};
use crate::handle;
use crate::output::{bytes, count, duration, print, print_json, print_json_lines, print_table, say, when};

pub(crate) fn runs(cli: &Cli, command: &RunsCommand) -> Result<Exit, Failure> {
    let runs = Runs::open(&cli.runs);
    match command {
        RunsCommand::Ls { json: true, filter } if filter.is_empty() => print_json_lines(runs.list()?)?,
        RunsCommand::Ls { json: true, filter } => {
            let wanted: BTreeSet<String> = rows(&runs, filter)?.into_iter().map(|row| row.id).collect();
            print_json_lines(runs.list()?.into_iter().filter(|run| wanted.contains(&run.id)))?;
        }
        RunsCommand::Ls { json: false, filter } => list(rows(&runs, filter)?),
        RunsCommand::Show { run, json } => show(&runs, run.as_deref(), *json)?,
        RunsCommand::Gc { keep, dry_run, json } => gc(&runs, *keep, *dry_run, *json)?,
        RunsCommand::Compare { a, b, all, json } => {
            compare(cli, &handle::run(&runs, a)?, &handle::run(&runs, b)?, *all, *json)?;
        }
    }
    Ok(Exit::Ok)
}

fn rows(runs: &Runs, condition: &str) -> Result<Vec<Row>, Failure> {
    let help = "write conditions as for `flow cache query`: `status = failed and age < 2d`";
    filter(RunList::new(runs.clone()).rows()?, condition).map_err(|error| Failure::usage(error.to_string(), help))
}

fn list(rows: Vec<Row>) {
    let row = |row: Row| {
        let ran = if row.took_s.is_some() {
            format!("{} of {}", row.ran, row.nodes)
        } else {
            String::new()
        };
        let came_out = [row.overrides.join("  "), row.headline.unwrap_or_default()];
        let came_out: Vec<String> = came_out.into_iter().filter(|text| !text.is_empty()).collect();
        // The short end of an id says which run it is.
        let id = row.id.rsplit('-').next().unwrap_or(&row.id).to_owned();
        let took = row.took_s.map(duration).unwrap_or_default();
        vec![
            id,
            row.workflow,
            row.status,
            when(row.started_unix_ms),
            took,
            ran,
            came_out.join("; "),
        ]
    };
    let rows = rows.into_iter().map(row).collect();
    print_table(
        &[
            "run",
            "workflow",
            "status",
            "started",
            "took",
            "ran",
            "overrides; outcome",
        ],
        rows,
    );
}

/// Removes old runs, or says which.
fn gc(runs: &Runs, keep: usize, dry_run: bool, json: bool) -> Result<(), Failure> {
    let report = runs.gc(keep, dry_run)?;
    if json {
        return print_json(&report);
    }
    for run in &report.removed {
        print(&format!("{run}\n"));
    }
    let verb = if dry_run { "would be removed" } else { "removed" };
    say(&format!(
        "{} {verb}: {} freed, {} kept, {} under way",
        count(report.removed.len(), "run", "runs"),
        bytes(report.freed_bytes),
        report.kept,
        report.running
    ));
    Ok(())
}

fn show(runs: &Runs, id: Option<&str>, json: bool) -> Result<(), Failure> {
    let run = handle::run_or_newest(runs, id)?;
    if json {
        return print_json(&run);
    }
    let Some(summary) = &run.summary else {
        print(&format!(
            "{}\nstill running, or killed: see {}\n",
            run.id,
            run.dir.join("events.jsonl").display()
        ));
        return Ok(());
    };
    let rows = summary.nodes.iter().map(|node| {
        let key = node.key.map(|k| k.short()).unwrap_or_default();
        let took = node.cost.map(|c| duration(c.wall_s)).unwrap_or_default();
        let status = format!("{:?}", node.status).to_lowercase();
        let accuracy = node
            .metrics
            .get("accuracy")
            .map(|a| format!("{a:.4}"))
            .unwrap_or_default();
        vec![status, node.name.clone(), node.kind.clone(), key, took, accuracy]
    });
    print_table(&["", "node", "kind", "key", "took", "accuracy"], rows.collect());
    for failure in &summary.failures {
        print(&format!("\nfailed: {}: {}\n", failure.node, failure.message));
    }
    for report in summary.reports.iter().filter(|file| is_page(file)) {
        let path = run.dir.join(report);
        let text = flow_engine::plain_file::read_text(&path).map_err(|source| RunsError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        print(&format!("\n{text}"));
    }
    Ok(())
}

/// Whether a report's file is its page for people.
fn is_page(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|ending| ending == "md")
}

/// Node by node: parameters and metrics that differ, with deltas.
fn compare(cli: &Cli, a: &Run, b: &Run, all: bool, json: bool) -> Result<(), Failure> {
    // Parameters are in the cache's records; without them, metrics can still be compared.
    let store = Store::open(&cli.cache, Access::ReadOnly).ok();
    let record = |node: Option<&NodeOutcome>| -> Option<Record> { store.as_ref()?.record(&node?.key?).ok()? };
    let nodes = |run: &'_ Run| run.summary.as_ref().map_or_else(Vec::new, |s| s.nodes.clone());
    let (of_a, of_b) = (nodes(a), nodes(b));
    let names: BTreeSet<&str> = of_a.iter().chain(&of_b).map(|n| n.name.as_str()).collect();
    let mut rows = Vec::new();
    for name in names {
        let (in_a, in_b) = (
            of_a.iter().find(|n| n.name == name),
            of_b.iter().find(|n| n.name == name),
        );
        let (record_a, record_b) = (record(in_a), record(in_b));
        let mut lines: Vec<[String; 4]> = Vec::new();
        if in_a.is_none() || in_b.is_none() {
            let there = |node: Option<&NodeOutcome>| if node.is_some() { "there" } else { "-" }.to_owned();
            lines.push(["node".into(), there(in_a), there(in_b), String::new()]);
        }
        if let (Some(a), Some(b)) = (&record_a, &record_b) {
            let text = |value: Option<Value>| value.map_or_else(|| "-".to_owned(), |v| v.to_string());
            let params = a
                .components
                .diff(&b.components)
                .into_iter()
                .filter(|c| c.name.starts_with("param"));
            lines.extend(params.map(|c| [c.name, text(c.old), text(c.new), String::new()]));
        }
        let metrics: BTreeSet<&String> = [in_a, in_b]
            .into_iter()
            .flatten()
            .flat_map(|n| n.metrics.keys())
            .collect();
        for metric in metrics {
            let [x, y] = [in_a, in_b].map(|n| n.and_then(|n| n.metrics.get(metric).copied()));
            if all || x != y {
                let text = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
                let delta = x.zip(y).map_or_else(String::new, |(x, y)| format!("{:+.4}", y - x));
                lines.push([format!("metrics.{metric}"), text(x), text(y), delta]);
            }
        }
        if json && (all || !lines.is_empty()) {
            let line = |[what, a, b, delta]: &[String; 4]| json!({ "what": what, "a": a, "b": b, "delta": delta });
            print_json_lines([
                json!({ "version": 1, "node": name, "differences": lines.iter().map(line).collect::<Vec<_>>() }),
            ])?;
        }
        for (i, [what, x, y, delta]) in lines.into_iter().enumerate() {
            rows.push(vec![
                if i == 0 { name.to_owned() } else { String::new() },
                what,
                x,
                y,
                delta,
            ]);
        }
    }
    if !json && rows.is_empty() {
        print("the runs have the same parameters and metrics\n");
    } else if !json {
        print_table(&["node", "", &a.id, &b.id, "difference"], rows);
    }
    Ok(())
}
