//! The inside of a worker process.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use flow_cache::{Access, ActionKey, CacheError, LargeFile, Store, panic_text, peak_memory_bytes};
use serde_json::Value;
use tracing::Dispatch;

use super::host::{JobHost, Shown, Tell};
use super::manifest::{Manifest, ManifestFile, ManifestInput, WorkerMessage};
use super::warnings;
use crate::node::{Context, Input, Inputs, NodeError, OpenedFile, Output};
use crate::registry::{ErasedNode, ParseError, Registry};
use crate::secrets::Secrets;
use crate::stop::StopFlag;
use crate::{build, code};

/// Runs the node that the manifest on stdin describes and says how it went; whatever goes wrong is said as well, and warnings besides being in
/// `log`.
pub fn serve(registry: &Registry, log: Dispatch) {
    warnings::forward(log, |text| say(&WorkerMessage::Warning(text)));
    let said = catch_unwind(AssertUnwindSafe(|| work(registry)));
    say(&match said {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => failed(error),
        Err(payload) => WorkerMessage::Panicked(panic_text(payload.as_ref()).to_owned()),
    });
}

fn failed(error: NodeError) -> WorkerMessage {
    match error {
        NodeError::Stopped => WorkerMessage::Stopped,
        NodeError::Cache(CacheError::Corrupt { key, name, path, why }) => {
            WorkerMessage::Corrupt { key, name, path, why }
        }
        NodeError::Cache(error) => WorkerMessage::Failed {
            message: error.to_string(),
            help: None,
        },
        NodeError::Failed { message, help } => WorkerMessage::Failed { message, help },
    }
}

fn work(registry: &Registry) -> Result<WorkerMessage, NodeError> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|e| unusable(&format!("cannot be read: {e}")))?;
    let manifest: Value = serde_json::from_str(&line).map_err(|e| unusable(&format!("is none: {e}")))?;
    // Another build may have another manifest.
    if manifest["build"] != build::id() {
        let message = "the program was replaced by another build while it ran";
        return Err(NodeError::failed(message).with_help("run again"));
    }
    let manifest: Manifest = serde_json::from_value(manifest).map_err(|e| unusable(&format!("is none: {e}")))?;
    code::also_printed(&manifest.printed);
    let node = node(&manifest, registry)?;
    let store = Store::open(&manifest.cache, Access::ReadWrite)?;
    let inputs = inputs(&manifest, node.as_ref(), &store)?;
    let (scratch, stop) = (store.scratch(&manifest.key), StopFlag::new());
    listen(stop.clone())?;
    let stops = [stop];
    let secrets = Secrets::new(manifest.secrets.clone());
    let host = JobHost::new((&store, manifest.key), &scratch, &stops, &secrets, None, &Stdout);
    let host = host.lent(manifest.large.clone());
    let opened = |file: &ManifestFile| OpenedFile {
        path: file.path.clone(),
        digest: file.digest,
    };
    let files: Vec<OpenedFile> = manifest.files.iter().map(opened).collect();
    let mut context = Context {
        threads: manifest.threads,
        gpus: &manifest.gpus,
        files: &files,
        host: &host,
    };
    let pool = crate::pools::build(manifest.threads).map_err(|error| NodeError::cannot("start a thread", &error))?;
    let output = pool.install(|| node.run(&inputs, &mut context))?;
    let wall_s = host.elapsed_s();
    leave(&manifest.staging, output, host.take_large(), wall_s)
}

/// The node, made from its own parameters.
fn node(manifest: &Manifest, registry: &Registry) -> Result<std::sync::Arc<dyn ErasedNode>, NodeError> {
    let kind = &manifest.kind;
    let Some(toml::Value::Table(table)) = table(&manifest.params) else {
        return Err(unusable("has parameters that are not a table"));
    };
    let read = registry.parse(kind, table);
    let node = read.ok_or_else(|| unusable(&format!("names the unknown kind `{kind}`")))?;
    let refused = |error: ParseError| unusable(&format!("has parameters that {kind} does not take: {}", error.message));
    let node = node.map_err(refused)?;
    match node.params() {
        Ok(params) if params == manifest.params => Ok(node),
        _ => Err(unusable("has parameters that do not read back as they were")),
    }
}

