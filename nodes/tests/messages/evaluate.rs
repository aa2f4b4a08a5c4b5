//! Scores, controls, probes, comparisons and summaries: what is wrong before anything runs, and what shows only in a run.

use serde_json::Value;

use super::Desk;
use super::training::{desk, nodes};

/// Scores of three classifiers of the same images, two of the same draws.
const ARMS: &str = r#"
[matrix]
arm = ["scratch", "longer"]
seed = [0, 1]

[nodes.images]
kind = "dataset"
source = "scenes"
train = 40
test = 12
side = 16

[nodes.other_images]
kind = "dataset"
source = "scenes"
train = 40
test = 10
side = 16

[nodes.labelled]
kind = "dataset"
from = "images"
labels = 20
seed = "${seed}"

[defaults.finetune]
backbone = { name = "conv3", widths = [4, 4, 4] }
batch = 8
lr = 0.1

[nodes.scratch]
kind = "finetune"
data = ["labelled"]
steps = 2

[nodes.longer]
kind = "finetune"
data = ["labelled"]
steps = 4

[nodes.score]
kind = "evaluate"
model = "${arm}"
data = "images"

[nodes.control]
kind = "evaluate"
control = "knn"
data = "labelled"

[nodes.frozen]
kind = "evaluate"
backbone = { name = "conv3", widths = [4, 4, 4] }
data = "labelled"
"#;

fn compare(lines: &str) -> String {
    verdict(
        "compare",
        "compare = [\"score\"]\nover = [\"arm\", \"seed\"]\nbaseline = \"scratch\"",
        lines,
    )
}

/// A node that judges the arms, of which some lines are others.
fn verdict(name: &str, usual: &str, lines: &str) -> String {
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let own: Vec<String> = lines.lines().map(key).collect();
    let usual: String = usual
        .lines()
        .filter(|line| !own.contains(&key(line)))
        .map(|line| format!("{line}\n"))
        .collect();
    format!("{ARMS}\n[nodes.{name}]\nkind = \"evaluate\"\n{usual}{lines}\n")
}

#[test]
fn scores_controls_and_probes() {
    let mut desk = desk();
    let scores = [
        ("validation", "split = \"validation\""),
        ("unknown_task", "task = \"detct\""),
        ("other_task", "task = \"segment\""),
        ("other_classes", "data = \"two_classes\""),
        ("reversed_order", "model = \"of_two\"\ndata = \"reversed\""),
        ("other_size", "data = \"larger\""),
        ("other_split", "model = \"predictions\"\nsplit = \"train\""),
        ("predicted_others", "model = \"predictions\"\ndata = \"larger\""),
    ];
    desk.plan(
        "forms",
        &nodes(
            "evaluate",
            "",
            &[
                ("no_form", "seed = 1"),
                ("unknown_key", "modl = \"scratch\""),
                ("two_forms", "model = \"scratch\"\nsummary = [\"scratch\"]"),
            ],
        ),
    );
    let more = r#"
[nodes.of_two]
kind = "finetune"
data = ["two_classes"]
backbone = { name = "conv3" }
steps = 4
batch = 8
lr = 0.1
[nodes.reversed]
kind = "dataset"
from = "images"
classes = ["square", "circle"]
labels = 16
[nodes.predictions]
kind = "command"
run = ["true"]
inputs = { data = "images" }
give = { data = "npz" }
makes = "predictions"
"#;
    desk.plan(
        "scores",
        &(nodes("evaluate", "model = \"scratch\"\ndata = \"images\"", &scores) + more),
    );

    let controls = [
        ("foreign_setting", "neighbours = [1]"),
        ("no_network", "control = \"random-probe\""),
        ("penalty", "penalty = [0.0]"),
        ("neighbours", "control = \"knn\"\nneighbours = [0]"),
        ("nothing_to_try", "control = \"knn\"\nneighbours = []"),
        ("many_labels", "data = \"many\""),
        ("no_validation", "penalty = [1.0, 2.0]"),
        (
            "odd_network",
            "control = \"random-probe\"\nnetwork = { name = \"conv3\", grid = 9 }",
        ),
    ];
    let many = "\n[nodes.garments]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 20000\ntest = 12\nside = 16\n[nodes.many]\nkind = \"dataset\"\nfrom = \"garments\"\nlabels = 10001\n";
    desk.plan(
        "controls",
        &(nodes("evaluate", "control = \"svm\"\ndata = \"labelled\"", &controls) + many),
    );

    let probes = [
        ("no_controls", "backbone = { name = \"conv3\" }\ncontrols = false"),
        ("neighbours", "encoder = \"encoder\"\nneighbours = 0"),
        ("temperature", "encoder = \"encoder\"\ntemperature = 0.0"),
        ("two_networks", "encoder = \"encoder\"\nbackbone = { name = \"conv3\" }"),
    ];
    desk.plan("probes", &nodes("evaluate", "data = \"labelled\"", &probes));
    let insides = [("small", "images = 8")];
    let inspect = nodes("inspect", "network = \"scratch\"\ndata = \"images\"", &insides);
    desk.plan("inspections", &inspect);
    desk.check("scores_controls_and_probes");
}

