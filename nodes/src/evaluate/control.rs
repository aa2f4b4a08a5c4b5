//! What an arm has to beat: classifiers from the same labels that learn no features.

use std::collections::BTreeMap;

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeRef, Output, ParamError, Port, Resources,
    Spent,
};
use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::backbones::{BackboneSettings, Encoder};
use flow_learn::data::Samples;
use flow_learn::metrics::{accuracy, weighted_knn};
use flow_learn::probe::Probe;
use flow_learn::rng::Stream;
use flow_learn::svm::{Svm, SvmSettings};
use flow_learn::train::embed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::probe::raw_features;
use super::{score_facts, test};
use crate::artifacts::{
    DATASET, Dataset, DatasetFacts, FeatureScore, Protocol, SCORES, Scores, SplitName, Subject, Targets,
};
use crate::device::{DeviceChoice, Precision};
use crate::failure::{at, at_with, backbone_error, device_failure, failure};
use crate::memory;
use crate::parts::told;

/// The machine looks at each pair of labelled images.
const MOST_LABELS: usize = 10_000;
/// Temperature of the nearest neighbours' votes.
const TEMPERATURE: f32 = 0.1;

/// Judges a classifier that learns no features from the labelled part in `data`: what any arm has to beat.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlNode {
    /// Which one.
    control: Control,
    /// The data set whose examples are the labels, and that is judged on.
    data: NodeRef,
    /// The split that is judged on.
    #[serde(default = "test")]
    split: SplitName,
    /// Of `svm`, what an example within the margin costs. Of several values the one that is best on the validation images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    penalty: Option<Vec<f32>>,
    /// Of `svm`, the kernel's width as a multiple of `1 / (features * variance)`. Of several values the one that is best on the validation images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gamma: Option<Vec<f32>>,
    /// Of `knn`, how many neighbours vote. Of several values the one that is best on the validation images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    neighbours: Option<Vec<usize>>,
    /// Of `random-probe`, the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<BackboneSettings>,
    /// Of `random-probe`, decides the network's weights.
    #[serde(default)]
    seed: u64,
    /// Where it computes: `cpu`, `cuda` for a GPU, or `auto` for a GPU where there is one that can be used. A GPU's architecture is part of the
    /// key, the CPU is not. Only a network is computed there.
    #[serde(default, skip_serializing_if = "DeviceChoice::is_cpu")]
    device: DeviceChoice,
    /// What products are made of. On a GPU `tf32`, which is the default, `fp32`, which is slower and as on the CPU, or `bf16`, which is the coarsest; on the CPU `fp32` or `bf16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    precision: Option<Precision>,
}

/// What needs no learnt features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Control {
    /// A support vector machine with a Gaussian kernel on raw pixels, or on a bag of words.
    Svm,
    /// The nearest labelled images by the cosine of raw pixels, or of bags of words.
    Knn,
    /// A linear classifier on what a network with random weights makes of an image.
    RandomProbe,
}

/// One setting of a control.
#[derive(Clone, Copy, Debug)]
enum Candidate {
    Svm(SvmSettings),
    Knn(usize),
    Probe,
}

impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Svm(SvmSettings { penalty, gamma }) => write!(f, "penalty {penalty}, gamma {gamma}"),
            Self::Knn(neighbours) => write!(f, "{neighbours} neighbour(s)"),
            Self::Probe => f.write_str("linear probe"),
        }
    }
}

impl ControlNode {
    /// The settings that are tried, in the order written.
    fn candidates(&self) -> Vec<Candidate> {
        match self.control {
            Control::Svm => {
                let penalties = self.penalty.as_deref().unwrap_or(&[10.0]);
                let gammas = self.gamma.as_deref().unwrap_or(&[1.0]);
                let pairs = penalties
                    .iter()
                    .flat_map(|penalty| gammas.iter().map(move |gamma| (*penalty, *gamma)));
                pairs
                    .map(|(penalty, gamma)| Candidate::Svm(SvmSettings { penalty, gamma }))
                    .collect()
            }
            Control::Knn => {
                let neighbours = self.neighbours.as_deref().unwrap_or(&[5]);
                neighbours.iter().map(|k| Candidate::Knn(*k)).collect()
            }
            Control::RandomProbe => vec![Candidate::Probe],
        }
    }

