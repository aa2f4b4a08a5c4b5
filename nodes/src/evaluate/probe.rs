//! A frozen encoder against its controls: weighted kNN, linear probe and clusters of its features, of those of the same network
//! with random weights, and of raw pixels or a bag of words, all with the same labels.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use flow_engine::node::{
    ArtifactType, Context, Facts, Input, InputFacts, Inputs, Node, NodeError, NodeFile, NodeRef, Output, ParamError,
    Port, Resources, Spent,
};
use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::backbones::{BackboneSettings, Encoder};
use flow_learn::clustering::best_kmeans;
use flow_learn::data::{Images, Samples};
use flow_learn::metrics::{normalised, weighted_knn};
use flow_learn::probe::Probe;
use flow_learn::rng::Stream;
use flow_learn::text::bag_of_words;
use flow_learn::train::embed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{score_facts, test};
use crate::artifacts::{
    DATASET, Dataset, DatasetFacts, ENCODER, EncoderArtifact, EncoderStart, FEATURES, FeatureFacts, FeatureScore,
    FeaturesArtifact, MODEL, Protocol, SCORES, Scores, SplitName, Subject, same_task,
};
use crate::device::{DeviceChoice, Precision};
use crate::failure::{at, at_with, device_failure, failure};
use crate::parts::told;
use crate::{memory, sketches};

/// Judges a frozen encoder by linear probe and nearest neighbours, beside random weights and raw pixels.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeNode {
    /// An encoder to judge frozen: weighted kNN and linear probe on the labelled part in `data`, alongside the same on raw
    /// pixels (or a bag of words) and on the encoder with random weights. A `command` node with `makes = "encoder"` may be one; if it gives
    /// features only, there is no control with random weights.
    encoder: Option<EncoderStart>,
    /// The network of an encoder from a file, `encoder = { file = "resnet18.safetensors" }`. Without an encoder, only its controls are
    /// judged.
    backbone: Option<BackboneSettings>,
    /// The data set whose examples are the labels, and that is judged on.
    data: NodeRef,
    /// The split that is judged on.
    #[serde(default = "test")]
    split: SplitName,
    /// Neighbours of the kNN, at most as many as there are examples of a class.
    #[serde(default = "neighbours")]
    neighbours: usize,
    /// Temperature of the kNN's weights.
    #[serde(default = "temperature")]
    temperature: f32,
    /// Whether an encoder's controls are judged alongside. Where many encoders share a network, its controls are judged once, by
    /// a node with the `backbone` alone.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    controls: bool,
    /// Training images whose frozen features are grouped into as many clusters as there are classes, without looking at labels:
    /// cluster accuracy, NMI and ARI of the images judged on. 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    cluster_images: usize,
    /// Decides the random control's weights and which images are grouped.
    #[serde(default)]
    seed: u64,
    /// Where it computes: `cpu`, `cuda` for a GPU, or `auto` for a GPU where there is one that can be used. A GPU's architecture is part of the
    /// key, the CPU is not.
    #[serde(default, skip_serializing_if = "DeviceChoice::is_cpu")]
    device: DeviceChoice,
    /// What products are made of. On a GPU `tf32`, which is the default, `fp32`, which is slower and as on the CPU, or `bf16`, which is the coarsest; on the CPU `fp32` or `bf16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    precision: Option<Precision>,
}

