//! `flow run` and `flow plan`, by what a user sees.

mod common;

use common::{Place, SMALL, blob};

#[test]
fn a_run_ends_with_a_verdict_in_the_terminal_and_in_files() {
    let place = Place::new(SMALL);
    let ended = place.run(&[]);
    for expected in [
        "accuracy, %",
        "labels 20",
        "labels 40",
        "Verdict",
        "training time of an arm",
        "pseudo-labels kept",
        "as a page: flow report",
    ] {
        assert!(
            ended.stdout.contains(expected) || ended.stderr.contains(expected),
            "no `{expected}` in\n{}",
            ended.stdout
        );
    }
    let run = place.flow(&["runs", "show", "--json"]).json();
    let folder = place.path(run["dir"].as_str().expect("a directory"));
    let markdown = std::fs::read_to_string(folder.join("verdict.md")).expect("verdict.md");
    assert!(markdown.starts_with("# Verdict"), "{markdown}");
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("verdict.json")).expect("verdict.json"))
            .expect("JSON");
    let arms = json["verdict"]["cells"][0]["arms"].as_array().expect("arms");
    assert_eq!(arms.len(), 3);
    for arm in arms {
        let [mean, low, high] = ["mean", "low", "high"].map(|of| arm["figure"][of].as_f64().expect("a number"));
        assert!(low <= mean && mean <= high, "{arm}");
    }
    // Pre-training is charged to the arm that uses it, and the fit: of 80 images 4 are held out, and the rest make four whole batches of 16, so it
    // is 64 images x 2 views x 3 epochs.
    let images = |arm: &str| json["costs"]["labels 20"][arm]["images"].as_f64().expect("images");
    assert_eq!(images("scratch"), 48.0);
    assert_eq!(images("tuned"), 384.0 + 48.0);
    // Two rounds label the 60 images that are not, a forward pass a third each.
    assert_eq!(images("student"), 3.0 * 48.0 + 2.0 * 60.0 / 3.0);
    assert!(folder.join("events.jsonl").is_file() && folder.join("workflow.toml").is_file());
}

#[test]
fn a_second_run_computes_nothing_and_says_the_same() {
    let place = Place::new(SMALL);
    let first = place.run(&[]);
    let second = place.run(&[]);
    assert!(place.ran().is_empty(), "{:?}", place.ran());
    assert_eq!(first.stdout, second.stdout);
}

#[test]
fn an_edit_of_a_comment_runs_nothing() {
    let place = Place::new(SMALL);
    place.run(&[]);
    place.write("w.toml", SMALL.replace("# Every node kind", "# Really every node kind"));
    place.run(&[]);
    assert!(place.ran().is_empty(), "{:?}", place.ran());
}

#[test]
fn an_edit_of_the_threshold_runs_the_pseudo_labels_and_what_follows_and_the_plan_says_so() {
    let place = Place::new(SMALL);
    place.run(&[]);
    place.write("w.toml", SMALL.replace("threshold = 0.11", "threshold = 0.1"));
    let plan = place.flow(&["plan", "w.toml"]);
    assert!(plan.stdout.contains("threshold: 0.11 -> 0.1"), "{}", plan.stdout);
    place.run(&[]);
    let ran = place.ran();
    assert!(ran.iter().any(|n| n.starts_with("guess@1")), "{ran:?}");
    for name in &ran {
        let follows = ["guess@", "student@", "score[arm=student", "verdict"]
            .iter()
            .any(|p| name.starts_with(p));
        assert!(follows, "{name} ran although nothing that it depends on changed");
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_digest() {
    let (one, two) = (Place::new(SMALL), Place::new(SMALL));
    for (place, threads) in [(&one, "1"), (&two, "2")] {
        let output = place
            .command(&["run", "w.toml"])
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .expect("flow runs");
        assert!(output.status.success());
    }
    assert!(one.digests().len() > 40);
    assert_eq!(one.digests(), two.digests());
}

#[test]
fn a_corrupt_blob_is_made_again_and_never_used() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let before = place.digests();
    let path = blob(&place, "simclr[seed=0]", "encoder.safetensors");
    let mut bytes = std::fs::read(&path).expect("the blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("the blob can be overwritten");
    assert_eq!(place.flow(&["cache", "verify"]).code, 4);
    // Something must read it: only the tuned arm's settings change.
    place.run(&["--set", "nodes.tuned.steps=7"]);
    assert!(place.ran().contains(&"simclr[seed=0]".to_owned()), "{:?}", place.ran());
    assert_eq!(
        place.digests()["simclr[seed=0]/encoder.safetensors"],
        before["simclr[seed=0]/encoder.safetensors"]
    );
    assert_eq!(place.flow(&["cache", "verify"]).code, 0);
}

#[test]
fn a_deleted_index_loses_no_result() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let listed = place.digests();
    std::fs::remove_dir_all(place.path(".flow/cache/index")).expect("the index is a directory");
    place.run(&[]);
    assert!(place.ran().is_empty());
    assert_eq!(place.digests(), listed);
}
