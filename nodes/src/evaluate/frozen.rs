//! A frozen encoder against its controls: weighted kNN, linear probe and clusters of its features, of those of the same network
//! with random weights, and of raw pixels or a bag of words, all with the same labels.

use std::collections::BTreeMap;

use flow_engine::node::{Context, Inputs, NodeError, Output};
use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::backbones::Encoder;
use flow_learn::clustering::best_kmeans;
use flow_learn::data::{Images, Modality};
use flow_learn::metrics::{normalised, weighted_knn};
use flow_learn::probe::Probe;
use flow_learn::rng::Stream;
use flow_learn::text::bag_of_words;
use flow_learn::train::embed;

use super::EvaluateNode;
use crate::artifacts::{
    BAG_OF_WORDS, CLUSTERS, Dataset, EncoderArtifact, FeatureScore, KNN, PROBE, RANDOM_INIT, RAW_PIXELS, Scores,
    SplitName,
};
use crate::failure::failure;

/// k-means is begun so many times, and goes on for so many rounds at most.
const RESTARTS: usize = 5;
const ITERATIONS: usize = 50;

/// The images that features are taken of.
struct Material<'a> {
    train: &'a Images,
    /// Training images with a label, and the labels.
    labelled: &'a [u32],
    labels: &'a [usize],
    /// Training images that are grouped, without their labels.
    grouped: &'a [u32],
    judged: &'a Images,
    truth: &'a [usize],
    classes: usize,
    plain: &'a Augmenter,
}

/// Features of one kind, `[images][dim]`.
struct Features {
    of: &'static str,
    dim: usize,
    labelled: Vec<f32>,
    grouped: Vec<f32>,
    judged: Vec<f32>,
}

impl Material<'_> {
    fn embedded(&self, of: &'static str, encoder: &mut Encoder) -> Features {
        let all: Vec<u32> = (0..self.judged.n as u32).collect();
        Features {
            of,
            dim: encoder.dim,
            labelled: embed(encoder, self.train, self.labelled, self.plain),
            grouped: embed(encoder, self.train, self.grouped, self.plain),
            judged: embed(encoder, self.judged, &all, self.plain),
        }
    }

    /// What an example says without any network: its pixels, or which words it has.
    fn raw(&self, modality: Modality) -> Features {
        let all: Vec<u32> = (0..self.judged.n as u32).collect();
        let features = |examples: &Images, indices: &[u32]| match modality {
            Modality::Images => pixels(examples, indices),
            Modality::Texts { vocabulary, .. } => bag_of_words(examples, indices, vocabulary),
        };
        let judged = features(self.judged, &all);
        Features {
            of: if modality.is_text() { BAG_OF_WORDS } else { RAW_PIXELS },
            dim: judged.len() / all.len().max(1),
            labelled: features(self.train, self.labelled),
            grouped: features(self.train, self.grouped),
            judged,
        }
    }

    /// Nearest neighbours and a linear classifier, from the labelled images.
    fn classified(&self, node: &EvaluateNode, features: &Features) -> [FeatureScore; 2] {
        let Features {
            of,
            dim,
            labelled,
            judged,
            ..
        } = features;
        let (labels, classes) = (self.labels, self.classes);
        let k = node.neighbours.min(labels.len() / classes).max(1);
        let votes = weighted_knn(labelled, labels, judged, *dim, classes, k, node.temperature);
        let probe = Probe::fit(labelled, labels, *dim, classes);
        [
            (
                format!("{KNN}, k = {k}, temperature {}, cosine", node.temperature),
                votes.predicted,
            ),
            (
                format!("{PROBE}, L2 {} chosen by cross-validation", probe.strength),
                probe.predict(judged),
            ),
        ]
        .map(|(protocol, predicted)| FeatureScore::new(of, protocol, classes, self.truth, &predicted))
    }

    /// As many clusters as classes, found in training images; each judged image belongs to the nearest.
    fn clustered(&self, node: &EvaluateNode, features: &Features) -> FeatureScore {
        let (dim, classes) = (features.dim, self.classes);
        let stream = Stream::new(node.seed, "clusters");
        let grouped = normalised(&features.grouped, dim);
        let found = best_kmeans(&grouped, dim, classes, ITERATIONS, RESTARTS, &stream);
        let protocol = format!(
            "{CLUSTERS}, k = {classes}, best of {RESTARTS}, of {} training images, features of length 1",
            self.grouped.len()
        );
        let clusters = found.assign(&normalised(&features.judged, dim), dim);
        FeatureScore::of_clusters(features.of, protocol, classes, self.truth, &clusters)
    }
}

