//! Who tells a person what happens during a run: bars on a terminal, plain lines elsewhere, or only failures.

mod course;

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;

use flow_engine::events::JsonLines;
use flow_engine::{Event, Reporter};
use indicatif::{ProgressBar, ProgressStyle};

use self::course::Course;
use crate::output::{JsonStdout, bars, count, duration, print_error, say, shown};

/// The reporter that fits the terminal and the options.
pub(crate) fn reporter(quiet: bool, verbose: u8, json: bool) -> Box<dyn Reporter> {
    if json {
        return Box::new(JsonLines::new(JsonStdout));
    }
    let terminal = std::io::stderr().is_terminal() && !quiet;
    Box::new(Console {
        quiet,
        notes: verbose > 0,
        bars: terminal.then(Bars::default),
        counts: Counts::default(),
    })
}

/// What is said of a node that is done: the first of these groups of which it has something.
const MAIN_FIGURES: [&[&str]; 8] = [
    &["accuracy"],
    &["mean_iou"],
    &["ap"],
    &["kept_share", "precision"],
    &["probe.encoder", "knn.encoder"],
    &["loss", "knn"],
    &["train_images", "test_images"],
    &["labels"],
];

/// A number as short as it tells.
fn figure(value: f64) -> String {
    match value {
        value if value.fract() == 0.0 || value.abs() >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.4}"),
    }
}

#[derive(Default)]
struct Counts {
    done: usize,
    cached: usize,
    running: usize,
    expected: Expected,
}

/// How long the rest of a run takes, by what its nodes took before.
#[derive(Default)]
struct Expected {
    /// Seconds of work of each node that is still to be done.
    open: HashMap<String, f64>,
    /// Nodes of which nothing is known.
    unknown: HashSet<String>,
    /// Seconds of work that were expected of what has run, and what they became.
    foreseen: f64,
    taken: f64,
    threads: usize,
}

impl Expected {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::RunStarted { threads, .. } => {
                *self = Self {
                    threads: *threads,
                    ..Self::default()
                }
            }
            Event::NodePlanned {
                node,
                state,
                estimate_s,
                ..
            } if state != "cached" && state != "shared" => match estimate_s {
                Some(seconds) => drop(self.open.insert(node.clone(), *seconds)),
                None => drop(self.unknown.insert(node.clone())),
            },
            Event::NodeFinished { node, cost, .. } => {
                self.unknown.remove(node);
                if let Some(seconds) = self.open.remove(node) {
                    self.foreseen += seconds;
                    self.taken += cost.wall_s;
                }
            }
            Event::NodeCached { node, .. } | Event::NodeSkipped { node } | Event::NodeFailed { node, .. } => {
                self.unknown.remove(node);
                self.open.remove(node);
            }
            _ => {}
        }
    }

    /// In words, while so many nodes run at once; empty where nothing is left.
    fn left(&self, running: usize) -> String {
        let unknown = self.unknown.len();
        if self.open.is_empty() {
            return match unknown {
                0 => String::new(),
                _ => "time left unknown".to_owned(),
            };
        }
        // A machine that is slower or busier than it was is so for what follows, too.
        let pace = if self.foreseen > 1.0 {
            self.taken / self.foreseen
        } else {
            1.0
        };
        let at_once = running.clamp(1, self.threads.max(1)) as f64;
        let seconds = self.open.values().sum::<f64>() * pace / at_once;
        match unknown {
            0 => format!("about {} left", duration(seconds)),
            _ => format!("{} or more left", duration(seconds)),
        }
    }
}

/// Lines, and bars below them where there is a terminal.
struct Console {
    quiet: bool,
    notes: bool,
    bars: Option<Bars>,
    counts: Counts,
}

impl Reporter for Console {
    fn report(&mut self, event: &Event) {
        self.count(event);
        self.counts.expected.hear(event);
        if let Some(bars) = &mut self.bars {
            bars.report(event, &self.counts);
        }
        match event {
            Event::NodeFailed { node, message, help } => print_error(&format!("{node}: {message}"), help.as_deref()),
            // On a terminal its bar says so.
            Event::NodeStarted { .. } if self.bars.is_some() => {}
            Event::NodeNote { .. } if !self.notes => {}
            _ if self.quiet => {}
            _ => {
                if let Some(line) = line(event) {
                    say(&line);
                }
            }
        }
    }
}