fn yes() -> bool {
    true
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_yes(value: &bool) -> bool {
    *value
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &usize) -> bool {
    *value == 0
}
fn neighbours() -> usize {
    20
}
fn temperature() -> f32 {
    0.1
}

impl Node for ProbeNode {
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 4;
    const OUTPUT: ArtifactType = SCORES;
    const FORM: &'static [&'static str] = &["encoder", "backbone"];

    fn ports(&self) -> Vec<Port> {
        vec![
            EncoderStart::port(&self.encoder, "encoder", &[ENCODER, MODEL, FEATURES]),
            Port::one("data", &self.data, &[DATASET]),
        ]
    }

    fn files(&self, _folder: &Path) -> Vec<NodeFile> {
        EncoderStart::files(&self.encoder, "encoder")
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        if let Some(start) = &self.encoder {
            start.check_backbone("encoder", self.backbone.as_ref())?;
        } else if !self.controls {
            let message = "without an encoder there are only controls to evaluate";
            return Err(at_with("controls", message, "leave it out, or name an `encoder`"));
        }
        if self.neighbours == 0 {
            return Err(at("neighbours", "0 found, expected at least 1"));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(at(
                "temperature",
                format!("{} found, expected a number above 0", self.temperature),
            ));
        }
        let Some(facts) = score_facts(inputs, self.split, false)? else {
            return Ok(Facts::unknown());
        };
        if let Some(backbone) = &self.backbone {
            sketches::check(backbone, facts.data.input, None)?;
        }
        EncoderStart::check_input("encoder", inputs, &facts.data)?;
        if let Some(features) = inputs.get::<FeatureFacts>("encoder") {
            same_task("encoder", &facts.data, &features.data)?;
        }
        Ok(Facts::of(facts))
    }

    fn settled(&self, _: &Spent<'_>) -> Result<Option<Self>, ParamError> {
        let device = self.device.settled(self.precision)?;
        Ok(device.map(|device| Self {
            device,
            precision: None,
            ..self.clone()
        }))
    }

    fn resources(&self, inputs: &InputFacts) -> Resources {
        let data = inputs.get::<DatasetFacts>("data");
        let own = self.backbone.as_ref().zip(data);
        let own = own.map(|(backbone, data)| memory::gpu_bytes_to_embed(data.input, backbone));
        self.device.resources(memory::gpu_bytes_of(inputs, "encoder").or(own))
    }

    fn isolated(&self) -> bool {
        true
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        judge(self, inputs, cx)
    }
}

/// k-means is begun so many times, and goes on for so many rounds at most.
const RESTARTS: usize = 5;
const ITERATIONS: usize = 50;

/// The images that features are taken of.
struct Material<'a> {
    train: &'a Samples,
    /// Training images with a label, and the labels.
    labelled: &'a [u32],
    labels: &'a [usize],
    /// Training images that are grouped, without their labels.
    grouped: &'a [u32],
    judged: &'a Samples,
    truth: &'a [usize],
    classes: usize,
}

/// Features of one kind, `[images][dim]`.
struct Features {
    of: Subject,
    dim: usize,
    labelled: Vec<f32>,
    grouped: Vec<f32>,
    judged: Vec<f32>,
}

