//! Bad input: one clear error each, a documented exit code, nothing half-written.

mod common;

use common::{Place, SMALL};

/// Runs the small workflow after a replacement; it must end with `code` before anything runs.
fn refused(from: &str, to: &str, code: i32) -> String {
    assert!(SMALL.contains(from), "the fixture has no `{from}`");
    let place = Place::new(&SMALL.replacen(from, to, 1));
    let ended = place.flow(&["run", "w.toml"]);
    assert_eq!(ended.code, code, "{}", ended.stderr);
    assert!(ended.stdout.is_empty(), "{}", ended.stdout);
    assert!(!place.path(".flow/runs").exists(), "a run was begun");
    ended.stderr
}

#[track_caller]
fn says(text: &str, expected: &[&str]) {
    for part in expected {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn an_unknown_key_is_pointed_at_with_the_nearest_name() {
    says(
        &refused("epochs = 3", "epoch = 3", 3),
        &["epoch", "epochs", "w.toml:", "unknown"],
    );
}

#[test]
fn an_unknown_node_is_pointed_at_with_the_nearest_name() {
    says(
        &refused("init = \"simclr\"", "init = \"simlcr\"", 3),
        &["simlcr", "simclr", "w.toml:"],
    );
}

#[test]
fn a_wrong_type_says_what_was_expected() {
    says(&refused("lr = 0.005", "lr = \"fast\"", 3), &["lr", "fast", "w.toml:"]);
}

#[test]
fn a_cycle_is_shown_whole() {
    let text = refused("from = \"images\"\n", "from = \"guess\"\n", 3);
    says(&text, &["guess -> labelled -> guess", "w.toml:"]);
}

#[test]
fn a_label_budget_larger_than_the_data_is_refused_before_anything_runs() {
    says(
        &refused("labels = [20, 40]", "labels = [20, 400]", 3),
        &["400", "80", "w.toml:"],
    );
}

#[test]
fn colour_operations_on_gray_images_are_refused_before_anything_runs() {
    let text = refused(
        "source = \"scenes\"\ntrain = 80\ntest = 40\nside = 16",
        "source = \"fashion-mnist-sample\"",
        3,
    );
    says(&text, &["color_jitter", "simclr-gray"]);
}

#[test]
fn scenes_of_a_style_that_cannot_be_are_refused_with_its_place() {
    let side = "side = 16";
    for (style, words) in [
        (
            "style = { turn = 200 }",
            &["200 found", "from 0 to 180", "w.toml:"] as &[&str],
        ),
        ("style = { size = [0.4, 0.3] }", &["radius", "w.toml:"]),
        ("style = { colour = 1 }", &["colour", "turn", "w.toml:"]),
        ("colour = \"dyed\"", &["typical", "w.toml:"]),
        ("background = \"noise\"", &["takes no `background`", "w.toml:"]),
    ] {
        says(&refused(side, &format!("{side}\n{style}"), 3), words);
    }
}

#[test]
fn a_part_of_a_data_set_takes_nothing_that_is_its_sources() {
    for setting in ["style = { turn = 20 }", "background = \"noise\"", "colour = \"gray\""] {
        let key = setting.split(' ').next().expect("a key");
        let text = refused("from = \"images\"", &format!("from = \"images\"\n{setting}"), 3);
        says(&text, &[&format!("`{key}` goes with `source`"), "w.toml:"]);
    }
}

/// Replaces the small workflow's method; `flow plan` must say what is wrong, with its place, before anything runs.
fn method_refused(method: &str, more: &[(&str, &str)]) -> String {
    let simclr = "method = \"simclr\"\nhidden = 16\nprojection = 8";
    assert!(SMALL.contains(simclr), "the fixture has another method");
    let mut workflow = SMALL.replacen(simclr, method, 1);
    for (from, to) in more {
        assert!(workflow.contains(from), "the fixture has no `{from}`");
        workflow = workflow.replacen(from, to, 1);
    }
    let place = Place::new(&workflow);
    let ended = place.flow(&["plan", "w.toml"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(!place.path(".flow").exists(), "something was written");
    // The line of the first `task`, or of the first `batch`: the pre-training's; or that of a setting that is out of its own range.
    let line = |key: &str| workflow.lines().position(|l| l.starts_with(key)).map_or(0, |l| l + 1);
    let mut places = ["task = ", "batch = "].into_iter().chain(method.lines().skip(1));
    assert!(
        places.any(|p| ended.stderr.contains(&format!("w.toml:{}:", line(p)))),
        "no place in\n{}",
        ended.stderr
    );
    ended.stderr
}

const GRAY: &[(&str, &str)] = &[
    (
        "source = \"scenes\"\ntrain = 80\ntest = 40\nside = 16",
        "source = \"fashion-mnist-sample\"",
    ),
    ("recipe = \"simclr\"", "recipe = \"simclr-gray\""),
];

#[test]
fn methods_that_make_no_sense_for_the_images_are_refused_before_anything_runs() {
    says(
        &method_refused("method = \"colorization\"", GRAY),
        &["images in colour", "1 channel"],
    );
    for (method, words) in [
        ("method = \"moco\"\nqueue = 40", &["queue", "32 or 48"] as &[&str]),
        (
            "method = \"moco-v2\"\nqueue = 48\ngroups = 3",
            &["groups", "equal groups"],
        ),
        ("method = \"swav\"\nqueue = 20", &["queue", "multiple of the batch"]),
        ("method = \"scan\"", &["`init`"]),
        (
            "method = \"deep-cluster\"\nclusters = 100\ncomponents = 8",
            &["clusters", "only 76 images"],
        ),
        (
            "method = \"deep-cluster\"\nclusters = 8",
            &["components", "only 32 dimensions"],
        ),
        ("method = \"sela\"\nclusters = 100", &["clusters", "only 76 images"]),
        (
            "method = \"pirl\"\nnegatives = 70",
            &["negatives", "only 60 of the 76 images"],
        ),
        (
            "method = \"jigsaw\"\npermutations = 3000",
            &["permutations", "3000 found"],
        ),
        (
            "method = \"dino\"\nteacher_temperature = 0.2",
            &["teacher_temperature", "student_temperature"],
        ),
    ] {
        says(&method_refused(method, &[]), words);
    }
}

#[test]
fn a_batch_of_one_is_refused() {
    for method in ["rotation", "supervised", "simclr", "autoencoder"] {
        let text = method_refused(&format!("method = \"{method}\""), &[("batch = 16", "batch = 1")]);
        says(&text, &["batch", "1 found, expected at least 2"]);
    }
}

#[test]
fn operations_on_colours_of_one_channel_are_refused_at_their_line() {
    for op in [
        "{ op = \"color_jitter\", hue = 0.1 }",
        "{ op = \"color_jitter\", saturation = 0.1 }",
        "{ op = \"grayscale\" }",
    ] {
        let workflow = SMALL.replacen(GRAY[0].0, GRAY[0].1, 1);
        let workflow = workflow.replacen("recipe = \"simclr\"", &format!("ops = [{op}]"), 1);
        let place = Place::new(&workflow);
        let ended = place.flow(&["plan", "w.toml"]);
        assert_eq!(ended.code, 3, "{}", ended.stderr);
        says(&ended.stderr, &["w.toml:", "1 channel", "simclr-gray"]);
    }
}

#[test]
fn a_port_of_another_type_says_what_it_takes() {
    says(
        &refused("task = \"contrast\"", "task = \"views\"", 3),
        &["task", "recipe"],
    );
}

#[test]
fn no_steps_make_sense_with_a_probe_head_only() {
    says(&refused("steps = 6", "steps = 0", 3), &["steps", "probe"]);
}

#[test]
fn broken_toml_is_pointed_at() {
    says(&refused("kind = \"pretext\"", "kind = pretext", 3), &["w.toml:"]);
}

#[test]
fn a_missing_workflow_and_a_bad_override_are_said() {
    let place = Place::new(SMALL);
    assert_eq!(place.flow(&["run", "absent.toml"]).code, 3);
    assert_eq!(place.flow(&["run", "w.toml", "--set", "nonsense"]).code, 2);
    assert_eq!(place.flow(&["frobnicate"]).code, 2);
    assert_eq!(place.flow(&["cache", "ls"]).code, 2, "there is no cache yet");
}

/// A workflow that only reads IDX files from `data`.
const IDX: &str = "[workflow]\nname = \"idx\"\n[nodes.images]\nkind = \"dataset\"\nsource = \"idx\"\npath = \"data\"\n";

fn idx_images(n: u32) -> Vec<u8> {
    let header = [2051u32, n, 4, 4].map(u32::to_be_bytes).concat();
    [header, (0..n * 16).map(|v| v as u8).collect()].concat()
}

fn idx_labels(n: u32) -> Vec<u8> {
    [
        [2049u32, n].map(u32::to_be_bytes).concat(),
        (0..n).map(|v| (v % 2) as u8).collect(),
    ]
    .concat()
}

fn idx_place() -> Place {
    let place = Place::new(IDX);
    std::fs::create_dir(place.path("data")).expect("a directory");
    for part in ["train", "t10k"] {
        place.write(&format!("data/{part}-images-idx3-ubyte.gz"), idx_images(6));
        place.write(&format!("data/{part}-labels-idx1-ubyte.gz"), idx_labels(6));
    }
    place
}

#[test]
fn images_too_small_for_tiles_are_refused_before_any_training() {
    let place = idx_place();
    for method in ["jigsaw", "context-prediction", "pirl"] {
        let more = if method == "pirl" { "negatives = 2\n" } else { "" };
        place.write(
            "w.toml",
            format!(
                "{IDX}[nodes.task]\nkind = \"pretext\"\nmethod = \"{method}\"\n{more}\
                 [nodes.learn]\nkind = \"pretrain\"\ndata = \"images\"\ntask = \"task\"\n\
                 backbone = {{ name = \"conv3\" }}\nbatch = 2\nepochs = 1\nlr = 0.1\n"
            ),
        );
        // How large an IDX set's images are is known from its files' headers.
        let ended = place.flow(&["plan", "w.toml"]);
        assert_eq!(ended.code, 3, "{}", ended.stderr);
        says(&ended.stderr, &["patches of 0 pixels", "take larger"]);
    }
}

#[test]
fn an_idx_set_is_read_and_a_change_of_its_files_is_noticed() {
    let place = idx_place();
    place.run(&[]);
    place.run(&[]);
    assert!(place.ran().is_empty());
    let mut labels = idx_labels(6);
    labels[8] = 1;
    place.write("data/t10k-labels-idx1-ubyte.gz", labels);
    place.run(&[]);
    assert_eq!(place.ran(), ["images"]);
}

#[test]
fn missing_and_truncated_files_are_errors_with_the_files_name() {
    let place = idx_place();
    let full = idx_images(6);
    place.write("data/train-images-idx3-ubyte.gz", &full[..full.len() - 3]);
    let ended = place.flow(&["run", "w.toml"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    says(&ended.stderr, &["train-images-idx3-ubyte.gz", "cut short"]);
    std::fs::remove_file(place.path("data/train-images-idx3-ubyte.gz")).expect("it is there");
    let ended = place.flow(&["run", "w.toml"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    says(&ended.stderr, &["train-images-idx3-ubyte.gz", "paths are relative to"]);
}

#[test]
fn fashion_mnist_with_the_wrong_checksum_is_refused() {
    let place = idx_place();
    place.write("w.toml", IDX.replace("\"idx\"\npath", "\"fashion-mnist\"\npath"));
    let ended = place.flow(&["run", "w.toml"]);
    assert_eq!(ended.code, 1);
    says(&ended.stderr, &["wrong checksum", "expected", "source = \"idx\""]);
}

#[test]
fn a_truncated_record_is_a_miss_not_a_wrong_hit() {
    let place = idx_place();
    place.run(&[]);
    let records = place.path(".flow/cache/records");
    let record = std::fs::read_dir(records)
        .expect("records")
        .flatten()
        .flat_map(|d| std::fs::read_dir(d.path()).expect("a directory"))
        .flatten()
        .next();
    let record = record.expect("one record").path();
    let text = std::fs::read(&record).expect("readable");
    std::fs::write(&record, &text[..text.len() / 2]).expect("writable");
    place.run(&[]);
    assert_eq!(place.ran(), ["images"]);
}
