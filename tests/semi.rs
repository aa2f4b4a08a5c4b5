//! Semi-supervised learning from workflows: the shipped table of all methods, equal budgets, and what makes no sense.

mod common;

use std::path::Path;

use common::Place;

/// FixMatch on 16-pixel scenes.
const FIXMATCH: &str = r#"
[workflow]
name = "semi"

[nodes.images]
kind = "dataset"
source = "scenes"
train = 80
test = 40
side = 16

[nodes.labelled]
kind = "dataset"
from = "images"
labels = 20

[nodes.strong]
kind = "augment"
recipe = "randaugment"

[nodes.learner]
kind = "finetune"
data = ["labelled"]
unlabelled = "images"
strong = "strong"
semi = { method = "fixmatch", ratio = 2 }
backbone = { name = "conv3", widths = [4, 8, 8], grid = 2 }
lr = 0.05
batch = 8
budget = 400
"#;

#[test]
fn the_shipped_table_of_methods_runs_at_a_tiny_setting_with_equal_budgets() {
    let place = Place::new("");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/semi_zoo.toml");
    let ended = place.flow(&[
        "run",
        file.to_str().expect("a path in Unicode"),
        "--set",
        "matrix.labels=[20]",
        "--set",
        "matrix.seed=[0, 1]",
        "--set",
        "variables.budget=1200",
        "--set",
        "nodes.images.train=200",
        "--set",
        "variables.backbone={ name = \"conv3\", widths = [4, 4, 4], grid = 3 }",
    ]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for method in ["FixMatch", "SoftMatch", "MixMatch", "SimMatch", "Pi-model", "scratch"] {
        let row = ended
            .stdout
            .lines()
            .find(|line| line.starts_with(&format!("| {method} ")));
        assert!(
            row.is_some_and(|row| row.contains('±')),
            "no row `{method}` in {}",
            ended.stdout
        );
    }
    let records = place
        .flow(&["cache", "query", "kind = finetune", "--json"])
        .json_lines();
    assert_eq!(records.len(), 22, "eleven arms of two seeds");
    for record in records {
        let spent = record["metrics"]["images_trained"].as_f64().expect("a number");
        assert!((spent - 1200.0).abs() <= 75.0, "within half a step: {record}");
    }
}

#[test]
fn a_training_shows_what_it_guesses_and_keeps_its_history() {
    let place = Place::new(FIXMATCH);
    place.run(&[]);
    let records = place
        .flow(&["cache", "query", "kind = finetune", "--json"])
        .json_lines();
    let metrics = &records[0]["metrics"];
    for metric in [
        "kept",
        "precision",
        "guessed_classes",
        "ema_gap",
        "guessed.0",
        "unlabelled_loss",
        "train_accuracy",
    ] {
        assert!(metrics[metric].is_number(), "no `{metric}` in {metrics}");
    }
    assert_eq!(metrics["images_trained"], 400.0);
    // A share of the labelled images: it comes in as many steps as there are.
    let right = 20.0 * metrics["train_accuracy"].as_f64().expect("a number");
    assert!(
        (0.0..=20.0).contains(&right) && (right - right.round()).abs() < 1e-9,
        "{metrics}"
    );
    assert!(records[0]["outputs"]["history.json"].is_object(), "{}", records[0]);
}

#[test]
fn foreign_images_of_a_pool_stay_without_a_label_and_are_seen_among_the_guesses() {
    let pool = "[nodes.open]\nkind = \"dataset\"\nfrom = \"images\"\nclasses = [0, 1]\nothers = \"unlabelled\"\n";
    let text = FIXMATCH
        .replace("unlabelled = \"images\"", "unlabelled = \"open\"")
        .replace("from = \"images\"\nlabels = 20", "from = \"open\"\nlabels = 10")
        .replace("ratio = 2", "ratio = 2, threshold = 0.0");
    let place = Place::new(&(text + pool));
    place.run(&[]);
    let metrics = |query: &str| place.flow(&["cache", "query", query, "--json"]).json_lines()[0]["metrics"].clone();
    let open = metrics("node = open");
    assert_eq!(open["train_images"], 80.0, "foreign images stay: {open}");
    assert!(open["examples"].as_f64() < Some(80.0), "but have no label: {open}");
    assert!(
        open["test_images"].as_f64() < Some(40.0),
        "nobody is judged on them: {open}"
    );
    let learner = metrics("kind = finetune");
    assert!(learner["kept_unknown"].as_f64() > Some(0.1), "{learner}");
}

/// What is wrong after a replacement.
fn refused(from: &str, to: &str) -> String {
    assert!(FIXMATCH.contains(from), "the workflow has no `{from}`");
    let place = Place::new(&FIXMATCH.replacen(from, to, 1));
    let ended = place.flow(&["plan", "w.toml"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("w.toml:"), "{}", ended.stderr);
    ended.stderr
}

#[test]
fn what_makes_no_sense_is_refused_at_its_line() {
    for (from, to, told) in [
        ("strong = \"strong\"\n", "", "needs strong views"),
        ("unlabelled = \"images\"\n", "", "needs unlabelled images"),
        ("semi = { method = \"fixmatch\", ratio = 2 }\n", "", "is for `semi`"),
        ("ratio = 2", "ratio = 0", "semi.ratio"),
        ("fixmatch", "fixmatsch", "fixmatch"),
        ("budget = 400", "budget = 4", "one step takes 40 images"),
        ("budget = 400", "budget = 400\nsteps = 3", "both say how long"),
        ("budget = 400\n", "", "needs `steps` or `budget`"),
        (
            "recipe = \"randaugment\"",
            "ops = [{ op = \"mixup\" }]",
            "mixes targets",
        ),
    ] {
        let text = refused(from, to);
        assert!(text.contains(told), "no `{told}` in {text}");
    }
}
