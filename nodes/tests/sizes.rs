//! Whatever size a workflow asks for, planning answers at once: each whole number of each node kind is set to huge values, and is refused by its
//! name unless it is listed here as no size. Nothing is allocated meanwhile.

use std::collections::BTreeSet;

use flow_engine::{Diagnostics, Override, Workflow};
use flow_nodes::registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

const HUGE: [i64; 3] = [4_000_000_000, 1_000_000_000_000, i64::MAX];

/// Bytes that may be allocated while all of this is planned: any of the huge sizes is more.
const ROOM: u64 = 3 << 30;

/// Whole numbers that are no sizes, or are taken for what there is at most.
const NO_SIZES: &[(&str, &str)] = &[
    ("", "seed"),
    ("finetune", "steps"),
    ("finetune", "warmup_steps"),
    ("finetune", "budget"),
    ("pretrain", "epochs"),
    ("pretrain", "warmup_epochs"),
    ("pretrain", "budget"),
    ("pretrain", "monitor"),
    ("dataset", "max_pixels"),
    ("pseudo-label", "per_class"),
    ("evaluate", "neighbours"),
    ("evaluate", "cluster_images"),
];

const IMAGES: &str = include_str!("../../tests/fixtures/small.toml");

const TEXTS: &str = r#"
[workflow]
name = "texts"
[nodes.lines]
kind = "dataset"
source = "text"
path = "lines.tsv"
test = 4
vocabulary = 64
length = 8
[nodes.task]
kind = "pretext"
method = "masked-token"
[nodes.pretrained]
kind = "pretrain"
data = "lines"
task = "task"
backbone = { name = "transformer", dim = 8, depth = 1, heads = 2 }
lr = 0.01
epochs = 1
batch = 4
[nodes.frozen]
kind = "evaluate"
encoder = "pretrained"
data = "lines"
"#;

fn load(text: &str, changes: &[Override]) -> Result<Workflow, Diagnostics> {
    let folder = tempfile::tempdir().expect("a folder");
    let lines: String = (0..24)
        .map(|i| format!("{}\ta text of number {i}\n", ["one", "two"][i % 2]))
        .collect();
    std::fs::write(folder.path().join("lines.tsv"), lines).expect("written");
    std::fs::write(folder.path().join("w.toml"), text).expect("written");
    flow_engine::load(&folder.path().join("w.toml"), &registry(), changes)
}

/// Paths of all whole numbers in a schema; a list of numbers is one.
fn integers(schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    let is_integer = |schema: &Value| match &schema["type"] {
        Value::String(name) => name == "integer",
        Value::Array(names) => names.iter().any(|name| name == "integer"),
        _ => false,
    };
    if is_integer(schema) {
        found.insert(at.to_owned());
    }
    if is_integer(&schema["items"]) {
        found.insert(format!("{at}[]"));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let at = if at.is_empty() {
            name.clone()
        } else {
            format!("{at}.{name}")
        };
        integers(property, &at, found);
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        for one in schema[several].as_array().into_iter().flatten() {
            integers(one, at, found);
        }
    }
}

