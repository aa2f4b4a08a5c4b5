//! The shipped numerics against values of PyTorch, torchvision, LightlySSL and scikit-learn.

use std::path::{Path, PathBuf};

use flow_reference::{CaseResult, Outcome, run_reference};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden")
}

fn described(results: &[CaseResult], wanted: impl Fn(&Outcome) -> bool) -> Vec<String> {
    results
        .iter()
        .filter(|r| wanted(&r.outcome))
        .map(|r| format!("{} {} {}: {:?}", r.file, r.place, r.case, r.outcome))
        .collect()
}

#[test]
fn every_built_case_meets_its_golden_values() {
    let results = run_reference(&golden()).expect("the golden files can be read");
    let failed = described(&results, |o| matches!(o, Outcome::Fail { .. }));
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn what_this_version_promises_is_built() {
    let results = run_reference(&golden()).expect("the golden files can be read");
    let missing: Vec<(&str, &str)> = results
        .iter()
        .filter(|r| r.outcome == Outcome::NotBuilt)
        .map(|r| (r.file.as_str(), r.case.as_str()))
        .collect();
    for file in [
        "backbones",
        "image_ops",
        "localisation",
        "method_losses",
        "method_parts",
        "method_steps",
        "metrics",
        "optim",
        "rand_augment",
        "semi_steps",
        "ssl_losses",
        "stats",
        "supervised_losses",
        "texts",
    ] {
        assert!(
            !missing.iter().any(|(f, _)| *f == file),
            "not built in {file}: {missing:?}"
        );
    }
    for case in [
        "conv2d",
        "conv_transpose2d",
        "batch_norm2d_train_weighted",
        "max_pool2d",
        "avg_pool2d",
        "layer_norm",
        "gelu",
        "attention",
        "basic_block_stride2_weighted",
    ] {
        assert!(!missing.iter().any(|(_, c)| *c == case), "not built: {case}");
    }
}

#[test]
fn a_wrong_value_fails_and_an_unknown_case_is_not_built() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let text = std::fs::read_to_string(golden().join("supervised_losses.json")).expect("the golden file can be read");
    let mut cases: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let loss = &mut cases[0]["outputs"]["loss"]["data"];
    let wrong = serde_json::json!([loss[0].as_f64().expect("a number") * 1.001]);
    *loss = wrong;
    cases[1]["case"] = "a_loss_of_the_future".into();
    std::fs::write(folder.path().join("supervised_losses.json"), cases.to_string()).expect("written");
    let results = run_reference(folder.path()).expect("still well-formed");
    assert!(matches!(results[0].outcome, Outcome::Fail { .. }), "{:?}", results[0]);
    assert_eq!(results[1].outcome, Outcome::NotBuilt);
}

#[test]
fn a_malformed_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(folder.path().join("layers.json"), "[{\"case\": 1}]").expect("written");
    let error = run_reference(folder.path()).expect_err("malformed").to_string();
    assert!(error.contains("layers.json"), "{error}");
}
