//! The one trait that a node kind implements, and what the engine gives it. The engine knows no kind by name.
//!
//! A node kind is a struct: its TOML parameters, with defaults filled in by serde. It declares which of them name other
//! nodes ([`Node::ports`]), what it can say before anything runs ([`Node::facts`]), and does its work in [`Node::run`].

mod facts;
mod identity;
mod port;
mod resources;
mod spent;

use std::collections::BTreeMap;
use std::path::Path;

use flow_cache::{Artifact, LargeFile, LargeWriter, Mapped};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use self::facts::{Facts, InputFact, InputFacts, ParamError};
pub(crate) use self::identity::{DECLARED_FILE, NODE_REF, NOT_IN_KEY};
pub use self::identity::{DeclaredFile, NodeFile, NotInKey, OpenedFile};
pub use self::port::{NodeRef, Port};
pub use self::resources::Resources;
pub use self::spent::{InputSpent, PartSpent, Spending, Spent};
pub use crate::lineage::Lineage;

/// What sort of artifact a node makes; ports say which sorts they take. The engine only compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactType(pub &'static str);

/// A node kind with its parameters.
pub trait Node: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The `kind` written in TOML.
    const KIND: &'static str;
    /// Raised when `run` changes meaning; part of the key.
    const VERSION: u32;
    /// What it makes.
    const OUTPUT: ArtifactType;
    /// Parameters of which at least one is given in every node of this form, and in none of another: where a kind comes in several
    /// forms, each is a separate type with the same `KIND`. Empty where it has one form.
    const FORM: &'static [&'static str] = &[];

    /// What a node with these parameters makes, where not all of its kind make the same.
    fn makes(&self) -> ArtifactType {
        Self::OUTPUT
    }

    /// Which parameters name other nodes: all of type [`NodeRef`]. They enter the key as the digests of what they name.
    fn ports(&self) -> Vec<Port>;

    /// Files (or folders, with all below them) outside the workflow that are read: digested by content, watched. Every
    /// parameter of type [`DeclaredFile`] must be among them, or above one of them. `folder` is what they are relative to, for kinds
    /// whose files have one of several names.
    fn files(&self, folder: &Path) -> Vec<NodeFile> {
        let _ = folder;
        Vec::new()
    }

    /// Whether it works on a copy of the file of that role, which it compares with its digest in [`Context::files`] before it begins, so that the
    /// original may change meanwhile. Of others a change under their hands is an error.
    fn copies(&self, role: &str) -> bool {
        let _ = role;
        false
    }

    /// What it may depend on that is no part of its key, in words that its author wrote: for `flow plan`.
    fn not_in_key(&self) -> Vec<String> {
        Vec::new()
    }

    /// Checks the parameters against what is known of the inputs, and says what is known of the output.
    ///
    /// # Errors
    /// At the parameter that is wrong.
    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        let _ = inputs;
        Ok(Facts::unknown())
    }

    /// What its own training costs: nothing for what does not train, `None` where that depends on what is not known before something ran.
    fn spends(&self, inputs: &InputFacts) -> Option<Spending> {
        let _ = inputs;
        Some(Spending::default())
    }

    /// The same node with what follows from the costs of the nodes before it filled in; `None` where nothing does. Only then are its key made, its
    /// facts and [`Node::spends`] asked.
    ///
    /// # Errors
    /// At the parameter that is wrong.
    fn settled(&self, spent: &Spent<'_>) -> Result<Option<Self>, ParamError>
    where
        Self: Sized,
    {
        let _ = spent;
        Ok(None)
    }

    /// Checks what its inputs cost together, and says it in words for `flow plan`. Asked of nodes with a labelled port.
    ///
    /// # Errors
    /// At the parameter that is wrong.
    fn account(&self, spent: &Spent<'_>) -> Result<Option<String>, ParamError> {
        let _ = spent;
        Ok(None)
    }

    /// What it takes of the machine, given what is known of its inputs.
    fn resources(&self, inputs: &InputFacts) -> Resources {
        let _ = inputs;
        Resources::default()
    }

    /// Whether it runs in a separate process, so that a crash or an end for want of memory is one failed node. For work
    /// that takes longer than starting a process (some 10 ms).
    fn isolated(&self) -> bool {
        false
    }

    /// Does the work. Same parameters and inputs, same bytes: no clock, no host, no thread count may show in the output.
    ///
    /// # Errors
    /// What is wrong, and what to do about it; [`NodeError::Stopped`] when it was asked to stop.
    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError>;

    /// A page for people, made after the run from this node's artifact and what its inputs cost; written into the run's
    /// folder as `<node>.md` and `<node>.json`, the text printed at the end. Times belong here, never in artifacts. Asked of
    /// nodes that nothing depends on and of nodes with a labelled port, in every run, also when the artifact was cached.
    ///
    /// # Errors
    /// If the artifact cannot be read.
    fn report(&self, artifact: &Artifact, lineage: &Lineage<'_>) -> Result<Option<Report>, NodeError> {
        let _ = (artifact, lineage);
        Ok(None)
    }
}