    /// What is wrong with the settings whatever the data.
    fn check(&self) -> Result<(), ParamError> {
        let of = |control: Control| self.control == control;
        for (key, given, belongs) in [
            ("penalty", self.penalty.is_some(), of(Control::Svm)),
            ("gamma", self.gamma.is_some(), of(Control::Svm)),
            ("neighbours", self.neighbours.is_some(), of(Control::Knn)),
            ("network", self.network.is_some(), of(Control::RandomProbe)),
        ] {
            if given && !belongs {
                return Err(at_with(key, format!("this control has no `{key}`"), "leave it out"));
            }
        }
        if of(Control::RandomProbe) && self.network.is_none() {
            let help = "write `network = { name = \"conv3\" }`, as the arms have it";
            return Err(at_with("network", "the control `random-probe` needs a `network`", help));
        }
        for (key, values) in [("penalty", &self.penalty), ("gamma", &self.gamma)] {
            if let Some(wrong) = values
                .iter()
                .flatten()
                .find(|value| !(**value > 0.0 && value.is_finite()))
            {
                return Err(at(key, format!("{wrong} found, expected numbers above 0")));
            }
        }
        if self.neighbours.iter().flatten().any(|k| *k == 0) {
            return Err(at("neighbours", "0 found, expected at least 1"));
        }
        if self.candidates().is_empty() {
            return Err(at("control", "there is no setting to try: the list is empty"));
        }
        Ok(())
    }
}

impl Node for ControlNode {
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = SCORES;
    const FORM: &'static [&'static str] = &["control"];

    fn ports(&self) -> Vec<Port> {
        vec![Port::one("data", &self.data, &[DATASET])]
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        self.check()?;
        let Some(facts) = score_facts(inputs, self.split, true)? else {
            return Ok(Facts::unknown());
        };
        self.check_data(&facts.data)?;
        Ok(Facts::of(facts))
    }

    fn settled(&self, _: &Spent<'_>) -> Result<Option<Self>, ParamError> {
        let device = match self.control {
            Control::RandomProbe => self.device.settled(self.precision)?,
            // There is no network.
            Control::Svm | Control::Knn => {
                (!self.device.is_cpu() || self.precision.is_some()).then_some(DeviceChoice::Cpu)
            }
        };
        Ok(device.map(|device| Self {
            device,
            precision: None,
            ..self.clone()
        }))
    }

    fn resources(&self, inputs: &InputFacts) -> Resources {
        let known = self.network.as_ref().zip(inputs.get::<DatasetFacts>("data"));
        self.device
            .resources(known.map(|(network, data)| memory::gpu_bytes_to_embed(data.input, network)))
    }

    fn isolated(&self) -> bool {
        true
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let input = inputs.one("data");
        let data = Dataset::read(input, &[SplitName::Train, SplitName::Validation, self.split])?;
        let truth = data.truth(self.split)?;
        let mut fitted = Fitted::new(self, &data, cx)?;
        let chosen = self.chosen(&data, &mut fitted, cx)?;
        let features = fitted.features_of(data.split(self.split)?)?;
        let (predicted, protocol) = fitted.predict(chosen, &features);
        let score = FeatureScore::new(fitted.subject, protocol, data.classes(), &truth, &predicted);
        let metrics = BTreeMap::from([
            ("accuracy".to_owned(), score.accuracy),
            ("macro_f1".to_owned(), score.macro_f1),
            ("labels".to_owned(), fitted.labels.len() as f64),
        ]);
        let scores = Scores {
            split: self.split,
            judged_on: Dataset::digest_of(input, self.split)?,
            noun: data.modality().noun().to_owned(),
            class_names: data.class_names.clone(),
            pseudo_labels: None,
            truth: Scores::classes(&truth),
            scores: vec![score],
            located: None,
        };
        Ok(Output {
            files: vec![scores.to_file()],
            metrics,
        })
    }
}

impl ControlNode {
    fn check_data(&self, data: &DatasetFacts) -> Result<(), ParamError> {
        if let Targets::Labels(labels) = data.targets
            && self.control == Control::Svm
            && labels > MOST_LABELS
        {
            let message = format!("{labels} labelled images found, expected at most {MOST_LABELS}");
            return Err(at_with("data", message, "compare with `knn`, or with fewer labels"));
        }
        if self.candidates().len() > 1 && data.count(SplitName::Validation) == Some(0) {
            let help =
                "`validation = N` in the dataset node holds out some of the training images; or give one value each";
            return Err(at_with(
                "control",
                "there are no validation images to choose settings by",
                help,
            ));
        }
        if let Some(network) = &self.network {
            let built = network.build(data.input, &Stream::new(0, "check"));
            built.map_err(|e| backbone_error(&e)).map_err(|error| ParamError {
                key: "network".into(),
                ..error
            })?;
        }
        Ok(())
    }

