//! Every case of `tests/golden/metrics.json`, values of scikit-learn, SciPy and PyTorch. Values carry nine digits of a float32.

use serde_json::Value;

use super::*;

fn data(case: &Value, part: &str, name: &str) -> Vec<f64> {
    let values = case[part][name]["data"].as_array().expect("a tensor");
    values.iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn classes_of(case: &Value, name: &str) -> Vec<usize> {
    data(case, "inputs", name).iter().map(|v| *v as usize).collect()
}

fn floats_of(case: &Value, name: &str) -> Vec<f32> {
    data(case, "inputs", name).iter().map(|v| *v as f32).collect()
}

fn size(case: &Value, name: &str) -> usize {
    case["params"][name].as_u64().expect("a size") as usize
}

/// What this module says for an output of a case, and how far it may be off, relative to values above one.
fn found(case: &Value, output: &str) -> (Vec<f64>, f64) {
    const DIGITS: f64 = 1e-7;
    let classes = size(case, "classes");
    let kind = case["case"].as_str().expect("a name");
    let truth = || classes_of(case, "true");
    let predicted = || classes_of(case, "predicted");
    let probabilities = || floats_of(case, "probabilities");
    let knn = || {
        let dim = case["inputs"]["train"]["shape"][1].as_u64().expect("two dimensions") as usize;
        weighted_knn(
            &floats_of(case, "train"),
            &classes_of(case, "train_labels"),
            &floats_of(case, "test"),
            dim,
            classes,
            size(case, "k"),
            case["params"]["temperature"].as_f64().expect("a temperature") as f32,
        )
    };
    match (kind, output) {
        ("labels", "accuracy") => (vec![accuracy(&truth(), &predicted())], DIGITS),
        ("labels", "macro_f1") => (vec![macro_f1(&truth(), &predicted(), classes)], DIGITS),
        ("labels", "balanced_accuracy") => (vec![balanced_accuracy(&truth(), &predicted(), classes)], DIGITS),
        ("labels", "confusion") => {
            let counts = confusion(&truth(), &predicted(), classes);
            (counts.iter().map(|c| *c as f64).collect(), 0.0)
        }
        ("labels", "nmi") => (vec![nmi(&truth(), &predicted())], DIGITS),
        ("labels", "ari") => (vec![ari(&truth(), &predicted())], DIGITS),
        ("labels", "hungarian_accuracy") => (vec![hungarian_accuracy(&truth(), &predicted(), classes)], DIGITS),
        ("probabilities", "log_loss") => (vec![log_loss(&truth(), &probabilities(), classes)], 1e-5),
        ("probabilities", "top2_accuracy") => (vec![top_k_accuracy(&truth(), &probabilities(), classes, 2)], DIGITS),
        ("probabilities", "ece") => (
            vec![ece(&truth(), &probabilities(), classes, size(case, "ece_bins"))],
            1e-5,
        ),
        ("weighted_knn", "votes") => (knn().votes.iter().map(|v| f64::from(*v)).collect(), 1e-5),
        ("weighted_knn", "predicted") => (knn().predicted.iter().map(|p| *p as f64).collect(), 0.0),
        ("mean_iou", "iou") => (iou(&predicted(), &truth(), classes), DIGITS),
        ("mean_iou", "mean_iou") => (vec![mean_iou(&predicted(), &truth(), classes)], DIGITS),
        _ => panic!("{kind} has an output this test does not know: {output}"),
    }
}

#[test]
fn every_case_meets_its_golden_values() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/metrics.json");
    let text = std::fs::read_to_string(path).expect("the golden file can be read");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("a list of cases");
    assert!(!cases.is_empty());
    for case in &cases {
        for output in case["outputs"].as_object().expect("outputs").keys() {
            let (values, tolerance) = found(case, output);
            let wanted = data(case, "outputs", output);
            assert_eq!(values.len(), wanted.len(), "{} {output}", case["case"]);
            for (value, want) in values.iter().zip(&wanted) {
                let error = (value - want).abs() / want.abs().max(1.0);
                assert!(error <= tolerance, "{} {output}: {value}, not {want}", case["case"]);
            }
        }
    }
}
