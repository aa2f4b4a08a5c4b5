//! What flows between nodes: one file for each artifact type, with its encoding to named files and back.

mod boxes;
mod dataset;
mod encoder;
mod facts;
mod features;
mod history;
mod large_images;
mod locator;
mod model;
mod network;
mod outside_weights;
mod predictions;
mod pretext_pictures;
mod recipe;
mod scores;
mod start;
mod task;

pub use dataset::{Dataset, ExampleSet, Normalisation, SplitName};
pub(crate) use dataset::{GUESSES_ARE_NO_LABELS, TEXTS_HAVE_NO_VIEWS, without};
pub use encoder::EncoderArtifact;
pub use facts::{Annotated, DatasetFacts, NetworkFacts, ScoreFacts, Targets, compatible, same_task};
pub use features::{FeatureFacts, FeaturesArtifact};
pub use history::{Epoch, History};
pub(crate) use large_images::no_room;
pub use locator::LocatorArtifact;
pub use model::{HeadInfo, ModelArtifact};
pub use network::TrainedNetwork;
pub use predictions::{PredictionFacts, Predictions};
pub use pretext_pictures::PretextPictures;
pub use recipe::RecipeArtifact;
pub use scores::{Agreement, FeatureScore, LocatedScore, Protocol, SCORES_FILE, Scores, Subject};
pub use start::{EncoderStart, WeightsFile};
pub use task::TaskArtifact;

use flow_cache::{Artifact, Mapped};
use flow_engine::node::{ArtifactType, NodeError};
use flow_learn::data::{Bytes, Pixels};
use serde::{Serialize, de::DeserializeOwned};

use crate::failure::failure;

/// Images or texts in splits, optionally with a selection of labelled or pseudo-labelled ones.
pub const DATASET: ArtifactType = ArtifactType("dataset");
/// An augmentation recipe.
pub const RECIPE: ArtifactType = ArtifactType("recipe");
/// A pre-training method with its hyper-parameters.
pub const TASK: ArtifactType = ArtifactType("task");
/// A backbone's weights.
pub const ENCODER: ArtifactType = ArtifactType("encoder");
/// Weights of a classifier, or of a network that tells where things are.
pub const MODEL: ArtifactType = ArtifactType("model");
/// Class probabilities of the examples of a split, from elsewhere.
pub const PREDICTIONS: ArtifactType = ArtifactType("predictions");
/// Features of the examples of a data set, from elsewhere.
pub const FEATURES: ArtifactType = ArtifactType("features");
/// Metrics on test or validation images.
pub const SCORES: ArtifactType = ArtifactType("scores");
/// A comparison with its verdict.
pub const VERDICT: ArtifactType = ArtifactType("verdict");
/// Files that a command left.
pub const FILES: ArtifactType = ArtifactType("files");
/// For nodes that take files and do not ask what they mean.
pub(crate) const ANY: &[ArtifactType] = &[
    FILES,
    DATASET,
    RECIPE,
    TASK,
    ENCODER,
    MODEL,
    PREDICTIONS,
    FEATURES,
    SCORES,
    VERDICT,
];

/// JSON with sorted keys, so that equal values give equal bytes.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    let value = serde_json::to_value(value).expect("BUG: artifacts serialise to JSON");
    let mut bytes = serde_json::to_vec_pretty(&value).expect("BUG: a JSON value can be written");
    bytes.push(b'\n');
    bytes
}

pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NodeError> {
    serde_json::from_slice(bytes).map_err(failure)
}

/// Reads a file of an artifact. Whatever is wrong with it, the error names the file and who made it.
pub(crate) fn decoded<T>(
    artifact: &Artifact,
    file: &str,
    decode: impl FnOnce(&[u8]) -> Result<T, NodeError>,
) -> Result<T, NodeError> {
    decode(&artifact.read(file)?).map_err(|error| unreadable(artifact, file, error))
}

/// Pixels that lie in a file.
struct InFile(Mapped);

impl AsRef<[u8]> for InFile {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl Bytes for InFile {
    fn release(&self) {
        self.0.release();
    }
}

/// Pixels that stay in the file that was mapped.
pub(crate) fn pixels_in(file: Mapped) -> Pixels {
    Pixels::new(InFile(file))
}

/// As [`decoded`], of a file that stays where it lies.
pub(crate) fn mapped<T>(
    artifact: &Artifact,
    file: &str,
    decode: impl FnOnce(Pixels) -> Result<T, NodeError>,
) -> Result<T, NodeError> {
    decode(pixels_in(artifact.map(file)?)).map_err(|error| unreadable(artifact, file, error))
}

fn unreadable(artifact: &Artifact, file: &str, error: NodeError) -> NodeError {
    let NodeError::Failed { message, help } = error else {
        return error;
    };
    let damaged = "another version of flow may have written it; `flow cache verify` checks the store, and `--force` runs the node again";
    NodeError::failed(format!(
        "cannot read `{file}` of `{}`: {message}",
        artifact.summary().node
    ))
    .with_help(help.unwrap_or_else(|| damaged.to_owned()))
}
