//! A run as its event log tells it: of each node what was planned, when it was at work, how far it is, how it ended. Of a run under way, or one
//! that was killed, as far as the log goes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use flow_cache::ActionKey;
use serde::Serialize;

use crate::events::{Event, LoggedEvent, Metric, RunStatus};
use crate::figure::{Schedule, Span};

/// What the log says so far.
#[derive(Debug, Default)]
pub struct Timeline {
    /// When the run began, in milliseconds since 1970 (UTC).
    pub began_ms: Option<u64>,
    /// When the last event was.
    pub last_ms: u64,
    /// The CPU threads that it may use.
    pub threads: usize,
    /// How it ended, if it has.
    pub ended: Option<RunStatus>,
    /// Every node, in the order of the workflow.
    pub nodes: Vec<Told>,
    places: HashMap<String, usize>,
}

/// What the log says of one node.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Told {
    /// The instance.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// `waiting`, `cached`, `running`, `waits` (for another process), `ran`, `failed`, `stopped` or `skipped`.
    pub state: &'static str,
    /// Why it runs, in words.
    pub reasons: Vec<String>,
    /// Its key, as soon as that is known.
    pub key: Option<ActionKey>,
    /// When it was at work.
    pub worked: Vec<Worked>,
    /// How far it was when.
    pub steps: Vec<Step>,
    /// What went wrong.
    pub message: Option<String>,
}

/// One attempt at a node.
#[derive(Clone, Debug, Serialize)]
pub struct Worked {
    /// When it began, in milliseconds since 1970 (UTC).
    pub from_ms: u64,
    /// When it ended, if it has.
    pub to_ms: Option<u64>,
    /// CPU threads that it was given.
    pub threads: usize,
    /// `running`, `ran`, `failed`, `retried` or `stopped`.
    pub ended: &'static str,
}

/// One line of progress.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// When, in milliseconds since 1970 (UTC).
    pub unix_ms: u64,
    /// Units done.
    pub step: u64,
    /// Units in all.
    pub total: u64,
    /// What a unit is.
    pub unit: String,
    /// Metrics worth watching.
    pub metrics: Vec<Metric>,
}