#[test]
fn comparisons() {
    let mut desk = Desk::new();
    for (about, lines) in [
        ("a margin", "margin = 1.5"),
        ("no such arm", "baseline = \"scrtch\""),
        ("on unequal terms", ""),
        (
            "a variable that is none of three",
            "unequal = \"a test\"\nrepeat = \"draw\"",
        ),
        (
            "two scores of an arm",
            "unequal = \"a test\"\ncompare = [\"score\", \"again\"]",
        ),
        (
            "frozen features",
            "unequal = \"a test\"\ncompare = [\"frozen\"]\nover = [\"seed\"]\nbaseline = \"frozen\"",
        ),
        ("another metric", "unequal = \"a test\"\nmetric = \"mean_iou\""),
        ("other images", "unequal = \"a test\"\ncontrols = [\"elsewhere\"]"),
        (
            "a draw that is missing",
            "unequal = \"a test\"\ncompare = [\"score\", \"once\"]\narm = \"none\"\nrepeat = [\"arm\", \"seed\"]",
        ),
        (
            "a control without a draw",
            "unequal = \"a test\"\ncontrols = [\"later\"]",
        ),
        ("a control of several", "unequal = \"a test\"\ncontrols = [\"varied\"]"),
        (
            "a control twice",
            "unequal = \"a test\"\ncontrols = [\"control\", \"control\"]",
        ),
        ("nothing to compare", "unequal = \"a test\"\ncompare = []"),
    ] {
        let more = r#"
[nodes.again]
kind = "evaluate"
model = "${arm}"
data = "images"
[nodes.once]
kind = "evaluate"
model = "first"
data = "images"
[nodes.first]
kind = "finetune"
data = ["images"]
steps = 2
[nodes.elsewhere]
kind = "evaluate"
control = "knn"
data = "other_images"
[nodes.later]
kind = "evaluate"
control = "knn"
data = "labelled"
when = "seed == 1"
[nodes.varied]
kind = "evaluate"
control = "knn"
data = "labelled"
neighbours = ["${neighbours}"]
"#;
        let more = match about {
            "a control of several" => more.to_owned(),
            _ => more.replace("[\"${neighbours}\"]", "[1]"),
        };
        let workflow = compare(lines) + &more;
        let workflow = match about {
            "a control of several" => workflow
                .replace("seed = [0, 1]", "seed = [0, 1]\nneighbours = [1, 3]")
                .replace(
                    "over = [\"arm\", \"seed\"]",
                    "over = [\"arm\", \"seed\", \"neighbours\"]",
                ),
            _ => workflow,
        };
        desk.plan(about, &workflow);
    }
    let summary = |lines| verdict("summary", "summary = [\"score\"]\nover = [\"arm\", \"seed\"]", lines);
    desk.plan("no such arm in a summary", &summary("baseline = \"scrtch\""));
    desk.check("comparisons");
}

