//! `flow report`: a run as one page. Everything in it was written down by the run; nothing is computed again.

mod chart;
mod forest;
mod markdown;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flow_cache::{Access, Digest, Store};
use flow_engine::figure::NodeFigures;
use flow_engine::runs::Summary;
use flow_engine::{NodeStatus, Run, Runs};
use serde::Serialize;

use crate::cli::{Cli, ReportArgs, ReportFormat};
use crate::exit::{Exit, Failure};
use crate::handle;
use crate::output::{print, print_json, say, when, write_file};

/// Version of what `--format json` writes.
const VERSION: u32 = 1;

/// All that a report says; as it is with `--format json`.
#[derive(Serialize)]
struct Content {
    version: u32,
    run: String,
    /// What the run came to; none if it is under way or was killed.
    summary: Option<Summary>,
    /// By reporting node.
    figures: Vec<NodeFigures>,
    /// Files that cannot be read, and why.
    damaged: Vec<(String, String)>,
    /// The workflow's text.
    workflow: String,
    /// BLAKE3 of that text.
    workflow_digest: Digest,
    /// Versions of flow that made what the run used.
    versions: BTreeSet<String>,
    /// Machines that made what the run used.
    machines: BTreeSet<String>,
    /// Seconds of work by kind, also of what came from the cache, most first.
    seconds: Vec<(String, f64)>,
}

pub(crate) fn report(cli: &Cli, args: &ReportArgs) -> Result<Exit, Failure> {
    let run = handle::run_or_newest(&Runs::open(&cli.runs), args.run.as_deref())?;
    let content = Content::of(cli, &run);
    for (file, why) in &content.damaged {
        say(&format!("{file} of run {} cannot be shown: {why}", run.id));
    }
    if let (None, ReportFormat::Json) = (&args.output, args.format) {
        print_json(&content)?;
        return Ok(Exit::Ok);
    }
    let text = match args.format {
        ReportFormat::Html => page::html(&content),
        ReportFormat::Md => markdown::text(&content),
        ReportFormat::Json => serde_json::to_string_pretty(&content)
            .map_err(|error| Failure::failed(format!("the report cannot be written as JSON: {error}")))?,
    };
    match (&args.output, args.format) {
        (Some(file), _) => write(file, &text)?,
        (None, ReportFormat::Html) => write(&run.dir.join("report.html"), &text)?,
        (None, ReportFormat::Md | ReportFormat::Json) => print(&text),
    }
    Ok(Exit::Ok)
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    write_file(file, text.as_bytes())?;
    say(&format!("wrote {}", file.display()));
    Ok(())
}

impl Content {
    fn of(cli: &Cli, run: &Run) -> Self {
        let (figures, mut damaged) = run.figures();
        let workflow = flow_engine::plain_file::read_text(&run.dir.join("workflow.toml")).unwrap_or_else(|error| {
            damaged.push(("workflow.toml".to_owned(), error.to_string()));
            String::new()
        });
        let nodes = || run.summary.iter().flat_map(|summary| &summary.nodes);
        let (mut versions, mut machines) = (BTreeSet::new(), BTreeSet::new());
        // Without its cache a report is still one: it only cannot say who made what.
        if let Ok(store) = Store::open(&cli.cache, Access::ReadOnly) {
            let keys: BTreeSet<_> = nodes().filter_map(|node| node.key).collect();
            for record in keys.iter().filter_map(|key| store.record(key).ok().flatten()) {
                versions.insert(record.flow_version);
                machines.insert(record.host);
            }
        }
        let mut by_key = BTreeMap::new();
        for node in nodes() {
            if let (Some(key), Some(cost)) = (node.key, node.cost) {
                by_key.insert(key, (node.kind.as_str(), cost.wall_s));
            }
        }
        let mut seconds: BTreeMap<&str, f64> = BTreeMap::new();
        for (kind, wall_s) in by_key.into_values() {
            *seconds.entry(kind).or_default() += wall_s;
        }
        let mut seconds: Vec<(String, f64)> = seconds.into_iter().map(|(kind, s)| (kind.to_owned(), s)).collect();
        seconds.sort_by(|a, b| b.1.total_cmp(&a.1));
        Self {
            version: VERSION,
            run: run.id.clone(),
            summary: run.summary.clone(),
            figures,
            damaged,
            workflow_digest: Digest::of(workflow.as_bytes()),
            workflow,
            versions,
            machines,
            seconds,
        }
    }

    /// The heading: what was asked, or what ran.
    fn title(&self) -> &str {
        let summary = self.summary.as_ref();
        let question = summary.and_then(|summary| summary.question.as_deref());
        question.unwrap_or_else(|| summary.map_or(&self.run, |summary| &summary.workflow))
    }

    /// How the run ended, in a sentence.
    fn ended(&self) -> String {
        let Some(summary) = &self.summary else {
            return "The run is under way, or was killed: there is no summary of it yet.".to_owned();
        };
        let count = |status| summary.nodes.iter().filter(|node| node.status == status).count();
        format!(
            "Run {} of `{}`, {}: {} nodes ran, {} came from the cache, {} failed.",
            self.run,
            summary.workflow,
            when(summary.started_unix_ms),
            count(NodeStatus::Ran),
            count(NodeStatus::Cached),
            count(NodeStatus::Failed)
        )
    }

    /// What the result depends on, by name.
    fn provenance(&self) -> Vec<(&'static str, String)> {
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut rows = vec![
            ("run", self.run.clone()),
            ("workflow (BLAKE3)", self.workflow_digest.to_string()),
        ];
        if let Some(summary) = &self.summary {
            rows.push(("overrides", summary.overrides.join("  ")));
            let environment = summary
                .environment
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            rows.push(("environment", environment.collect::<Vec<_>>().join("  ")));
            rows.push(("began", when(summary.started_unix_ms)));
            rows.push(("CPU threads", summary.threads.to_string()));
        }
        rows.push(("flow", list(&self.versions)));
        rows.push(("machine", list(&self.machines)));
        rows.retain(|(_, value)| !value.is_empty());
        rows
    }

    /// The sentence to cite.
    fn citation(&self) -> String {
        let began = self.summary.as_ref().map(|summary| when(summary.started_unix_ms));
        let version = self.versions.last().map(|version| format!(" {version}"));
        format!(
            "Run {} ({}), made with flow{}; workflow BLAKE3 {}.",
            self.run,
            began.as_deref().unwrap_or("not finished"),
            version.unwrap_or_default(),
            self.workflow_digest
        )
    }
}
