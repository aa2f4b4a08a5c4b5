//! A data set of images with what is where in them, divided into splits.

use std::collections::BTreeMap;

use flow_engine::node::{Host, NodeError, Output};
use flow_learn::data::{Annotations, Depth, Images, Label, Located, Samples};
use flow_learn::rng::Stream;

use super::files::Division;
use crate::artifacts::{Dataset, ExampleSet, SplitName, to_json};
use crate::failure::{failure, refused};
use crate::pictures::{Fitted, first_few};
use crate::sources::{Placed, PlacedEntry, located_test_count};

/// What the record keeps beside the images, where something was left out.
const PROBLEMS: &str = "problems.json";

/// The data set, with what was left out of the annotations as a file.
pub(super) fn output(source: &str, placed: Placed, division: &Division, host: &dyn Host) -> Result<Output, NodeError> {
    let problems = placed.problems.clone();
    if !problems.is_empty() {
        let count = problems.len();
        host.note(&format!(
            "{count} problem(s) with annotations were left out:{}",
            first_few(problems.clone())
        ));
    }
    let things: usize = placed.images.iter().map(|(entry, _)| entry.located.objects.len()).sum();
    let (things, has_boxes) = (things as f64, placed.annotated.boxes);
    let mut output = dataset(source, placed, division)?.into_output(host)?;
    output
        .metrics
        .insert("bad_annotations".to_owned(), problems.len() as f64);
    if has_boxes {
        output.metrics.insert("things".to_owned(), things);
    }
    if !problems.is_empty() {
        output.files.push((PROBLEMS.to_owned(), to_json(&problems)));
    }
    Ok(output)
}

fn dataset(source: &str, placed: Placed, division: &Division) -> Result<Dataset, NodeError> {
    let splits = divided(&placed, division)?;
    let mut parts: BTreeMap<SplitName, Vec<(PlacedEntry, Fitted)>> = BTreeMap::new();
    for (split, image) in splits.into_iter().zip(placed.images) {
        parts.entry(split).or_default().push(image);
    }
    let shape = [placed.side, placed.side, placed.channels];
    let (mut samples, mut annotations) = (BTreeMap::new(), BTreeMap::new());
    for (split, images) in parts {
        let labels: Vec<Label> = images.iter().map(|(entry, _)| entry.label()).collect();
        let located: Vec<Located> = images.iter().map(|(entry, _)| entry.located.clone()).collect();
        let known = Annotations::of([placed.side; 2], &labels, &located);
        annotations.insert(
            split,
            Annotations {
                masks: known.masks.filter(|_| placed.annotated.masks),
                soft: None,
                objects: known.objects.filter(|_| placed.annotated.boxes),
            },
        );
        let pixels: Vec<u8> = images
            .iter()
            .flat_map(|(_, fitted)| fitted.values.eight().into_owned())
            .collect();
        let images = Images::of_depth(shape, Depth::Eight, pixels.into(), labels).map_err(failure)?;
        samples.insert(split, Samples::from(images));
    }
    let Some(train) = samples.get(&SplitName::Train) else {
        return Err(failure("no image is left to train on"));
    };
    let examples = examples(train.labels(), placed.class_names.len());
    let mut data = Dataset::new(source.to_owned(), placed.class_names, samples, annotations, None);
    data.examples = examples.or(data.examples);
    Ok(data)
}

/// All training images, where some show nothing: that is known of them as well. For those who ask for their class, all classes alike.
fn examples(labels: &[Label], classes: usize) -> Option<ExampleSet> {
    let target = |label: &Label| -> Vec<f32> {
        let even = 1.0 / classes.max(1) as f32;
        (0..classes)
            .map(|class| label.map_or(even, |label| f32::from(u8::from(usize::from(label) == class))))
            .collect()
    };
    labels.contains(&None).then(|| ExampleSet {
        guessed: false,
        indices: (0..labels.len() as u32).collect(),
        targets: labels.iter().flat_map(target).collect(),
    })
}

/// The split of each image: its own, or one that is held out, by chance.
fn divided(placed: &Placed, division: &Division) -> Result<Vec<SplitName>, NodeError> {
    let own = || placed.images.iter().map(|(entry, _)| entry.split);
    let mut splits: Vec<SplitName> = own().map(|split| split.unwrap_or(SplitName::Train)).collect();
    let test = located_test_count(own(), division.test).map_err(refused)?;
    for (split, count) in [(SplitName::Test, test), (SplitName::Validation, division.validation)] {
        let free: Vec<usize> = (0..splits.len()).filter(|at| splits[*at] == SplitName::Train).collect();
        if count >= free.len().max(1) {
            return Err(failure(format!(
                "{count} images to hold out, but there are only {}",
                free.len()
            )));
        }
        let order = Stream::new(division.seed, &split.to_string()).permutation(free.len());
        order
            .iter()
            .take(count)
            .for_each(|at| splits[free[*at as usize]] = split);
    }
    Ok(splits)
}