/// As a run finds out, where nothing is known before.
#[test]
fn scores_that_do_not_go_together() {
    let mut desk = Desk::new();
    desk.run("few draws", &compare("unequal = \"a test\""));
    let hidden = |name: &str, of: &str, sort: &str| {
        format!("[nodes.{name}]\nkind = \"made\"\nmakes = \"{sort}\"\nof = \"{of}\"\n")
    };
    let more = [
        hidden("hidden", "score", "scores"),
        hidden("hidden_frozen", "frozen", "scores"),
        "[nodes.other_score]\nkind = \"evaluate\"\ncontrol = \"knn\"\ndata = \"other_images\"\n".to_owned(),
        hidden("hidden_other", "other_score", "scores"),
        "[nodes.frozen_arms]\nkind = \"evaluate\"\ncompare = [\"hidden_frozen\"]\nover = [\"seed\"]\nbaseline = \"hidden_frozen\"\n".to_owned(),
        "[nodes.other_images_of_arms]\nkind = \"evaluate\"\ncompare = [\"hidden\", \"hidden_other\"]\nover = [\"arm\", \"seed\"]\nbaseline = \"scratch\"\nunequal = \"a test\"\n".to_owned(),
        "[nodes.other_control]\nkind = \"evaluate\"\ncompare = [\"hidden\"]\ncontrols = [\"hidden_other\"]\nover = [\"arm\", \"seed\"]\nbaseline = \"scratch\"\nunequal = \"a test\"\n".to_owned(),
        "[nodes.no_places]\nkind = \"evaluate\"\ncompare = [\"hidden\"]\nover = [\"arm\", \"seed\"]\nbaseline = \"scratch\"\nmetric = \"mean_iou\"\nunequal = \"a test\"\n".to_owned(),
        "[nodes.frozen_again]\nkind = \"evaluate\"\nbackbone = { name = \"conv3\", widths = [4, 4, 4] }\ndata = \"labelled\"\nseed = 7\n".to_owned(),
        hidden("hidden_frozen_again", "frozen_again", "scores"),
        "[nodes.summed_up_twice]\nkind = \"evaluate\"\nsummary = [\"hidden_frozen\", \"hidden_frozen_again\"]\nover = [\"seed\"]\n".to_owned(),
        "[nodes.summed_up]\nkind = \"evaluate\"\nsummary = [\"hidden\", \"hidden_other\"]\nover = [\"arm\", \"seed\"]\n".to_owned(),
    ];
    let no_unpaired = more
        .concat()
        .replace("compare = [\"hidden\", \"hidden_other\"]", "compare = [\"hidden\"]");
    desk.run("hidden", &(ARMS.to_owned() + &no_unpaired));
    desk.check("scores_that_do_not_go_together");
}

