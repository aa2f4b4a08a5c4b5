//! `flow run --trace FILE`: the schedule as a Chrome trace, for `chrome://tracing` or ui.perfetto.dev.
//!
//! A node is a bar from its start to its end; bars that overlap in time lie in different rows. Epochs and steps are counters of
//! their node's metrics.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use flow_engine::{Event, Reporter};
use serde_json::{Value, json};

use crate::exit::Failure;

/// Passes events on, and keeps what a trace is made of.
pub(crate) struct Tracer<'a> {
    next: &'a mut dyn Reporter,
    began: Instant,
    /// Nodes that run: when each began, its row and its threads.
    running: BTreeMap<String, (u64, usize, usize)>,
    events: Vec<Value>,
}

impl<'a> Tracer<'a> {
    pub(crate) fn new(next: &'a mut dyn Reporter) -> Self {
        Self {
            next,
            began: Instant::now(),
            running: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Writes the trace.
    pub(crate) fn write(self, path: &Path) -> Result<(), Failure> {
        let failed = |e: std::io::Error| Failure::failed(format!("cannot write the trace to {}: {e}", path.display()));
        let trace = json!({ "displayTimeUnit": "ms", "traceEvents": self.events });
        std::fs::write(PathBuf::from(path), trace.to_string()).map_err(failed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn start(&mut self, node: &str, threads: usize) {
        let taken: Vec<usize> = self.running.values().map(|(_, row, _)| *row).collect();
        let row = (0..=taken.len()).find(|row| !taken.contains(row)).unwrap_or(0);
        self.running.insert(node.to_owned(), (self.now(), row, threads));
    }

    fn end(&mut self, node: &str, how: &str, more: Value) {
        if let Some((began, row, threads)) = self.running.remove(node) {
            self.events.push(json!({
                "name": node, "cat": how, "ph": "X", "pid": 1, "tid": row + 1, "ts": began, "dur": self.now() - began,
                "args": { "ended": how, "threads": threads, "more": more },
            }));
        }
    }

    fn instant(&mut self, node: &str, what: &str) {
        let now = self.now();
        self.events.push(json!({ "name": format!("{what} {node}"), "cat": what, "ph": "i", "s": "p", "pid": 1, "tid": 0, "ts": now }));
    }
}

impl Reporter for Tracer<'_> {
    fn flush(&mut self) {
        self.next.flush();
    }

    fn report(&mut self, event: &Event) {
        match event {
            Event::NodeStarted { node, threads, .. } => self.start(node, *threads),
            Event::NodeFinished { node, metrics, .. } => self.end(node, "finished", json!(metrics)),
            Event::NodeFailed { node, message, .. } => self.end(node, "failed", json!(message)),
            Event::NodeRetried { node, message, .. } => self.end(node, "retried", json!(message)),
            Event::NodeWaits { node, holder, .. } => self.instant(node, &format!("waiting for {holder}")),
            Event::NodeStopped { node } => self.end(node, "stopped", Value::Null),
            Event::NodeCached { node, .. } => self.instant(node, "cached"),
            Event::NodeRepaired { node, .. } => self.instant(node, "repaired"),
            Event::NodeProgress { node, metrics, .. } => {
                let metrics: serde_json::Map<String, Value> =
                    metrics.iter().map(|f| (f.name.clone(), json!(f.value))).collect();
                if !metrics.is_empty() {
                    let now = self.now();
                    self.events
                        .push(json!({ "name": node, "ph": "C", "pid": 1, "ts": now, "args": metrics }));
                }
            }
            _ => {}
        }
        self.next.report(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_overlap_lie_in_different_rows() {
        let mut silent = flow_engine::events::Silent;
        let mut tracer = Tracer::new(&mut silent);
        tracer.start("a", 1);
        tracer.start("b", 1);
        tracer.end("a", "finished", Value::Null);
        tracer.start("c", 1);
        tracer.end("b", "failed", Value::Null);
        tracer.end("c", "finished", Value::Null);
        let rows: Vec<(&str, u64)> = tracer
            .events
            .iter()
            .map(|e| (e["name"].as_str().unwrap_or(""), e["tid"].as_u64().unwrap_or(0)))
            .collect();
        assert_eq!(rows, [("a", 1), ("b", 2), ("c", 1)]);
    }
}
