//! An augmentation recipe as an artifact.

use flow_engine::node::{Input, NodeError, Output};
use flow_learn::augment::Recipe;

use super::{decoded, from_json, to_json};

const FILE: &str = "recipe.json";

/// The operations that make a view.
pub struct RecipeArtifact(pub Recipe);

impl RecipeArtifact {
    /// As files.
    pub fn into_output(self) -> Output {
        Output {
            files: vec![(FILE.into(), to_json(&self.0))],
            ..Output::default()
        }
    }

    /// From files.
    ///
    /// # Errors
    /// If they are damaged, or of another version of flow.
    pub fn read(input: &Input) -> Result<Self, NodeError> {
        decoded(&input.artifact, FILE, from_json).map(Self)
    }
}
