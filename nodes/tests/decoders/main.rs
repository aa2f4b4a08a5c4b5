//! Whatever others wrote into an artifact or a data set's file, a node that reads it ends with a result or an error that names the file; it
//! neither panics nor takes the machine's memory. `FUZZ=100 cargo test -p flow-nodes --test decoders` tries a hundred times as much.

mod mutate;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use flow_cache::{Access, Artifact, Draft, KeyFields, Store};
use flow_engine::node::{Context, Host, Input, Inputs, Node, NodeError, Progress};
use flow_nodes::{
    AugmentNode, CompareNode, FinetuneNode, PartNode, PretextNode, PretrainNode, ProbeNode, PseudoLabelNode, ScoreNode,
    SourceNode, SummaryNode,
};
use image::ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
use mutate::{Dice, mutated};
use serde_json::Value;

/// The files of an artifact.
type Files = Vec<(String, Vec<u8>)>;

/// Changes of each file, times what `FUZZ` says.
const TRIES: u32 = 8;

fn tries() -> u32 {
    let more = std::env::var("FUZZ")
        .ok()
        .map(|more| more.parse::<u32>().expect("a number"));
    TRIES * more.unwrap_or(1)
}

/// A host that keeps a checkpoint.
#[derive(Default)]
struct Quiet {
    checkpoint: Mutex<Option<Vec<u8>>>,
    /// Asked to stop so many times, it says yes; never if 0.
    stop_after: u32,
    asked: AtomicU32,
}

impl Host for Quiet {
    fn progress(&self, _progress: Progress) {}
    fn note(&self, _line: &str) {}
    fn load_checkpoint(&self) -> Result<Option<Vec<u8>>, NodeError> {
        Ok(self.checkpoint.lock().expect("no panic").clone())
    }
    fn save_checkpoint(&self, bytes: &[u8]) -> Result<(), NodeError> {
        *self.checkpoint.lock().expect("no panic") = Some(bytes.to_vec());
        Ok(())
    }
    fn stop_requested(&self) -> bool {
        self.stop_after > 0 && self.asked.fetch_add(1, Ordering::Relaxed) >= self.stop_after
    }
}

