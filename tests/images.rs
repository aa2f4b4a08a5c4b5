//! From a directory of images to a run: inspect, init, plan, run; and what happens where the directory is not as it should be.

mod common;

use std::collections::BTreeSet;
use std::io::Cursor;

use common::{Place, stripes};
use image::ImageFormat;

/// A workflow that only reads a folder.
const READ: &str =
    "[workflow]\nname = \"w\"\n[nodes.images]\nkind = \"dataset\"\nsource = \"folder\"\npath = \"photos\"\nside = 16\n";

fn png(class: u32, seed: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    stripes((24, 20), class, seed)
        .write_to(&mut bytes, ImageFormat::Png)
        .expect("encoded");
    bytes.into_inner()
}

fn put(place: &Place, name: &str, bytes: &[u8]) {
    let path = place.path(name);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

/// Two classes of `n` images.
fn two_classes(workflow: &str, n: u32) -> Place {
    let place = Place::new(workflow);
    for seed in 0..n {
        put(&place, &format!("photos/across/{seed}.png"), &png(0, seed));
        put(&place, &format!("photos/along/{seed}.png"), &png(1, seed + 500));
    }
    place
}

/// Runs and is refused with `code` and all of these words.
#[track_caller]
fn refused(place: &Place, code: i32, words: &[&str]) {
    let ended = place.flow(&["run", "w.toml"]);
    assert_eq!(ended.code, code, "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "no `{word}` in\n{}", ended.stderr);
    }
}

/// The metrics of the newest entry.
fn metrics(place: &Place) -> serde_json::Value {
    let ended = place.flow(&["cache", "show", "images", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let value: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    value
        .get("metrics")
        .or_else(|| value.pointer("/record/metrics"))
        .cloned()
        .unwrap_or(value)
}

#[test]
fn inspect_tells_of_every_file_in_json_lines() {
    let place = two_classes(READ, 3);
    put(&place, "photos/along/broken.jpg", b"nothing");
    let ended = place.flow(&["data", "inspect", "photos", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines: Vec<serde_json::Value> = ended
        .stdout
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 7);
    let first = &lines[0];
    assert_eq!(
        (&first["path"], &first["label"]),
        (&"across/0.png".into(), &"across".into())
    );
    assert_eq!(
        (&first["width"], &first["height"], &first["channels"]),
        (&24.into(), &20.into(), &3.into())
    );
    let expected = stripes((24, 20), 0, 0).pixels().map(|p| f64::from(p.0[0])).sum::<f64>() / 480.0;
    assert!((first["mean"][0].as_f64().expect("a number") - expected).abs() < 1e-9);
    let broken = lines
        .iter()
        .find(|line| line["path"] == "along/broken.jpg")
        .expect("listed");
    assert!(broken["problem"].as_str().expect("a reason").contains("not an image"));
    let ended = place.flow(&["data", "inspect", "photos"]);
    for words in [
        "6 images, 1 that cannot be read",
        "2 classes: across 3, along 3",
        "sizes: 24x20 to 24x20",
    ] {
        assert!(ended.stdout.contains(words), "no `{words}` in\n{}", ended.stdout);
    }
    assert!(!place.path(".flow").exists(), "it needs no cache");
}

#[test]
fn a_folder_becomes_a_workflow_that_plans_and_runs_as_it_is() {
    let place = two_classes("", 20);
    let ended = place.flow(&["init", "photos", "--side", "16", "--minutes", "0.2"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let ended = place.flow(&["plan", "flow.toml"]);
    assert_eq!(
        ended.code,
        0,
        "{}\n{}",
        ended.stderr,
        std::fs::read_to_string(place.path("flow.toml")).expect("there")
    );
    let ended = place.flow(&["run", "flow.toml"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("pretrained"), "{}", ended.stdout);
    let again = place.flow(&["init", "photos"]);
    assert_eq!(again.code, 2, "what is there is not overwritten");
    for (name, more) in [("c.toml", "classify"), ("p.toml", "pretrain")] {
        let ended = place.flow(&[
            "init",
            "photos",
            "-o",
            name,
            "--minutes",
            "0.1",
            "--side",
            "16",
            "--task",
            more,
        ]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_eq!(place.flow(&["plan", name]).code, 0);
    }
    assert_eq!(place.flow(&["init", "-o", "example.toml"]).code, 0);
    assert_eq!(place.flow(&["plan", "example.toml"]).code, 0);
    assert!(place.flow(&["init", "--list"]).stdout.contains("simclr_vs_selftrain"));
}

#[test]
fn an_archive_of_arrays_becomes_a_workflow_that_plans_and_runs_as_it_is() {
    let place = Place::new("");
    let pixels = (0..40u32)
        .flat_map(|at| stripes((16, 16), at % 2, at).into_raw())
        .collect();
    let labels = (0..40i64).flat_map(|at| (at % 2).to_le_bytes()).collect();
    let arrays = [
        ("x", "|u1", &[40, 16, 16, 3][..], pixels),
        ("y", "<i8", &[40][..], labels),
    ];
    place.write("photos.npz", common::npz(&arrays));
    let ended = place.flow(&[
        "init",
        "photos.npz",
        "--side",
        "16",
        "--minutes",
        "0.01",
        "--task",
        "classify",
    ]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let text = std::fs::read_to_string(place.path("flow.toml")).expect("written");
    assert!(text.contains("source = \"npz\""), "{text}");
    let ended = place.flow(&["run", "flow.toml"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[test]
fn images_without_a_label_are_learnt_from_and_have_none() {
    let table = "labels = 4\n[nodes.views]\nkind = \"augment\"\nrecipe = \"weak\"\n[nodes.model]\nkind = \"finetune\"\ndata = [\"few\"]\n\
        views = \"views\"\nbackbone = { name = \"conv3\" }\nsteps = 2\nbatch = 4\nlr = 0.01\n[nodes.guess]\nkind = \"pseudo-label\"\n\
        teacher = \"model\"\ndata = \"images\"\nexcept = \"images\"\nthreshold = 0.1\n";
    let workflow = format!("{READ}[nodes.few]\nkind = \"dataset\"\nfrom = \"images\"\n{table}");
    let place = two_classes(&workflow, 10);
    for seed in 0..7 {
        put(
            &place,
            &format!("photos/unlabelled/{seed}.png"),
            &png(seed % 2, seed + 900),
        );
    }
    place.run(&[]);
    let images = metrics(&place);
    // A fifth of the twenty with a label is held out.
    assert_eq!(images["train_images"], 23.0, "{images}");
    assert_eq!(images["test_images"], 4.0, "{images}");
    assert_eq!(images["examples"], 16.0, "{images}");
    let ended = place.flow(&["cache", "query", "kind = pseudo-label", "--json"]);
    let entry: serde_json::Value = serde_json::from_str(ended.stdout.lines().next().expect("an entry")).expect("JSON");
    assert_eq!(
        entry["metrics"]["pool"], 7.0,
        "only those without a label are guessed: {entry}"
    );
    assert!(
        entry["metrics"]["precision"].is_null(),
        "nobody knows what is right: {entry}"
    );
}

#[test]
fn damaged_files_fail_the_node_and_are_listed_or_are_left_out_and_recorded() {
    let place = two_classes(READ, 10);
    for i in 0..12 {
        put(&place, &format!("photos/along/bad{i:02}.jpg"), b"nothing");
    }
    refused(
        &place,
        1,
        &[
            "12 of 32 image files",
            "along/bad00.jpg",
            "along/bad09.jpg",
            "and 2 more",
            "on_bad",
        ],
    );
    place.write("w.toml", format!("{READ}on_bad = \"skip\"\n"));
    place.run(&[]);
    assert_eq!(metrics(&place)["bad_files"], 12.0);
}

#[test]
fn files_that_an_earlier_run_decoded_are_not_decoded_again_and_the_result_is_that_of_decoding_anew() {
    let place = two_classes(&format!("{READ}test = 4\nvalidation = 2\non_bad = \"skip\"\n"), 8);
    // One of 16 bits and one that is damaged: values are kept with more bits than most files have.
    let deep: image::ImageBuffer<image::Luma<u16>, Vec<u16>> =
        image::ImageBuffer::from_fn(30, 24, |x, y| image::Luma([(x * 2000 + y * 101) as u16]));
    let mut bytes = Cursor::new(Vec::new());
    image::DynamicImage::ImageLuma16(deep)
        .write_to(&mut bytes, ImageFormat::Png)
        .expect("encoded");
    put(&place, "photos/across/deep.png", &bytes.into_inner());
    put(&place, "photos/across/bad.png", b"\x89PNG\r\n\x1a\n");
    place.run(&[]);
    let blobs = || -> BTreeSet<String> {
        let records = place.flow(&["cache", "ls", "--json"]).json_lines();
        let outputs = records.iter().filter_map(|record| record["outputs"].as_object());
        outputs
            .flat_map(|files| files.values().map(|file| file["digest"].to_string()))
            .collect()
    };
    let first = blobs();
    put(&place, "photos/across/more.png", &png(0, 77));
    put(&place, "photos/along/more.png", &png(1, 78));
    std::fs::rename(place.path("photos/along/0.png"), place.path("photos/across/moved.png")).expect("moved");
    std::fs::remove_file(place.path("photos/along/1.png")).expect("removed");
    place.run(&[]);
    assert!(
        place
            .logs()
            .contains("of 18 image files were decoded by an earlier run"),
        "{}",
        place.logs()
    );
    let known: Vec<String> = place
        .logs()
        .lines()
        .filter(|line| line.contains("by an earlier run"))
        .map(str::to_owned)
        .collect();
    assert!(known[0].contains("16 of 18"), "{known:?}");
    let remembered: BTreeSet<String> = blobs().difference(&first).cloned().collect();
    std::fs::remove_dir_all(place.path(".flow")).expect("removed");
    place.run(&[]);
    assert!(!place.logs().contains("by an earlier run"));
    assert!(
        !remembered.is_empty() && remembered.is_subset(&blobs()),
        "{remembered:?}"
    );
    // Other settings are other pixels.
    place.run(&["--set", "nodes.images.side=20"]);
    assert!(!place.logs().contains("by an earlier run"), "{}", place.logs());
}

/// Two classes to train on and two images to test on, of which one is a copy.
fn with_a_copy() -> Place {
    let place = two_classes(READ, 6);
    for name in ["across", "along"] {
        std::fs::create_dir_all(place.path("photos/train")).expect("made");
        std::fs::rename(
            place.path(&format!("photos/{name}")),
            place.path(&format!("photos/train/{name}")),
        )
        .expect("moved");
    }
    put(&place, "photos/test/across/new.png", &png(0, 300));
    put(&place, "photos/test/along/copy.png", &png(1, 502));
    place
}

#[test]
fn copies_in_two_splits_are_told_dropped_or_an_error() {
    let place = with_a_copy();
    let ended = place.run(&[]);
    for word in ["test/along/copy.png", "train/along/2.png"] {
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
    assert_eq!(metrics(&place)["leaks_exact"], 1.0);
    // A worker that keeps a log of its own still has its warnings told.
    let mut logged = place.command(&["run", "w.toml", "--cache", "another"]);
    let logged = logged.env("FLOW_LOG", "info").output().expect("flow can be started");
    let stderr = String::from_utf8_lossy(&logged.stderr);
    assert!(stderr.contains("test/along/copy.png"), "{stderr}");
    place.write("w.toml", format!("{READ}on_leak = \"drop\"\n"));
    place.run(&[]);
    assert_eq!(metrics(&place)["train_images"], 11.0);
    place.write("w.toml", format!("{READ}on_leak = \"error\"\n"));
    refused(&place, 1, &["test/along/copy.png", "train/along/2.png"]);
}

#[test]
fn a_verdict_says_how_many_images_are_in_two_splits() {
    let place = with_a_copy();
    let judged = r#"
[matrix]
arm = ["one", "other"]
[defaults.finetune]
data = ["images"]
backbone = { name = "conv3", widths = [4, 4, 4] }
steps = 1
batch = 4
lr = 0.01
[nodes.one]
kind = "finetune"
[nodes.other]
kind = "finetune"
seed = 1
[nodes.score]
kind = "evaluate"
model = "${arm}"
data = "images"
[nodes.verdict]
kind = "evaluate"
compare = ["score"]
over = ["arm"]
baseline = "one"
"#;
    let mut said = String::new();
    for more in ["", "on_leak = \"drop\"\n"] {
        place.write("w.toml", format!("{READ}{more}{judged}"));
        let ended = place.run(&[]);
        let (_, told) = ended.stdout.split_once("These test images").expect("a verdict");
        let told = told.split("run directory").next().unwrap_or_default();
        said.push_str(&format!("These test images{told}\n"));
    }
    insta::assert_snapshot!("leaks_in_a_verdict", said);
}

#[test]
fn groups_are_never_divided() {
    let place = two_classes(
        &format!("{READ}columns = {{ group = \"patient\" }}\nvalidation = 8\non_leak = \"error\"\n"),
        20,
    );
    let rows = |name: &str| {
        (0..20)
            .map(|i| format!("{name}/{i}.png,{name},p{}\n", i / 4))
            .collect::<String>()
    };
    place.write(
        "photos/labels.csv",
        format!("path,label,patient\n{}{}", rows("across"), rows("along")),
    );
    // Copies within a group would be leaks if it were divided.
    for i in (0..20).step_by(4) {
        for copy in 1..4 {
            put(&place, &format!("photos/across/{}.png", i + copy), &png(0, i));
        }
    }
    place.run(&[]);
    let found = metrics(&place);
    assert_eq!(
        (&found["test_images"], &found["leaks_exact"]),
        (&8.0.into(), &0.0.into()),
        "{found}"
    );
}

#[test]
fn folders_that_make_no_data_set_are_refused_before_anything_runs() {
    let empty = Place::new(READ);
    std::fs::create_dir(empty.path("photos")).expect("made");
    refused(&empty, 3, &["there is no image in", "photos"]);

    let one = two_classes(READ, 3);
    std::fs::remove_dir_all(one.path("photos/along")).expect("removed");
    refused(&one, 3, &["one class", "`across`"]);

    let single = two_classes(READ, 1);
    refused(&single, 3, &["`across`", "1 image"]);

    let foreign = two_classes(READ, 3);
    put(
        &foreign,
        "photos/labels.csv",
        b"path,label,split\nacross/0.png,a,train\nalong/0.png,b,train\nalong/1.png,c,test\n",
    );
    refused(&foreign, 3, &["class `c` has no training image", "along/1.png"]);
    put(
        &foreign,
        "photos/labels.csv",
        b"path,label\nacross/0.png,a\nnone.png,b\n",
    );
    refused(&foreign, 3, &["labels.csv:3", "none.png"]);

    let many = two_classes(
        &format!("{READ}[nodes.few]\nkind = \"dataset\"\nfrom = \"images\"\nlabels = 400\n"),
        10,
    );
    refused(&many, 3, &["400 labels asked for"]);

    let no_side = two_classes(&READ.replace("side = 16\n", ""), 10);
    refused(&no_side, 3, &["`side`"]);
}

#[test]
fn annotated_images_are_drawn_into_a_directory_and_none_outside_it() {
    let place = two_classes(READ, 2);
    let plain = place.flow(&["data", "inspect", "photos", "--draw", "drawn"]);
    assert_eq!(plain.code, 2, "{}", plain.stderr);
    assert!(plain.stderr.contains("tells where things are"), "{}", plain.stderr);
    for i in 0..3 {
        put(&place, &format!("yolo/images/{i}.png"), &png(0, i));
        put(&place, &format!("yolo/labels/{i}.txt"), b"0 0.5 0.5 0.4 0.4\n");
    }
    // Of the same name but for its ending.
    put(&place, "yolo/images/0.jpg", &png(1, 7));
    put(&place, "yolo/classes.txt", b"stripe\n");
    let ended = place.flow(&["data", "inspect", "yolo", "--draw", "drawn"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("drew 4 images into drawn: stripe orange"),
        "{}",
        ended.stderr
    );
    for name in ["0.png", "1.png", "2.png", "0.jpg"] {
        let drawn = image::open(place.path(&format!("drawn/images/{name}.png"))).expect("a picture");
        assert_eq!((drawn.width(), drawn.height()), (512, 512));
    }
    // COCO's names of files are paths, and this one leads out.
    put(&place, "secret.png", &png(1, 9));
    let coco = r#"{"images": [{"id": 1, "file_name": "../secret.png", "width": 24, "height": 20}], "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 4, 4], "area": 16}]}"#;
    put(&place, "coco/annotations/all.json", coco.as_bytes());
    let ended = place.flow(&["data", "inspect", "coco", "--draw", "in/here"]);
    assert!(
        ended.code != 0 && !place.path("in/secret.png").exists(),
        "{}",
        ended.stderr
    );
}
