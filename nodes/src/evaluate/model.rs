//! A classifier's figures on a split.

use std::collections::BTreeMap;

use flow_engine::node::{Inputs, NodeError, Output};
use flow_learn::augment::Recipe;
use flow_learn::metrics::argmax;
use flow_learn::train::predict;

use super::EvaluateNode;
use crate::artifacts::{Dataset, FINE_TUNED, FeatureScore, ModelArtifact, Scores, SplitName, check_same};

/// Predicts every image of the split once, as it is.
pub(super) fn judge(node: &EvaluateNode, inputs: &Inputs) -> Result<Output, NodeError> {
    // The training images are needed for their statistics' shape only; augmenters are made for their size.
    let data = Dataset::read(inputs.one("data"), &[SplitName::Train, node.split])?;
    let mut model = ModelArtifact::read(inputs.one("model"))?.classifier;
    let images = data.split(node.split)?;
    let augmenter = data.augmenter(&Recipe::default())?;
    check_same("model", model.encoder.takes(), augmenter.input())?;
    let all: Vec<u32> = (0..images.n as u32).collect();
    let probabilities = predict(&mut model, images, &all, &augmenter);
    let predicted: Vec<usize> = probabilities.chunks_exact(model.classes).map(argmax).collect();
    let truth: Vec<usize> = images.labels.iter().map(|l| usize::from(*l)).collect();
    let score = FeatureScore::new("model", FINE_TUNED.into(), data.classes(), &truth, &predicted);
    let metrics = BTreeMap::from([
        ("accuracy".to_owned(), score.accuracy),
        ("macro_f1".to_owned(), score.macro_f1),
        (
            "ece".to_owned(),
            flow_learn::metrics::ece(&truth, &probabilities, model.classes, 15),
        ),
    ]);
    let scores = Scores {
        split: node.split.to_string(),
        noun: data.modality().noun().to_owned(),
        class_names: data.class_names.clone(),
        scores: vec![score],
    };
    Ok(Output {
        files: vec![scores.to_file()],
        metrics,
    })
}