/// What a node is given at a port: node, bindings, files.
type Given<'a> = (&'static str, &'a str, &'a [(&'a str, Value)], &'a Files);

struct Kitchen {
    store: Store,
    _folder: tempfile::TempDir,
    count: AtomicU32,
}

impl Kitchen {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), Access::ReadWrite).expect("a store");
        Self {
            store,
            _folder: folder,
            count: AtomicU32::new(0),
        }
    }

    fn artifact(&self, node: &str, files: &Files) -> Artifact {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let (key, components) = KeyFields::new("fuzz", 1).param("number", &number.into()).finish();
        let files = files.clone();
        let draft = Draft {
            kind: "fuzz".into(),
            node: node.into(),
            components,
            files,
            ..Draft::default()
        };
        self.store.publish(&key, &draft).expect("a new key")
    }

    fn run<N: Node>(&self, params: &str, given: &[Given<'_>], host: &Quiet) -> Result<Files, NodeError> {
        let node: N = toml::from_str(params).unwrap_or_else(|error| panic!("{params}: {error}"));
        let mut inputs = Inputs::default();
        for (port, name, bindings, files) in given {
            let artifact = self.artifact(if name.is_empty() { port } else { name }, files);
            let bindings: BTreeMap<_, _> = bindings.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
            inputs.0.entry(port).or_default().push(Input {
                node: (*name).to_owned(),
                bindings,
                artifact,
            });
        }
        let mut context = Context {
            threads: 1,
            gpus: &[],
            files: &[],
            host,
        };
        node.run(&inputs, &mut context).map(|output| output.files)
    }

    fn make<N: Node>(&self, params: &str, given: &[Given<'_>]) -> Files {
        self.run::<N>(params, given, &Quiet::default())
            .unwrap_or_else(|error| panic!("{params}: {error}"))
    }

    /// Feeds a node with each of its inputs changed, a file at a time.
    fn feed<N: Node>(&self, what: &str, params: &str, given: &[Given<'_>]) {
        self.make::<N>(params, given);
        let mut dice = Dice::new(what);
        for (place, (port, _, _, files)) in given.iter().enumerate() {
            for (file, (name, bytes)) in files.iter().enumerate() {
                for attempt in 0..tries() {
                    let mut changed = (*files).clone();
                    let how;
                    (changed[file].1, how) = mutated(bytes, &mut dice);
                    let mut given = given.to_vec();
                    given[place].3 = &changed;
                    // A training that the change lets begin need not end.
                    let host = Quiet {
                        stop_after: 3,
                        ..Quiet::default()
                    };
                    let ended = catch_unwind(AssertUnwindSafe(|| self.run::<N>(params, &given, &host)));
                    let told = format!("{what}: `{name}` at `{port}`, {how} (attempt {attempt})");
                    names_the_file(
                        ended.unwrap_or_else(|_| panic!("{told}: it panicked")),
                        name,
                        bytes,
                        &told,
                    );
                }
            }
        }
    }
}

/// An error about bytes that cannot be read names the file. One about what they say, as `200 labels asked for`, is in the words of that.
fn names_the_file(ended: Result<Files, NodeError>, name: &str, bytes: &[u8], told: &str) {
    let Err(NodeError::Failed { message, .. }) = ended else {
        return;
    };
    assert!(!message.contains("BUG"), "{told}: {message}");
    let words = [
        "cannot read",
        "damaged",
        "expected value",
        "EOF",
        "safetensors",
        "header",
    ];
    if words.iter().any(|word| message.contains(word)) {
        // Tokens and the vocabulary that they are numbers of may contradict each other.
        let of_set = ["dataset.json", "vocabulary"].iter().any(|word| message.contains(word)) || bytes.is_empty();
        assert!(message.contains(name) || of_set, "{told}: {message}");
    }
}

const BACKBONE: &str = "backbone = { name = \"conv3\", widths = [4, 4, 4], grid = 2 }";
const SOURCE: &str = "source = \"scenes\"\ntrain = 60\ntest = 20\nside = 16\nvalidation = 10";

#[test]
fn whatever_is_in_the_artifacts_of_images_a_node_ends_with_a_result_or_an_error() {
    let kitchen = &Kitchen::new();
    let images = &kitchen.make::<SourceNode>(SOURCE, &[]);
    let from = "from = \"x\"\nlabels = 20";
    let part = &kitchen.make::<PartNode>(from, &[("from", "", &[], images)]);
    kitchen.feed::<PartNode>("part", from, &[("from", "", &[], images)]);
    kitchen.feed::<PartNode>(
        "part of part",
        "from = \"x\"\nclasses = [1, 0]\nlabels = 4",
        &[("from", "", &[], part)],
    );

    let recipe = &kitchen.make::<AugmentNode>("recipe = \"simclr\"", &[]);
    let tasks = [
        "method = \"simclr\"\nhidden = 8\nprojection = 4",
        "method = \"jigsaw\"",
        "method = \"deep-cluster\"\nclusters = 4\ncomponents = 4",
    ];
    let pretrain = format!(
        "data = \"x\"\nviews = \"x\"\ntask = \"x\"\n{BACKBONE}\noptimizer = {{ name = \"adam\" }}\nlr = 0.005\nepochs = 1\nbatch = 8\nmonitor = 0"
    );
    let task = &kitchen.make::<PretextNode>(tasks[0], &[]);
    let given: &[Given<'_>] = &[
        ("data", "", &[], images),
        ("views", "", &[], recipe),
        ("task", "", &[], task),
    ];
    let encoder = &kitchen.make::<PretrainNode>(&pretrain, given);
    kitchen.feed::<PretrainNode>("pretrain", &pretrain, given);
    for text in &tasks[1..] {
        let task = &kitchen.make::<PretextNode>(text, &[]);
        kitchen.feed::<PretrainNode>(text, &pretrain, &[given[0], given[1], ("task", "", &[], task)]);
    }

    let finetune = format!("data = [\"x\"]\nviews = \"x\"\nlr = 0.05\nsteps = 2\nbatch = 4\n{BACKBONE}");
    let given: &[Given<'_>] = &[("data", "", &[], part), ("views", "", &[], recipe)];
    let model = &kitchen.make::<FinetuneNode>(&finetune, given);
    kitchen.feed::<FinetuneNode>("finetune", &finetune, given);
    let init = "data = [\"x\"]\ninit = \"x\"\nlr = 0.05\nsteps = 2\nbatch = 4";
    kitchen.feed::<FinetuneNode>("init", init, &[("data", "", &[], part), ("init", "", &[], encoder)]);

    let guess = "teacher = \"x\"\ndata = \"x\"\nexcept = \"x\"\nthreshold = 0.1";
    let given: &[Given<'_>] = &[
        ("teacher", "", &[], model),
        ("data", "", &[], images),
        ("except", "", &[], part),
    ];
    kitchen.feed::<PseudoLabelNode>("pseudo-label", guess, given);
    let guessed = &kitchen.make::<PseudoLabelNode>(guess, given);
    kitchen.feed::<FinetuneNode>(
        "guessed",
        &finetune,
        &[
            ("data", "", &[], part),
            ("data", "", &[], guessed),
            ("views", "", &[], recipe),
        ],
    );

    let score = "model = \"x\"\ndata = \"x\"";
    let given: &[Given<'_>] = &[("model", "", &[], model), ("data", "", &[], images)];
    let scores = &kitchen.make::<ScoreNode>(score, given);
    kitchen.feed::<ScoreNode>("score", score, given);
    let probe = "encoder = \"x\"\ndata = \"x\"\nneighbours = 3";
    kitchen.feed::<ProbeNode>(
        "probe",
        probe,
        &[("encoder", "", &[], encoder), ("data", "", &[], part)],
    );

    let draw = |arm: &str, seed: u64| [("arm", Value::from(arm)), ("labels", 12.into()), ("seed", seed.into())];
    let draws = [draw("a", 0), draw("a", 1), draw("b", 0), draw("b", 1)];
    let given: Vec<Given<'_>> = draws
        .iter()
        .map(|draw| ("compare", "score", &draw[..], scores))
        .collect();
    kitchen.feed::<CompareNode>(
        "compare",
        "compare = [\"x\"]\nbaseline = \"a\"\nunequal = \"a test\"",
        &given,
    );
    let given: Vec<Given<'_>> = draws
        .iter()
        .map(|draw| ("summary", "score", &draw[..], scores))
        .collect();
    kitchen.feed::<SummaryNode>("summary", "summary = [\"x\"]", &given);
}

#[test]
fn whatever_is_in_the_artifacts_of_texts_a_node_ends_with_a_result_or_an_error() {
    const BACKBONE: &str = "backbone = { name = \"transformer\", dim = 8, depth = 1, heads = 2 }";
    let kitchen = &Kitchen::new();
    let texts = &made_of_lines();
    let part = &kitchen.make::<PartNode>("from = \"x\"\nlabels = 8", &[("from", "", &[], texts)]);
    kitchen.feed::<PartNode>("part of texts", "from = \"x\"\nlabels = 8", &[("from", "", &[], texts)]);

    let pretrain = format!("data = \"x\"\ntask = \"x\"\n{BACKBONE}\nlr = 0.01\nepochs = 1\nbatch = 4\nmonitor = 0");
    let task = &kitchen.make::<PretextNode>("method = \"masked-token\"", &[]);
    let given: &[Given<'_>] = &[("data", "", &[], texts), ("task", "", &[], task)];
    let encoder = &kitchen.make::<PretrainNode>(&pretrain, given);
    kitchen.feed::<PretrainNode>("masked tokens", &pretrain, given);

    let finetune = "data = [\"x\"]\ninit = \"x\"\nlr = 0.05\nsteps = 2\nbatch = 4";
    let given: &[Given<'_>] = &[("data", "", &[], part), ("init", "", &[], encoder)];
    let model = &kitchen.make::<FinetuneNode>(finetune, given);
    kitchen.feed::<FinetuneNode>("finetune on texts", finetune, given);

    let guess = "teacher = \"x\"\ndata = \"x\"\nexcept = \"x\"\nthreshold = 0.1";
    let given: &[Given<'_>] = &[
        ("teacher", "", &[], model),
        ("data", "", &[], texts),
        ("except", "", &[], part),
    ];
    kitchen.feed::<PseudoLabelNode>("pseudo-label texts", guess, given);
    let given: &[Given<'_>] = &[("model", "", &[], model), ("data", "", &[], texts)];
    kitchen.feed::<ScoreNode>("score on texts", "model = \"x\"\ndata = \"x\"", given);
    let given: &[Given<'_>] = &[("encoder", "", &[], encoder), ("data", "", &[], part)];
    kitchen.feed::<ProbeNode>("probe of texts", "encoder = \"x\"\ndata = \"x\"\nneighbours = 3", given);
}

/// The files of a data set of texts, as its node leaves them.
fn made_of_lines() -> Files {
    let folder = tempfile::tempdir().expect("a folder");
    let lines: String = (0..40)
        .map(|i| format!("{}\ta line of text number {i}\n", ["one", "two"][i % 2]))
        .collect();
    std::fs::write(folder.path().join("lines.tsv"), lines).expect("written");
    let source = "source = \"text\"\npath = \"lines.tsv\"\ntest = 8\nvocabulary = 32\nlength = 8";
    load_and_run(folder.path(), source);
    let store = Store::open(&folder.path().join("cache"), Access::ReadOnly).expect("a store");
    let record = store.records().expect("read").pop().expect("it was made");
    let artifact = store.peek(&record.key).expect("read").expect("it was made");
    let names: Vec<String> = artifact.names().map(ToString::to_string).collect();
    let read = |name: String| (name.clone(), artifact.read(&name).expect("sound"));
    names.into_iter().map(read).collect()
}

#[test]
fn whatever_is_in_a_checkpoint_a_training_begins_anew_or_ends_with_an_error() {
    let kitchen = &Kitchen::new();
    let images = &kitchen.make::<SourceNode>(SOURCE, &[]);
    let recipe = &kitchen.make::<AugmentNode>("recipe = \"simclr\"", &[]);
    let task = &kitchen.make::<PretextNode>("method = \"simclr\"\nhidden = 8\nprojection = 4", &[]);
    let pretrain = format!(
        "data = \"x\"\nviews = \"x\"\ntask = \"x\"\n{BACKBONE}\noptimizer = {{ name = \"adam\" }}\nlr = 0.005\nepochs = 3\nbatch = 8\nmonitor = 0"
    );
    let given: &[Given<'_>] = &[
        ("data", "", &[], images),
        ("views", "", &[], recipe),
        ("task", "", &[], task),
    ];
    check_checkpoint::<PretrainNode>(kitchen, &pretrain, given);
    let part = &kitchen.make::<PartNode>("from = \"x\"\nlabels = 20", &[("from", "", &[], images)]);
    let finetune = format!("data = [\"x\"]\nviews = \"x\"\nlr = 0.05\nsteps = 200\nbatch = 4\n{BACKBONE}");
    check_checkpoint::<FinetuneNode>(
        kitchen,
        &finetune,
        &[("data", "", &[], part), ("views", "", &[], recipe)],
    );
}

fn check_checkpoint<N: Node>(kitchen: &Kitchen, params: &str, given: &[Given<'_>]) {
    let stopped = Quiet {
        stop_after: 2,
        ..Quiet::default()
    };
    let ended = kitchen.run::<N>(params, given, &stopped);
    assert!(
        matches!(ended, Err(NodeError::Stopped)),
        "{params}: it was to stop half way"
    );
    let checkpoint = stopped
        .checkpoint
        .into_inner()
        .expect("no panic")
        .expect("it saves one before it stops");
    let mut dice = Dice::new(params);
    for attempt in 0..tries() * 4 {
        let (bytes, how) = mutated(&checkpoint, &mut dice);
        let host = Quiet {
            checkpoint: Mutex::new(Some(bytes)),
            stop_after: 3,
            ..Quiet::default()
        };
        let ended = catch_unwind(AssertUnwindSafe(|| kitchen.run::<N>(params, given, &host)));
        let told = format!("{}: a checkpoint, {how} (attempt {attempt})", N::KIND);
        if let Err(NodeError::Failed { message, .. }) = ended.unwrap_or_else(|_| panic!("{told}: it panicked")) {
            assert!(!message.contains("BUG"), "{told}: {message}");
        }
    }
}

/// Loads, plans and runs a workflow of one data set on files in `folder`; errors are fine.
fn load_and_run(folder: &Path, source: &str) {
    let path = folder.join("w.toml");
    std::fs::write(
        &path,
        format!("[workflow]\nname = \"w\"\n[nodes.data]\nkind = \"dataset\"\n{source}\n"),
    )
    .expect("written");
    let Ok(workflow) = flow_engine::load(&path, &flow_nodes::registry(), &[]) else {
        return;
    };
    let store = Store::open(&folder.join("cache"), Access::ReadWrite).expect("a store");
    let options = flow_engine::Options::new(folder.join("runs"));
    let outcome = flow_engine::run(&workflow, &store, &options, &mut Deaf).expect("it runs");
    for failure in outcome.failures {
        assert!(!failure.message.contains("panicked"), "{}", failure.message);
    }
}

/// Changes one file after another in a folder and has a data set made of it.
fn feed_files(files: &[(&str, Vec<u8>)], source: &str) {
    let mut dice = Dice::new(source);
    for (changed, bytes) in files {
        for attempt in 0..tries() {
            let folder = tempfile::tempdir().expect("a folder");
            for (name, bytes) in files {
                let path = folder.path().join("data").join(name);
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                std::fs::write(path, bytes).expect("written");
            }
            let (bytes, how) = mutated(bytes, &mut dice);
            std::fs::write(folder.path().join("data").join(changed), bytes).expect("written");
            let ended = catch_unwind(|| load_and_run(folder.path(), source));
            assert!(ended.is_ok(), "{source}: `{changed}`, {how} (attempt {attempt})");
        }
    }
}

#[test]
fn whatever_is_in_the_files_of_a_data_set_it_is_made_or_refused() {
    let idx = |sizes: &[u32], values: usize, most: usize| {
        let head = [0, 0, 8, sizes.len() as u8]
            .into_iter()
            .chain(sizes.iter().flat_map(|size| size.to_be_bytes()));
        head.chain((0..values).map(|value| (value % most) as u8))
            .collect::<Vec<u8>>()
    };
    let files = [
        ("train-images-idx3-ubyte", idx(&[6, 16, 16], 6 * 256, 256)),
        ("train-labels-idx1-ubyte", idx(&[6], 6, 2)),
        ("t10k-images-idx3-ubyte", idx(&[4, 16, 16], 4 * 256, 256)),
        ("t10k-labels-idx1-ubyte", idx(&[4], 4, 2)),
    ];
    feed_files(&files, "source = \"idx\"\npath = \"data\"");

    let lines: String = (0..30)
        .map(|i| format!("{}\ta line of text number {i}\n", ["one", "two"][i % 2]))
        .collect();
    feed_files(
        &[("lines.tsv", lines.into_bytes())],
        "source = \"text\"\npath = \"data/lines.tsv\"\nlength = 8\nvocabulary = 32",
    );

    let picture = |seed: u32, format| {
        let image = image::RgbImage::from_fn(20, 16, |x, y| image::Rgb([(x * seed) as u8, (y * 7) as u8, seed as u8]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).expect("an image");
        bytes.into_inner()
    };
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (number, (format, end)) in [
        (Png, "png"),
        (Jpeg, "jpg"),
        (Gif, "gif"),
        (Bmp, "bmp"),
        (Tiff, "tif"),
        (WebP, "webp"),
    ]
    .into_iter()
    .enumerate()
    {
        for class in ["cat", "dog"] {
            let seed = 3 * number as u32 + u32::from(class == "dog");
            files.push((format!("{class}/{number}.{end}"), picture(seed, format)));
        }
    }
    let table: String = files
        .iter()
        .map(|(name, _)| format!("{name},{}\n", &name[..3]))
        .collect();
    files.push(("labels.csv".to_owned(), format!("file,label\n{table}").into_bytes()));
    let files: Vec<(&str, Vec<u8>)> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();
    for on_bad in ["error", "skip"] {
        feed_files(
            &files,
            &format!("source = \"folder\"\npath = \"data\"\nside = 16\ntest = 4\non_bad = \"{on_bad}\""),
        );
    }
}

/// Nobody listens.
struct Deaf;

impl flow_engine::Reporter for Deaf {
    fn report(&mut self, _event: &flow_engine::Event) {}
}
