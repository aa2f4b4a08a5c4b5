//! `kind = "pretext"`: what a backbone is to learn without labels, as a method with its hyper-parameters.

use flow_engine::node::{ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, Output, ParamError, Port};
use flow_learn::methods::MethodSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{TASK, TaskArtifact};
use crate::failure::setting_error;

/// What an encoder is to learn without labels: a method and its hyper-parameters.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PretextNode(MethodSettings);

impl Node for PretextNode {
    const KIND: &'static str = "pretext";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = TASK;

    fn ports(&self) -> Vec<Port> {
        Vec::new()
    }

    fn facts(&self, _inputs: &InputFacts) -> Result<Facts, ParamError> {
        self.0.check_ranges().map_err(setting_error)?;
        Ok(Facts::of(self.0.clone()))
    }

    fn run(&self, _inputs: &Inputs, _cx: &mut Context<'_>) -> Result<Output, NodeError> {
        Ok(TaskArtifact(self.0.clone()).into_output())
    }
}