#[test]
fn whatever_size_is_asked_for_planning_answers_and_allocates_nothing() {
    let limit = getrlimit(Resource::As);
    let used = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = used
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .expect("a number");
    setrlimit(
        Resource::As,
        Rlimit {
            current: Some(pages * 4096 + ROOM),
            maximum: limit.maximum,
        },
    )
    .expect("lowered");
    let registry = registry();
    let (mut taken, mut tried) = (BTreeSet::new(), 0);
    for text in [IMAGES, TEXTS] {
        load(text, &[]).unwrap_or_else(|error| panic!("{error:?}"));
        let workflow: Value = serde_json::to_value(toml::from_str::<toml::Value>(text).expect("TOML")).expect("JSON");
        for (node, table) in workflow["nodes"].as_object().expect("nodes") {
            let kind = table["kind"].as_str().expect("a kind");
            let mut parameters = BTreeSet::new();
            for form in registry.form_schemas(kind) {
                if form.marks.is_empty() || form.marks.iter().any(|mark| table.get(*mark).is_some()) {
                    integers(&form.schema, "", &mut parameters);
                }
            }
            for parameter in &parameters {
                for huge in HUGE {
                    tried += 1;
                    let (path, value) = match parameter.strip_suffix("[]") {
                        Some(path) => (
                            path,
                            toml::Value::from(vec![huge; table["backbone"]["widths"].as_array().map_or(3, Vec::len)]),
                        ),
                        None => (parameter.as_str(), toml::Value::from(huge)),
                    };
                    let ended = load(text, &[Override::new(format!("nodes.{node}.{path}"), value)]);
                    let last = parameter.rsplit('.').next().unwrap_or(parameter);
                    let no_size = |(of, name): &(&str, &str)| (of.is_empty() || *of == kind) && *name == last;
                    if ended.is_ok() && !NO_SIZES.iter().any(no_size) {
                        taken.insert(format!("{kind}: {parameter} = {huge}"));
                    }
                }
            }
        }
    }
    assert!(tried > 100, "{tried} sizes");
    assert_eq!(taken, BTreeSet::new(), "these were planned");

    let batch = |text: &str| largest(text, "nodes.simclr.batch", 1 << 40, toml::Value::from);
    let one_view = IMAGES.replace(
        "method = \"simclr\"\nhidden = 16\nprojection = 8",
        "method = \"supervised\"",
    );
    let ratio = batch(&one_view) / batch(IMAGES);
    assert!((1.9..2.1).contains(&ratio), "two views take twice the memory: {ratio}");

    let widths = |text: &str| {
        largest(text, "nodes.simclr.backbone.widths", 7000, |width| {
            vec![width; 3].into()
        })
    };
    let no_moments = IMAGES.replace("{ name = \"adam\" }", "{ name = \"sgd\", momentum = 0.0 }");
    let ratio = widths(&no_moments) / widths(IMAGES);
    assert!(
        (1.33..1.5).contains(&ratio),
        "two moments of each weight take as much as weights and gradients: {ratio}"
    );
}

/// The largest number at `path` that is not refused for want of memory, to 2 %; `most` is.
fn largest(text: &str, path: &str, most: i64, value: impl Fn(i64) -> toml::Value) -> f64 {
    let is_refused = |number: i64| {
        let refused = load(text, &[Override::new(path.to_owned(), value(number))]).err();
        refused.is_some_and(|problems| format!("{problems:?}").contains("of memory, and there are"))
    };
    let (mut fits, mut does_not) = (1, most);
    assert!(is_refused(most), "{path} = {most}");
    while does_not - fits > fits / 50 + 1 {
        // Halves of the exponent first: what fits is small.
        let between = if does_not > 2 * fits {
            ((fits as f64) * (does_not as f64)).sqrt() as i64 + 1
        } else {
            i64::midpoint(fits, does_not)
        };
        match is_refused(between) {
            true => does_not = between,
            false => fits = between,
        }
    }
    fits as f64
}

#[test]
fn a_data_set_of_files_is_read_in_a_process_of_its_own() {
    use flow_engine::node::Node;
    let isolated = |text: &str| {
        toml::from_str::<flow_nodes::SourceNode>(text)
            .expect("a source")
            .isolated()
    };
    assert!(isolated("source = \"idx\"\npath = \"data\""));
    assert!(isolated("source = \"folder\"\npath = \"data\"\nside = 16"));
    assert!(!isolated("source = \"scenes\""), "its size is known while planning");
}

#[test]
fn images_are_decoded_and_made_with_all_threads_that_there_are() {
    use flow_engine::node::{InputFacts, Node};
    let threads = |text: &str| {
        let node = toml::from_str::<flow_nodes::SourceNode>(text).expect("a source");
        node.resources(&InputFacts::default()).threads
    };
    for source in [
        "folder\"\npath = \"data\"\nside = 16",
        "coco\"\npath = \"data\"",
        "scenes\"",
    ] {
        assert_eq!(threads(&format!("source = \"{source}")), Some(usize::MAX), "{source}");
    }
    assert_eq!(threads("source = \"fashion-mnist-sample\""), None);
}
