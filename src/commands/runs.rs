//! `flow runs`: earlier runs.

use flow_engine::{NodeStatus, Runs, RunsError};

use crate::cli::{Cli, RunsCommand};
use crate::exit::{Exit, Failure};
use crate::output::{duration, print, print_json, print_json_lines, print_table, when};

pub(crate) fn runs(cli: &Cli, command: &RunsCommand) -> Result<Exit, Failure> {
    let runs = Runs::open(&cli.runs);
    match command {
        RunsCommand::Ls { json: true } => print_json_lines(runs.list()?)?,
        RunsCommand::Ls { json: false } => list(&runs)?,
        RunsCommand::Show { run, json } => show(&runs, run.as_deref(), *json)?,
    }
    Ok(Exit::Ok)
}

fn list(runs: &Runs) -> Result<(), Failure> {
    let rows = runs.list()?.into_iter().map(|run| match run.summary {
        Some(summary) => {
            let count = |status| summary.nodes.iter().filter(|n| n.status == status).count().to_string();
            let took = (summary.finished_unix_ms - summary.started_unix_ms) as f64 / 1e3;
            let status = format!("{:?}", summary.status).to_lowercase();
            vec![
                run.id,
                status,
                when(summary.started_unix_ms),
                duration(took),
                count(NodeStatus::Ran),
                count(NodeStatus::Cached),
            ]
        }
        None => vec![run.id, "running or killed".into()],
    });
    print_table(&["run", "status", "started", "took", "ran", "cached"], rows.collect());
    Ok(())
}

fn show(runs: &Runs, id: Option<&str>, json: bool) -> Result<(), Failure> {
    let run = match id {
        Some(id) => runs.show(id)?,
        None => runs
            .list()?
            .into_iter()
            .next()
            .ok_or_else(|| Failure::usage("there is no run yet", "`flow run FILE.toml` makes one"))?,
    };
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
    for report in summary.reports.iter().filter(|file| file.ends_with(".md")) {
        let path = run.dir.join(report);
        let text = std::fs::read_to_string(&path).map_err(|source| RunsError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        print(&format!("\n{text}"));
    }
    Ok(())
}
