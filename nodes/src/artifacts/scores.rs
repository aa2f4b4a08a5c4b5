//! Metrics on test or validation images as an artifact, with each image's outcome, so that arms can be compared in pairs.

use std::collections::BTreeMap;

use flow_cache::Digest;
use flow_engine::node::{Input, NodeError};
use serde::{Deserialize, Serialize};

use super::{SplitName, decoded, from_json, to_json};

/// The file's name.
pub const SCORES_FILE: &str = "scores.json";

/// How something was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Protocol {
    /// A classifier's own predictions.
    FineTuned,
    /// Votes of the nearest labelled images by cosine of their features.
    Knn {
        /// Neighbours that vote.
        k: usize,
        /// Temperature of their weights.
        temperature: f32,
    },
    /// A support vector machine with a Gaussian kernel.
    Svm {
        /// What an example within the margin costs.
        penalty: f32,
        /// The kernel's width, as a multiple of `1 / (features * variance)`.
        gamma: f32,
    },
    /// A linear classifier on frozen features.
    Probe {
        /// Its L2 strength, chosen by cross-validation.
        l2: f32,
    },
    /// k-means of frozen features of length 1, each cluster taken for one class.
    Clusters {
        /// As many as classes.
        k: usize,
        /// Of so many beginnings the best.
        restarts: usize,
        /// Found in so many training images.
        images: usize,
    },
}

/// What was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A classifier.
    Model,
    /// A trained encoder's features.
    Encoder,
    /// A control: the same network before any training.
    RandomInit,
    /// A control that needs no network.
    RawPixels,
    /// The same of texts.
    BagOfWords,
}

impl Subject {
    /// Whether it is what arms are held against, and no arm itself.
    pub fn is_control(self) -> bool {
        matches!(self, Self::RandomInit | Self::RawPixels | Self::BagOfWords)
    }

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Encoder => "encoder",
            Self::RandomInit => "random init",
            Self::RawPixels => "raw pixels",
            Self::BagOfWords => "bag of words",
        }
    }

    /// In the names of metrics.
    pub fn key(self) -> String {
        self.title().replace(' ', "_")
    }
}

/// What one subject achieved under one protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureScore {
    /// What was judged.
    pub of: Subject,
    /// How.
    pub protocol: Protocol,
    /// Share of images classified right.
    pub accuracy: f64,
    /// Unweighted mean of the classes' F1.
    pub macro_f1: f64,
    /// `confusion[truth][predicted]`, in images.
    pub confusion: Vec<Vec<u64>>,
    /// The class that each image was taken for, in the order of the split.
    predicted: Vec<u16>,
    /// Of clusters, how well they agree with the classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
}

/// How well clusters agree with classes, whatever cluster stands for whatever class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Normalised mutual information, in [0, 1].
    pub nmi: f64,
    /// Adjusted Rand index, 0 by chance, at most 1.
    pub ari: f64,
}

impl FeatureScore {
    /// From predictions.
    pub fn new(of: Subject, protocol: Protocol, classes: usize, truth: &[usize], predicted: &[usize]) -> Self {
        let confusion = flow_learn::metrics::confusion(truth, predicted, classes);
        Self {
            of,
            protocol,
            accuracy: flow_learn::metrics::accuracy(truth, predicted),
            macro_f1: flow_learn::metrics::macro_f1(truth, predicted, classes),
            confusion: confusion.chunks(classes).map(<[u64]>::to_vec).collect(),
            predicted: Scores::classes(predicted),
            agreement: None,
        }
    }

    /// From as many clusters as classes, each taken for the class that makes most images right in all.
    pub fn of_clusters(of: Subject, protocol: Protocol, classes: usize, truth: &[usize], clusters: &[usize]) -> Self {
        use flow_learn::metrics::{ari, hungarian_classes, nmi};
        let class_of = hungarian_classes(truth, clusters, classes);
        let predicted: Vec<usize> = clusters.iter().map(|cluster| class_of[*cluster]).collect();
        Self {
            agreement: Some(Agreement {
                nmi: nmi(truth, clusters),
                ari: ari(truth, clusters),
            }),
            ..Self::new(of, protocol, classes, truth, &predicted)
        }
    }

    /// The class that each image was taken for.
    pub fn predicted(&self) -> Vec<usize> {
        self.predicted.iter().map(|class| usize::from(*class)).collect()
    }
}

/// All that one evaluate node found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The split that was judged on.
    pub split: SplitName,
    /// Digest of its examples and their labels: only scores on the same are compared.
    pub judged_on: Digest,
    /// What it is made of: `images` or `texts`.
    pub noun: String,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// Of a classifier that was given pseudo-labels, their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pseudo_labels: Option<usize>,
    /// The class of each example, in the order of the split.
    pub truth: Vec<u16>,
    /// The metrics.
    pub scores: Vec<FeatureScore>,
    /// Those of a network that tells where things are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub located: Option<LocatedScore>,
}

/// How good a network is at telling where things are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocatedScore {
    /// Its task.
    pub task: String,
    /// The metric that arms are compared by.
    pub figure: String,
    /// All metrics by name.
    pub metrics: BTreeMap<String, f64>,
    /// The figure of each class; 0 for one that does not occur.
    pub by_class: Vec<f64>,
    /// What each image contributes to the figure, in the order of the split: their mean is the figure.
    pub contributions: Vec<f64>,
}

impl Scores {
    /// The file's name and bytes.
    pub fn to_file(&self) -> (String, Vec<u8>) {
        (SCORES_FILE.into(), to_json(self))
    }

    /// From files.
    ///
    /// # Errors
    /// If they are damaged, or of another version of flow.
    pub fn read(input: &Input) -> Result<Self, NodeError> {
        decoded(&input.artifact, SCORES_FILE, |bytes| {
            let scores: Self = from_json(bytes)?;
            for score in &scores.scores {
                let classes = score.confusion.len();
                let all = scores.truth.len() as u128;
                let fits =
                    |row: &Vec<u64>| row.len() == classes && row.iter().map(|n| u128::from(*n)).sum::<u128>() <= all;
                if !score.confusion.iter().all(fits) {
                    let message = format!("a confusion matrix that is not of {classes} classes and {all} examples");
                    return Err(NodeError::failed(message));
                }
                let mut named = scores.truth.iter().chain(&score.predicted);
                if let Some(class) = named.find(|class| usize::from(**class) >= classes) {
                    return Err(NodeError::failed(format!(
                        "class {class} found, but there are {classes} classes"
                    )));
                }
            }
            Ok(scores)
        })
    }

    /// How many examples were judged.
    pub fn examples(&self) -> usize {
        self.truth.len()
    }

    /// The class of each example.
    pub fn truth(&self) -> Vec<usize> {
        self.truth.iter().map(|class| usize::from(*class)).collect()
    }

    /// Classes as they are written: there are at most 65,536 of them, as labels have 16 bits.
    pub fn classes(classes: &[usize]) -> Vec<u16> {
        classes.iter().map(|class| *class as u16).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_judged_is_called_by_words() {
        let all = [
            Subject::Model,
            Subject::Encoder,
            Subject::RandomInit,
            Subject::RawPixels,
            Subject::BagOfWords,
        ];
        insta::assert_snapshot!(all.map(Subject::title).join("\n"));
    }
}
