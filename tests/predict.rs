//! A trained network on images that no workflow knows: predict, embed, and which images to label next.

mod common;

use std::io::Cursor;
use std::process::Command;

use common::{Place, blob, stripes};
use image::ImageFormat;
use serde_json::Value;

/// Two classifiers of one folder, of which `idle` has learnt nothing; judged on the test images.
const WORKFLOW: &str = "[workflow]\nname = \"w\"\n[matrix]\narm = [\"model\", \"idle\"]\n\
    [nodes.images]\nkind = \"dataset\"\nsource = \"folder\"\npath = \"photos\"\nside = 16\nfit = \"pad\"\nmatte = [9, 90, 200]\n\
    [defaults.finetune]\ndata = [\"images\"]\nbackbone = { name = \"conv3\" }\nbatch = 16\nlr = 0.05\n\
    [nodes.model]\nkind = \"finetune\"\nsteps = 40\n[nodes.idle]\nkind = \"finetune\"\nsteps = 1\nseed = 3\n\
    [nodes.score]\nkind = \"evaluate\"\nmodel = \"${arm}\"\ndata = \"images\"\nsplit = \"test\"\n";

fn put(place: &Place, name: &str, class: u32, seed: u32) {
    let mut bytes = Cursor::new(Vec::new());
    stripes((26, 18), class, seed)
        .write_to(&mut bytes, ImageFormat::Png)
        .expect("encoded");
    let path = place.path(name);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    std::fs::write(path, bytes.into_inner()).expect("written");
}

/// A run of the workflow. Test images are in the wrong classes: who looked at them would choose the worse model.
fn trained(validation: bool) -> Place {
    let place = Place::new(WORKFLOW);
    for (class, name) in ["across", "along"].into_iter().enumerate() {
        let class = class as u32;
        for seed in 0..24 {
            put(
                &place,
                &format!("photos/train/{name}/{seed}.png"),
                class,
                seed + 500 * class,
            );
        }
        for seed in 0..10 {
            if validation {
                put(
                    &place,
                    &format!("photos/val/{name}/{seed}.png"),
                    class,
                    seed + 200 + 500 * class,
                );
            }
            put(
                &place,
                &format!("photos/test/{name}/{seed}.png"),
                1 - class,
                seed + 300 + 500 * class,
            );
        }
    }
    place.run(&[]);
    place
}