/// One input as `run` sees it.
#[derive(Clone, Debug)]
pub struct Input {
    /// The node's name without bindings, on a labelled port; otherwise empty.
    pub node: String,
    /// The values of its matrix variables, on a labelled port; otherwise empty.
    pub bindings: BTreeMap<String, Value>,
    /// What it made.
    pub artifact: Artifact,
}

impl Input {
    /// Reads one file of the artifact; its digest is verified.
    ///
    /// # Errors
    /// If the artifact has no such file, or it is damaged.
    pub fn read(&self, file: &str) -> Result<Vec<u8>, NodeError> {
        Ok(self.artifact.read(file)?)
    }

    /// The bytes of one file where they lie in the cache, shared with all that map it; its digest is verified once, now.
    ///
    /// # Errors
    /// As [`Input::read`].
    pub fn map(&self, file: &str) -> Result<Mapped, NodeError> {
        Ok(self.artifact.map(file)?)
    }
}

/// The inputs by port, in the order of the port's refs (and, where a port gathers, of the bindings).
#[derive(Clone, Debug, Default)]
pub struct Inputs(pub BTreeMap<&'static str, Vec<Input>>);

impl Inputs {
    /// All inputs of a port; none if it was left out.
    pub fn all(&self, port: &str) -> &[Input] {
        self.0.get(port).map_or(&[], Vec::as_slice)
    }

    /// The nodes that made them, with the beginnings of their keys.
    pub(crate) fn in_words(&self) -> String {
        let made = self.0.values().flatten().map(|input| input.artifact.summary());
        let words: Vec<String> = made
            .map(|made| format!("`{}` {}", made.node, made.key.short()))
            .collect();
        words.join(", ")
    }

    /// The input of a port that may be left out.
    pub fn maybe(&self, port: &str) -> Option<&Input> {
        self.all(port).first()
    }

    /// The input of a port that must be there: the plan has checked it.
    pub fn one(&self, port: &str) -> &Input {
        self.maybe(port)
            .unwrap_or_else(|| panic!("BUG: port `{port}` has no input although the plan was checked"))
    }
}

/// How far a node is: `step` of `total` units, with what a person would watch (loss, images/s, ...).
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Units done.
    pub step: u64,
    /// Units in all.
    pub total: u64,
    /// What a unit is, e.g. `epoch`.
    pub unit: &'static str,
    /// Metrics worth watching, in the order shown.
    pub metrics: Vec<(&'static str, f64)>,
}

/// What the engine offers to a running node: threads, progress, checkpoints and whether to stop. No paths, no clock, no store.
pub struct Context<'a> {
    /// The CPU threads given; `run` is called inside a rayon pool of that size.
    pub threads: usize,
    /// The GPUs given, or of which a part is given, by the names that CUDA_VISIBLE_DEVICES takes.
    pub gpus: &'a [String],
    /// Each of [`Node::files`], found and digested by the engine.
    pub files: &'a [OpenedFile],
    /// The engine's side.
    pub host: &'a dyn Host,
}