/// What is said of an event, if anything is.
fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::RunStarted {
            run, nodes, threads, ..
        } => format!(
            "run {run}: {}, {}",
            count(*nodes, "node", "nodes"),
            count(*threads, "thread", "threads")
        ),
        Event::NodeStarted { node, threads, .. } => format!("start  {node} ({})", count(*threads, "thread", "threads")),
        Event::NodeFinished {
            node, metrics, cost, ..
        } => {
            let told = |name: &&str| Some(format!("  {} {}", name.replace('_', " "), figure(*metrics.get(*name)?)));
            let groups = MAIN_FIGURES
                .iter()
                .map(|group| group.iter().filter_map(told).collect::<String>());
            let main = groups.into_iter().find(|told| !told.is_empty()).unwrap_or_default();
            format!("done   {node}  {}{main}", duration(cost.wall_s))
        }
        Event::NodeRepaired { node, why, .. } => format!("repair {node}: {why}; recomputing"),
        Event::NodeWaits { node, holder, .. } => format!("wait   {node}: {holder} is running it"),
        Event::NodeRetried {
            node,
            failed,
            wait_s,
            message,
        } => format!(
            "retry  {node}: {message} (attempt {failed} failed, retrying in {})",
            duration(*wait_s)
        ),
        Event::NodeStopped { node } => format!("stop   {node}: resumes from its checkpoint in the next run"),
        Event::NodeNote { node, line } => format!("note   {node}: {line}"),
        Event::RunFinished {
            ran,
            cached,
            failed,
            skipped,
            wall_s,
            ..
        } => {
            let mut parts = vec![format!("{ran} ran"), format!("{cached} cached")];
            parts.extend((*failed > 0).then(|| format!("{failed} failed")));
            parts.extend((*skipped > 0).then(|| format!("{skipped} not run")));
            format!("{} in {}", parts.join(", "), duration(*wall_s))
        }
        _ => return None,
    })
}

impl Console {
    fn count(&mut self, event: &Event) {
        let counts = &mut self.counts;
        match event {
            Event::RunStarted { .. } => (counts.done, counts.cached, counts.running) = (0, 0, 0),
            Event::NodeCached { .. } => {
                counts.cached += 1;
                counts.done += 1;
            }
            Event::NodeStarted { .. } => counts.running += 1,
            Event::NodeFinished { .. } => {
                counts.running = counts.running.saturating_sub(1);
                counts.done += 1;
            }
            Event::NodeFailed { .. } | Event::NodeRetried { .. } | Event::NodeStopped { .. } => {
                counts.running = counts.running.saturating_sub(1);
            }
            _ => {}
        }
    }
}

/// One bar for all nodes, and one for each that runs.
#[derive(Default)]
struct Bars {
    all: Option<ProgressBar>,
    nodes: HashMap<String, Running>,
}

/// A node that runs.
struct Running {
    bar: ProgressBar,
    /// What its progress said; none before the first.
    course: Option<Course>,
}

