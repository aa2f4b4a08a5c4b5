//! Looking: cache queries, runs, graphs, the doctor.

mod common;

use std::path::Path;

use common::{Place, SMALL};

#[test]
fn the_cache_answers_queries_by_kind_parameter_and_metric() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let query =
        "kind = finetune and params.steps = 6 and cost.wall_s < 100 order by metrics.images_trained desc limit 5";
    let found = place.flow(&["cache", "query", query, "--json"]).json_lines();
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|r| r["kind"] == "finetune"));
    let paths = place.flow(&["cache", "query", "kind = pretrain", "--path"]).stdout;
    // Two encoders, each with its history.
    assert_eq!(paths.lines().count(), 4);
    assert!(paths.lines().all(|p| place.path(p).is_file()), "{paths}");
    let wrong = place.flow(&["cache", "query", "knd = finetune"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("kind"), "{}", wrong.stderr);
    let shown = place.flow(&["cache", "show", "simclr[seed=1]"]);
    assert!(
        shown.stdout.contains("param.epochs") && shown.stdout.contains("metrics.loss"),
        "{}",
        shown.stdout
    );
}

#[test]
fn a_query_answers_during_a_run() {
    let place = Place::new(SMALL);
    place.run(&[]);
    // A run that holds the index as long as it lives would stand in the way of this.
    let mut child = place
        .command(&["run", "w.toml", "--set", "nodes.simclr.epochs=30"])
        .spawn()
        .expect("flow starts");
    let found = place.flow(&["cache", "query", "kind = dataset", "--json"]).json_lines();
    assert!(found.len() >= 5);
    child.kill().expect("SIGKILL");
    child.wait().expect("it ends");
}

#[test]
fn runs_are_listed_and_shown() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let listed = place.flow(&["runs", "ls", "--json"]).json_lines();
    assert_eq!(listed.len(), 1);
    let id = listed[0]["id"].as_str().expect("an id").to_owned();
    assert!(place.flow(&["runs", "show", &id]).stdout.contains("# Verdict"));
    assert_eq!(place.flow(&["runs", "show", "nonesuch"]).code, 2);
}

#[test]
fn the_graph_is_drawn_in_both_languages() {
    let place = Place::new(SMALL);
    let dot = place.flow(&["graph", "w.toml"]).stdout;
    assert!(dot.starts_with("digraph") && dot.contains("verdict"), "{dot}");
    let mermaid = place
        .flow(&["graph", "w.toml", "--format", "mermaid", "--expanded"])
        .stdout;
    assert!(mermaid.contains("-->") && mermaid.contains("seed=1"), "{mermaid}");
}

#[test]
fn events_are_json_lines_on_request() {
    let place = Place::new(SMALL);
    let events = place.flow(&["run", "w.toml", "--json"]).json_lines();
    assert!(events.iter().any(|e| e["what"]["event"] == "node_finished"));
    assert_eq!(events.last().expect("events")["what"]["event"], "run_finished");
}

#[test]
fn the_doctor_reports_every_golden_case_and_fails_on_a_wrong_one() {
    let place = Place::new(SMALL);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let ended = place.flow(&["doctor", "--reference", golden.to_str().expect("UTF-8")]);
    assert_eq!(ended.code, 0, "{}", ended.stdout);
    let text = std::fs::read_to_string(golden.join("optim.json")).expect("readable");
    place.write("optim.json", text.replacen("\"lr\":0.1", "\"lr\":0.11", 1));
    // A file that no code is for.
    place.write("untold.json", text);
    let ended = place.flow(&["doctor", "--reference", "."]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stdout.lines().any(|l| l.starts_with("not built")),
        "what is not built is said"
    );
    assert!(ended.stdout.contains("FAIL"), "{}", ended.stdout);
    assert_eq!(place.flow(&["doctor"]).code, 0);
}

#[test]
fn shipped_workflows_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows");
    let place = Place::new(SMALL);
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("workflows").flatten() {
        let file = entry.path();
        // Beside the workflows lie the programs that they call.
        if file.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let ended = place.flow(&["plan", file.to_str().expect("UTF-8"), "--json"]);
        assert_eq!(ended.code, 0, "{}: {}", file.display(), ended.stderr);
        seen += 1;
    }
    assert!(seen > 1, "the directory holds workflows");
}

#[test]
fn scenes_come_with_boxes_and_masks_and_parts_share_their_bytes() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let digests = place.digests();
    for file in ["train.images", "train.masks", "train.boxes.safetensors", "test.masks"] {
        assert_eq!(
            digests[&format!("images/{file}")],
            digests[&format!("labelled[labels=20,seed=1]/{file}")]
        );
    }
}