impl Material<'_> {
    fn embedded(&self, of: Subject, encoder: &mut Encoder, plain: &Augmenter) -> Result<Features, NodeError> {
        let all: Vec<u32> = (0..self.judged.n() as u32).collect();
        let mut features = |samples: &Samples, indices: &[u32]| {
            embed(encoder, samples, indices, plain).map_err(|e| device_failure(&e))
        };
        Ok(Features {
            of,
            labelled: features(self.train, self.labelled)?,
            grouped: features(self.train, self.grouped)?,
            judged: features(self.judged, all.as_slice())?,
            dim: encoder.dim,
        })
    }

    /// Those that a program made of the data set at a port, of which a split is judged.
    fn given(&self, features: &FeaturesArtifact, (data, split): (&Input, SplitName)) -> Result<Features, NodeError> {
        let train = features.of(SplitName::Train, data)?;
        let rows = |indices: &[u32]| {
            let row = |i: &u32| train.iter().skip(*i as usize * features.dim).take(features.dim);
            indices.iter().flat_map(row).copied().collect()
        };
        Ok(Features {
            of: Subject::Encoder,
            dim: features.dim,
            labelled: rows(self.labelled),
            grouped: rows(self.grouped),
            judged: features.of(split, data)?.to_vec(),
        })
    }

    /// What an example says without any network: its pixels, or which words it has.
    fn raw(&self) -> Features {
        let all: Vec<u32> = (0..self.judged.n() as u32).collect();
        let judged = raw_features(self.judged, &all);
        Features {
            of: match self.judged {
                Samples::Images(_) => Subject::RawPixels,
                Samples::Texts(_) => Subject::BagOfWords,
            },
            dim: judged.len() / all.len().max(1),
            labelled: raw_features(self.train, self.labelled),
            grouped: raw_features(self.train, self.grouped),
            judged,
        }
    }

    /// Nearest neighbours and a linear classifier, from the labelled images.
    fn classified(&self, node: &ProbeNode, features: &Features) -> [FeatureScore; 2] {
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
                Protocol::Knn {
                    k,
                    temperature: node.temperature,
                },
                votes.predicted,
            ),
            (Protocol::Probe { l2: probe.strength }, probe.predict(judged)),
        ]
        .map(|(protocol, predicted)| FeatureScore::new(*of, protocol, classes, self.truth, &predicted))
    }

    /// As many clusters as classes, found in training images; each judged image belongs to the nearest.
    fn clustered(&self, node: &ProbeNode, features: &Features) -> FeatureScore {
        let (dim, classes) = (features.dim, self.classes);
        let stream = Stream::new(node.seed, "clusters");
        let grouped = normalised(&features.grouped, dim);
        let found = best_kmeans(&grouped, dim, classes, ITERATIONS, RESTARTS, &stream);
        let protocol = Protocol::Clusters {
            k: classes,
            restarts: RESTARTS,
            images: self.grouped.len(),
        };
        let clusters = found.assign(&normalised(&features.judged, dim), dim);
        FeatureScore::of_clusters(features.of, protocol, classes, self.truth, &clusters)
    }
}

/// What examples say without any network: their pixels in [0, 1], or which words they have; `[indices][dim]`.
pub(super) fn raw_features(samples: &Samples, indices: &[u32]) -> Vec<f32> {
    match samples {
        Samples::Images(images) => pixels(images, indices),
        Samples::Texts(texts) => bag_of_words(texts, indices),
    }
}

fn pixels(images: &Images, indices: &[u32]) -> Vec<f32> {
    indices.iter().flat_map(|i| images.values_of(*i as usize)).collect()
}

/// Each protocol on each kind of features. A trained encoder sees images normalised as it was trained, the random one as the data is.
fn judge(node: &ProbeNode, inputs: &Inputs, cx: &Context<'_>) -> Result<Output, NodeError> {
    let input = inputs.one("data");
    let data = Dataset::read(input, &[SplitName::Train, node.split])?;
    let (train, judged, classes) = (data.train()?, data.split(node.split)?, data.classes());
    let facts = data.facts()?;
    let examples = data.example_set()?;
    let grouped = grouped(node, train, classes)?;
    let material = Material {
        train,
        labelled: &examples.indices,
        labels: &examples.classes(),
        grouped: &grouped,
        judged,
        truth: &data.truth(node.split)?,
        classes,
    };
    let mut judging = Judging {
        node,
        material,
        scores: Vec::new(),
        metrics: BTreeMap::from([("labels".to_owned(), examples.indices.len() as f64)]),
        done: 0,
        all: 0,
    };
    let given = inputs
        .maybe("encoder")
        .filter(|input| FeaturesArtifact::are_in(&input.artifact));
    let trained = match &node.encoder {
        Some(start) if given.is_none() => Some(start.open(
            "encoder",
            node.backbone.as_ref(),
            (&facts, &data.normalisation),
            inputs,
            cx,
        )?),
        _ => None,
    };
    let backbone = match (&trained, &node.backbone) {
        (Some(EncoderArtifact { backbone, .. }), _) | (None, Some(backbone)) => Some(backbone.clone()),
        (None, None) if given.is_some() => None,
        (None, None) => return Err(failure("BUG: neither `encoder` nor `backbone` is given")),
    };
    let controls = if node.controls {
        1 + usize::from(backbone.is_some())
    } else {
        0
    };
    judging.all = usize::from(given.is_some() || trained.is_some()) + controls;
    if let Some(given) = given {
        let features = FeaturesArtifact::read(given)?;
        judging.add(cx, &judging.material.given(&features, (input, node.split))?)?;
    }
    let device = node.device.open(cx)?;
    if let Some(EncoderArtifact {
        mut encoder,
        normalisation,
        ..
    }) = trained
    {
        let plain = normalisation.augmenter(&Recipe::default(), facts.input)?;
        encoder.device = Arc::clone(&device);
        judging.add(cx, &judging.material.embedded(Subject::Encoder, &mut encoder, &plain)?)?;
    }
    if node.controls {
        if let Some(backbone) = backbone {
            let stream = Stream::new(node.seed, "random control");
            let mut random = backbone.build(facts.input, &stream).map_err(failure)?;
            random.device = device;
            let plain = data.normalisation.augmenter(&Recipe::default(), facts.input)?;
            judging.add(
                cx,
                &judging.material.embedded(Subject::RandomInit, &mut random, &plain)?,
            )?;
        }
        judging.add(cx, &judging.material.raw())?;
    }
    let (scores, metrics) = (judging.scores, judging.metrics);
    written(node, input, &data, scores, metrics)
}

