//! What a network finds in images, beside what is there.

use flow_engine::figure::{Figure, Picture, Pictures};
use flow_engine::node::NodeError;
use flow_learn::augment::Recipe;
use flow_learn::data::{Images, Located, Samples};
use flow_learn::tasks::{Found, Frame, Task, locate};

use crate::artifacts::{Dataset, LocatorArtifact, SplitName};
use crate::pictures::{CLASS_COLOURS, Overlay};
use crate::show::picture::{over, picture};

/// Images that are shown.
const SHOWN: usize = 12;
/// Boxes that the network is less sure of are not drawn.
const SURE: f32 = 0.5;

/// Pictures of images spread over a split: as they are, with their ground truth, with what is found.
pub(super) fn figure(
    found: &mut LocatorArtifact,
    (images, samples): (&Images, &Samples),
    data: &Dataset,
    split: SplitName,
) -> Result<Figure, NodeError> {
    let known = data.annotations.get(&split);
    let places: Vec<u32> = (0..SHOWN.min(images.n))
        .map(|i| (i * images.n / SHOWN.min(images.n)) as u32)
        .collect();
    let augmenter = found
        .normalisation
        .augmenter(&Recipe::default(), found.network.encoder.takes())?;
    let read = |task: &dyn Task, values: &[f32], frame: &Frame| task.decode(values, frame);
    let all = locate(&mut found.network, samples, &places, &augmenter, read);
    let names = &data.class_names;
    let groups = places.iter().zip(&all).map(|(place, found)| {
        let truth = known.map(|known| known.get(*place as usize)).unwrap_or_default();
        let pictures: Vec<Picture> = [
            picture(images, *place as usize, "as it is".into(), format!("image {place}")),
            truth_on(images, *place, &truth, names),
            found_on(images, *place, found, names),
        ]
        .into_iter()
        .flatten()
        .collect();
        (format!("image {place}"), pictures)
    });
    let colours = names
        .iter()
        .zip(CLASS_COLOURS.iter().cycle())
        .map(|(name, (colour, _))| format!("{name} {colour}"));
    Ok(Figure::Pictures(Pictures {
        title: "What it finds in images".into(),
        note: format!(
            "Each image as it is, with its ground truth, and with what the network finds: boxes of which it is surer than {SURE}, masks as a veil. {}.",
            colours.collect::<Vec<_>>().join(", ")
        ),
        groups: groups.collect(),
    }))
}

fn truth_on(images: &Images, place: u32, truth: &Located, names: &[String]) -> Option<Picture> {
    let class = |object: &flow_learn::data::Object| (!object.ignore).then_some(usize::from(object.class));
    let overlay = Overlay {
        mask: &truth.mask,
        boxes: truth
            .objects
            .iter()
            .map(|object| (object.bounds, class(object)))
            .collect(),
    };
    let things: Vec<&str> = truth
        .objects
        .iter()
        .filter_map(class)
        .filter_map(|class| names.get(class))
        .map(String::as_str)
        .collect();
    let alt = format!("image {place} with its ground truth: {}", listed(&things));
    over(images, place as usize, &overlay, "ground truth".into(), alt)
}

fn found_on(images: &Images, place: u32, found: &Found, names: &[String]) -> Option<Picture> {
    let sure: Vec<_> = found.boxes.iter().filter(|found| found.score > SURE).collect();
    let overlay = Overlay {
        mask: &found.mask,
        boxes: sure
            .iter()
            .map(|found| (found.bounds, Some(usize::from(found.class))))
            .collect(),
    };
    let named = |found: &&flow_learn::tasks::Detection| {
        Some(format!("{} {:.2}", names.get(usize::from(found.class))?, found.score))
    };
    let things: Vec<String> = sure.iter().filter_map(named).collect();
    let caption = if things.is_empty() {
        "found".into()
    } else {
        things.join(", ")
    };
    let alt = format!("image {place} with what the network finds: {}", listed(&things));
    over(images, place as usize, &overlay, caption, alt)
}

fn listed(things: &[impl AsRef<str>]) -> String {
    match things {
        [] => "no boxes".to_owned(),
        things => things.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "),
    }
}
