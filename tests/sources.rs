//! Sources of many images in workflows: planned from their labels, divided, trained on; refused where they make no data set.

mod common;

use std::path::Path;

use common::Place;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("nodes/tests/sources")
        .join(name);
    path.display().to_string()
}

fn workflow(source: &str, path: &str, more: &str) -> String {
    format!(
        "[workflow]\nname = \"w\"\n[nodes.images]\nkind = \"dataset\"\nsource = \"{source}\"\npath = '{path}'\n{more}\n"
    )
}

const TRAIN: &str = "[nodes.model]\nkind = \"finetune\"\ndata = [\"images\"]\nbackbone = { name = \"conv3\" }\nsteps = 2\nbatch = 4\nlr = 0.01\n\
    [nodes.score]\nkind = \"evaluate\"\nmodel = \"model\"\ndata = \"images\"\n";

/// The metrics of the data set.
fn metrics(place: &Place) -> serde_json::Value {
    let entry = place.flow(&["cache", "show", "images", "--json"]).json();
    entry["metrics"].clone()
}

#[test]
fn every_source_is_planned_read_and_trained_on() {
    for (source, path, more, counts) in [
        ("npz", "npz/plain.npz", "side = 16", [12, 6]),
        ("npz", "npz/deep.npz", "side = 16\ntest = 4", [8, 4]),
        (
            "npz",
            "npz/fortran.npz",
            "side = 16\ntest = 2\narrays = { x = \"x\", y = \"y\" }",
            [10, 2],
        ),
        ("hdf5", "hdf5/plain.h5", "", [12, 6]),
        ("hdf5", "hdf5/deep", "side = 16\ntest = 4", [8, 4]),
        (
            "hdf5",
            "hdf5/packed.hdf5",
            "side = 16\ntest = 2\narrays = { x = \"images\", y = \"labels\" }",
            [10, 2],
        ),
        ("cifar", "cifar-10-batches-bin", "", [3, 2]),
        ("cifar", "cifar-100.tar.gz", "side = 16", [3, 2]),
        ("stl10", "stl10_binary", "side = 16", [5, 2]),
        ("parquet", "parquet", "side = 16", [7, 2]),
        ("webdataset", "webdataset", "side = 16\non_leak = \"warn\"", [6, 2]),
    ] {
        let place = Place::new(&(workflow(source, &fixture(path), more) + TRAIN));
        let plan = place.flow(&["plan", "w.toml"]);
        assert_eq!(plan.code, 0, "{path}: {}", plan.stderr);
        place.run(&[]);
        let found = metrics(&place);
        let counted = ["train_images", "test_images"].map(|key| found[key].as_f64().expect("a count") as i32);
        assert_eq!(counted, counts, "{path}");
    }
}

#[test]
fn images_of_sixteen_bits_and_five_channels_stay_what_they_are() {
    let place = Place::new(&(workflow("npz", &fixture("npz/deep.npz"), "test = 4\nside = 16") + TRAIN));
    place.run(&[]);
    let found = metrics(&place);
    assert_eq!((&found["depth"], &found["channels"]), (&16.0.into(), &5.0.into()));
}

#[test]
fn what_makes_no_data_set_is_refused_while_planning() {
    for (source, path, more, words) in [
        (
            "npz",
            "npz/plain.npz",
            "arrays = { x = \"z\" }",
            "there is no array `z`; it has",
        ),
        ("npz", "parquet", "", "it is a directory"),
        ("hdf5", "npz/plain.npz", "", "no whole HDF5 file"),
        ("parquet", "parquet", "", "needs `side`"),
        (
            "parquet",
            "parquet",
            "side = 16\ncolumns = { label = \"kind\" }",
            "there is no column `kind`",
        ),
        ("parquet", "npz", "side = 16", "there is no .parquet file"),
        ("cifar", "npz", "", "none of CIFAR's files"),
        ("stl10", "npz", "", "there is no train_X.bin"),
        ("webdataset", "npz", "side = 16", "there is no .tar file"),
        ("npz", "npz/deep.npz", "channels = 3\ntest = 2", "the images have 5"),
        ("cifar", "cifar-10-old", "test = 3", "takes no `test`"),
    ] {
        let place = Place::new(&workflow(source, &fixture(path), more));
        let ended = place.flow(&["plan", "w.toml"]);
        assert_eq!(ended.code, 3, "{source} {path}: {}", ended.stderr);
        assert!(
            common::flat(&ended.stderr).contains(words),
            "no `{words}` in\n{}",
            ended.stderr
        );
    }
}

#[test]
fn inspect_tells_formats_by_what_lies_there() {
    let place = Place::new("");
    for (path, images) in [
        ("npz/plain.npz", 18),
        ("hdf5/plain.h5", 18),
        ("hdf5/deep", 12),
        ("cifar-10-batches-py", 5),
        ("cifar-100.tar.gz", 5),
        ("stl10_binary", 7),
        ("parquet", 9),
        ("parquet/data/train-00000-of-00002.parquet", 3),
        ("webdataset", 8),
        ("webdataset/set-train-001.tar.gz", 3),
    ] {
        let ended = place.flow(&["data", "inspect", &fixture(path), "--json"]);
        assert_eq!(ended.code, 0, "{path}: {}", ended.stderr);
        assert_eq!(ended.json_lines().len(), images, "{path}");
    }
}

#[test]
fn a_large_data_set_is_written_as_it_is_read_and_its_labelled_part_names_the_same_file() {
    // More than is kept in memory.
    const IMAGE: usize = 512 * 512 * 3;
    const TRAIN: usize = 90;
    let values = |n: usize, first: usize| -> Vec<u8> {
        (0..n * IMAGE)
            .map(|at| ((first + at / IMAGE) * 13 + at / 1021 * 7) as u8)
            .collect()
    };
    let labels = |n: usize| (0..n as i64).flat_map(|at| (at % 2).to_le_bytes()).collect();
    let train = values(TRAIN, 0);
    let place = Place::new(
        &(workflow("npz", "large.npz", "") + "[nodes.few]\nkind = \"dataset\"\nfrom = \"images\"\nlabels = 10\n"),
    );
    let arrays = [
        ("x_train", "|u1", &[TRAIN, 512, 512, 3][..], train.clone()),
        ("y_train", "<i8", &[TRAIN][..], labels(TRAIN)),
        ("x_test", "|u1", &[4, 512, 512, 3][..], values(4, TRAIN)),
        ("y_test", "<i8", &[4][..], labels(4)),
    ];
    place.write("large.npz", common::npz(&arrays));
    place.run(&[]);
    let [whole, few] =
        ["images", "few"].map(|node| place.flow(&["cache", "show", node, "--json"]).json()["outputs"].clone());
    assert_eq!(whole["train.images"], few["train.images"]);
    let digest = whole["train.images"]["digest"].as_str().expect("a digest");
    let cache = place.path(".flow/cache");
    let blob = std::fs::read(cache.join("blobs").join(&digest[..2]).join(digest)).expect("a blob");
    assert!(
        blob[blob.len() - train.len()..] == train,
        "pixels are those of the array"
    );
    let staged = std::fs::read_dir(cache.join("staging")).expect("a directory");
    assert_eq!(staged.count(), 0, "nothing is left on its way");
    let verified = place.flow(&["cache", "verify"]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
}
