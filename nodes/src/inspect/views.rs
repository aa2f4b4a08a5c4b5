//! What training saw: views of one image under each recipe.

use flow_engine::figure::{Figure, Picture, Pictures};
use flow_engine::node::{Inputs, NodeError};
use flow_learn::augment::Augmenter;
use flow_learn::data::Samples;
use flow_learn::rng::Stream;

use super::Seen;
use crate::artifacts::{Normalisation, RecipeArtifact};
use crate::show::picture::{of_values, picture};

/// Views of a recipe.
const VIEWS: usize = 9;
/// Images of which views are shown.
const IMAGES: usize = 2;

pub(super) fn figures(
    inputs: &Inputs,
    normalisation: &Normalisation,
    seen: &Seen<'_>,
) -> Result<Vec<Figure>, NodeError> {
    let mut groups: Vec<(String, Vec<Picture>)> = Vec::new();
    for input in inputs.all("views") {
        let name = input.node.clone();
        let recipe = RecipeArtifact::read(input)?.0;
        let augmenter = normalisation.augmenter(&recipe, seen.augmenter.input())?;
        let samples = Samples::from(seen.images.clone());
        for image in seen
            .places
            .iter()
            .step_by((seen.places.len() / IMAGES).max(1))
            .take(IMAGES)
        {
            let mut values = vec![0.0; VIEWS * augmenter.input().shape.len()];
            augmenter.augment_batch(&samples, &[*image; VIEWS], &seen.stream.child(&name), &mut values);
            augmenter.denormalize(&mut values);
            let shape = augmenter.input().shape;
            let view = |(i, view): (usize, &[f32])| {
                of_values(
                    view,
                    shape,
                    String::new(),
                    format!("view {} of image {image} under {name}", i + 1),
                )
            };
            let whole = picture(
                seen.images,
                *image as usize,
                "as it is".into(),
                format!("image {image} as it is"),
            );
            let views = values.chunks_exact(shape.len()).enumerate().filter_map(view);
            let local = local_views(&augmenter, &samples, *image, &seen.stream.child(&name), &name);
            groups.push((
                format!("{name}, image {image}"),
                whole.into_iter().chain(views).chain(local).collect(),
            ));
        }
    }
    let figure = Pictures {
        title: super::VIEWS.into(),
        note: "One image, and views of it, for each recipe of the workflow: what augmentations leave of it.".into(),
        groups,
    };
    Ok((!figure.groups.is_empty())
        .then_some(Figure::Pictures(figure))
        .into_iter()
        .collect())
}

/// The local views of an image that the recipe makes, if it does.
fn local_views(augmenter: &Augmenter, samples: &Samples, image: u32, stream: &Stream, name: &str) -> Vec<Picture> {
    let Some(local) = augmenter.local_views() else {
        return Vec::new();
    };
    let shape = local.shape(augmenter.input().shape);
    let mut values = vec![0.0; local.count * shape.len()];
    augmenter.local_batch(
        samples,
        &vec![image; local.count],
        &stream.child("local views"),
        &mut values,
    );
    augmenter.denormalize(&mut values);
    let view = |(i, view): (usize, &[f32])| {
        let alt = format!("local view {} of image {image} under {name}", i + 1);
        of_values(view, shape, String::new(), alt)
    };
    values.chunks_exact(shape.len()).enumerate().filter_map(view).collect()
}
