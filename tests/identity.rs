//! Identity: what is used together is the same kind of thing, or refused before anything runs; nothing is lost on the way down.

mod common;

use common::{Ended, Place};

const SCENES: &str = r#"
[nodes.all]
kind = "dataset"
source = "scenes"
train = 80
test = 40
side = 16
"#;

const NETWORK: &str = r#"backbone = { name = "conv3", widths = [4, 8, 8], grid = 2 }
batch = 8
lr = 0.01
"#;

fn classes(node: &str, classes: &str) -> String {
    format!("[nodes.{node}]\nkind = \"dataset\"\nfrom = \"all\"\nclasses = {classes}\n")
}

fn model(node: &str, data: &str) -> String {
    format!("[nodes.{node}]\nkind = \"finetune\"\ndata = {data}\nsteps = 2\n{NETWORK}")
}

fn score(node: &str, model: &str, data: &str) -> String {
    format!("[nodes.{node}]\nkind = \"evaluate\"\nmodel = \"{model}\"\ndata = \"{data}\"\n")
}

/// The workflow is refused before anything runs, at a place in the file, in words that hold `expected`.
fn refused(nodes: &[String], expected: &str) {
    let place = Place::new(&format!("{SCENES}{}", nodes.concat()));
    let ended = place.flow(&["run", "w.toml"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    let words = common::flat(&ended.stderr);
    assert!(
        words.contains(expected) && words.contains("w.toml:"),
        "no `{expected}` in {}",
        ended.stderr
    );
}

#[test]
fn a_model_is_not_judged_on_its_classes_in_another_order() {
    let nodes = [
        classes("a", "[0, 1]"),
        classes("b", "[1, 0]"),
        model("m", "[\"a\"]"),
        score("s", "m", "b"),
    ];
    refused(&nodes, "in another order");
}

#[test]
fn a_teacher_does_not_label_images_of_other_classes() {
    let guess = "[nodes.g]\nkind = \"pseudo-label\"\nteacher = \"m\"\ndata = \"all\"\n".to_owned();
    refused(
        &[classes("a", "[0, 1]"), model("m", "[\"a\"]"), guess],
        "the network has the classes",
    );
}

#[test]
fn a_second_data_set_of_other_classes_is_refused() {
    refused(
        &[
            classes("a", "[0, 1]"),
            classes("b", "[0, 2]"),
            model("m", "[\"a\", \"b\"]"),
        ],
        "the first data set has the classes",
    );
}

#[test]
fn a_part_of_pseudo_labels_is_not_chosen_by_true_labels() {
    let guess = "[nodes.g]\nkind = \"pseudo-label\"\nteacher = \"m\"\ndata = \"all\"\n";
    for part in ["labels = 20", "classes = [0, 1]"] {
        let part = format!("{guess}[nodes.p]\nkind = \"dataset\"\nfrom = \"g\"\n{part}\n");
        refused(&[model("m", "[\"all\"]"), part], "these are pseudo-labels");
    }
}

fn verdict(more: &str) -> String {
    format!("[nodes.v]\nkind = \"evaluate\"\ncompare = [\"s\", \"t\"]\nbaseline = \"s\"\n{more}\n")
}

#[test]
fn a_baseline_that_is_no_arm_is_told_before_any_training() {
    let nodes = [model("m", "[\"all\"]"), score("s", "m", "all"), score("t", "m", "all")];
    let other = verdict("").replace("baseline = \"s\"", "baseline = \"scratch\"");
    refused(&[nodes.concat(), other], "`scratch` is not one of the arms");
}

#[test]
fn learning_rates_are_not_averaged_as_seeds() {
    let matrix = "[matrix]\nrate = [0.1, 0.2]\n".to_owned();
    let rated = |node: &str| model(node, "[\"all\"]").replace("lr = 0.01", "lr = \"${rate}\"");
    let nodes = [
        matrix,
        rated("m"),
        score("s", "m", "all"),
        score("t", "m", "all"),
        verdict("over = [\"rate\"]"),
    ];
    refused(&nodes, "varies by `rate`");
}

#[test]
fn scores_of_other_images_are_not_compared() {
    let other = "[nodes.other]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 80\ntest = 40\nside = 16\nseed = 7\n"
        .to_owned();
    let nodes = [
        other,
        model("m", "[\"all\"]"),
        score("s", "m", "all"),
        score("t", "m", "other"),
        verdict(""),
    ]
    .concat();
    let place = Place::new(&format!("{SCENES}{nodes}"));
    let ended = place.flow(&["run", "w.toml"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("not judged on the same images"),
        "{}",
        ended.stderr
    );
}

#[test]
fn with_fewer_than_three_draws_no_arm_is_called_better() {
    let nodes = [
        model("m", "[\"all\"]"),
        score("s", "m", "all"),
        score("t", "m", "all"),
        verdict(""),
    ]
    .concat();
    let place = Place::new(&format!("{SCENES}{nodes}"));
    let said = place.run(&[]).stdout;
    assert!(
        said.contains("Fewer than 3 draws, so that no difference can be called significant: all (1)"),
        "{said}"
    );
}

#[test]
fn supervised_pretraining_sees_labelled_images_only() {
    let labelled = "[nodes.few]\nkind = \"dataset\"\nfrom = \"all\"\nlabels = 20\n";
    let task = "[nodes.task]\nkind = \"pretext\"\nmethod = \"supervised\"\n";
    let pretrain =
        format!("[nodes.e]\nkind = \"pretrain\"\ndata = \"few\"\ntask = \"task\"\nepochs = 1\nmonitor = 0\n{NETWORK}");
    let place = Place::new(&format!("{SCENES}{labelled}{task}{pretrain}"));
    place.run(&[]);
    assert!(place.logs().contains("trains on 20 images"), "{}", place.logs());
}

#[test]
fn images_to_leave_out_are_known_by_what_they_show_and_not_by_their_place() {
    // Labelled images of all classes; the teacher labels two classes, in which places begin anew.
    let labelled = "[nodes.few]\nkind = \"dataset\"\nfrom = \"all\"\nlabels = 40\n".to_owned();
    let guess =
        "[nodes.g]\nkind = \"pseudo-label\"\nteacher = \"m\"\ndata = \"a\"\nexcept = \"few\"\nthreshold = 0.0\n"
            .to_owned();
    let nodes = [classes("a", "[0, 1]"), labelled, model("m", "[\"a\"]"), guess].concat();
    let place = Place::new(&format!("{SCENES}{nodes}"));
    place.run(&[]);
    let record = &place.flow(&["cache", "query", "node = g", "--json"]).json_lines()[0];
    assert_eq!(
        record["metrics"]["pool"], 8.0,
        "of 16 images of two classes half are labelled"
    );
    // Images of another set are not among them at all.
    let other = "[nodes.other]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 80\ntest = 40\nside = 16\nseed = 7\n";
    let text = std::fs::read_to_string(place.path("w.toml")).expect("the workflow");
    place.write("w.toml", text.replace("except = \"few\"", "except = \"other\"") + other);
    let ended = place.flow(&["run", "w.toml"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("none of the examples of `except`"),
        "{}",
        ended.stderr
    );
}

#[test]
fn no_pseudo_labels_means_that_self_training_did_not_happen() {
    let guess = "[nodes.g]\nkind = \"pseudo-label\"\nteacher = \"m\"\ndata = \"all\"\nthreshold = 0.9999\n".to_owned();
    let nodes = [
        model("m", "[\"all\"]"),
        guess,
        model("n", "[\"all\", \"g\"]"),
        score("s", "m", "all"),
        score("t", "n", "all"),
        verdict("unequal = \"a test\""),
    ];
    let place = Place::new(&format!("{SCENES}{}", nodes.concat()));
    let said = place.run(&[]).stdout;
    assert!(said.contains("self-training did not happen in 1 of 1 draws"), "{said}");
    assert!(!said.contains("NaN"), "{said}");
}

/// Four IDX files of noise whose training images are darker by `shade`.
fn idx(place: &Place, folder: &str, shade: u8) {
    let images = |n: u32, shade: u8| {
        let pixels = (0..n * 256).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 / 2 + 100 - shade);
        let header = [2051_u32, n, 16, 16].into_iter().flat_map(u32::to_be_bytes);
        header.chain(pixels).collect::<Vec<u8>>()
    };
    let labels = |n: u32| {
        let header = [2049_u32, n].into_iter().flat_map(u32::to_be_bytes);
        header.chain((0..n).map(|i| (i % 2) as u8)).collect::<Vec<u8>>()
    };
    std::fs::create_dir(place.path(folder)).expect("made");
    place.write(&format!("{folder}/train-images-idx3-ubyte"), images(40, shade));
    place.write(&format!("{folder}/train-labels-idx1-ubyte"), labels(40));
    place.write(&format!("{folder}/t10k-images-idx3-ubyte"), images(20, 0));
    place.write(&format!("{folder}/t10k-labels-idx1-ubyte"), labels(20));
}

#[test]
fn a_model_is_judged_with_the_normalisation_that_it_was_trained_with() {
    let source = |node: &str| format!("[nodes.{node}]\nkind = \"dataset\"\nsource = \"idx\"\npath = \"{node}\"\n");
    let nodes = [
        source("bright"),
        source("dark"),
        model("m", "[\"bright\"]"),
        score("s", "m", "bright"),
        score("t", "m", "dark"),
    ];
    let place = Place::new(&nodes.concat());
    idx(&place, "bright", 0);
    idx(&place, "dark", 90);
    place.run(&[]);
    let digests = place.digests();
    let of = |node: &str| digests.get(&format!("{node}/scores.json"));
    assert!(of("s").is_some());
    assert_eq!(of("s"), of("t"), "the same test images, the same metrics: {digests:?}");
}

#[test]
fn a_data_set_in_a_process_of_its_own_reads_its_path() {
    let lines: String = (0..20).map(|i| format!("sea\twave {i}\nland\thouse {i}\n")).collect();
    let place =
        Place::new("[nodes.lines]\nkind = \"dataset\"\nsource = \"text\"\npath = \"lines.tsv\"\nisolate = true\n");
    place.write("lines.tsv", lines);
    let Ended { stderr, .. } = place.run(&[]);
    assert!(stderr.contains("1 ran"), "{stderr}");
}

#[test]
fn swapped_code_files_and_names_of_inputs_are_other_actions() {
    let place = Place::new(
        "[nodes.x]\nkind = \"concat\"\ntext = \"x\"\n[nodes.n]\nkind = \"command\"\nrun = [\"cat\", \"a.txt\", \"{inputs.one}/text\"]\n\
         code = [\"a.txt\", \"b.txt\"]\ninputs = { one = \"x\" }\nstdout = \"said\"\n",
    );
    place.write("a.txt", "first");
    place.write("b.txt", "second");
    place.run(&[]);
    place.write("a.txt", "second");
    place.write("b.txt", "first");
    place.run(&[]);
    assert_eq!(place.ran(), ["n"], "the files were swapped");
    place.run(&["--set", "nodes.n.run=[\"cat\",\"b.txt\",\"{inputs.one}/text\"]"]);
    assert_eq!(place.ran(), ["n"], "another argument, though it is the name of a file");
}
