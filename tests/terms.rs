//! Equal terms: one budget for every arm, whatever is trained on the way to it.

mod common;

use common::{Ended, Place};

/// All of it by one number: training from scratch, pre-training then fine-tuning, and a teacher with two rounds of students.
const ARMS: &str = r#"
[variables]
budget = 1_200

[matrix]
arm = ["scratch", "tuned", "student"]

[nodes.images]
kind = "dataset"
source = "scenes"
train = 90
test = 40
side = 16

[nodes.labelled]
kind = "dataset"
from = "images"
labels = 20

[nodes.contrast]
kind = "pretext"
method = "simclr"
hidden = 16
projection = 8

[nodes.simclr]
kind = "pretrain"
data = "images"
task = "contrast"
backbone = { name = "conv3", widths = [4, 8, 8], grid = 2 }
lr = 0.005
budget = { of = "${budget}", share = 0.5 }
batch = 16
monitor = 0

[defaults.finetune]
data = ["labelled"]
lr = 0.05
batch = 4

[nodes.scratch]
kind = "finetune"
backbone = { name = "conv3", widths = [4, 8, 8], grid = 2 }
budget = "${budget}"

[nodes.tuned]
kind = "finetune"
init = "simclr"
budget = { of = "${budget}", rest = true }

[nodes.teacher]
kind = "finetune"
backbone = { name = "conv3", widths = [4, 8, 8], grid = 2 }
budget = { of = "${budget}", share = 0.25 }

[nodes.guess]
kind = "pseudo-label"
teacher = "teacher"
data = "images"
except = "labelled"
threshold = 0.11

[nodes.student]
kind = "finetune"
data = ["labelled", "guess"]
init = "simclr"
budget = { of = "${budget}", rest = true }
rounds = 2
becomes = "guess.teacher"

[nodes.score]
kind = "evaluate"
model = "${arm}"
data = "images"

[nodes.verdict]
kind = "evaluate"
compare = ["score"]
over = ["arm"]
baseline = "scratch"
"#;

fn planned(workflow: &str) -> Ended {
    Place::new(workflow).flow(&["plan", "w.toml"])
}

/// The cells of the row of an arm in the account.
fn row(ended: &Ended, arm: &str) -> Vec<String> {
    let line = ended.stdout.lines().find(|line| line.starts_with(&format!("| {arm} ")));
    let line = line.unwrap_or_else(|| panic!("no row of {arm} in {}{}", ended.stdout, ended.stderr));
    line.split('|')
        .map(|cell| cell.trim().to_owned())
        .filter(|cell| !cell.is_empty())
        .collect()
}

#[test]
fn every_length_follows_from_one_number_and_an_ancestor_on_two_ways_counts_once() {
    let ended = planned(ARMS);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(row(&ended, "scratch"), ["scratch", "all", "1200", "1200"]);
    // SimCLR's steps are of 16 images with two views each: 19 of them come nearest to 600.
    assert_eq!(row(&ended, "tuned"), ["tuned", "all", "592", "608", "1200"]);
    // 300 for the teacher; two passes over 70 images at a third; the students share what is left, to a whole step of 4.
    let student = row(&ended, "student");
    assert_eq!(student[2..], ["544", "608", "47", "1199"], "{}", ended.stdout);
}

#[test]
fn what_is_trained_is_what_the_account_says() {
    let place = Place::new(ARMS);
    let ran = place.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let trained = |kind: &str| -> f64 {
        let found = place.flow(&["cache", "query", &format!("kind = {kind}"), "--json"]);
        let lines = found.json_lines();
        let metric = |line: &serde_json::Value| line["metrics"]["images_trained"].as_f64().expect("a figure");
        lines.iter().map(metric).sum()
    };
    assert_eq!(trained("pretrain"), 608.0);
    assert_eq!(
        trained("finetune"),
        1200.0 + 592.0 + 300.0 + 244.0,
        "scratch, tuned, the teacher and two students"
    );
    assert!((trained("pseudo-label") - 2.0 * 70.0 / 3.0).abs() < 1e-6);
    assert!(!ran.stdout.contains("Not on equal terms"), "{}", ran.stdout);
}

#[test]
fn arms_on_unequal_terms_are_refused_unless_it_is_said_why() {
    let more = ARMS.replace("rest = true }\n\n[nodes.teacher]", "share = 0.9 }\n\n[nodes.teacher]");
    let refused = planned(&more);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("not on equal terms"), "{}", refused.stderr);
    let said = more.replace(
        "baseline = \"scratch\"\n",
        "baseline = \"scratch\"\nunequal = \"we wonder\"\n",
    );
    let allowed = planned(&said);
    assert_eq!(allowed.code, 0, "{}", allowed.stderr);
    assert!(
        allowed.stdout.contains("Not on equal terms: we wonder"),
        "{}",
        allowed.stdout
    );
}