fn predicted(place: &Place, arguments: &[&str]) -> String {
    let ended = place.flow(&[&["predict"], arguments].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stdout
}

/// Cells of a CSV without quotes in it.
fn cells(csv: &str) -> Vec<Vec<String>> {
    csv.lines()
        .map(|line| line.split(',').map(str::to_owned).collect())
        .collect()
}

#[test]
fn labels_are_those_that_the_evaluate_node_judged() {
    let place = trained(true);
    let scores = std::fs::read_to_string(blob(&place, "score[arm=model]", "scores.json")).expect("scores");
    let scores: Value = serde_json::from_str(&scores).expect("JSON");
    let rows = cells(&predicted(&place, &["model", "photos/test"]));
    assert_eq!(rows[0], ["path", "label", "confidence"]);
    assert_eq!(rows.len(), 21);
    let correct: String = rows[1..]
        .iter()
        .map(|row| {
            if row[0].contains(&format!("/{}/", row[1])) {
                '1'
            } else {
                '0'
            }
        })
        .collect();
    let classes = |of: &Value| of.as_array().expect("classes").clone();
    let (truth, found) = (classes(&scores["truth"]), classes(&scores["scores"][0]["predicted"]));
    let judged: String = truth
        .iter()
        .zip(&found)
        .map(|(a, b)| if a == b { '1' } else { '0' })
        .collect();
    assert_eq!(judged, correct);
    assert!(
        rows[1..]
            .iter()
            .all(|row| row[2].parse::<f64>().is_ok_and(|p| (0.5..=1.0).contains(&p)))
    );
}

#[test]
fn best_is_by_validation_images_and_never_by_test_images() {
    let place = trained(true);
    let ended = place.flow(&["predict", "best", "photos/val"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let rows = cells(&ended.stdout);
    let right = rows[1..]
        .iter()
        .filter(|row| row[0].contains(&format!("/{}/", row[1])))
        .count();
    assert!(right >= 15, "{right} of 20 in\n{}", ended.stderr);
    assert!(ended.stderr.contains("best of 2 classifiers"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("model (") && ended.stderr.contains("of 20 validation images"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("calibrated: logits are divided by"),
        "{}",
        ended.stderr
    );
    let run: Value = place.flow(&["runs", "show", "--json"]).json();
    let id = run["id"].as_str().expect("an id");
    let of_run = place.flow(&["predict", &format!("{id}:best"), "photos/val"]);
    assert_eq!(of_run.stdout, ended.stdout);
    let query = place.flow(&["predict", "kind = finetune and params.steps = 40", "photos/val"]);
    assert_eq!(query.stdout, ended.stdout);
    assert_eq!(place.flow(&["cache", "tag", "best", "idle"]).code, 0);
    let tagged = place.flow(&["predict", "best", "photos/val"]);
    assert!(
        tagged.stderr.contains("idle ("),
        "a tag of that name is what is meant: {}",
        tagged.stderr
    );
}

#[test]
fn without_validation_images_nothing_is_calibrated_and_nothing_is_best() {
    let place = trained(false);
    let ended = place.flow(&["predict", "model", "photos/test/along/1.png"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("not calibrated"), "{}", ended.stderr);
    let ended = place.flow(&["predict", "best", "photos/test"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("none of the 2 classifiers has such"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("validation = N"), "{}", ended.stderr);
    for (arguments, code, words) in [
        (&["nothing", "photos"][..], 2, "no entry `nothing`"),
        (&["images", "photos"], 1, "holds no weights"),
        (&["model", "none"], 2, "there is no none"),
        (&["model", "photos/*.gif"], 2, "nothing fits the pattern"),
        (&["model", "photos", "-o", "x.txt"], 2, "no ending"),
        (&["model", "photos", "--rank", "uncertain"], 2, "--count"),
    ] {
        let ended = place.flow(&[&["predict"], arguments].concat());
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "no `{words}` in\n{}", ended.stderr);
    }
}

#[test]
fn files_patterns_archives_and_formats_give_the_same_predictions() {
    let place = trained(true);
    let of_folder = cells(&predicted(&place, &["model", "photos/test/along", "--probabilities"]));
    assert_eq!(of_folder[0][3..], ["probability:across", "probability:along"]);
    for row in &of_folder[1..] {
        let sum: f64 = row[3..].iter().map(|p| p.parse::<f64>().expect("a number")).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{row:?}");
    }
    let numbers = |rows: &[Vec<String>]| rows.iter().map(|row| row[1..].to_vec()).collect::<Vec<_>>();
    let of_pattern = cells(&predicted(
        &place,
        &["model", "photos/*/along/*.png", "--probabilities"],
    ));
    assert_eq!(of_pattern.len(), 45);
    let of_test: Vec<Vec<String>> = of_pattern.into_iter().filter(|row| row[0].contains("/test/")).collect();
    assert_eq!(numbers(&of_test), numbers(&of_folder[1..]));
    let tar = Command::new("tar")
        .current_dir(place.dir.path())
        .args(["-czf", "a.tgz", "--sort=name", "-C", "photos/test", "along"])
        .status();
    assert!(tar.is_ok_and(|status| status.success()));
    let of_archive = cells(&predicted(&place, &["model", "a.tgz", "--probabilities"]));
    assert_eq!(of_archive[1][0], "a.tgz/along/0.png");
    assert_eq!(numbers(&of_archive), numbers(&of_folder));
    predicted(
        &place,
        &["model", "photos/test/along", "--probabilities", "-o", "x.jsonl"],
    );
    let lines = std::fs::read_to_string(place.path("x.jsonl")).expect("written");
    for (line, row) in lines.lines().zip(&of_folder[1..]) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(
            (line["path"].as_str(), line["label"].as_str()),
            (Some(&*row[0]), Some(&*row[1]))
        );
        let difference = line["probability"]["along"].as_f64().expect("a number") - row[4].parse::<f64>().expect("one");
        assert!(difference.abs() < 1e-6);
    }
    for name in ["x.csv", "x.parquet", "x.npz"] {
        predicted(&place, &["model", "photos/test/along", "-o", name]);
        assert!(place.path(name).metadata().expect("written").len() > 200, "{name}");
        assert!(!place.path(&format!("{name}.partial")).exists());
    }
}

/// Python with onnxruntime and numpy: `FLOW_PYTHON`, or `python3`. None if it has them not.
fn python() -> Option<String> {
    let python = std::env::var("FLOW_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let ended = Command::new(&python).args(["-c", "import onnxruntime, numpy"]).output();
    ended.is_ok_and(|ended| ended.status.success()).then_some(python)
}

/// Probabilities of raw images, from an exported network.
const RUN: &str = r#"
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
images = numpy.fromfile(sys.argv[2], dtype="u1").reshape(-1, 16, 16, 3).transpose(0, 3, 1, 2)
logits, = session.run(["logits"], {"images": images.astype("<f4") / 255})
rows = numpy.exp(logits - logits.max(1, keepdims=True))
for row in rows / rows.sum(1, keepdims=True):
    print(*row)
"#;

#[test]
fn the_exported_network_gives_the_probabilities_of_predict() {
    let Some(python) = python() else {
        eprintln!("skipped: there is no Python with onnxruntime and numpy; FLOW_PYTHON names one");
        return;
    };
    let place = trained(false);
    let mut raw = Vec::new();
    for seed in 0..6 {
        let square = image::imageops::crop_imm(&stripes((26, 18), seed % 2, 700 + seed), 0, 0, 16, 16).to_image();
        std::fs::create_dir_all(place.path("square")).expect("made");
        square.save(place.path(&format!("square/{seed}.png"))).expect("written");
        raw.extend(square.into_raw());
    }
    place.write("raw", raw);
    let export = [
        "cache",
        "export",
        "model",
        "--to",
        "onnx",
        "--with-preprocessing",
        "-o",
        "m.onnx",
    ];
    assert_eq!(place.flow(&export).code, 0);
    let ended = Command::new(python)
        .current_dir(place.dir.path())
        .args(["-c", RUN, "m.onnx", "raw"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    let rows = cells(&predicted(&place, &["model", "square", "--probabilities"]));
    assert_eq!(text.lines().count(), 6, "{}", String::from_utf8_lossy(&ended.stderr));
    for (line, row) in text.lines().zip(&rows[1..]) {
        for (onnx, ours) in line.split(' ').zip(&row[3..]) {
            let difference = onnx.parse::<f64>().expect("a number") - ours.parse::<f64>().expect("one");
            assert!(difference.abs() < 1e-5, "{line} {row:?}");
        }
    }
}

#[test]
fn files_that_cannot_be_read_are_listed_and_leave_no_file_unless_they_are_skipped() {
    let place = trained(true);
    for i in 0..11 {
        place.write(&format!("photos/test/along/bad{i:02}.jpg"), "nothing");
    }
    let ended = place.flow(&["predict", "model", "photos/test", "-o", "x.csv"]);
    assert_eq!(ended.code, 1);
    for word in [
        "11 image files",
        "bad00.jpg",
        "bad09.jpg",
        "and 1 more",
        "--on-bad skip",
    ] {
        assert!(ended.stderr.contains(word), "no `{word}` in\n{}", ended.stderr);
    }
    assert!(!place.path("x.csv").exists() && !place.path("x.csv.partial").exists());
    let ended = place.flow(&["predict", "model", "photos/test", "-o", "x.csv", "--on-bad", "skip"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("11 image files") && ended.stderr.contains("bad00.jpg"),
        "{}",
        ended.stderr
    );
    let written = std::fs::read_to_string(place.path("x.csv")).expect("written");
    assert_eq!(written.lines().count(), 21);
}

#[test]
fn features_are_written_with_their_paths() {
    let place = trained(true);
    for name in ["x.npz", "x.parquet", "x.jsonl"] {
        let ended = place.flow(&["embed", "model", "photos/test", "-o", name]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stderr.contains("20 rows"), "{}", ended.stderr);
    }
    let quiet = place.flow(&["embed", "--quiet", "model", "photos/test", "-o", "y.npz"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
    let lines = std::fs::read_to_string(place.path("x.jsonl")).expect("written");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let dim = lines[0]["features"].as_array().expect("a list").len();
    assert!(
        lines
            .iter()
            .all(|line| line["features"].as_array().is_some_and(|f| f.len() == dim))
    );
    assert!(
        lines[0]["path"]
            .as_str()
            .expect("a path")
            .starts_with("photos/test/across/0.png")
    );
    let npz = std::fs::metadata(place.path("x.npz")).expect("written").len() as usize;
    assert!(npz > 20 * dim * 4, "{npz} bytes for 20 x {dim}");
}

#[test]
fn the_images_to_label_next_are_the_least_certain_or_the_least_alike() {
    let place = trained(true);
    let all = cells(&predicted(&place, &["model", "photos/test", "--probabilities"]));
    let mut margins: Vec<(f64, String)> = all[1..]
        .iter()
        .map(|row| {
            let p: Vec<f64> = row[3..].iter().map(|p| p.parse().expect("a number")).collect();
            ((p[0] - p[1]).abs(), row[0].clone())
        })
        .collect();
    margins.sort_by(|a, b| a.0.total_cmp(&b.0));
    let uncertain = cells(&predicted(
        &place,
        &["model", "photos/test", "--rank", "uncertain", "-n", "5"],
    ));
    assert_eq!(uncertain[0], ["path", "label", "confidence", "margin"]);
    let chosen: Vec<&str> = uncertain[1..].iter().map(|row| row[0].as_str()).collect();
    let expected: Vec<&str> = margins[..5].iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(chosen, expected);
    // Copies are as near as can be: one of them is enough.
    for i in 0..5 {
        put(&place, &format!("more/copy{i}.png"), 0, 800);
    }
    put(&place, "more/other.png", 1, 900);
    put(&place, "more/third.png", 1, 977);
    let diverse = cells(&predicted(&place, &["model", "more", "--rank", "diverse", "-n", "3"]));
    let copies = diverse[1..].iter().filter(|row| row[0].contains("copy")).count();
    assert_eq!((diverse.len(), copies), (4, 1), "{diverse:?}");
}
