//! Every message of the node kinds that a person reads, as it reads. `tests/every_message.rs` holds that none is missing.
//!
//! Each file is a room: workflows in which every node is wrong in a way of its own, and what is said of them, when they are planned or when they run.
#![allow(clippy::too_many_lines, reason = "tables of cases")]

mod annotated;
mod artifacts;
mod command;
mod directories;
mod evaluate;
mod made;
mod sources;
#[path = "../../../tests/common/tiff.rs"]
mod tiff;
mod training;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use flow_engine::events::Event;
use flow_engine::node::NodeError;
use flow_engine::{Diagnostics, Options, Registry, RunOutcome};
use image::{DynamicImage, ImageFormat, RgbImage};

use made::Made;
use tiff::tiff;

/// A directory with files, a cache, and what was said so far.
struct Desk {
    dir: tempfile::TempDir,
    said: String,
}

impl Desk {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            said: String::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    /// A picture of a shade, as PNG.
    fn picture(&self, name: &str, (width, height): (u32, u32), shade: u8) {
        let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([shade, x as u8, y as u8]));
        self.write(name, png(picture.into()));
    }

    /// Notes what is said of something.
    fn say(&mut self, about: &str, said: impl std::fmt::Display) {
        let place = self.dir.path().display().to_string();
        let said = without_digests(&said.to_string().replace(&place, "[dir]"));
        self.said.push_str(&format!("--- {about}\n{}\n\n", said.trim_end()));
    }

    /// Notes what is wrong with a workflow before it runs.
    fn plan(&mut self, about: &str, workflow: &str) {
        let said = match self.load(workflow) {
            Ok(_) => "(nothing)".to_owned(),
            Err(problems) => in_lines(&problems),
        };
        // How much memory there is depends on the machine.
        let lines = said.lines().map(|line| match line.contains(" GiB of memory") {
            true => without_figures(line),
            false => line.to_owned(),
        });
        let said = lines.collect::<Vec<String>>().join("\n");
        self.say(about, said);
    }

    /// Notes which nodes of a workflow fail, with why, and what they write into their logs.
    fn run(&mut self, about: &str, workflow: &str) {
        let mut events: Vec<Event> = Vec::new();
        if let Err(problems) = self.ran(workflow, &mut events) {
            return self.say(about, in_lines(&problems));
        }
        // Nodes run side by side: what is said is sorted by node.
        let mut said: BTreeMap<String, String> = BTreeMap::new();
        for event in events {
            let (node, line) = match event {
                Event::NodeNote { node, line } => (node, format!("  note: {}\n", without_figures(&line))),
                Event::NodeFailed { node, message, help } => (
                    node,
                    format!(
                        "  {message}\n{}",
                        help.map_or(String::new(), |help| format!("  help: {help}\n"))
                    ),
                ),
                _ => continue,
            };
            said.entry(node).or_default().push_str(&line);
        }
        let said: String = said.iter().map(|(node, said)| format!("{node}:\n{said}")).collect();
        self.say(about, said);
    }

    fn load(&self, workflow: &str) -> Result<flow_engine::Workflow, Diagnostics> {
        self.write("w.toml", workflow);
        flow_engine::load(&self.path("w.toml"), &registry(), &[])
    }

    fn ran(&self, workflow: &str, events: &mut Vec<Event>) -> Result<RunOutcome, Diagnostics> {
        let workflow = self.load(workflow)?;
        let store = flow_cache::Store::open(&self.path("cache"), flow_cache::Access::ReadWrite).expect("a store");
        let mut options = Options::new(self.path("runs"));
        options.keep_going = true;
        Ok(flow_engine::run(&workflow, &store, &options, events).expect("it runs"))
    }

    /// Compares all with what was read and found good.
    #[track_caller]
    fn check(self, name: &str) {
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, self.said);
        });
    }
}

/// The kinds of flow, and the one that makes what none of them would.
fn registry() -> Registry {
    let mut registry = flow_nodes::registry();
    registry.register::<Made>();
    registry
}

/// Digests, and beginnings of them, change with every version of a node kind.
fn without_digests(text: &str) -> String {
    let is_digest =
        |word: &str| word.len() >= 12 && word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    words
        .map(|word| {
            let plain = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            match is_digest(plain) {
                true => format!("[key]{}", &word[plain.len()..]),
                false => word.to_owned(),
            }
        })
        .collect()
}

/// Losses and accuracies change with every change to training.
fn without_figures(line: &str) -> String {
    let is_figure = |word: &str| word.contains('.') && word.trim_end_matches(',').parse::<f64>().is_ok();
    line.split(' ')
        .map(|word| if is_figure(word) { "[x]" } else { word })
        .collect::<Vec<&str>>()
        .join(" ")
}

fn in_lines(problems: &Diagnostics) -> String {
    let lines = problems.problems().iter().map(|problem| {
        let help = problem
            .help_text()
            .map_or(String::new(), |help| format!("  help: {help}\n"));
        format!("{problem}\n{help}")
    });
    lines.collect()
}

/// Why a node failed, and what to do.
fn failed(error: &NodeError) -> String {
    match error {
        NodeError::Failed {
            message,
            help: Some(help),
        } => format!("{message}\n  help: {help}"),
        other => other.to_string(),
    }
}

fn png(picture: DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).expect("encoded");
    bytes.into_inner()
}

/// The fixtures of the tests of sources.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources")
}
