//! What data sets, networks and scores are, as far as it decides whether they go together: known before anything runs as far as it
//! is known, and again, in full, when a node runs. Both times [`compatible`] and its like are asked.

use std::collections::BTreeMap;

use flow_engine::node::ParamError;
use flow_learn::backbones::BackboneSettings;
use flow_learn::data::{Annotations, Modality, NetworkInput};
use flow_learn::layers::MapShape;

use super::SplitName;
use crate::failure::at_with;

/// Where the targets of a data set's training examples come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// All are labelled.
    All,
    /// So many are labelled.
    Labels(usize),
    /// A teacher guessed them.
    Guesses,
}

/// What is known of where things are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Annotated {
    /// Whether each pixel has a class.
    pub masks: bool,
    /// Whether each thing has a box.
    pub boxes: bool,
}

impl Annotated {
    /// What annotations have.
    pub fn of(annotations: &Annotations) -> Self {
        Self {
            masks: annotations.masks.is_some(),
            boxes: annotations.objects.is_some(),
        }
    }
}

/// What a data set is.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetFacts {
    /// Shape and modality of an example.
    pub input: NetworkInput,
    /// Names of the classes in order; `None` where they are not known before the files are read.
    pub class_names: Option<Vec<String>>,
    /// Examples of each split that there is, where that is known; of a part by classes, those of all classes.
    pub splits: Option<BTreeMap<SplitName, usize>>,
    /// Which training examples have targets, and whose.
    pub targets: Targets,
    /// What is known of where things are in its images.
    pub annotated: Annotated,
}

impl DatasetFacts {
    /// Examples of a split, if that is known.
    pub fn count(&self, split: SplitName) -> Option<usize> {
        let splits = self.splits.as_ref()?;
        Some(splits.get(&split).copied().unwrap_or(0))
    }
}

/// What a network takes and tells apart.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkFacts {
    /// Shape and modality of an example.
    pub input: NetworkInput,
    /// Names of the classes in the order of its outputs; `None` for an encoder, and where they are not known yet.
    pub class_names: Option<Vec<String>>,
    /// The network, where it is known; only what it takes of memory follows from it.
    pub backbone: Option<BackboneSettings>,
    /// What it tells of images, if not their class.
    pub task: Option<&'static str>,
}

/// What scores are of, and on what.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreFacts {
    /// Whether a classifier was judged, and not features.
    pub of_classifier: bool,
    /// What it tells of images, if not their class.
    pub task: Option<&'static str>,
    /// The data that was judged on.
    pub data: DatasetFacts,
    /// The split that was judged on.
    pub split: SplitName,
}

/// Checks that the network at `port` can be used on a data set: same shape, modality and vocabulary, and the same classes in the same order.
///
/// # Errors
/// At `port`, with what differs.
pub fn compatible(port: &str, network: &NetworkFacts, data: &DatasetFacts) -> Result<(), ParamError> {
    same_input(port, ("the network takes", network.input), ("the data has", data.input))?;
    same_classes(
        port,
        "the network",
        network.class_names.as_deref(),
        data.class_names.as_deref(),
    )
}

/// Checks that the data set at `port` is of the same kind of examples and classes as the first.
///
/// # Errors
/// At `port`, with what differs.
pub fn same_task(port: &str, first: &DatasetFacts, second: &DatasetFacts) -> Result<(), ParamError> {
    same_input(
        port,
        ("the first data set has", first.input),
        ("the second", second.input),
    )?;
    same_classes(
        port,
        "the first data set",
        first.class_names.as_deref(),
        second.class_names.as_deref(),
    )
}

fn same_input(
    port: &str,
    (a, first): (&str, NetworkInput),
    (b, second): (&str, NetworkInput),
) -> Result<(), ParamError> {
    if alike(first, second) {
        return Ok(());
    }
    let (one, other) = (described(first), described(second));
    Err(if one == other {
        let message = format!("{a} {one}, {b} another vocabulary of that size");
        at_with(
            port,
            message,
            "a vocabulary is learnt by the dataset node that reads the texts: take both from the same one",
        )
    } else {
        at_with(
            port,
            format!("{a} {one}, {b} {other}"),
            "both must be of the same kind and shape",
        )
    })
}

