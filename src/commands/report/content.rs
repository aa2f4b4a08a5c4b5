//! All that a report of a run says, gathered from its directory and the cache. Nothing is computed again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use flow_cache::name::Name;
use flow_cache::{Access, ActionKey, Digest, Store};
use flow_engine::figure::{Figure, Judged, NodeFigures, Table};
use flow_engine::runs::Summary;
use flow_engine::timeline::{Timeline, Told};
use flow_engine::{NodeOutcome, NodeStatus, Run, Runs};
use flow_nodes::show::{self, Shown};
use serde::Serialize;

use super::datasets;
use super::drawing::short;
use crate::output::{count, when};

/// Version of what `--format json` writes.
const VERSION: u32 = 1;

/// Earlier runs of the same workflow whose logs are looked through for how cached trainings went.
const EARLIER: usize = 20;

/// All that a report says; as it is with `--format json`.
#[derive(Serialize)]
pub(super) struct Content {
    version: u32,
    pub(super) run: String,
    /// What the run came to; none if it is under way or was killed.
    pub(super) summary: Option<Summary>,
    /// By reporting node.
    pub(super) figures: Vec<NodeFigures>,
    /// What is read from artifacts and the event log: by node kinds, and of the run itself.
    pub(super) more: Vec<Figure>,
    /// Files that cannot be read, and why.
    pub(super) damaged: Vec<(String, String)>,
    /// The workflow's text.
    pub(super) workflow: String,
    /// BLAKE3 of that text.
    workflow_digest: Digest,
    /// Versions of flow that made what the run used.
    versions: BTreeSet<String>,
    /// Machines that made what the run used.
    machines: BTreeSet<String>,
    /// Of all outputs of a node.
    #[serde(skip)]
    digests: BTreeMap<ActionKey, Digest>,
    /// Seconds of work by kind, also of what came from the cache, most first.
    pub(super) seconds: Vec<(String, f64)>,
}

impl Content {
    pub(super) fn of(cache: &Path, runs: &Runs, run: &Run) -> Self {
        let (figures, mut damaged) = run.figures();
        let workflow = flow_engine::plain_file::read_text(&run.dir.join("workflow.toml")).unwrap_or_else(|error| {
            damaged.push(("workflow.toml".to_owned(), error.to_string()));
            String::new()
        });
        let mut content = Self {
            version: VERSION,
            run: run.id.clone(),
            summary: run.summary.clone(),
            figures,
            more: Vec::new(),
            damaged,
            workflow_digest: Digest::of(workflow.as_bytes()),
            workflow,
            versions: BTreeSet::new(),
            machines: BTreeSet::new(),
            digests: BTreeMap::new(),
            seconds: seconds(run),
        };
        let timeline = match Timeline::read(&run.events()) {
            Ok(timeline) => timeline,
            Err(error) => {
                content.damaged.push(("events.jsonl".to_owned(), error.to_string()));
                Timeline::default()
            }
        };
        // Without its cache a report is still one: it only cannot say who made what, and show what is read from artifacts.
        // None is made where there is none.
        let open = |access| Store::open(cache, access);
        let store = cache
            .is_dir()
            .then(|| open(Access::ReadWrite).or_else(|_| open(Access::ReadOnly)));
        if let Some(Ok(store)) = store {
            content.read_artifacts(&store, runs, run, &timeline);
        }
        let outcomes = || run.summary.iter().flat_map(|summary| &summary.nodes);
        if content.figures.is_empty() {
            content.more.splice(..0, results(outcomes()));
        }
        content.more.extend(datasets::table(outcomes(), &content.digests));
        content.more.extend(timeline.schedule().map(Figure::Schedule));
        content
    }

    fn read_artifacts(&mut self, store: &Store, runs: &Runs, run: &Run, timeline: &Timeline) {
        let outcomes = run.summary.as_ref().map_or(&[][..], |summary| &summary.nodes);
        let keys: BTreeSet<ActionKey> = outcomes.iter().filter_map(|node| node.key).collect();
        let mut inputs = BTreeMap::new();
        for record in keys.iter().filter_map(|key| store.record(key).ok().flatten()) {
            self.digests.insert(record.key, record.digest());
            self.versions.insert(record.flow_version);
            self.machines.insert(record.host);
            inputs.insert(record.key, record.inputs);
        }
        let trained = outcomes.iter().filter(|node| node.status == NodeStatus::Cached);
        let cached: BTreeSet<ActionKey> = trained
            .filter(|node| TRAINED.contains(&node.kind.as_str()))
            .filter_map(|node| node.key)
            .collect();
        let earlier = earlier(runs, run, cached);
        let logs = std::iter::once(timeline).chain(&earlier);
        let mut told: HashMap<ActionKey, &Told> = HashMap::new();
        for node in logs.flat_map(|log| &log.nodes) {
            if let Some(key) = node.key.filter(|_| node.state == "ran") {
                told.entry(key).or_insert(node);
            }
        }
        let nodes = Shown::of_run(store, outcomes, &told);
        let judged: Vec<&Judged> = self.judged().collect();
        let mut more: Vec<Figure> = judged
            .into_iter()
            .flat_map(|judged| show::judged(store, &nodes, judged))
            .collect();
        more.extend(show::trainings(&nodes));
        // A workflow may look into its networks itself.
        if outcomes.iter().all(|node| node.kind != "inspect") {
            more.extend(show::networks(store, &nodes));
        }
        more.push(Figure::Graph(flow_engine::graph::of_run(outcomes, &inputs)));
        more.retain(|figure| !matches!(figure, Figure::Graph(graph) if graph.boxes.is_empty()));
        self.more.extend(more);
    }