fn written(
    node: &ProbeNode,
    input: &Input,
    data: &Dataset,
    scores: Vec<FeatureScore>,
    metrics: BTreeMap<String, f64>,
) -> Result<Output, NodeError> {
    let scores = Scores {
        split: node.split,
        judged_on: Dataset::digest_of(input, node.split)?,
        noun: data.modality().noun().to_owned(),
        class_names: data.class_names.clone(),
        pseudo_labels: None,
        truth: Scores::classes(&data.truth(node.split)?),
        scores,
        located: None,
    };
    Ok(Output {
        files: vec![scores.to_file()],
        metrics,
    })
}

/// The training images that are grouped, drawn at random where not all are.
fn grouped(node: &ProbeNode, train: &Samples, classes: usize) -> Result<Vec<u32>, NodeError> {
    let n = node.cluster_images.min(train.n());
    if n > 0 && n < classes {
        let message = format!("`cluster_images`: {n} training images cannot be grouped into {classes} clusters");
        return Err(failure(message).with_help(format!("take at least {classes}, or 0 for no clusters")));
    }
    let mut drawn = Stream::new(node.seed, "grouped").permutation(train.n());
    drawn.truncate(n);
    Ok(drawn)
}

/// What was found so far.
struct Judging<'a> {
    node: &'a ProbeNode,
    material: Material<'a>,
    scores: Vec<FeatureScore>,
    metrics: BTreeMap<String, f64>,
    /// Kinds of features: judged so far, and in all.
    done: usize,
    all: usize,
}

impl Judging<'_> {
    fn add(&mut self, cx: &Context<'_>, features: &Features) -> Result<(), NodeError> {
        let name = features.of.key();
        let [knn, probe] = self.material.classified(self.node, features);
        self.metrics.insert(format!("knn.{name}"), knn.accuracy);
        self.metrics.insert(format!("probe.{name}"), probe.accuracy);
        self.scores.extend([knn, probe]);
        if !self.material.grouped.is_empty() {
            let clusters = self.material.clustered(self.node, features);
            self.metrics
                .insert(format!("cluster_accuracy.{name}"), clusters.accuracy);
            if let Some(agreement) = clusters.agreement {
                self.metrics.insert(format!("nmi.{name}"), agreement.nmi);
                self.metrics.insert(format!("ari.{name}"), agreement.ari);
            }
            self.scores.push(clusters);
        }
        self.done += 1;
        told(cx, self.done, self.all, "kind of features")
    }
}
