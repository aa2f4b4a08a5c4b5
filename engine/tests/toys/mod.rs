//! A workspace in a temporary directory: a workflow, a store, runs, and what was told of them.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod kinds;

use std::path::{Path, PathBuf};

use flow_cache::{Access, Store};
use flow_engine::{Event, Options, Override, Plan, PlanState, Registry, RunOutcome, Workflow};
use tempfile::TempDir;

pub(crate) fn registry() -> Registry {
    let mut registry = others();
    registry.register::<kinds::Const>();
    registry
}

/// As [`registry`], with `const` at its next version.
pub(crate) fn raised() -> Registry {
    let mut registry = others();
    registry.register::<kinds::ConstRaised>();
    registry
}

fn others() -> Registry {
    let mut registry = Registry::new();
    registry
        .register::<kinds::FromFile>()
        .register::<kinds::Concat>()
        .register::<kinds::First>()
        .register::<kinds::Length>()
        .register::<kinds::Pseudo>()
        .register::<kinds::Slow>()
        .register::<kinds::Trouble>()
        .register::<kinds::Gather>();
    registry
}

pub(crate) struct Bench {
    dir: TempDir,
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) threads: usize,
    pub(crate) keep_going: bool,
}

pub(crate) struct Ran {
    pub(crate) outcome: RunOutcome,
    pub(crate) events: Vec<Event>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache"), Access::ReadWrite).unwrap();
        Self {
            dir,
            store,
            registry: registry(),
            threads: 2,
            keep_going: false,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn load(&self, text: &str) -> Workflow {
        Workflow::from_text(&self.path("w.toml"), text, &self.registry, &[])
            .unwrap_or_else(|d| panic!("{}", render(&d)))
    }

    pub(crate) fn plan(&self, text: &str) -> Plan {
        self.load(text).plan(&self.store).unwrap()
    }

    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new(self.path("runs"));
        options.machine.threads = self.threads;
        options.keep_going = self.keep_going;
        options
    }

    pub(crate) fn run(&self, text: &str) -> Ran {
        let mut events = Vec::new();
        let outcome = flow_engine::run(&self.load(text), &self.store, &self.options(), &mut events).unwrap();
        Ran { outcome, events }
    }
}

impl Ran {
    /// The instances that ran to the end, sorted.
    pub(crate) fn ran(&self) -> Vec<&str> {
        sorted(self.events.iter().filter_map(|e| match e {
            Event::NodeFinished { node, .. } => Some(node.as_str()),
            _ => None,
        }))
    }

    pub(crate) fn started(&self) -> Vec<&str> {
        sorted(self.events.iter().filter_map(|e| match e {
            Event::NodeStarted { node, .. } => Some(node.as_str()),
            _ => None,
        }))
    }

    pub(crate) fn notes(&self, of: &str) -> Vec<&str> {
        let note = |e: &'_ Event| matches!(e, Event::NodeNote { node, .. } if node == of);
        self.events
            .iter()
            .filter(|e| note(e))
            .filter_map(|e| match e {
                Event::NodeNote { line, .. } => Some(line.as_str()),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn key(&self, node: &str) -> flow_cache::ActionKey {
        self.outcome
            .nodes
            .iter()
            .find(|n| n.name == node)
            .and_then(|n| n.key)
            .unwrap()
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names
}

/// The text that an artifact holds.
pub(crate) fn text_of(bench: &Bench, ran: &Ran, node: &str) -> String {
    let artifact = bench.store.peek(&ran.key(node)).unwrap().unwrap();
    String::from_utf8(artifact.read("text").unwrap()).unwrap()
}

/// Each instance and what it takes, one a line.
pub(crate) fn describe(workflow: &Workflow) -> String {
    let instances = workflow.instances();
    let mut text = String::new();
    for instance in instances {
        text += instance.name();
        for port in instance.ports() {
            let inputs: Vec<&str> = port.inputs.iter().map(|edge| instances[edge.instance].name()).collect();
            text += &format!("\n    {}: {}", port.name, inputs.join(" "));
        }
        text += "\n";
    }
    text
}

/// A plan, one instance a line.
pub(crate) fn lines(plan: &Plan) -> String {
    let line = |node: &flow_engine::PlannedNode| match &node.state {
        PlanState::Cached { .. } => format!("{}: cached", node.name),
        PlanState::WillRun { reasons, .. } => format!("{}: will run: {}", node.name, join(reasons)),
        PlanState::Shared { with, .. } => format!("{}: shared with {with}", node.name),
        PlanState::Unknown { reasons } => format!("{}: unknown: {}", node.name, join(reasons)),
    };
    plan.nodes.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn join(reasons: &[flow_engine::Reason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Everything that is wrong with a workflow, as a person sees it.
pub(crate) fn problems(text: &str) -> String {
    problems_with(text, &[])
}

pub(crate) fn problems_with(text: &str, overrides: &[&str]) -> String {
    let overrides: Vec<Override> = overrides.iter().map(|o| Override::parse(o).unwrap()).collect();
    match Workflow::from_text(Path::new("w.toml"), text, &registry(), &overrides) {
        Ok(workflow) => panic!("no problem was found:\n{}", describe(&workflow)),
        Err(diagnostics) => render(&diagnostics),
    }
}

fn render(diagnostics: &flow_engine::Diagnostics) -> String {
    let theme = miette::GraphicalTheme::unicode_nocolor();
    let handler = miette::GraphicalReportHandler::new_themed(theme)
        .with_width(110)
        .with_links(false);
    let mut text = String::new();
    for problem in diagnostics.problems() {
        handler.render_report(&mut text, problem).unwrap();
    }
    text
}