    /// Scores by arm of its comparisons.
    pub(super) fn judged(&self) -> impl Iterator<Item = &Judged> {
        self.figures
            .iter()
            .flat_map(|node| &node.figures)
            .filter_map(|figure| match figure {
                Figure::Judged(judged) => Some(judged),
                _ => None,
            })
    }

    /// Every figure, in the order shown.
    pub(super) fn all(&self) -> impl Iterator<Item = &Figure> {
        self.figures.iter().flat_map(|node| &node.figures).chain(&self.more)
    }

    /// The heading: what was asked, or what ran.
    pub(super) fn title(&self) -> &str {
        let summary = self.summary.as_ref();
        let question = summary.and_then(|summary| summary.question.as_deref());
        question.unwrap_or_else(|| summary.map_or(&self.run, |summary| &summary.workflow))
    }

    /// How the run ended, in a sentence.
    pub(super) fn ended(&self) -> String {
        let Some(summary) = &self.summary else {
            return "The run is under way, or was killed: there is no summary of it yet.".to_owned();
        };
        let number = |status| summary.nodes.iter().filter(|node| node.status == status).count();
        format!(
            "Run {} of `{}`, {}: {} ran, {} came from the cache, {} failed.",
            self.run,
            summary.workflow,
            when(summary.started_unix_ms),
            count(number(NodeStatus::Ran), "node", "nodes"),
            number(NodeStatus::Cached),
            number(NodeStatus::Failed)
        )
    }

    /// What the result depends on, by name.
    pub(super) fn provenance(&self) -> Vec<(&'static str, String)> {
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut rows = vec![
            ("run", self.run.clone()),
            ("workflow (BLAKE3)", self.workflow_digest.to_string()),
        ];
        if let Some(summary) = &self.summary {
            rows.push(("command", command(summary)));
            rows.push(("variables", variables(summary)));
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
    pub(super) fn citation(&self) -> String {
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

/// What was measured where nothing is compared: of all that judges.
fn results<'a>(outcomes: impl Iterator<Item = &'a NodeOutcome>) -> Option<Figure> {
    let judged = outcomes.filter(|outcome| outcome.kind == "evaluate");
    let rows: Vec<Vec<String>> = judged
        .flat_map(|outcome| {
            let row =
                |(name, value): (&String, &f64)| vec![outcome.name.clone(), name.replace('_', " "), short(*value)];
            // Those of single classes last.
            let (parts, whole): (Vec<_>, Vec<_>) = outcome.metrics.iter().partition(|(name, _)| name.contains('.'));
            whole.into_iter().chain(parts).map(row).collect::<Vec<_>>()
        })
        .collect();
    (!rows.is_empty()).then(|| {
        Figure::Table(Table {
            title: "Results".into(),
            head: ["node", "what", "value"].map(str::to_owned).into(),
            rows,
        })
    })
}

/// What to type for the same run.
fn command(summary: &Summary) -> String {
    // In single quotes nothing has a meaning but the quote itself.
    let quoted = |text: &str| match text.chars().all(|c| c.is_alphanumeric() || "_-./=:,".contains(c)) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    };
    let sets = summary.overrides.iter().map(|set| format!(" --set {}", quoted(set)));
    match summary.file.is_empty() {
        true => String::new(),
        false => format!("flow run {}{}", quoted(&summary.file), sets.collect::<String>()),
    }
}

/// The values of matrix variables, seeds among them.
fn variables(summary: &Summary) -> String {
    let mut values: Vec<(&str, Vec<&str>)> = Vec::new();
    let names = summary.nodes.iter().filter_map(|node| Name::parse(&node.name));
    for (name, value) in names.flat_map(|name| name.bindings().to_vec()) {
        match values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) if known.contains(&value) => {}
            Some((_, known)) => known.push(value),
            None => values.push((name, vec![value])),
        }
    }
    let values = values
        .iter()
        .map(|(name, values)| format!("{name} = {}", values.join(", ")));
    values.collect::<Vec<_>>().join("; ")
}

/// Kinds whose logs have curves.
const TRAINED: [&str; 2] = ["pretrain", "finetune"];

/// The logs of the runs that computed what came from the cache, as far as they are found.
fn earlier(runs: &Runs, run: &Run, mut wanted: BTreeSet<ActionKey>) -> Vec<Timeline> {
    let Some(summary) = run.summary.as_ref().filter(|_| !wanted.is_empty()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for earlier in runs.before(run, &summary.workflow).take(EARLIER) {
        let Some(summary) = &earlier.summary else { continue };
        let ran: Vec<ActionKey> = summary
            .nodes
            .iter()
            .filter(|node| node.status == NodeStatus::Ran)
            .filter_map(|node| node.key)
            .filter(|key| wanted.contains(key))
            .collect();
        if !ran.is_empty()
            && let Ok(timeline) = Timeline::read(&earlier.events())
        {
            ran.iter().for_each(|key| {
                wanted.remove(key);
            });
            found.push(timeline);
        }
        if wanted.is_empty() {
            break;
        }
    }
    found
}

/// By kind, most first; each action once.
fn seconds(run: &Run) -> Vec<(String, f64)> {
    let mut by_key = BTreeMap::new();
    for node in run.summary.iter().flat_map(|summary| &summary.nodes) {
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
    seconds
}