impl Bars {
    fn report(&mut self, event: &Event, counts: &Counts) {
        match event {
            Event::RunStarted { nodes, .. } => {
                let bar = bars().add(ProgressBar::new(*nodes as u64));
                bar.set_style(style("{bar:20.green} {pos}/{len} nodes  {elapsed}  {wide_msg}"));
                self.all = Some(bar);
            }
            Event::NodeStarted { node, .. } => {
                let bar = match &self.all {
                    Some(all) => bars().insert_before(all, ProgressBar::no_length()),
                    None => bars().add(ProgressBar::no_length()),
                };
                bar.set_style(style("{spinner} {wide_msg}"));
                bar.set_message(shown(node).into_owned());
                bar.enable_steady_tick(std::time::Duration::from_millis(200));
                self.nodes.insert(node.clone(), Running { bar, course: None });
            }
            Event::NodeProgress {
                node,
                step,
                total,
                metrics,
                ..
            } => {
                if let Some(Running { bar, course }) = self.nodes.get_mut(node) {
                    if course.is_none() {
                        bar.set_length(*total);
                        bar.set_style(style("{spinner} {prefix:28!} {bar:8.cyan} {wide_msg}"));
                        bar.set_prefix(shown(node).into_owned());
                    }
                    bar.set_position(*step);
                    let course = course.get_or_insert_with(|| Course::from(*step));
                    bar.set_message(shown(&course.words(*step, *total, metrics)).into_owned());
                }
            }
            Event::NodeFinished { node, .. }
            | Event::NodeFailed { node, .. }
            | Event::NodeRetried { node, .. }
            | Event::NodeStopped { node } => {
                if let Some(running) = self.nodes.remove(node) {
                    running.bar.finish_and_clear();
                }
            }
            Event::RunFinished { .. } => {
                if let Some(bar) = self.all.take() {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
        if let Some(all) = &self.all {
            all.set_position(counts.done as u64);
            let left = counts.expected.left(counts.running);
            let parts = [format!("{} cached, {} running", counts.cached, counts.running), left];
            all.set_message(
                parts
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("  "),
            );
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("BUG: a progress template is a constant")
}

#[cfg(test)]
mod tests {
    use flow_cache::{Cost, KeyFields};
    use flow_engine::RunStatus;

    use super::*;

    #[test]
    fn the_time_left_follows_what_nodes_took_before_and_how_the_run_goes() {
        let key = KeyFields::new("finetune", 1).finish().0;
        let planned = |node: &str, state: &str, estimate_s| Event::NodePlanned {
            node: node.into(),
            kind: "finetune".into(),
            state: state.into(),
            reasons: Vec::new(),
            estimate_s,
        };
        let mut expected = Expected::default();
        let started = Event::RunStarted {
            run: "r".into(),
            workflow: "w".into(),
            nodes: 4,
            threads: 2,
        };
        for event in [
            started,
            planned("a", "will_run", Some(10.0)),
            planned("b", "unknown", Some(30.0)),
            planned("c", "cached", None),
        ] {
            expected.hear(&event);
        }
        let mut left = vec![expected.left(2)];
        // It takes twice as long as it did.
        expected.hear(&Event::NodeFinished {
            node: "a".into(),
            key,
            metrics: [].into(),
            cost: Cost {
                wall_s: 20.0,
                threads: 1,
                peak_rss_bytes: None,
            },
        });
        left.push(expected.left(1));
        expected.hear(&planned("d", "will_run", None));
        left.push(expected.left(1));
        expected.hear(&Event::NodeCached { node: "b".into(), key });
        left.push(expected.left(1));
        insta::assert_snapshot!(left.join("\n"));
    }

    #[test]
    fn every_event_that_is_told_reads_as_a_line() {
        let node = || "fit[seed=0]".to_owned();
        let key = KeyFields::new("finetune", 1).finish().0;
        let events = [
            Event::RunStarted {
                run: "20261127-154500-two-0a1b2c".into(),
                workflow: "two".into(),
                nodes: 3,
                threads: 8,
            },
            Event::NodeStarted {
                node: node(),
                key,
                threads: 4,
                gpus: Vec::new(),
            },
            Event::NodeWaits {
                node: node(),
                key,
                holder: "process 123 on host".into(),
            },
            Event::NodeRetried {
                node: node(),
                failed: 1,
                wait_s: 2.0,
                message: "`python` ended with exit status 1".into(),
            },
            Event::NodeNote {
                node: node(),
                line: "epoch 1: loss 0.5000".into(),
            },
            Event::NodeFinished {
                node: node(),
                key,
                metrics: [("accuracy".to_owned(), 0.75), ("labels".to_owned(), 40.0)].into(),
                cost: Cost {
                    wall_s: 150.0,
                    threads: 4,
                    peak_rss_bytes: None,
                },
            },
            Event::NodeRepaired {
                node: node(),
                key,
                why: "output `model` is missing".into(),
            },
            Event::NodeStopped { node: node() },
            Event::RunFinished {
                status: RunStatus::Failed,
                ran: 1,
                cached: 1,
                failed: 1,
                skipped: 2,
                wall_s: 0.25,
            },
        ];
        let lines: Vec<String> = events.iter().filter_map(line).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
