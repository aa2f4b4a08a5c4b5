//! Texts under the same engine, node kinds and protocol as images: a run ends with a verdict, wrong combinations are errors with
//! their place before anything runs.

mod common;

use common::Place;

/// The smallest workflow with every node kind on texts.
const TEXTS: &str = r#"[workflow]
name = "texts"

[matrix]
labels = [8, 20]
seed = [0, 1]
arm = ["scratch", "tuned", "student"]

[nodes.lines]
kind = "dataset"
source = "text"
path = "lines.tsv"
test = 20
validation = 10
vocabulary = 64
length = 8

[nodes.labelled]
kind = "dataset"
from = "lines"
labels = "${labels}"
seed = "${seed}"

[nodes.words]
kind = "pretext"
method = "masked-token"

[nodes.masked]
kind = "pretrain"
data = "lines"
task = "words"
backbone = { name = "transformer", dim = 8, depth = 1, heads = 2 }
optimizer = { name = "adamw" }
lr = 0.01
epochs = 2
batch = 16
seed = "${seed}"

[defaults.finetune]
lr = 0.05
steps = 6
batch = 8

[nodes.scratch]
kind = "finetune"
data = ["labelled"]
backbone = { name = "transformer", dim = 8, depth = 1, heads = 2 }
seed = "${seed}"

[nodes.tuned]
kind = "finetune"
data = ["labelled"]
init = "masked"
seed = "${seed}"

[nodes.guess]
kind = "pseudo-label"
teacher = "scratch"
data = "lines"
except = "labelled"
threshold = 0.4

[nodes.student]
kind = "finetune"
data = ["labelled", "guess"]
backbone = { name = "transformer", dim = 8, depth = 1, heads = 2 }
seed = "${seed}"

[nodes.score]
kind = "evaluate"
model = "${arm}"
data = "lines"

[nodes.frozen]
kind = "evaluate"
encoder = "masked"
data = "labelled"

[nodes.verdict]
kind = "evaluate"
compare = ["score"]
evidence = ["frozen"]
over = ["arm", "labels", "seed"]
baseline = "scratch"
unequal = "a test"
"#;

/// 90 lines of two classes.
fn lines() -> String {
    let line = |i: usize| {
        let (class, word) = if i.is_multiple_of(2) {
            ("sea", "wave")
        } else {
            ("land", "road")
        };
        format!("{class}\tthe {word} {word}{} goes on {}\n", i % 5, i % 7)
    };
    (0..90).map(line).collect()
}

fn place(workflow: &str) -> Place {
    let place = Place::new(workflow);
    place.write("lines.tsv", lines());
    place
}

#[test]
fn a_run_on_texts_ends_with_a_verdict_and_is_cached_afterwards() {
    let place = place(TEXTS);
    let ended = place.run(&[]);
    for part in ["Verdict", "scratch", "linear probe", "test texts"] {
        assert!(ended.stdout.contains(part), "no `{part}` in\n{}", ended.stdout);
    }
    place.run(&[]);
    assert!(place.ran().is_empty(), "{:?}", place.ran());
    let words = std::fs::read_to_string(common::blob(&place, "lines", "vocabulary.txt")).expect("the words");
    assert!(words.starts_with("goes\non\nthe\n"), "{words}");
}

#[test]
fn a_change_of_the_file_is_noticed_and_a_bad_line_is_named() {
    let place = place(TEXTS);
    place.run(&["--only", "labelled"]);
    place.write("lines.tsv", lines().replacen("wave1", "storm", 1));
    place.run(&["--only", "labelled"]);
    assert!(place.ran().contains(&"lines".to_owned()), "{:?}", place.ran());
    place.write("lines.tsv", lines().replacen("land\t", "land ", 1));
    let ended = place.flow(&["plan", "w.toml"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    for part in ["lines.tsv:2:", "no tab", "its class, a tab, its text"] {
        assert!(ended.stderr.contains(part), "no `{part}` in\n{}", ended.stderr);
    }
}

/// What is said of the workflow after a replacement, before anything runs.
fn refused(from: &str, to: &str) -> String {
    assert!(TEXTS.contains(from), "the workflow has no `{from}`");
    let ended = place(&TEXTS.replacen(from, to, 1)).flow(&["run", "w.toml"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    common::flat(&ended.stderr)
}

#[track_caller]
fn says(text: &str, expected: &[&str]) {
    for part in expected {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn what_is_for_images_refuses_texts_with_its_place() {
    says(
        &refused("method = \"masked-token\"", "method = \"simclr\""),
        &["`simclr` does not learn from texts", "masked-token", "w.toml:31:"],
    );
    says(
        &refused(
            "{ name = \"transformer\", dim = 8, depth = 1, heads = 2 }",
            "{ name = \"conv3\" }",
        ),
        &["`conv3` does not take texts", "transformer", "w.toml:32:"],
    );
    says(
        &refused(
            "batch = 8\n",
            "batch = 8\nviews = \"views\"\n[nodes.views]\nkind = \"augment\"\nrecipe = \"weak\"\n",
        ),
        &["no image operation can change", "leave out `views`"],
    );
    says(
        &refused("length = 8", "length = 8\nside = 32"),
        &["source `text` takes no `side`", "w.toml:"],
    );
    says(
        &refused("length = 8", "length = 2"),
        &["expected 4 to 512 tokens", "w.toml:"],
    );
}

#[test]
fn what_is_for_texts_refuses_images_with_its_place() {
    let images = "source = \"scenes\"\ntrain = 80\ntest = 40\nside = 16";
    let texts = "source = \"text\"\npath = \"lines.tsv\"\ntest = 20\nvalidation = 10\nvocabulary = 64\nlength = 8";
    says(
        &refused(texts, images),
        &[
            "`masked-token` does not learn from images",
            "`transformer` does not take images",
            "w.toml:",
        ],
    );
}

#[test]
fn an_encoder_of_another_vocabulary_is_refused_before_anything_runs() {
    let other = "\n[nodes.others]\nkind = \"dataset\"\nsource = \"text\"\npath = \"others.tsv\"\ntest = 20\nvocabulary = 64\nlength = 8\n";
    let place = place(&(TEXTS.replace("data = \"lines\"\ntask", "data = \"others\"\ntask") + other));
    place.write("others.tsv", lines().replace("wave", "ship"));
    let ended = place.flow(&["plan", "w.toml", "--only", "tuned"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    says(
        &ended.stderr,
        &[
            "`init`",
            "another vocabulary",
            "a vocabulary is learnt by the dataset node",
        ],
    );
}
