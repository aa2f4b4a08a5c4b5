//! Many methods in one table and one chart, one of them failing; parts by classes; budgets.

mod common;

use common::Place;

/// Two methods that learn and one that diverges, on 16-pixel scenes.
const ZOO: &str = r#"
[workflow]
name = "zoo"

[matrix]
labels = [20, 40]
seed = [0, 1]
method = ["simclr", "rotation", "hasty"]

[nodes.images]
kind = "dataset"
source = "scenes"
train = 80
test = 40
side = 16

[nodes.labelled]
kind = "dataset"
from = "images"
labels = "${labels}"
seed = "${seed}"

[defaults.pretrain]
data = "images"
backbone = { name = "conv3", widths = [4, 8, 8], grid = 2 }
lr = 0.01
batch = 16
budget = 500
seed = "${seed}"

[nodes]
contrast = { kind = "pretext", method = "simclr", hidden = 16, projection = 8 }
simclr = { kind = "pretrain", task = "contrast" }
turn = { kind = "pretext", method = "rotation" }
rotation = { kind = "pretrain", task = "turn" }
remake = { kind = "pretext", method = "autoencoder", code = 8, width = 4 }
hasty = { kind = "pretrain", task = "remake", lr = 1e30 }

[defaults.finetune]
data = ["labelled"]
lr = 0.05
steps = 3
batch = 8
seed = "${seed}"

[nodes.tuned]
kind = "finetune"
init = "${method}"

[nodes.scratch]
kind = "finetune"
backbone = { name = "conv3", widths = [4, 8, 8], grid = 2 }

[nodes.tuned_score]
kind = "evaluate"
model = "tuned"
data = "images"

[nodes.scratch_score]
kind = "evaluate"
model = "scratch"
data = "images"

[nodes.frozen]
kind = "evaluate"
encoder = "${method}"
controls = false
cluster_images = 60
data = "labelled"
when = "labels == 40"

[nodes.controls]
kind = "evaluate"
backbone = { name = "conv3", widths = [4, 8, 8], grid = 2 }
cluster_images = 60
data = "labelled"
when = "labels == 40"

[nodes.summary]
kind = "evaluate"
summary = ["frozen", "tuned_score", "controls", "scratch_score"]
over = ["method", "labels", "seed"]
arm = "method"
baseline = "scratch_score"
titles = { scratch_score = "from scratch" }
"#;

#[test]
fn a_zoo_ends_with_one_table_and_one_chart_and_says_which_method_failed() {
    let place = Place::new(ZOO);
    let ended = place.flow(&["run", "w.toml", "--keep-going"]);
    assert_eq!(ended.code, 1, "a failure stays one: {}", ended.stderr);
    let row = |name: &str| {
        let row = ended
            .stdout
            .lines()
            .find(|line| line.starts_with(&format!("| {name} ")));
        row.unwrap_or_else(|| panic!("no row `{name}` in\n{}\n{}", ended.stdout, ended.stderr))
    };
    for column in [
        "linear probe 40",
        "kNN 40",
        "fine-tune 20",
        "fine-tune 40",
        "clusters",
        "NMI",
        "ARI",
    ] {
        assert!(row("method").contains(column), "{}", row("method"));
    }
    // SimCLR looks at each image twice, rotation four times: 16 and 8 steps of 16 images come nearest to the budget.
    assert!(row("simclr").ends_with(" 512            |"), "{}", row("simclr"));
    assert!(row("rotation").ends_with(" 512            |"), "{}", row("rotation"));
    assert!(row("hasty").contains("failed") && ended.stdout.contains("hasty failed: no result for"));
    assert!(row("random init").contains('±') && row("from scratch").contains('±'));
    let run = place.flow(&["runs", "show", "--json"]).json();
    let folder = place.path(run["dir"].as_str().expect("a directory"));
    let svg = std::fs::read_to_string(folder.join("summary.svg")).expect("a chart");
    assert!(svg.starts_with("<svg") && svg.contains("no result") && svg.contains("from scratch"));
    // Without the method that fails there is a table of another key, and every other node is found in the cache.
    let kept: Vec<&str> = ZOO.lines().filter(|line| !line.starts_with("hasty = ")).collect();
    place.write("w.toml", kept.join("\n").replace(", \"hasty\"]", "]"));
    let ended = place.run(&[]);
    assert!(!ended.stdout.contains("failed"), "{}", ended.stdout);
    assert_eq!(place.ran(), ["summary"]);
}

/// What is wrong with the zoo after a replacement.
fn refused(from: &str, to: &str) -> String {
    assert!(ZOO.contains(from), "the workflow has no `{from}`");
    let place = Place::new(&ZOO.replacen(from, to, 1));
    let ended = place.flow(&["plan", "w.toml"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    ended.stderr
}

#[test]
fn a_budget_that_makes_no_sense_is_refused_at_its_line() {
    let text = refused("budget = 500", "budget = 20");
    assert!(
        text.contains("one step of simclr takes 32") && text.contains("w.toml:"),
        "{text}"
    );
    let text = refused("task = \"turn\"", "task = \"turn\", epochs = 3");
    assert!(text.contains("both say how long") && text.contains("w.toml:"), "{text}");
    let text = refused("budget = 500\n", "");
    assert!(text.contains("needs `epochs` or `budget`"), "{text}");
}

#[test]
fn classes_are_taken_by_name_and_compose_with_labels() {
    let part = |classes: &str| {
        let text = format!("from = \"images\"\nclasses = {classes}\nlabels");
        // What is judged on is of the same classes.
        let judged =
            format!("[nodes.part]\nkind = \"dataset\"\nfrom = \"images\"\nclasses = {classes}\n\n[nodes.labelled]");
        let judged_on = |model: &str| {
            (
                format!("model = \"{model}\"\ndata = \"images\""),
                format!("model = \"{model}\"\ndata = \"part\""),
            )
        };
        let mut workflow = ZOO
            .replacen("from = \"images\"\nlabels", &text, 1)
            .replacen("[nodes.labelled]", &judged, 1);
        for (images, part) in ["tuned", "scratch"].map(judged_on) {
            workflow = workflow.replacen(&images, &part, 1);
        }
        workflow
    };
    let place = Place::new(&part("[\"ring\", \"star\", 9, 0, 1, 2]"));
    let ended = place.flow(&["run", "w.toml", "--only", "labelled"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let records = place.flow(&["cache", "query", "kind = dataset", "--json"]).json_lines();
    let parts: Vec<_> = records.iter().filter(|r| !r["metrics"]["examples"].is_null()).collect();
    assert_eq!(parts.len(), 4);
    for record in parts {
        assert_eq!(
            record["metrics"]["train_images"], 48.0,
            "six of ten classes of 80 images"
        );
    }
    let place = Place::new(&part("[\"ring\", \"strar\"]"));
    let ended = place.flow(&["plan", "w.toml"]);
    assert_eq!(ended.code, 3);
    let expected = ["no class `strar`", "did you mean `star`", "w.toml:"];
    assert!(expected.iter().all(|e| ended.stderr.contains(e)), "{}", ended.stderr);
}
