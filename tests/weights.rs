//! Weights from elsewhere and for elsewhere: `init = { file = ... }` and `flow cache export --to torch`.

mod common;

use common::Place;
use serde_json::Value;

const WORKFLOW: &str = r#"
[workflow]
name = "weights"

[nodes.images]
kind = "dataset"
source = "scenes"
train = 40
test = 40
side = 16

[nodes.labelled]
kind = "dataset"
from = "images"
labels = 20

[nodes.turn]
kind = "pretext"
method = "rotation"

[nodes.trained]
kind = "pretrain"
data = "images"
task = "turn"
backbone = { name = "resnet18", widths = [4, 4, 8, 8] }
optimizer = { name = "adam" }
lr = 0.01
epochs = 2
batch = 8

[nodes.score]
kind = "evaluate"
encoder = "trained"
data = "labelled"
"#;

/// The same judgement of weights from a file, and a classifier that starts from it.
const FROM_FILE: &str = r#"
[nodes.from_file]
kind = "evaluate"
encoder = { file = "FILE" }
backbone = { name = "resnet18", widths = [4, 4, 8, 8] }
data = "labelled"

[nodes.tuned]
kind = "finetune"
data = ["labelled"]
init = { file = "FILE" }
backbone = { name = "resnet18", widths = [4, 4, 8, 8] }
lr = 0.01
steps = 3
batch = 4

[nodes.further]
kind = "pretrain"
data = "images"
task = "turn"
init = { file = "FILE" }
backbone = { name = "resnet18", widths = [4, 4, 8, 8] }
lr = 0.01
epochs = 1
batch = 8
"#;

fn with_file(file: &str) -> String {
    format!("{WORKFLOW}{}", FROM_FILE.replace("FILE", file))
}

fn metrics(place: &Place, node: &str) -> Value {
    place.flow(&["cache", "show", node, "--json"]).json()["metrics"].clone()
}

#[test]
fn weights_survive_the_way_out_and_back_in() {
    let place = Place::new(WORKFLOW);
    place.run(&[]);
    let exported = place.flow(&["cache", "export", "trained", "--to", "torch", "-o", "w.safetensors"]);
    assert_eq!(exported.code, 0, "{}", exported.stderr);
    assert!(
        exported.stdout.contains("net = torchvision.models.resnet18("),
        "{}",
        exported.stdout
    );
    assert!(
        exported
            .stderr
            .contains("torchvision's resnet18 has [64, 128, 256, 512]")
    );
    place.write("w.toml", with_file("w.safetensors"));
    place.run(&[]);
    assert_eq!(metrics(&place, "from_file"), metrics(&place, "score"));
    // What the file holds counts, not where it lies.
    std::fs::create_dir(place.path("elsewhere")).expect("a directory");
    std::fs::rename(place.path("w.safetensors"), place.path("elsewhere/v.safetensors")).expect("a move");
    place.write("w.toml", with_file("elsewhere/v.safetensors"));
    place.run(&[]);
    assert!(
        place.statuses().values().all(|s| s == "cached"),
        "{:?}",
        place.statuses()
    );
    let model = place.flow(&["cache", "export", "tuned", "--to", "torch", "-o", "m.safetensors"]);
    assert!(model.stdout.contains("num_classes=10"), "{}", model.stdout);
}

#[test]
fn a_file_that_does_not_fit_is_an_error_that_says_what_is_expected() {
    let place = Place::new(WORKFLOW);
    place.run(&[]);
    place.flow(&["cache", "export", "trained", "--to", "torch", "-o", "w.safetensors"]);
    let wide = with_file("w.safetensors").replace("widths = [4, 4, 8, 8] }\nlr", "stem = \"imagenet\" }\nlr");
    place.write("w.toml", wide);
    let failed = place.flow(&["run", "w.toml"]);
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    for words in [
        "`w.safetensors` does not hold weights of resnet18",
        "expected [64, 3, 7, 7]",
        "stem = \"small\"",
    ] {
        assert!(failed.stderr.contains(words), "{words} in {}", failed.stderr);
    }
    let unsaid = with_file("w.safetensors").replace("init = { file = \"w.safetensors\" }\nbackbone = { name = \"resnet18\", widths = [4, 4, 8, 8] }\nlr = 0.01\nsteps", "init = { file = \"w.safetensors\" }\nlr = 0.01\nsteps");
    place.write("w.toml", unsaid);
    let refused = place.flow(&["plan", "w.toml"]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("does not say which network"),
        "{}",
        refused.stderr
    );
    let nothing = place.flow(&["cache", "export", "images", "--to", "torch", "-o", "x"]);
    assert!(
        nothing.code == 1 && nothing.stderr.contains("holds no weights"),
        "{}",
        nothing.stderr
    );
}
