//! `kind = "inspect"`: what a trained network sees, as figures: a map of its features, nearest neighbours, filters, what excites its channels, and the
//! views that recipes make. `flow report` makes one of a run's networks under the same key, so that it is computed once.

mod channels;
mod features;
mod places;
mod views;

use std::collections::BTreeMap;

use flow_cache::{Artifact, KeyFields};
use flow_engine::figure::Figure;
use flow_engine::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Lineage, Node, NodeError, NodeRef, Output, ParamError, Port,
    Report, Resources,
};
use flow_learn::augment::{Augmenter, Recipe};
use flow_learn::backbones::Encoder;
use flow_learn::data::Images;
use flow_learn::rng::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{
    DATASET, Dataset, DatasetFacts, ENCODER, LocatorArtifact, MODEL, NetworkFacts, RECIPE, SplitName, TrainedNetwork,
    compatible, decoded, from_json, to_json,
};
use crate::failure::{at, failure, refused};

/// The heading of what is no single network's.
pub(crate) const VIEWS: &str = "What training saw";

/// What it makes.
const INSPECTION: ArtifactType = ArtifactType("inspection");
const FILE: &str = "inspection.json";

/// Looks into a trained network: what it finds in images, where its features put them, what its filters are, what excites its channels.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InspectNode {
    /// The network: an encoder or a classifier, of images.
    network: NodeRef,
    /// Images to look at.
    data: NodeRef,
    /// Recipes of which views are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    views: Vec<NodeRef>,
    /// The split whose images are looked at.
    #[serde(default = "test")]
    split: SplitName,
    /// So many images are mapped, spread evenly over the split.
    #[serde(default = "images")]
    images: usize,
    /// So many channels of each stage are looked into: those whose activations vary most.
    #[serde(default = "channels")]
    channels: usize,
    /// The seed of the map and of the views.
    #[serde(default)]
    seed: u64,
}

fn test() -> SplitName {
    SplitName::Test
}
fn images() -> usize {
    400
}
fn channels() -> usize {
    3
}

/// What is looked at.
struct Seen<'a> {
    encoder: &'a mut Encoder,
    augmenter: &'a Augmenter,
    images: &'a Images,
    /// Those of them that are looked at.
    places: &'a [u32],
    data: &'a Dataset,
    split: SplitName,
    stream: Stream,
}

impl InspectNode {
    /// The node that looks at a network with the settings that are the default.
    pub fn with_defaults() -> Self {
        let named = serde_json::json!({ "network": "", "data": "" });
        serde_json::from_value(named).expect("BUG: all other parameters have defaults")
    }

    /// The key of looking at these inputs: the one that a node of a workflow has.
    pub fn key(&self, inputs: &Inputs) -> KeyFields {
        let mut fields = KeyFields::new(Self::KIND, Self::VERSION)
            .param("split", &self.split.to_string().into())
            .param("images", &self.images.into())
            .param("channels", &self.channels.into())
            .param("seed", &self.seed.into());
        for (port, all) in &inputs.0 {
            for (place, input) in all.iter().enumerate() {
                let label = (!input.node.is_empty()).then_some(input.node.as_str());
                fields = fields.input(port, place, input.artifact.digest(), label);
            }
        }
        fields
    }

    /// The figures of an artifact.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn figures(artifact: &Artifact) -> Result<Vec<Figure>, NodeError> {
        decoded(artifact, FILE, from_json)
    }
}