fn pixels(images: &Images, indices: &[u32]) -> Vec<f32> {
    let values = indices.iter().flat_map(|i| images.pixels_of(*i as usize));
    values.map(|v| f32::from(*v) / 255.0).collect()
}

/// Each protocol on each kind of features.
pub(super) fn judge(node: &EvaluateNode, inputs: &Inputs, cx: &Context<'_>) -> Result<Output, NodeError> {
    let data = Dataset::read(inputs.one("data"), &[SplitName::Train, node.split])?;
    let (train, judged, classes) = (data.train()?, data.split(node.split)?, data.classes());
    let plain = data.augmenter(&Recipe::default())?;
    let examples = data.example_set()?;
    let grouped = grouped(node, train, classes)?;
    let material = Material {
        train,
        labelled: &examples.indices,
        labels: &examples.classes(),
        grouped: &grouped,
        judged,
        truth: &judged.labels.iter().map(|l| usize::from(*l)).collect::<Vec<_>>(),
        classes,
        plain: &plain,
    };
    let mut judging = Judging {
        node,
        material,
        scores: Vec::new(),
        metrics: BTreeMap::from([("labels".to_owned(), examples.indices.len() as f64)]),
    };
    let trained = match &node.encoder {
        Some(start) => Some(start.open("encoder", node.backbone.as_ref(), plain.input(), inputs, cx)?),
        None => None,
    };
    let backbone = match (&trained, &node.backbone) {
        (Some(EncoderArtifact { backbone, .. }), _) => backbone.clone(),
        (None, Some(backbone)) => backbone.clone(),
        (None, None) => return Err(failure("neither `encoder` nor `backbone` is given")),
    };
    if let Some(EncoderArtifact { mut encoder, .. }) = trained {
        judging.add(&judging.material.embedded("encoder", &mut encoder));
    }
    if node.controls {
        let stream = Stream::new(node.seed, "random control");
        let mut random = backbone.build(plain.input(), &stream).map_err(failure)?;
        judging.add(&judging.material.embedded(RANDOM_INIT, &mut random));
        judging.add(&judging.material.raw(data.modality()));
    }
    let scores = Scores {
        split: node.split.to_string(),
        noun: data.modality().noun().to_owned(),
        class_names: data.class_names.clone(),
        scores: judging.scores,
    };
    Ok(Output {
        files: vec![scores.to_file()],
        metrics: judging.metrics,
    })
}

/// The training images that are grouped, drawn at random where not all are.
fn grouped(node: &EvaluateNode, train: &Images, classes: usize) -> Result<Vec<u32>, NodeError> {
    let n = node.cluster_images.min(train.n);
    if n > 0 && n < classes {
        return Err(failure(format!(
            "{n} training images cannot be grouped into {classes} clusters"
        )));
    }
    let mut drawn = Stream::new(node.seed, "grouped").permutation(train.n);
    drawn.truncate(n);
    Ok(drawn)
}

/// What was found so far.
struct Judging<'a> {
    node: &'a EvaluateNode,
    material: Material<'a>,
    scores: Vec<FeatureScore>,
    metrics: BTreeMap<String, f64>,
}

impl Judging<'_> {
    fn add(&mut self, features: &Features) {
        let name = features.of.replace(' ', "_");
        let [knn, probe] = self.material.classified(self.node, features);
        self.metrics.insert(format!("knn.{name}"), knn.accuracy);
        self.metrics.insert(format!("probe.{name}"), probe.accuracy);
        self.scores.extend([knn, probe]);
        if self.material.grouped.is_empty() {
            return;
        }
        let clusters = self.material.clustered(self.node, features);
        self.metrics
            .insert(format!("cluster_accuracy.{name}"), clusters.accuracy);
        if let Some(agreement) = clusters.agreement {
            self.metrics.insert(format!("nmi.{name}"), agreement.nmi);
            self.metrics.insert(format!("ari.{name}"), agreement.ari);
        }
        self.scores.push(clusters);
    }
}