fn unusable(why: &str) -> NodeError {
    NodeError::failed(format!("BUG: the worker's manifest {why}"))
}

/// JSON as TOML, which has no null: what is null is left out, as it was in the workflow.
fn table(value: &Value) -> Option<toml::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(bool) => toml::Value::Boolean(*bool),
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => toml::Value::Integer(integer),
            (None, float) => toml::Value::Float(float?),
        },
        Value::Array(items) => toml::Value::Array(items.iter().filter_map(table).collect()),
        Value::Object(map) => {
            let entries = map.iter().filter_map(|(key, value)| Some((key.clone(), table(value)?)));
            toml::Value::Table(entries.collect())
        }
    })
}

fn inputs(manifest: &Manifest, node: &dyn ErasedNode, store: &Store) -> Result<Inputs, NodeError> {
    let mut inputs = Inputs::default();
    for port in node.ports() {
        let given: &[ManifestInput] = manifest.inputs.get(port.name).map_or(&[], Vec::as_slice);
        let open = |input: &ManifestInput| {
            Ok(Input {
                node: input.node.clone(),
                bindings: input.bindings.clone(),
                artifact: store
                    .peek(&input.key)?
                    .ok_or_else(|| missing(input.key, &manifest.cache))?,
            })
        };
        let opened: Result<Vec<Input>, NodeError> = given.iter().map(open).collect();
        inputs.0.insert(port.name, opened?);
    }
    Ok(inputs)
}

fn missing(key: ActionKey, cache: &Path) -> NodeError {
    CacheError::Corrupt {
        key,
        name: "record".to_owned(),
        path: cache.to_owned(),
        why: "is missing".to_owned(),
    }
    .into()
}

/// Hears the engine's requests; without an engine there is nothing to work for.
fn listen(stop: StopFlag) -> Result<(), NodeError> {
    let hear = move || {
        for line in std::io::stdin().lock().lines() {
            match line {
                Ok(line) if line == "stop" => stop.request(),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        std::process::exit(1);
    };
    let thread = std::thread::Builder::new().name("requests".to_owned()).spawn(hear);
    thread
        .map(drop)
        .map_err(|error| NodeError::cannot("start a thread", &error))
}

fn leave(
    staging: &Path,
    output: Output,
    large: Vec<(String, LargeFile)>,
    wall_s: f64,
) -> Result<WorkerMessage, NodeError> {
    let handed = large.into_iter().map(|(name, file)| {
        let handed = file.hand_over();
        let handed = handed.map_err(|e| NodeError::cannot(&format!("keep its output `{name}`"), &e))?;
        Ok((name, handed))
    });
    let large = handed.collect::<Result<_, NodeError>>()?;
    let mut names = Vec::with_capacity(output.files.len());
    for (index, (name, bytes)) in output.files.into_iter().enumerate() {
        let path = staging.join(index.to_string());
        std::fs::write(&path, bytes).map_err(|e| NodeError::failed(format!("cannot write {}: {e}", path.display())))?;
        names.push(name);
    }
    let metrics: BTreeMap<String, u64> = output
        .metrics
        .into_iter()
        .map(|(name, value)| (name, value.to_bits()))
        .collect();
    Ok(WorkerMessage::Done {
        files: names,
        large,
        metrics,
        wall_s,
        peak_rss_bytes: peak_memory_bytes(),
    })
}

/// Tells the engine.
struct Stdout;

impl Tell for Stdout {
    fn progress(&self, shown: Shown) {
        say(&WorkerMessage::Progress(shown));
    }

    fn note(&self, line: &str) {
        say(&WorkerMessage::Note(line.to_owned()));
    }
}

/// Says one line. An engine that no longer reads has ended, which the end of stdin shows as well.
fn say(said: &WorkerMessage) {
    static LINES: Mutex<()> = Mutex::new(());
    let _whole_lines = LINES.lock();
    if let Ok(mut line) = serde_json::to_vec(said) {
        line.push(b'\n');
        let mut out = std::io::stdout();
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}
