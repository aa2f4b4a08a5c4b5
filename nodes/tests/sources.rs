//! Formats of many images: what the fixtures hold is what the script that wrote them says, and what is odd is said in words.

use std::path::{Path, PathBuf};

use flow_nodes::pictures::{Inspection, Layout, Reading};
use flow_nodes::sources::inspect;
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources")
}

fn inspected(path: &Path) -> Result<Inspection, String> {
    inspect(path, &Layout::default(), &Reading::default()).map_err(|fault| format!("{} {}", fault.message, fault.help))
}

/// A copy of a fixture that may be changed.
fn copy(name: &str) -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("a folder");
    let from = fixtures().join(name);
    let to = place.path().join(from.file_name().expect("a name"));
    let files = if from.is_dir() { list(&from) } else { vec![from.clone()] };
    for file in files {
        let below = file.strip_prefix(&from).expect("below");
        let to = if from.is_dir() { to.join(below) } else { to.clone() };
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("made");
        std::fs::copy(file, to).expect("copied");
    }
    (place, to)
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { list(&path) } else { vec![path] })
        .collect()
}

#[test]
fn every_format_gives_the_images_that_were_written() {
    let text = std::fs::read_to_string(fixtures().join("expected.json")).expect("committed");
    let expected: Value = serde_json::from_str(&text).expect("JSON");
    for (name, lines) in expected.as_object().expect("an object") {
        let found = inspected(&fixtures().join(name)).expect(name);
        let lines = lines.as_array().expect("lines");
        assert_eq!(found.files.len(), lines.len(), "{name}");
        for (found, line) in found.files.iter().zip(lines) {
            let value = serde_json::to_value(found).expect("JSON");
            for key in ["label", "split", "width", "height", "channels", "depth"] {
                assert_eq!(value[key], line[key], "{name}: {key} of {}", found.path);
            }
            for (found, mean) in found
                .mean
                .expect("decoded")
                .iter()
                .zip(line["mean"].as_array().expect("three"))
            {
                assert!(
                    (found - mean.as_f64().expect("a number")).abs() < 1e-6,
                    "{name}: {line}"
                );
            }
            assert_eq!(found.problem, None, "{name}");
        }
    }
}

#[test]
fn classes_are_in_the_order_of_their_numbers_and_have_the_names_that_the_files_give_them() {
    let names = |path: &str| inspected(&fixtures().join(path)).expect(path).class_names;
    assert_eq!(names("npz/plain.npz"), ["0", "1", "10"]);
    assert_eq!(names("hdf5/packed.hdf5"), ["cat", "dög"]);
    assert_eq!(names("parquet"), ["zebra", "ant"]);
    assert_eq!(names("cifar-100.tar.gz"), ["airplane", "automobile", "bird"]);
    assert_eq!(names("stl10_binary"), ["airplane", "bird", "car"]);
    assert_eq!(names("webdataset"), ["0", "1"]);
}

/// A fixture in which one file is cut to part of its length, and what is then said.
#[track_caller]
fn cut(name: &str, file: &str, words: &str) {
    let (_place, path) = copy(name);
    let file = if file.is_empty() { path.clone() } else { path.join(file) };
    let bytes = std::fs::read(&file).expect("there");
    std::fs::write(&file, &bytes[..bytes.len() * 2 / 3 - 1]).expect("written");
    let fault = inspected(&path).map(|found| found.files.len()).expect_err(name);
    let shown = file.file_name().expect("a name").to_string_lossy();
    assert!(
        fault.contains(words) && fault.contains(&*shown),
        "no `{words}` with `{shown}` in: {fault}"
    );
}

#[test]
fn truncated_files_are_named() {
    cut("npz/plain.npz", "", "no whole npz archive");
    cut("hdf5/plain.h5", "", "truncated");
    cut("cifar-10-batches-bin", "data_batch_1.bin", "truncated");
    cut("cifar-10-batches-py", "data_batch_1", "truncated");
    cut("cifar-10-old", "test_batch", "truncated");
    cut("parquet", "data/train-00001-of-00002.parquet", "no whole Parquet file");
    cut("webdataset", "set-train-001.tar.gz", "damaged or truncated");
    // Labels that are too few show at the images that they are of.
    let (_place, path) = copy("stl10_binary");
    std::fs::write(path.join("train_y.bin"), [1, 2]).expect("written");
    let fault = inspected(&path)
        .map(|found| found.files.len())
        .expect_err("a label is missing");
    assert!(
        fault.contains("train_X.bin") && fault.contains("3 images, but 2 labels"),
        "{fault}"
    );
}

#[test]
fn empty_and_missing_files_are_said() {
    for (name, file, words) in [
        ("cifar-10-batches-bin", "test_batch.bin", "truncated"),
        ("stl10_binary", "train_y.bin", "0 labels"),
        ("parquet", "data/test-00000-of-00001.parquet", "no whole Parquet file"),
        ("npz/deep.npz", "", "no whole npz archive"),
    ] {
        let (_place, path) = copy(name);
        let file = if file.is_empty() { path.clone() } else { path.join(file) };
        std::fs::write(&file, "").expect("written");
        let fault = inspected(&path).map(|found| found.files.len()).expect_err(name);
        assert!(fault.contains(words), "no `{words}` in: {fault}");
    }
    let (_place, path) = copy("stl10_binary");
    std::fs::remove_file(path.join("test_X.bin.gz")).expect("removed");
    let fault = inspected(&path).map(|found| found.files.len()).expect_err("missing");
    assert!(fault.contains("there is no test_X.bin"), "{fault}");
}

#[test]
fn a_pickle_that_would_run_something_is_refused_and_runs_nothing() {
    let (place, path) = copy("cifar-10-batches-py");
    let witness = place.path().join("witness");
    let pickle = format!("cos\nsystem\n(V touch {}\ntR.", witness.display());
    std::fs::write(path.join("data_batch_1"), pickle).expect("written");
    let fault = inspected(&path).map(|found| found.files.len()).expect_err("refused");
    assert!(
        fault.contains("os.system") && fault.contains("never executed"),
        "{fault}"
    );
    assert!(!witness.exists());
}
