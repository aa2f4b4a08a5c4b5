//! `kind = "augment"`: a recipe of image operations that makes views.

use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Node, NodeError, NodeRef, Output, ParamError, Port,
};
use flow_learn::augment::{Op, Recipe};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{DATASET, DatasetFacts, RECIPE, RecipeArtifact, TEXTS_HAVE_NO_VIEWS};
use crate::failure::{at, at_with};

/// How training images are varied at random: operations in order, or a shipped recipe by name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AugmentNode {
    /// A shipped recipe.
    #[schemars(extend("enum" = Recipe::names()))]
    recipe: Option<String>,
    /// Operations in order, each with its parameters: `{ op = "random_resized_crop", scale = [0.3, 1.0] }`.
    ops: Option<Vec<Op>>,
    /// Images that the recipe is for: it is checked against their channels before anything runs.
    data: Option<NodeRef>,
}

impl AugmentNode {
    fn resolve(&self) -> Result<Recipe, ParamError> {
        match (&self.recipe, &self.ops) {
            (Some(name), None) => Recipe::named(name).ok_or_else(|| {
                at(
                    "recipe",
                    format!(
                        "unknown recipe `{name}`, expected one of {}",
                        Recipe::names().join(", ")
                    ),
                )
            }),
            (None, Some(ops)) => Ok(Recipe { ops: ops.clone() }),
            _ => Err(at_with(
                "",
                "an augment node takes either `recipe` or `ops`",
                "write `recipe = \"simclr\"` or `ops = [{ op = ... }]`",
            )),
        }
    }
}

impl Node for AugmentNode {
    const KIND: &'static str = "augment";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = RECIPE;

    fn ports(&self) -> Vec<Port> {
        vec![Port::maybe("data", &self.data, &[DATASET])]
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        let recipe = self.resolve()?;
        let key = if self.recipe.is_some() { "recipe" } else { "ops" };
        if let Some(data) = inputs.get("data") {
            check_for(&recipe, key, data)?;
        }
        Ok(Facts::of(recipe))
    }

    fn run(&self, _inputs: &Inputs, _cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let recipe = self.resolve().map_err(|e| NodeError::failed(e.message))?;
        Ok(RecipeArtifact(recipe).into_output())
    }
}

/// Checks a recipe given at port `port` against the images at port `data`, which have targets that may be mixed.
pub(crate) fn check_mixing(inputs: &InputFacts, port: &'static str, data: &DatasetFacts) -> Result<(), ParamError> {
    check_whole(inputs, port)?;
    inputs.get(port).map_or(Ok(()), |recipe| check_for(recipe, port, data))
}

/// [`check_mixing`] where there are no targets.
pub(crate) fn check_recipe(inputs: &InputFacts, port: &'static str, data: &DatasetFacts) -> Result<(), ParamError> {
    check_whole(inputs, port)?;
    check_views(inputs, port, data)
}

/// [`check_recipe`] where local views may be made besides whole ones.
pub(crate) fn check_views(inputs: &InputFacts, port: &'static str, data: &DatasetFacts) -> Result<(), ParamError> {
    if let Some(op) = inputs.get::<Recipe>(port).and_then(Recipe::mixes) {
        let message = format!("its operation `{op}` mixes targets, and there are none here");
        return Err(at_with(
            port,
            message,
            "leave it out; it is for `views` of a finetune node",
        ));
    }
    inputs.get(port).map_or(Ok(()), |recipe| check_for(recipe, port, data))
}

fn check_whole(inputs: &InputFacts, port: &'static str) -> Result<(), ParamError> {
    if inputs.get::<Recipe>(port).and_then(Recipe::local_views).is_some() {
        let message = "its operation `multi_crop` makes local views, which are not learnt from here";
        return Err(at_with(
            port,
            message,
            "leave it out; it is for `views` of a pretrain node with dino or swav",
        ));
    }
    Ok(())
}

/// Checks a recipe, given under `key`, against what it is to change.
fn check_for(recipe: &Recipe, key: &str, data: &DatasetFacts) -> Result<(), ParamError> {
    if data.input.modality.is_text() && !recipe.ops.is_empty() {
        return Err(at_with(key, TEXTS_HAVE_NO_VIEWS, "leave out `views`"));
    }
    recipe.validate(data.input.shape.c).map_err(|e| at(key, e.to_string()))
}