/// As a run finds out of networks and data.
#[test]
fn networks_that_do_not_go_with_the_data() {
    let mut desk = Desk::new();
    let common = r#"
[nodes.images]
kind = "dataset"
source = "scenes"
train = 40
test = 12
side = 16
[nodes.garments]
kind = "dataset"
source = "fashion-mnist-sample"
train = 40
[nodes.labelled]
kind = "dataset"
from = "images"
labels = 20
[nodes.two_classes]
kind = "dataset"
from = "images"
classes = ["circle", "square"]
labels = 2
[defaults.finetune]
backbone = { name = "conv3", widths = [4, 4, 4] }
batch = 4
lr = 0.1
steps = 1
[nodes.scratch]
kind = "finetune"
data = ["labelled"]
[nodes.locator]
kind = "finetune"
task = "segment"
data = ["labelled"]
[nodes.weak]
kind = "augment"
recipe = "weak"
[nodes.simclr]
kind = "pretext"
method = "simclr"
"#;
    let hidden = |name: &str, of: &str, sort: &str| {
        format!("[nodes.{name}]\nkind = \"made\"\nmakes = \"{sort}\"\nof = \"{of}\"\n")
    };
    desk.write("texts.tsv", "good\tfine\nbad\tpoor\n".repeat(8));
    let sets =
        ["images", "garments", "labelled", "two_classes", "texts"].map(|of| hidden(&format!("h_{of}"), of, "dataset"));
    let networks = ["scratch", "locator"].map(|of| hidden(&format!("h_{of}"), of, "model"));
    let cases = r#"
[nodes.score_others]
kind = "evaluate"
model = "h_scratch"
data = "h_garments"
[nodes.score_two]
kind = "evaluate"
model = "h_scratch"
data = "h_two_classes"
[nodes.score_no_validation]
kind = "evaluate"
model = "h_scratch"
data = "h_images"
split = "validation"
[nodes.score_locator]
kind = "evaluate"
model = "h_locator"
data = "h_images"
[nodes.score_classifier_as_locator]
kind = "evaluate"
task = "segment"
model = "h_scratch"
data = "h_images"
[nodes.guess_others]
kind = "pseudo-label"
teacher = "h_scratch"
data = "h_garments"
[nodes.guess_except]
kind = "pseudo-label"
teacher = "h_scratch"
data = "h_images"
except = "h_garments"
[nodes.guess_nothing]
kind = "pseudo-label"
teacher = "h_scratch"
data = "h_images"
except = "h_labelled"
threshold = 0.999
[nodes.guess_with_locator]
kind = "pseudo-label"
teacher = "h_locator"
data = "h_images"
[nodes.guess_places]
kind = "pseudo-label"
task = "segment"
teacher = "h_locator"
data = "h_images"
threshold = 0.1
[nodes.guess_no_places]
kind = "pseudo-label"
task = "segment"
teacher = "h_locator"
data = "h_images"
threshold = 0.999
[nodes.learns_no_places]
kind = "finetune"
task = "segment"
data = ["labelled", "guess_no_places"]
[nodes.learns_nothing_guessed]
kind = "finetune"
data = ["labelled", "guess_nothing"]
[nodes.part_of_guesses]
kind = "dataset"
from = "h_guesses"
labels = 10
[nodes.h_guesses]
kind = "made"
makes = "dataset"
of = "guess_nothing"
[nodes.no_masks]
kind = "finetune"
task = "segment"
data = ["h_garments"]
[nodes.mixed]
kind = "finetune"
data = ["h_labelled", "h_garments"]
[nodes.init_others]
kind = "finetune"
data = ["h_garments"]
init = "h_scratch"
backbone = { name = "conv3" }
[nodes.other_backbone]
kind = "pretrain"
data = "h_images"
views = "weak"
task = "simclr"
init = "encoder"
backbone = { name = "conv3", widths = [4, 4, 8] }
epochs = 1
batch = 8
lr = 0.1
[nodes.encoder]
kind = "pretrain"
data = "images"
views = "weak"
task = "simclr"
backbone = { name = "conv3", widths = [4, 4, 4] }
epochs = 1
batch = 8
lr = 0.1
[nodes.large_batch]
kind = "pretrain"
data = "h_images"
views = "weak"
task = "simclr"
backbone = { name = "conv3", widths = [4, 4, 4] }
epochs = 1
batch = 64
lr = 0.1
[nodes.diverges]
kind = "pretrain"
data = "images"
views = "weak"
task = "simclr"
backbone = { name = "conv3", widths = [4, 4, 4] }
epochs = 2
batch = 8
lr = 1e30
[nodes.fit_diverges]
kind = "finetune"
data = ["labelled"]
lr = 1e30
steps = 8
[nodes.probe_groups]
kind = "evaluate"
encoder = "encoder"
data = "images"
cluster_images = 5
[nodes.control_validation]
kind = "evaluate"
control = "knn"
neighbours = [1, 3]
data = "validated"
[nodes.validated]
kind = "dataset"
source = "scenes"
train = 40
test = 12
side = 16
validation = 10
[nodes.control_no_validation]
kind = "evaluate"
control = "knn"
neighbours = [1, 3]
data = "h_images"
[nodes.control_without_labels]
kind = "evaluate"
control = "knn"
data = "h_guesses"
[nodes.inspects_texts]
kind = "inspect"
network = "h_scratch"
data = "h_texts"
[nodes.texts]
kind = "dataset"
source = "text"
path = "texts.tsv"
length = 8
[nodes.inspects_others]
kind = "inspect"
network = "h_scratch"
data = "h_garments"
[nodes.semi]
kind = "finetune"
data = ["labelled"]
unlabelled = "images"
strong = "weak"
steps = 60
semi = { method = "fixmatch", ratio = 1, threshold = 0.0 }
"#;
    let cases = cases.replace(
        "init = \"h_scratch\"\nbackbone = { name = \"conv3\" }",
        "init = \"h_scratch\"",
    );
    let scratch_only = common.replace(
        "backbone = { name = \"conv3\", widths = [4, 4, 4] }\nbatch = 4",
        "batch = 4",
    );
    let with_backbone = |text: String| {
        // What starts from a network brings its own.
        text.split("[nodes.")
            .map(
                |node| match node.contains("kind = \"finetune\"") && !node.contains("init =") {
                    true => format!(
                        "{}\nbackbone = {{ name = \"conv3\", widths = [4, 4, 4] }}\n",
                        node.trim_end()
                    ),
                    false => node.to_owned(),
                },
            )
            .collect::<Vec<_>>()
            .join("[nodes.")
    };
    desk.run(
        "runs",
        &with_backbone(scratch_only + &sets.concat() + &networks.concat() + &cases),
    );
    desk.check("networks_that_do_not_go_with_the_data");
}

