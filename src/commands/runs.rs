//! `flow runs`: earlier runs.

mod compare;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::Path;

use flow_engine::run_list::{Row, RunList, filter};
use flow_engine::{Runs, RunsError};

use crate::cli::{Cli, RunsCommand};
use crate::exit::{Exit, Failure};
use crate::handle;
use crate::output::{
    bytes, count, duration, print, print_json, print_json_lines, print_table, print_table_with_lines, say, when,
};

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
            compare::compare(cli, &handle::run(&runs, a)?, &handle::run(&runs, b)?, *all, *json)?;
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
        let came_out = [row.headline.unwrap_or_default(), row.overrides.join("  ")];
        let came_out: Vec<String> = came_out.into_iter().filter(|text| !text.is_empty()).collect();
        // The short end of an id says which run it is.
        let id = row.id.rsplit('-').next().unwrap_or(&row.id).to_owned();
        let took = row.took_s.map(duration).unwrap_or_default();
        let started = when(row.started_unix_ms);
        (
            vec![id, row.workflow, row.status, started, took, ran],
            came_out.join("; "),
        )
    };
    let (mut rows, came_out): (Vec<Vec<String>>, Vec<String>) = rows.into_iter().map(row).unzip();
    let mut head = vec!["run", "workflow", "status", "started", "took", "ran"];
    if std::io::stdout().is_terminal() {
        // Without its seconds, for 80 columns.
        rows.iter_mut().for_each(|row| row[3].truncate(16));
        print_table_with_lines(&head, &rows, &came_out);
    } else {
        head.push("outcome; overrides");
        rows.iter_mut().zip(came_out).for_each(|(row, text)| row.push(text));
        print_table(&head, rows);
    }
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