/// As far as it is known: which words a large file's vocabulary has is not, before anything runs.
fn alike(first: NetworkInput, second: NetworkInput) -> bool {
    let is_known = |input: NetworkInput| !matches!(input.modality, Modality::Texts { fingerprint: 0, .. });
    let both_texts = first.modality.is_text() && second.modality.is_text();
    match both_texts && !(is_known(first) && is_known(second)) {
        true => first.shape == second.shape,
        false => first == second,
    }
}

/// Classes are the same only in the same order: a network's outputs have no names of their own.
fn same_classes(
    port: &str,
    whose: &str,
    first: Option<&[String]>,
    second: Option<&[String]>,
) -> Result<(), ParamError> {
    let (Some(first), Some(second)) = (first, second) else {
        return Ok(());
    };
    if first == second {
        return Ok(());
    }
    let listed = |names: &[String]| {
        names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names
    };
    Err(if sorted(first) == sorted(second) {
        let message = format!(
            "{whose} has the classes {}; here they are in another order: {}",
            listed(first),
            listed(second)
        );
        at_with(
            port,
            message,
            "write `classes = [..]` in the same order in the nodes of both data sets",
        )
    } else {
        let message = format!(
            "{whose} has the classes {}; here they are {}",
            listed(first),
            listed(second)
        );
        at_with(
            port,
            message,
            "take data of the same classes: `classes = [..]` in a dataset node with `from` keeps some of a data set",
        )
    })
}

/// Examples in words.
fn described(input: NetworkInput) -> String {
    let MapShape { h, w, c } = input.shape;
    match input.modality {
        Modality::Images => format!("{h}x{w} images of {c} channel(s)"),
        Modality::Texts { vocabulary, .. } => format!("texts of {h} tokens from a vocabulary of {vocabulary}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn image(side: usize, c: usize) -> NetworkInput {
        MapShape { h: side, w: side, c }.into()
    }

    fn data(input: NetworkInput, class_names: Option<Vec<String>>) -> DatasetFacts {
        DatasetFacts {
            input,
            class_names,
            splits: None,
            targets: Targets::All,
            annotated: Annotated::default(),
        }
    }

    #[test]
    fn a_network_is_used_on_the_same_classes_in_the_same_order_and_the_same_kind_of_images_only() {
        let network = NetworkFacts {
            input: image(28, 1),
            class_names: names(&["bag", "coat"]),
            backbone: None,
            task: None,
        };
        let refusal = |data: &DatasetFacts| {
            compatible("model", &network, data)
                .err()
                .map(|e| e.message)
                .unwrap_or_default()
        };
        assert_eq!(refusal(&data(image(28, 1), names(&["bag", "coat"]))), "");
        assert_eq!(
            refusal(&data(image(28, 1), None)),
            "",
            "what is not known yet is asked again when it is"
        );
        assert!(refusal(&data(image(28, 1), names(&["coat", "bag"]))).contains("another order"));
        for other in [
            names(&["bag"]),
            names(&["bag", "coat", "shirt"]),
            names(&["bag", "boot"]),
        ] {
            assert!(refusal(&data(image(28, 1), other)).contains("here they are"));
        }
        assert!(refusal(&data(image(32, 1), names(&["bag", "coat"]))).contains("32x32"));
        assert!(refusal(&data(image(28, 3), names(&["bag", "coat"]))).contains("3 channel(s)"));
    }

    #[test]
    fn an_encoder_has_no_classes_and_goes_with_any() {
        let encoder = NetworkFacts {
            input: image(28, 1),
            class_names: None,
            backbone: None,
            task: None,
        };
        assert!(compatible("encoder", &encoder, &data(image(28, 1), names(&["x", "y"]))).is_ok());
    }

    #[test]
    fn vocabularies_of_one_size_are_told_apart() {
        let text = |fingerprint| NetworkInput {
            shape: MapShape { h: 8, w: 1, c: 2 },
            modality: Modality::Texts {
                vocabulary: 100,
                fingerprint,
            },
        };
        let refused = same_task("data", &data(text(1), None), &data(text(2), None)).expect_err("another vocabulary");
        assert!(refused.message.contains("another vocabulary"), "{}", refused.message);
        let unknown = same_task("data", &data(text(1), None), &data(text(0), None));
        assert!(unknown.is_ok(), "what is not known yet is asked again when it is");
    }
}