/// The engine's side of a [`Context`]; a test may bring its own.
pub trait Host: Sync {
    /// Shows progress. Cheap: called as often as the node likes.
    fn progress(&self, progress: Progress);
    /// A line for the node's log.
    fn note(&self, line: &str);
    /// The checkpoint saved last under this action key, if any: never one of another key, never a torn one.
    ///
    /// # Errors
    /// If there is one that cannot be read.
    fn load_checkpoint(&self) -> Result<Option<Vec<u8>>, NodeError>;
    /// Saves a checkpoint, atomically, in place of the earlier one.
    ///
    /// # Errors
    /// If it cannot be written.
    fn save_checkpoint(&self, bytes: &[u8]) -> Result<(), NodeError>;
    /// Whether so much work was done since the last checkpoint that another is worth its time. Between the places where a
    /// node saves one in any case.
    fn checkpoint_due(&self) -> bool {
        false
    }
    /// What was remembered last under `name`, with the artifact that its run made, if both are still there. It may save work and nothing else: the
    /// output must be the same without it.
    fn remembered(&self, name: &str) -> Option<(Artifact, Vec<u8>)> {
        let _ = name;
        None
    }
    /// Remembers something about the artifact that this run makes, in place of what was remembered under `name`.
    fn remember(&self, name: &str, bytes: &[u8]) {
        let _ = (name, bytes);
    }
    /// A file for what is too large for memory: written, it is an output ([`Host::output`]), or read again where it lies.
    ///
    /// # Errors
    /// If there is no place for it.
    fn large_file(&self) -> Result<LargeWriter, NodeError> {
        Err(NodeError::failed("BUG: there is no place for large files here"))
    }
    /// Adds a file to the [`Output`] that this run will return; its name must be none of the files there.
    ///
    /// # Errors
    /// If nothing becomes of this run's output.
    fn output(&self, name: &str, file: LargeFile) -> Result<(), NodeError> {
        let _ = file;
        Err(NodeError::failed(format!(
            "BUG: nothing becomes of the large file `{name}` here"
        )))
    }
    /// Takes secrets out of what a program printed.
    fn hide(&self, bytes: &mut Vec<u8>) {
        let _ = bytes;
    }
    /// Whether to stop soon: save a checkpoint and return [`NodeError::Stopped`].
    fn stop_requested(&self) -> bool;
}

/// What a node made.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Named files. Must be the same bytes for the same key.
    pub files: Vec<(String, Vec<u8>)>,
    /// Metrics to query by, e.g. `accuracy`.
    pub metrics: BTreeMap<String, f64>,
}

/// What one gathered input of a reporting node cost, with everything it was made from.
#[derive(Clone, Debug)]
pub struct InputCost {
    /// The port and the place in it.
    pub port: &'static str,
    /// The place in the port.
    pub index: usize,
    /// The node's name.
    pub node: String,
    /// Its bindings.
    pub bindings: BTreeMap<String, Value>,
    /// Every record that it depends on, itself included, each once. Costs and metrics are in the records; a record that came
    /// from the cache carries the cost of when it was made.
    pub records: Vec<std::sync::Arc<flow_cache::ArtifactSummary>>,
}

/// An input of a reporting node that failed, or depends on what did, while the run kept going.
#[derive(Clone, Debug)]
pub struct MissingInput {
    /// The node's name.
    pub node: String,
    /// Its bindings.
    pub bindings: BTreeMap<String, Value>,
}

/// A page for people.
#[derive(Clone, Debug)]
pub struct Report {
    /// Markdown, written to the run's folder.
    pub markdown: String,
    /// The same for programs.
    pub json: Value,
    /// The same for a terminal, printed on stdout at the end of the run.
    pub terminal: String,
    /// More files next to it, such as a chart: the ending of each one's name (`svg` for `<node>.svg`), and its bytes.
    pub files: Vec<(String, Vec<u8>)>,
    /// What came out, in a few words: for lists of runs.
    pub headline: Option<String>,
    /// What `flow report` draws.
    pub figures: Vec<crate::figure::Figure>,
}

/// Why a node did not finish.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Asked to stop; a checkpoint was saved where the node has any.
    #[error("stopped")]
    Stopped,
    /// The store failed, or an input turned out corrupt.
    #[error(transparent)]
    Cache(#[from] flow_cache::CacheError),
    /// Anything that the person must act on: what, and what to do.
    #[error("{message}")]
    Failed {
        /// What is wrong.
        message: String,
        /// What to do.
        help: Option<String>,
    },
}

impl NodeError {
    /// A failure that needs no further help.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            help: None,
        }
    }

    /// The system refused something: what was tried, as `start a thread`, and what it says.
    pub fn cannot(what: &str, error: &impl std::fmt::Display) -> Self {
        Self::failed(format!("cannot {what}: {error}"))
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_help(self, text: impl Into<String>) -> Self {
        match self {
            Self::Failed { message, .. } => Self::Failed {
                message,
                help: Some(text.into()),
            },
            other => other,
        }
    }
}
