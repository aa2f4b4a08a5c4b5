//! Devices: a run on another device than the CPU, what is part of its keys, and what is said where there is none.

mod common;

use common::{Ended, Place, SMALL, flat};

/// A pre-training and what is made of it.
const TRAINING: &str = r#"
[workflow]
name = "training"

[nodes.images]
kind = "dataset"
source = "scenes"
train = 60
test = 20
side = 16

[nodes.contrast]
kind = "pretext"
method = "simclr"
hidden = 16
projection = 8

[nodes.encoder]
kind = "pretrain"
data = "images"
task = "contrast"
backbone = { name = "conv3", widths = [4, 8, 8] }
epochs = 1
batch = 16
lr = 0.01

[nodes.labelled]
kind = "dataset"
from = "images"
labels = 20

[nodes.tuned]
kind = "finetune"
data = ["labelled"]
init = "encoder"
steps = 3
batch = 8
lr = 0.05

[nodes.score]
kind = "evaluate"
model = "tuned"
data = "images"
"#;

fn on(place: &Place, device: &str, arguments: &[&str]) -> Ended {
    let mut command = place.command(arguments);
    Ended::from(
        command
            .env("FLOW_DEVICE", device)
            .output()
            .expect("flow can be started"),
    )
}

#[test]
fn every_kind_of_node_has_the_cpus_bits_on_the_mock() {
    let (cpu, mock) = (Place::new(SMALL), Place::new(SMALL));
    cpu.run(&["-q"]);
    let ended = on(&mock, "mock", &["run", "w.toml", "-q"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(cpu.digests(), mock.digests());
}

#[test]
fn a_device_is_part_of_a_key_and_the_cpu_is_not() {
    let place = Place::new(TRAINING);
    place.run(&["-q"]);
    let before = place.digests();
    place.run(&["-q", "--device", "cpu"]);
    assert_eq!(place.ran(), [""; 0], "on the CPU it is what it was");
    place.run(&["-q", "--device", "cpu", "--set", "defaults.precision=fp32"]);
    assert_eq!(place.ran(), [""; 0], "which has one precision");
    let mut other = place.command(&["run", "w.toml", "-q"]);
    assert!(other.env("FLOW_DEVICE", "mock").status().expect("it starts").success());
    assert_eq!(place.ran(), ["encoder", "score", "tuned"]);
    place.run(&["-q", "--device", "mock"]);
    assert_eq!(place.ran(), [""; 0], "found again on the same device");
    assert_eq!(place.digests(), before, "the mock computes as the CPU does");
}

#[test]
fn a_node_s_own_device_counts_before_the_run_s() {
    let place = Place::new(&TRAINING.replace("lr = 0.05", "lr = 0.05\ndevice = \"cpu\""));
    place.run(&["-q"]);
    place.run(&["-q", "--device", "mock"]);
    assert_eq!(
        place.ran(),
        ["encoder", "score"],
        "the tuned one is the CPU's, of an encoder of equal bits"
    );
}

#[test]
fn a_gpu_that_is_asked_for_and_missing_is_an_invalid_workflow_that_says_what_to_do() {
    let place = Place::new(TRAINING);
    let asked = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        Ended::from(command.env("CUDA_VISIBLE_DEVICES", "").output().expect("it starts"))
    };
    for arguments in [
        ["run", "w.toml", "--device", "cuda"],
        ["plan", "w.toml", "--device", "cuda"],
    ] {
        let ended = asked(&arguments);
        assert_eq!(ended.code, 3, "{}", ended.stderr);
        for word in ["`device` of `encoder`", "\"cuda\" is asked for, but", "flow doctor"] {
            assert!(flat(&ended.stderr).contains(word), "{word}: {}", ended.stderr);
        }
    }
    let ended = asked(&["run", "w.toml", "-q", "--device", "auto"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        flat(&ended.stderr).contains("`device = \"auto\"` is the CPU here"),
        "{}",
        ended.stderr
    );
    assert!(asked(&["doctor"]).stdout.contains("gpu      none: "));
    // A device of its own: it finds the data, but nothing that was trained in fp32.
    let ended = asked(&["run", "w.toml", "--set", "defaults.precision=bf16"]);
    let expected = match ended.code {
        0 => "3 ran, 3 cached",
        _ => "does not multiply bf16",
    };
    assert!([0, 3].contains(&ended.code), "{}", ended.stderr);
    assert!(flat(&ended.stderr).contains(expected), "{}", ended.stderr);
}

#[test]
fn a_plan_says_how_much_of_a_gpu_a_node_takes_and_a_run_without_one_refuses_it() {
    // As a machine with a GPU would have settled it.
    let place = Place::new(&format!("{TRAINING}\n[defaults]\ndevice = \"cuda sm_90 tf32 k1\"\n"));
    let plan = place.flow(&["plan", "w.toml", "--json"]).json();
    let nodes = plan["nodes"].as_array().expect("nodes").clone();
    let memory =
        |name: &str| nodes.iter().find(|node| node["name"] == name).expect("it is there")["gpu_memory"].as_u64();
    for name in ["encoder", "tuned", "score"] {
        assert!(memory(name).is_some_and(|bytes| bytes > 1 << 30), "{name}");
    }
    assert_eq!(memory("images"), None);
    let table = place.flow(&["plan", "w.toml"]).stdout;
    assert!(table.contains("GPU memory") && table.contains("GiB"), "{table}");
    let mut run = place.command(&["run", "w.toml", "--gpus", "none"]);
    let ended = Ended::from(run.output().expect("it starts"));
    assert_eq!(ended.code, 1);
    assert!(
        flat(&ended.stderr).contains("it needs a GPU, and this run has none"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_device_without_memory_is_one_failed_node_that_says_what_to_lower() {
    let place = Place::new(&TRAINING.replace("lr = 0.01", "lr = 0.01\ndevice = \"mock 100000\""));
    let ended = place.flow(&["run", "w.toml", "--keep-going"]);
    assert_eq!(ended.code, 1);
    let said = flat(&ended.stderr);
    for words in ["the GPU has no memory left: 1 MB more were wanted", "lower `batch`"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let statuses = place.statuses();
    assert_eq!(
        (statuses["encoder"].as_str(), statuses["labelled"].as_str()),
        ("failed", "ran")
    );
}

#[test]
fn predictions_on_the_mock_are_the_cpus() {
    let place = Place::new(TRAINING);
    place.run(&["-q"]);
    common::stripes((20, 20), 1, 3)
        .save(place.path("a.png"))
        .expect("written");
    let predicted = |device: &str| {
        let ended = place.flow(&["predict", "tuned", "a.png", "--device", device]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stdout
    };
    assert_eq!(predicted("cpu"), predicted("mock"));
}