impl Timeline {
    /// Of an event log. Lines that are no events, such as a last one that is half written, are passed over.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut timeline = Self::default();
        let mut lines = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            if let Ok(event) = serde_json::from_slice::<LoggedEvent>(&line) {
                timeline.hear(event);
            }
            line.clear();
        }
        Ok(timeline)
    }

    /// Takes one more event.
    pub fn hear(&mut self, logged: LoggedEvent) {
        let at = logged.unix_ms;
        self.last_ms = self.last_ms.max(at);
        match logged.what {
            Event::RunStarted { threads, .. } => (self.began_ms, self.threads) = (Some(at), threads),
            Event::RunFinished { status, .. } => self.ended = Some(status),
            Event::NodePlanned {
                node, kind, reasons, ..
            } => {
                let told = self.node(&node);
                (told.kind, told.reasons) = (kind, reasons);
            }
            Event::NodeCached { node, key } => {
                let told = self.node(&node);
                (told.state, told.key) = ("cached", Some(key));
            }
            Event::NodeStarted { node, key, threads, .. } => self.node(&node).begins(at, key, threads),
            Event::NodeWaits { node, key, .. } => {
                let told = self.node(&node);
                (told.state, told.key) = ("waits", Some(key));
            }
            Event::NodeRetried { node, message, .. } => self.node(&node).ends(at, "retried", "waiting", Some(message)),
            Event::NodeProgress {
                node,
                step,
                total,
                unit,
                metrics,
            } => self.node(&node).steps.push(Step {
                unix_ms: at,
                step,
                total,
                unit,
                metrics,
            }),
            Event::NodeFinished { node, .. } => self.node(&node).ends(at, "ran", "ran", None),
            Event::NodeStopped { node } => self.node(&node).ends(at, "stopped", "stopped", None),
            Event::NodeFailed { node, message, .. } => self.node(&node).ends(at, "failed", "failed", Some(message)),
            Event::NodeSkipped { node } => self.node(&node).state = "skipped",
            Event::NodeNote { .. } | Event::NodeRepaired { .. } | Event::ReportWritten { .. } => {}
        }
    }

    fn node(&mut self, name: &str) -> &mut Told {
        let place = *self.places.entry(name.to_owned()).or_insert_with(|| {
            self.nodes.push(Told {
                name: name.to_owned(),
                state: "waiting",
                ..Told::default()
            });
            self.nodes.len() - 1
        });
        &mut self.nodes[place]
    }

    /// What ran when; `None` where nothing did.
    pub fn schedule(&self) -> Option<Schedule> {
        let began = self.began_ms?;
        let seconds = |ms: u64| ms.saturating_sub(began) as f64 / 1e3;
        let of_node = |told: &'_ Told| {
            let span = |worked: &Worked| Span {
                node: told.name.clone(),
                kind: told.kind.clone(),
                row: 0,
                start_s: seconds(worked.from_ms),
                end_s: seconds(worked.to_ms.unwrap_or(self.last_ms)),
                threads: worked.threads,
                ended: worked.ended.to_owned(),
            };
            told.worked.iter().map(span).collect::<Vec<_>>()
        };
        let mut spans: Vec<Span> = self.nodes.iter().flat_map(of_node).collect();
        spans.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
        // Each goes to the first row that is free.
        let mut free: Vec<f64> = Vec::new();
        for span in &mut spans {
            let row = free.iter().position(|end| *end <= span.start_s);
            span.row = row.unwrap_or_else(|| {
                free.push(0.0);
                free.len() - 1
            });
            free[span.row] = span.end_s;
        }
        (!spans.is_empty()).then(|| Schedule {
            title: "What ran when".into(),
            seconds: seconds(self.last_ms),
            threads: self.threads,
            spans,
        })
    }
}

impl Told {
    fn begins(&mut self, at: u64, key: ActionKey, threads: usize) {
        (self.state, self.key, self.message) = ("running", Some(key), None);
        self.worked.push(Worked {
            from_ms: at,
            to_ms: None,
            threads,
            ended: "running",
        });
    }

    fn ends(&mut self, at: u64, ended: &'static str, state: &'static str, message: Option<String>) {
        (self.state, self.message) = (state, message);
        if let Some(worked) = self.worked.last_mut() {
            (worked.to_ms, worked.ended) = (Some(at), ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[(u64, &str)]) -> Timeline {
        let mut timeline = Timeline::default();
        for (at, what) in lines {
            let line = format!("{{\"schema\":2,\"unix_ms\":{at},\"what\":{what}}}");
            timeline.hear(serde_json::from_str(&line).unwrap());
        }
        timeline
    }

    #[test]
    fn nodes_that_work_at_once_lie_in_different_rows_and_one_under_way_reaches_to_the_last_event() {
        let key = format!("\"{}\"", "0".repeat(64));
        let started = |node: &str| format!(r#"{{"event":"node_started","node":"{node}","key":{key},"threads":1}}"#);
        let stopped = |node: &str| format!(r#"{{"event":"node_stopped","node":"{node}"}}"#);
        let timeline = log(&[
            (
                1000,
                r#"{"event":"run_started","run":"r","workflow":"w","nodes":3,"threads":2}"#,
            ),
            (1000, &started("a")),
            (2000, &started("b")),
            (3000, &stopped("a")),
            (3000, &started("c")),
            (9000, &stopped("c")),
        ]);
        let spans = timeline.schedule().unwrap().spans;
        let seen: Vec<_> = spans
            .iter()
            .map(|s| (s.node.as_str(), s.row, s.start_s, s.end_s, s.ended.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", 0, 0.0, 2.0, "stopped"),
                ("b", 1, 1.0, 8.0, "running"),
                ("c", 0, 2.0, 8.0, "stopped")
            ]
        );
    }
}