#[test]
fn a_training_that_stops_early_is_charged_what_it_might_have_spent() {
    let early = ARMS.replace(
        "[nodes.tuned]\nkind = \"finetune\"\ninit = \"simclr\"\nbudget = { of = \"${budget}\", rest = true }",
        "[nodes.tuned]\nkind = \"finetune\"\ninit = \"simclr\"\nbudget = { of = \"${budget}\", rest = true, stop = 0.5 }",
    );
    let ended = planned(&early);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(row(&ended, "tuned"), ["tuned", "all", "296", "608", "904", "1200"]);
}

#[test]
fn nothing_left_of_a_budget_is_told_before_anything_runs() {
    let ended = planned(&ARMS.replace("share = 0.5", "share = 1.0"));
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("nothing is left of 1200 images"),
        "{}",
        ended.stderr
    );
}

/// Controls that vary by less than the arms do, and a bound that varies by nothing.
const CONTROLS: &str = r#"
[matrix]
labels = [20, 40]
draw = [0, 1, 2]
seed = [0, 1]

[nodes.images]
kind = "dataset"
source = "scenes"
train = 90
validation = 20
test = 40
side = 16

[nodes.labelled]
kind = "dataset"
from = "images"
labels = "${labels}"
seed = "${draw}"

[defaults.finetune]
backbone = { name = "conv3", widths = [4, 8, 8], grid = 2 }
lr = 0.05
budget = 16
batch = 4

[nodes.scratch]
kind = "finetune"
data = ["labelled"]
seed = "${seed}"

[nodes.slow]
kind = "finetune"
data = ["labelled"]
lr = 0.001
seed = "${seed}"

[nodes.whole]
kind = "finetune"
data = ["images"]

[nodes.score]
kind = "evaluate"
model = "scratch"
data = "images"

[nodes.score_slow]
kind = "evaluate"
model = "slow"
data = "images"

[nodes.score_whole]
kind = "evaluate"
model = "whole"
data = "images"

[nodes.svm]
kind = "evaluate"
control = "svm"
data = "labelled"
penalty = [1.0, 10.0]

[nodes.neighbours]
kind = "evaluate"
control = "knn"
data = "labelled"

[nodes.random]
kind = "evaluate"
control = "random-probe"
network = { name = "conv3", widths = [4, 8, 8], grid = 2 }
data = "labelled"

[nodes.verdict]
kind = "evaluate"
compare = ["score", "score_slow"]
controls = ["svm", "neighbours", "random"]
upper_bound = ["score_whole"]
over = ["labels", "draw", "seed"]
repeat = ["draw", "seed"]
baseline = "score"
titles = { svm = "RBF-SVM" }
"#;

#[test]
fn controls_stand_in_the_table_with_the_draws_of_the_arms() {
    let place = Place::new(CONTROLS);
    let ran = place.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for row in ["\no RBF-SVM ", "\no neighbours ", "\no random ", "\n^ score_whole "] {
        assert!(ran.stdout.contains(row), "no {row} in {}", ran.stdout);
    }
    assert!(ran.stdout.contains("of 6 runs"), "{}", ran.stdout);
    // Networks: 2 arms, 2 budgets, 3 draws, 2 seeds, and one with all labels; three controls for each budget and draw.
    let looks = 2 * 2 * 3 * 2 + 1 + 3 * 2 * 3;
    assert!(
        ran.stdout
            .contains(&format!("judged on {looks} time(s), by 1 workflow(s)")),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("Fewer than 5 draws"), "{}", ran.stdout);
}

#[test]
fn a_comparison_that_does_not_gather_a_variable_gives_a_verdict_at_each_of_its_values() {
    let fewer = CONTROLS
        .replace("labels = [20, 40]", "labels = [20]\nside = [16, 20]")
        .replace("draw = [0, 1, 2]", "draw = [0]")
        .replace("side = 16", "side = \"${side}\"");
    let place = Place::new(&fewer);
    let ran = place.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let run = place.flow(&["runs", "show", "--json"]).json();
    let folder = place.path(run["dir"].as_str().expect("a directory"));
    let accuracies = [16, 20].map(|side| {
        let text = std::fs::read_to_string(folder.join(format!("verdict[side={side}].json"))).expect("a verdict");
        let verdict: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let [cell] = verdict["verdict"]["cells"].as_array().expect("cells").as_slice() else {
            panic!("one budget: {text}");
        };
        assert_eq!(
            (cell["budget"].as_str(), cell["draws"].as_u64(), cell["runs"].as_u64()),
            (Some("20"), Some(2), Some(2))
        );
        assert_eq!(cell["controls"].as_array().map(Vec::len), Some(3));
        cell["arms"][0]["by_run"].clone()
    });
    assert_ne!(accuracies[0], accuracies[1], "each is of its own images");
}

#[test]
fn a_control_that_lacks_a_draw_is_refused_before_anything_runs() {
    let refused = |from: &str, to: &str, words: &str| {
        let ended = planned(&CONTROLS.replace(from, to));
        assert_eq!(ended.code, 3, "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    };
    refused(
        "control = \"knn\"\n",
        "control = \"knn\"\nwhen = \"draw < 2\"\n",
        "has no score for",
    );
    refused("validation = 20\n", "", "no validation images");
    refused(
        "control = \"knn\"\n",
        "control = \"knn\"\ngamma = [1.0]\n",
        "this control has no `gamma`",
    );
}