    /// The setting that is best on the validation images, the first of equal ones.
    fn chosen(&self, data: &Dataset, fitted: &mut Fitted, cx: &Context<'_>) -> Result<Candidate, NodeError> {
        let candidates = self.candidates();
        let mut best: Option<(Candidate, f64)> = None;
        if let [only] = candidates.as_slice() {
            return Ok(*only);
        }
        let features = fitted.features_of(data.split(SplitName::Validation)?)?;
        let truth = data.truth(SplitName::Validation)?;
        let all = candidates.len() + 1;
        for (done, candidate) in candidates.into_iter().enumerate() {
            told(cx, done, all, "setting")?;
            let found = accuracy(&truth, &fitted.predict(candidate, &features).0);
            cx.host.note(&format!(
                "{candidate}: {:.1} % of the validation images are right",
                100.0 * found
            ));
            if best.is_none_or(|(_, most)| found > most) {
                best = Some((candidate, found));
            }
        }
        best.map(|(candidate, _)| candidate)
            .ok_or_else(|| failure("there is no setting to try"))
    }
}

/// Labelled features, and how others are made.
struct Fitted {
    subject: Subject,
    /// None where raw features are taken.
    network: Option<(Encoder, Augmenter)>,
    features: Vec<f32>,
    labels: Vec<usize>,
    dim: usize,
    classes: usize,
}

impl Fitted {
    fn new(node: &ControlNode, data: &Dataset, cx: &Context<'_>) -> Result<Self, NodeError> {
        let examples = data.example_set()?;
        let train = data.train()?;
        let network = match &node.network {
            Some(network) => {
                let input = data.facts()?.input;
                let mut encoder = network
                    .build(input, &Stream::new(node.seed, "random control"))
                    .map_err(failure)?;
                encoder.device = node.device.open(cx)?;
                Some((encoder, data.normalisation.augmenter(&Recipe::default(), input)?))
            }
            None => None,
        };
        let mut fitted = Self {
            subject: match (&network, train) {
                (Some(_), _) => Subject::RandomInit,
                (None, Samples::Images(_)) => Subject::RawPixels,
                (None, Samples::Texts(_)) => Subject::BagOfWords,
            },
            network,
            features: Vec::new(),
            labels: examples.classes(),
            dim: 1,
            classes: data.classes(),
        };
        if fitted.labels.is_empty() {
            return Err(failure("BUG: there are no labelled examples"));
        }
        fitted.features = fitted.embedded(train, &examples.indices)?;
        fitted.dim = fitted.features.len() / fitted.labels.len();
        Ok(fitted)
    }

    fn embedded(&mut self, samples: &Samples, indices: &[u32]) -> Result<Vec<f32>, NodeError> {
        match &mut self.network {
            Some((encoder, plain)) => embed(encoder, samples, indices, plain).map_err(|e| device_failure(&e)),
            None => Ok(raw_features(samples, indices)),
        }
    }

    /// Of all of a split.
    fn features_of(&mut self, samples: &Samples) -> Result<Vec<f32>, NodeError> {
        let all: Vec<u32> = (0..samples.n() as u32).collect();
        self.embedded(samples, &all)
    }

    /// The classes that a control takes rows of features for, and how.
    fn predict(&self, candidate: Candidate, judged: &[f32]) -> (Vec<usize>, Protocol) {
        let (features, labels, dim, classes) = (&self.features, &self.labels, self.dim, self.classes);
        match candidate {
            Candidate::Svm(settings) => {
                let SvmSettings { penalty, gamma } = settings;
                let svm = Svm::fit(features, labels, dim, classes, settings);
                (svm.predict(judged), Protocol::Svm { penalty, gamma })
            }
            Candidate::Knn(k) => {
                let (k, temperature) = (k.min(labels.len()), TEMPERATURE);
                let found = weighted_knn(features, labels, judged, dim, classes, k, temperature);
                (found.predicted, Protocol::Knn { k, temperature })
            }
            Candidate::Probe => {
                let probe = Probe::fit(features, labels, dim, classes);
                (probe.predict(judged), Protocol::Probe { l2: probe.strength })
            }
        }
    }
}
