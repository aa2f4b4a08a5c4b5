//! One builder for all end-to-end tests: a new directory, a workflow, and `flow` run in it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

mod tiff;
mod watched;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

#[allow(unused_imports, reason = "each test file uses its own part")]
pub use tiff::tiff;
#[allow(unused_imports, reason = "each test file uses its own part")]
pub use watched::{Watched, axe};

/// The smallest workflow with every node kind: 60 scenes, two arms, two seeds.
pub const SMALL: &str = include_str!("../fixtures/small.toml");

/// Two nodes, one fed by the other.
pub const TWO: &str = r#"
[workflow]
name = "two"

[nodes.first]
kind = "command"
run = ["sh", "-c", "echo {params.n} > {outputs}/n.txt"]
outputs = ["n.txt"]
params = { n = 1 }

[nodes.second]
kind = "command"
run = ["sh", "-c", "printf '{{\"n\": %d}}' $(cat {inputs.n}/n.txt) > {outputs}/metrics.json"]
inputs = { n = "first" }
metrics = "metrics.json"
"#;

/// Stripes that lie as the class says, different for each seed.
pub fn stripes((width, height): (u32, u32), class: u32, seed: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let along = if class == 0 { x } else { y };
        let wave = (f64::from(along) * (0.5 + f64::from(seed % 9) / 8.0) + f64::from(seed)).sin();
        let noise = x
            .wrapping_mul(31 + seed)
            .wrapping_add(y.wrapping_mul(17))
            .wrapping_mul(2_654_435_761)
            >> 26;
        let value = (127.0 + 90.0 * wave + f64::from(noise) / 2.0) as u8;
        Rgb([value, value / 2, 255 - value])
    })
}

/// A directory with a workflow in it.
pub struct Place {
    pub dir: TempDir,
}

impl Place {
    /// A directory with `workflow` as `w.toml`.
    pub fn new(workflow: &str) -> Self {
        let place = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        place.write("w.toml", workflow);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it is in the place"))
            .expect("the test's directory can be written");
        std::fs::write(path, text).expect("the test's directory can be written");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flow"));
        command
            .current_dir(self.dir.path())
            .args(arguments)
            .env("NO_COLOR", "1");
        for name in [
            "FLOW_CACHE",
            "FLOW_RUNS",
            "FLOW_LOG",
            "FLOW_DEVICE",
            "RAYON_NUM_THREADS",
        ] {
            command.env_remove(name);
        }
        command
    }

    pub fn flow(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().expect("flow can be started"))
    }

    /// Runs `w.toml`, which must succeed.
    pub fn run(&self, more: &[&str]) -> Ended {
        let ended = self.flow(&[&["run", "w.toml"], more].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended
    }

    /// The logs of all nodes of all runs.
    pub fn logs(&self) -> String {
        let folders = |path: std::path::PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
        let logs = folders(self.path(".flow/runs")).flat_map(|run| folders(run.path().join("logs")));
        logs.filter_map(|log| std::fs::read_to_string(log.path()).ok())
            .collect()
    }

    /// Every file of every entry in the cache, by node and name: the digests.
    pub fn digests(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for record in self.flow(&["cache", "ls", "--json"]).json_lines() {
            let outputs = record["outputs"].as_object().expect("outputs").clone();
            for (name, file) in outputs {
                let node = record["node"].as_str().expect("a name");
                all.insert(
                    format!("{node}/{name}"),
                    file["digest"].as_str().expect("a digest").to_owned(),
                );
            }
        }
        all
    }

    /// What the newest run says became of each node.
    pub fn statuses(&self) -> BTreeMap<String, String> {
        let run: Value = self.flow(&["runs", "show", "--json"]).json();
        let nodes = run["summary"]["nodes"].as_array().expect("nodes").clone();
        let text = |v: &Value| v.as_str().expect("text").to_owned();
        nodes.iter().map(|n| (text(&n["name"]), text(&n["status"]))).collect()
    }

    /// The names of the nodes that ran in the newest run.
    pub fn ran(&self) -> Vec<String> {
        self.statuses()
            .into_iter()
            .filter(|(_, status)| status == "ran")
            .map(|(name, _)| name)
            .collect()
    }
}

/// A text without the frame and the line breaks of a terminal.
pub fn flat(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| *word != "│");
    words.collect::<Vec<_>>().join(" ")
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("not JSON ({e}): {}\n{}", self.stdout, self.stderr))
    }

    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect()
    }
}

/// Any blob of the cache in `place` that belongs to `node`'s output `name`.
pub fn blob(place: &Place, node: &str, name: &str) -> PathBuf {
    let digest = place.digests()[&format!("{node}/{name}")].clone();
    Path::new(place.dir.path())
        .join(".flow/cache/blobs")
        .join(&digest[..2])
        .join(digest)
}

/// Rewrites the fields of a node's record, its checksum fitting.
pub fn reword_record(place: &Place, node: &str, old: &str, new: &str) {
    let records = place.flow(&["cache", "ls", "--json"]).json_lines();
    let record = records.iter().find(|record| record["node"] == node);
    let key = record.expect("a record")["key"].as_str().expect("a key").to_owned();
    let path = place.path(&format!(".flow/cache/records/{}/{key}.json", &key[..2]));
    let text = std::fs::read_to_string(&path).expect("a record");
    let (fields, _) = text.rsplit_once(",\n  \"checksum\"").expect("a checksum");
    let fields = fields.replace(old, new);
    let sum = flow_cache::Digest::of(fields.as_bytes());
    std::fs::write(path, format!("{fields},\n  \"checksum\": \"{sum}\"\n}}\n")).expect("written");
}

/// NumPy's archive of arrays: of each its name, type, sizes and values.
pub fn npz(arrays: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, dtype, shape, values) in arrays {
        let shape: String = shape.iter().map(|size| format!("{size}, ")).collect();
        let head = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape}), }}\n");
        let length = (head.len() as u16).to_le_bytes();
        let array = [b"\x93NUMPY\x01\x00", &length[..], head.as_bytes(), values].concat();
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default())
            .expect("begun");
        std::io::Write::write_all(&mut zip, &array).expect("written");
    }
    zip.finish().expect("whole").into_inner()
}

/// A page of `place` in headless Chromium, in a window of some width: its document when scripts have run as stdout, what the console said as stderr.
/// `None` if no Chromium is installed.
pub fn chromium(place: &Place, page: &str, width: u64) -> Option<Ended> {
    let address = format!("file://{}", place.path(page).display());
    browse(place, &address, width)
}

/// The Chromium of this machine, if there is one.
fn browser() -> Option<&'static str> {
    let there = |name: &&str| {
        Command::new(name)
            .arg("--version")
            .output()
            .is_ok_and(|out| out.status.success())
    };
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(there)
}

/// The same of any address.
pub fn browse(place: &Place, address: &str, width: u64) -> Option<Ended> {
    let program = browser()?;
    let size = format!("--window-size={width},900");
    let profile = format!("--user-data-dir={}", place.path("chromium").display());
    let mut command = Command::new(program);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]);
    Some(Ended::from(
        command.args([&size, &profile, address]).output().expect("it starts"),
    ))
}