/// The texts of figures, each once, without what was measured.
fn texts_of(figures: &Value, found: &mut Vec<String>) {
    match figures {
        Value::String(text) if text.contains(' ') => {
            let shown = text
                .split(|c: char| c.is_ascii_digit() || c == '.')
                .collect::<Vec<&str>>();
            let shown = shown.join("#");
            let shown = shown
                .split('#')
                .filter(|part| !part.is_empty())
                .collect::<Vec<&str>>()
                .join("#");
            if !found.contains(&shown) {
                found.push(shown);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts_of(item, found)),
        Value::Object(fields) => fields.values().for_each(|item| texts_of(item, found)),
        _ => {}
    }
}

#[test]
fn what_inspections_show() {
    let desk = Desk::new();
    let workflow = r#"
[nodes.images]
kind = "dataset"
source = "scenes"
train = 40
test = 16
side = 16
[nodes.weak]
kind = "augment"
recipe = "weak"
[defaults.finetune]
data = ["images"]
backbone = { name = "conv3", widths = [4, 4, 4] }
batch = 8
lr = 0.1
steps = 1
[nodes.classifies]
kind = "finetune"
[nodes.segments]
kind = "finetune"
task = "segment"
[nodes.detects]
kind = "finetune"
task = "detect"
[defaults.inspect]
data = "images"
views = ["weak"]
images = 16
[nodes.seen_by_classifier]
kind = "inspect"
network = "classifies"
[nodes.seen_by_segmenter]
kind = "inspect"
network = "segments"
[nodes.seen_by_detector]
kind = "inspect"
network = "detects"
"#;
    let outcome = desk.ran(workflow, &mut Vec::new());
    let outcome = outcome.unwrap_or_else(|problems| panic!("{}", super::in_lines(&problems)));
    assert_eq!(outcome.failures, []);
    let store = flow_cache::Store::open(&desk.path("cache"), flow_cache::Access::ReadWrite).expect("a store");
    let mut found = Vec::new();
    for node in outcome.nodes.iter().filter(|node| node.kind == "inspect") {
        let artifact = store.peek(&node.key.expect("done")).expect("readable").expect("there");
        let figures = artifact.read("inspection.json").expect("figures");
        texts_of(&serde_json::from_slice(&figures).expect("JSON"), &mut found);
    }
    found.sort();
    let mut desk = desk;
    desk.say("figures", found.join("\n"));
    desk.check("inspections");
}