impl Node for InspectNode {
    const KIND: &'static str = "inspect";
    const VERSION: u32 = 4;
    const OUTPUT: ArtifactType = INSPECTION;

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::one("network", &self.network, &[ENCODER, MODEL]),
            Port::one("data", &self.data, &[DATASET]),
            Port::many("views", &self.views, &[RECIPE]).labelled(),
        ]
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        if self.images < 16 {
            return Err(at("images", format!("{} found, expected at least 16", self.images)));
        }
        if let (Some(network), Some(data)) = (
            inputs.get::<NetworkFacts>("network"),
            inputs.get::<DatasetFacts>("data"),
        ) {
            compatible("network", network, data)?;
        }
        Ok(Facts::unknown())
    }

    fn resources(&self, _: &InputFacts) -> Resources {
        Resources::threads_up_to(usize::MAX)
    }

    fn isolated(&self) -> bool {
        true
    }

    fn run(&self, inputs: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        let data = Dataset::read(inputs.one("data"), &[SplitName::Train, self.split])?;
        let samples = data.split(self.split)?;
        let images = samples.images().ok_or_else(|| {
            failure("the data set is of texts").with_help("only networks of images can be looked into")
        })?;
        let mut located = None;
        let (mut encoder, normalisation) = match LocatorArtifact::read_if_one(inputs.one("network"))? {
            Some(mut found) => {
                located = Some(places::figure(&mut found, (images, samples), &data, self.split)?);
                (found.network.encoder, found.normalisation)
            }
            None => match TrainedNetwork::read(&inputs.one("network").artifact)? {
                TrainedNetwork::Encoder(found) => (found.encoder, found.normalisation),
                TrainedNetwork::Model(found) => (found.classifier.encoder, found.normalisation),
            },
        };
        let augmenter = normalisation.augmenter(&Recipe::default(), encoder.takes())?;
        let network = NetworkFacts {
            input: augmenter.input(),
            class_names: None,
            backbone: None,
            task: None,
        };
        compatible("network", &network, &data.facts()?).map_err(refused)?;
        let stream = Stream::new(self.seed, "inspect");
        let places = places(images.n, self.images, &stream);
        let mut seen = Seen {
            encoder: &mut encoder,
            augmenter: &augmenter,
            images,
            places: &places,
            data: &data,
            split: self.split,
            stream,
        };
        let mut figures: Vec<Figure> = located.into_iter().collect();
        figures.extend(views::figures(inputs, &normalisation, &seen)?);
        figures.extend(features::figures(&mut seen)?);
        let (deep, metrics) = channels::figures(&mut seen, self.channels);
        figures.extend(deep);
        Ok(Output {
            files: vec![(FILE.into(), to_json(&figures))],
            metrics,
        })
    }

    fn report(&self, artifact: &Artifact, _: &Lineage<'_>) -> Result<Option<Report>, NodeError> {
        let figures = Self::figures(artifact)?;
        let titles: Vec<&str> = figures.iter().map(Figure::title).collect();
        let text = format!(
            "Figures of what {} sees, for `flow report`: {}.\n",
            artifact.summary().node,
            titles.join(", ")
        );
        Ok(Some(Report {
            markdown: text.clone(),
            json: serde_json::json!({ "version": 1, "figures": titles, "metrics": artifact.metrics() }),
            terminal: text,
            files: Vec::new(),
            headline: None,
            figures,
        }))
    }
}

/// So many of `n` places, one by chance from each of equal stretches: where classes take turns, a step of their number would find one class alone.
fn places(n: usize, count: usize, stream: &Stream) -> Vec<u32> {
    let count = count.min(n);
    let mut chance = stream.child("places");
    let end = |i: usize| i * n / count;
    let place = |i: usize| (end(i) + chance.below(end(i + 1) - end(i))) as u32;
    (0..count).map(place).collect()
}

/// Metrics of channels by name.
type Metrics = BTreeMap<String, f64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_of_all_classes_also_where_classes_take_turns() {
        let found = places(2000, 400, &Stream::new(0, "inspect"));
        assert_eq!(found.len(), 400);
        assert!(found.is_sorted_by(|a, b| a < b));
        let of_class = |class: u32| found.iter().filter(|place| *place % 10 == class).count();
        assert!((0..10).all(|class| of_class(class) > 20));
        assert_eq!(places(3, 400, &Stream::new(0, "inspect")), [0, 1, 2]);
    }
}
