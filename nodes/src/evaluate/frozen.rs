//! A frozen encoder against its controls: weighted kNN and linear probe on its features, on those of the same network with
//! random weights, and on raw pixels or a bag of words, all with the same labels.

use std::collections::BTreeMap;

use flow_engine::node::{Context, Inputs, NodeError, Output};
use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::backbones::Encoder;
use flow_learn::data::{Images, Modality};
use flow_learn::metrics::weighted_knn;
use flow_learn::probe::Probe;
use flow_learn::rng::Stream;
use flow_learn::text::bag_of_words;
use flow_learn::train::embed;

use super::EvaluateNode;
use crate::artifacts::{Dataset, EncoderArtifact, FeatureScore, Scores, SplitName};
use crate::failure::failure;

/// Features of the labelled examples and of the images judged on.
struct Features {
    of: &'static str,
    dim: usize,
    labelled: Vec<f32>,
    judged: Vec<f32>,
}

fn embedded(
    of: &'static str,
    encoder: &mut Encoder,
    train: &Images,
    labelled: &[u32],
    judged: &Images,
    plain: &Augmenter,
) -> Features {
    let all: Vec<u32> = (0..judged.n as u32).collect();
    let labelled = embed(encoder, train, labelled, plain);
    Features {
        of,
        dim: encoder.dim,
        labelled,
        judged: embed(encoder, judged, &all, plain),
    }
}

/// What an example says without any network: its pixels, or which words it has.
fn raw(train: &Images, labelled: &[u32], judged: &Images, modality: Modality) -> Features {
    let all: Vec<u32> = (0..judged.n as u32).collect();
    let of = if modality.is_text() {
        "bag of words"
    } else {
        "raw pixels"
    };
    let features = |examples: &Images, indices: &[u32]| match modality {
        Modality::Images => pixels(examples, indices),
        Modality::Texts { vocabulary, .. } => bag_of_words(examples, indices, vocabulary),
    };
    let labelled = features(train, labelled);
    let judged = features(judged, &all);
    Features {
        of,
        dim: judged.len() / all.len().max(1),
        labelled,
        judged,
    }
}

fn pixels(images: &Images, indices: &[u32]) -> Vec<f32> {
    let values = indices.iter().flat_map(|i| images.pixels_of(*i as usize));
    values.map(|v| f32::from(*v) / 255.0).collect()
}

/// Six figures: two protocols on three kinds of features.
pub(super) fn judge(node: &EvaluateNode, inputs: &Inputs, cx: &Context<'_>) -> Result<Output, NodeError> {
    let data = Dataset::read(inputs.one("data"), &[SplitName::Train, node.split])?;
    let (train, judged, classes) = (data.train()?, data.split(node.split)?, data.classes());
    let plain = data.augmenter(&Recipe::default())?;
    let start = node.encoder.as_ref().ok_or_else(|| failure("`encoder` is missing"))?;
    let EncoderArtifact { backbone, mut encoder } =
        start.open("encoder", node.backbone.as_ref(), plain.input(), inputs, cx)?;
    let examples = data.example_set()?;
    let labels = examples.classes();
    let truth: Vec<usize> = judged.labels.iter().map(|l| usize::from(*l)).collect();
    let mut random = backbone
        .build(encoder.takes(), &Stream::new(node.seed, "random control"))
        .map_err(failure)?;

    let mut scores = Vec::new();
    let mut metrics = BTreeMap::from([("labels".to_owned(), labels.len() as f64)]);
    for features in [
        embedded("encoder", &mut encoder, train, &examples.indices, judged, &plain),
        embedded("random init", &mut random, train, &examples.indices, judged, &plain),
        raw(train, &examples.indices, judged, data.modality()),
    ] {
        let Features {
            of,
            dim,
            labelled,
            judged,
        } = features;
        let k = node.neighbours.min(labels.len() / classes).max(1);
        let votes = weighted_knn(&labelled, &labels, &judged, dim, classes, k, node.temperature);
        let probe = Probe::fit(&labelled, &labels, dim, classes);
        let knn_protocol = format!("weighted kNN, k = {k}, temperature {}, cosine", node.temperature);
        let probe_protocol = format!("linear probe, L2 {} chosen by cross-validation", probe.strength);
        for (name, protocol, predicted) in [
            ("knn", knn_protocol, votes.predicted),
            ("probe", probe_protocol, probe.predict(&judged)),
        ] {
            let score = FeatureScore::new(of, protocol, classes, &truth, &predicted);
            metrics.insert(format!("{name}.{}", of.replace(' ', "_")), score.accuracy);
            scores.push(score);
        }
    }
    let scores = Scores {
        split: node.split.to_string(),
        noun: data.modality().noun().to_owned(),
        class_names: data.class_names.clone(),
        scores,
    };
    Ok(Output {
        files: vec![scores.to_file()],
        metrics,
    })
}
