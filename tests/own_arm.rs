//! Programs of one's own that take part in verdicts: data sets, predictions and encoders of `command` nodes.

mod common;

use std::process::Command;

use common::{Place, blob, npz};

/// Scenes with a labelled part; what is asked of them comes behind.
const DATA: &str = r#"
[workflow]
name = "own"

[matrix]
seed = [0, 1]

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
seed = "${seed}"
"#;

/// An arm of flow's, an arm of a program, and their verdict.
const ARMS: &str = r#"
[nodes.scratch]
kind = "finetune"
data = ["labelled"]
backbone = { name = "conv3", widths = [4, 8, 8], grid = 2 }
lr = 0.05
steps = 3
batch = 8
seed = "${seed}"

[nodes.ours]
kind = "command"
run = ["sh", "arm.sh", "{inputs.data}", "{outputs}/p.csv"]
code = ["arm.sh"]
inputs = { data = "labelled" }
give = { data = "png" }
makes = "predictions"

[nodes.score]
kind = "evaluate"
model = "${arm}"
data = "images"

[nodes.verdict]
kind = "evaluate"
compare = ["score"]
over = ["arm", "seed"]
baseline = "scratch"
"#;

/// Takes every test image for the first class, and fails if it is told more than it may know.
const ARM: &str = r#"
[ -z "$(find "$1/test" -mindepth 1 -type d)" ] || { echo "test images have labels" >&2; exit 9; }
[ "$(find "$1/train" -mindepth 2 -name '*.png' | wc -l)" -eq 20 ] || { echo "not 20 labels" >&2; exit 9; }
[ "$(find "$1/train" -name '*.png' | wc -l)" -eq 80 ] || { echo "not 80 images" >&2; exit 9; }
{
    printf image; while read -r class; do printf ',%s' "$class"; done < "$1/classes.txt"; echo
    for file in "$1"/test/*.png; do
        printf '%s' "$file"; first=1
        while read -r class; do printf ',%s' "$first"; first=0; done < "$1/classes.txt"; echo
    done
} > "$2"
"#;

fn arms(arm: &str) -> Place {
    let place =
        Place::new(&format!("{DATA}{ARMS}").replace("seed = [0, 1]", "seed = [0, 1]\narm = [\"scratch\", \"ours\"]"));
    place.write("arm.sh", arm);
    place
}

/// The error of a run, which must fail.
fn failure(place: &Place) -> String {
    let ended = place.flow(&["run", "w.toml"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    ended.stderr
}

/// The words with which a workflow is refused before anything runs.
fn refusal(workflow: &str) -> String {
    let ended = Place::new(workflow).flow(&["plan", "w.toml"]);
    assert_eq!(ended.code, 3, "{}{}", ended.stdout, ended.stderr);
    // Messages are wrapped, with a bar before each line.
    let words = ended.stderr.replace('│', " ");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_programs_predictions_are_an_arm_of_a_verdict_and_it_does_not_see_what_it_is_judged_by() {
    let place = arms(ARM);
    let ended = place.run(&[]);
    assert!(
        ended.stdout.contains("ours") && ended.stdout.contains("scratch"),
        "{}",
        ended.stdout
    );
    let scores = place.flow(&["cache", "query", "node = score", "--json"]).json_lines();
    let accuracy = |of: &str| {
        let score = scores
            .iter()
            .find(|score| score["node"].as_str().is_some_and(|name| name.contains(of)));
        score.and_then(|score| score["metrics"]["accuracy"].as_f64())
    };
    // Scenes have 10 classes in equal shares.
    assert_eq!(accuracy("ours"), Some(0.1), "{scores:?}");
    place.run(&[]);
    assert!(place.ran().is_empty(), "{:?}", place.ran());
}

#[test]
fn predictions_that_lack_an_image_are_refused_by_name() {
    let place = arms(&ARM.replace(
        "done < \"$1/classes.txt\"; echo\n    done",
        "done < \"$1/classes.txt\"; echo\n    done | head -n 38",
    ));
    let error = failure(&place);
    assert!(error.contains("2 of 40 images have no row: 38, 39"), "{error}");
}

#[test]
fn predictions_are_judged_on_the_images_and_classes_that_they_are_of() {
    let others = |more: &str| {
        let other = format!("[nodes.other]\nkind = \"dataset\"\n{more}\n");
        let arms = ARMS.replace(
            "model = \"${arm}\"\ndata = \"images\"",
            "model = \"ours\"\ndata = \"other\"",
        );
        let score = arms
            .split("[nodes.verdict]")
            .next()
            .expect("a part before it")
            .to_owned();
        let place = Place::new(&format!("{DATA}{other}{score}"));
        place.write("arm.sh", ARM);
        place
    };
    let classes = others("from = \"images\"\nclasses = [0, 1]").flow(&["plan", "w.toml"]);
    assert_eq!(classes.code, 3, "{}", classes.stdout);
    assert!(classes.stderr.contains("has the classes"), "{}", classes.stderr);
    let images = failure(&others(
        "source = \"scenes\"\ntrain = 80\ntest = 40\nside = 16\nseed = 7",
    ));
    assert!(
        images.contains("of other test examples than those of `data`"),
        "{images}"
    );
}

#[test]
fn wrong_plans_for_what_a_program_makes_are_refused_before_anything_runs() {
    let node = |table: &str| {
        refusal(&format!(
            "{DATA}[nodes.n]\nkind = \"command\"\nrun = [\"true\"]\n{table}\n"
        ))
    };
    for (table, words) in [
        (
            "inputs = { data = \"images\" }\nmakes = \"predictions\"",
            "its files have the labels of the test images",
        ),
        (
            "makes = \"predictions\"",
            "it is not said of which data set's images this is",
        ),
        ("makes = \"dataset\"", "are not known"),
        (
            "makes = \"dataset\"\nclasses = [\"a\", \"a\"]\nshape = [8, 8, 1]",
            "class `a` is named twice",
        ),
        (
            "outputs = [\"x\"]\nshape = [8, 8, 1]",
            "does not apply to files, which the program makes",
        ),
        (
            "inputs = { data = \"images\" }\ngive = { dat = \"npz\" }\noutputs = [\"x\"]",
            "there is no input of this name",
        ),
        (
            "inputs = { data = \"images\" }\ngive = { data = \"npz\" }\nof = \"date\"\nmakes = \"encoder\"",
            "`date` is none of its inputs",
        ),
    ] {
        let error = node(table);
        assert!(error.contains(words), "{table}: {error}");
    }
    let shape = "[nodes.n]\nkind = \"command\"\nrun = [\"true\"]\nmakes = \"dataset\"\nclasses = [\"a\", \"b\"]\nshape = [8, 8, 1]\n";
    let score = ARMS.replace(
        "model = \"${arm}\"\ndata = \"images\"",
        "model = \"scratch\"\ndata = \"n\"",
    );
    let score = score.split("[nodes.verdict]").next().expect("a part before it");
    let score = score.replace("code = [\"arm.sh\"]\n", "");
    let error = refusal(&format!("{DATA}{shape}{score}"));
    assert!(error.contains("8x8 images of 1 channel(s)"), "{error}");
    let features = "[nodes.n]\nkind = \"command\"\nrun = [\"true\"]\ninputs = { data = \"images\" }\ngive = { data = \"npz\" }\nmakes = \"encoder\"\n[nodes.t]\nkind = \"finetune\"\ndata = [\"labelled\"]\ninit = \"n\"\nlr = 0.1\nsteps = 1\nbatch = 8\n";
    let error = refusal(&format!("{DATA}{features}"));
    assert!(error.contains("makes `features`"), "{error}");
}

#[test]
fn a_data_set_that_is_handed_over_and_left_as_it_was_is_the_same_data_set() {
    let node = |name: &str, form: &str, file: &str| {
        format!(
            "[nodes.{name}]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"cp -r {{inputs.data}}/{file} {{outputs}}\"]\ninputs = {{ data = \"images\" }}\ngive = {{ data = \"{form}\" }}\nmakes = \"dataset\"\n"
        )
    };
    let nodes = [
        ("by_npz", "npz", "data.npz"),
        ("by_parquet", "parquet", "*.parquet"),
        ("by_png", "png", "*"),
    ];
    let nodes = nodes.map(|(name, form, file)| node(name, form, file)).concat();
    let part = "[nodes.part]\nkind = \"dataset\"\nfrom = \"by_png\"\nlabels = 20\n";
    let place = Place::new(&format!("{DATA}{nodes}{part}"));
    place.run(&[]);
    let digests = place.digests();
    for split in ["train.images", "test.images"] {
        let original = &digests[&format!("images/{split}")];
        for name in ["by_npz", "by_parquet"] {
            assert_eq!(&digests[&format!("{name}/{split}")], original, "{name} {split}");
        }
        // Files are sorted by class: other places, as many images.
        let length = |node: &str| std::fs::metadata(blob(&place, node, split)).expect("a blob").len();
        assert_eq!(length("by_png"), length("images"));
    }
}

#[test]
fn what_a_program_left_is_held_against_what_was_stated() {
    let failed = |facts: &str| {
        let run = "run = [\"sh\", \"-c\", \"cp {inputs.data}/data.npz {outputs}\"]\ninputs = { data = \"images\" }\ngive = { data = \"npz\" }";
        failure(&Place::new(&format!(
            "{DATA}[nodes.n]\nkind = \"command\"\n{run}\nmakes = \"dataset\"\n{facts}\n"
        )))
    };
    let ten = "classes = [\"0\", \"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\", \"9\"]";
    let shape = failed(&format!("{ten}\nshape = [8, 8, 3]"));
    assert!(
        shape.contains("left images of 16x16") && shape.contains("expected 8x8 and 3"),
        "{shape}"
    );
    let fewer = failed("classes = [\"a\", \"b\"]\nof = \"data\"");
    assert!(fewer.contains("there are 2 names of classes"), "{fewer}");
    let more = failed(&ten.replace(']', ", \"owl\"]\nof = \"data\""));
    assert!(more.contains("no image of class `owl`"), "{more}");
    let nothing = failed("of = \"data\"\noutputs = [\"data.npz\"]");
    assert!(nothing.contains("left no data set"), "{nothing}");
}

/// An npz archive of features: of each array its name, rows and numbers of a row.
fn features(arrays: &[(&str, [usize; 2])]) -> Vec<u8> {
    let arrays = arrays.iter().map(|(name, shape)| {
        let values = (0..shape[0] * shape[1]).flat_map(|at| ((at % 7) as f32).to_le_bytes());
        (*name, "<f4", &shape[..], values.collect())
    });
    npz(&arrays.collect::<Vec<_>>())
}

/// Judges what the program makes of a file that lies beside the workflow.
const ENCODER: &str = r#"
[nodes.n]
kind = "command"
run = ["sh", "-c", "cp files/x.* {outputs}"]
data = ["files"]
inputs = { data = "images" }
give = { data = "npz" }
makes = "encoder"
BACKBONE

[nodes.frozen]
kind = "evaluate"
encoder = "n"
data = "labelled"
"#;

#[test]
fn features_of_a_program_are_judged_like_those_of_an_encoder_beside_raw_pixels() {
    let place = Place::new(&format!("{DATA}{}", ENCODER.replace("BACKBONE", "")));
    std::fs::create_dir(place.path("files")).expect("made");
    place.write("files/x.npz", features(&[("train", [80, 5]), ("test", [40, 5])]));
    place.run(&[]);
    let found = place.flow(&["cache", "query", "node = frozen", "--json"]).json_lines();
    let metrics = &found[0]["metrics"];
    assert!(
        metrics["probe.encoder"].is_number() && metrics["knn.raw_pixels"].is_number(),
        "{metrics}"
    );
    assert!(metrics["probe.random_init"].is_null(), "{metrics}");
    // A changed data file is named.
    place.write("files/x.npz", features(&[("train", [79, 5]), ("test", [40, 5])]));
    let plan = place.flow(&["plan", "w.toml"]).stdout;
    assert!(plan.contains("file data/files has changed"), "{plan}");
    let error = failure(&place);
    assert!(
        error.contains("array `train` has 79 rows for 80 train images"),
        "{error}"
    );
}

#[test]
fn weights_of_a_program_are_an_encoder_of_the_backbone_that_is_stated() {
    let pretrained = r#"
[nodes.turn]
kind = "pretext"
method = "rotation"
[nodes.weights]
kind = "pretrain"
data = "images"
task = "turn"
backbone = { name = "conv3", widths = [4, 8, 8], grid = 2 }
lr = 0.01
batch = 16
budget = 160
"#;
    let place = Place::new(&format!("{DATA}{pretrained}"));
    place.run(&[]);
    std::fs::create_dir(place.path("files")).expect("made");
    std::fs::copy(
        blob(&place, "weights", "encoder.safetensors"),
        place.path("files/x.safetensors"),
    )
    .expect("copied");
    let tuned =
        "[nodes.tuned]\nkind = \"finetune\"\ndata = [\"labelled\"]\ninit = \"n\"\nlr = 0.01\nsteps = 2\nbatch = 8\n";
    let with = |backbone: &str| format!("{DATA}{}{tuned}", ENCODER.replace("BACKBONE", backbone));
    place.write(
        "w.toml",
        with("backbone = { name = \"conv3\", widths = [4, 8, 8], grid = 2 }"),
    );
    place.run(&[]);
    let found = place.flow(&["cache", "query", "node = frozen", "--json"]).json_lines();
    assert!(found[0]["metrics"]["probe.random_init"].is_number(), "{found:?}");
    place.write(
        "w.toml",
        with("backbone = { name = \"conv3\", widths = [4, 8, 16], grid = 2 }"),
    );
    let error = failure(&place);
    assert!(
        error.contains("`x.safetensors` does not hold weights of conv3"),
        "{error}"
    );
}

#[test]
fn the_shipped_example_compares_a_script_in_python_with_a_network() {
    let has = |module: &str| {
        let ended = Command::new("python3")
            .args(["-c", &format!("import numpy, {module}")])
            .output();
        ended.is_ok_and(|ended| ended.status.success())
    };
    if !has("sklearn") && !has("torch") {
        eprintln!("skipped: python3 has not numpy and scikit-learn or torch");
        return;
    }
    let place = Place::new("");
    let workflows = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows");
    std::fs::create_dir(place.path("own_arm")).expect("made");
    for name in ["own_arm.toml", "own_arm/fit.py"] {
        std::fs::copy(format!("{workflows}/{name}"), place.path(name)).expect("copied");
    }
    let few = [
        "--set",
        "matrix.labels=[100]",
        "--set",
        "matrix.seed=[0, 1]",
        "--set",
        "nodes.scratch.steps=12",
    ];
    let ended = place.flow(&[&["run", "own_arm.toml"], &few[..]].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("our own script"), "{}", ended.stdout);
}
