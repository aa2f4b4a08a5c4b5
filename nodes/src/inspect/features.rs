//! Where features put images: a map in the plane, and nearest neighbours.

use flow_engine::figure::{Figure, Map, Picture, Pictures};
use flow_engine::node::NodeError;
use flow_learn::clustering::{nearest_neighbours, pca_whiten};
use flow_learn::inside::tsne;
use flow_learn::metrics::normalised;
use flow_learn::train::embed;

use super::Seen;
use crate::show::picture::picture;

/// About so many neighbours count in the map.
const PERPLEXITY: f64 = 25.0;
/// Neighbours that are shown of an image.
const NEIGHBOURS: usize = 8;
/// Classes of which an image is shown with its neighbours, at most.
const CLASSES: usize = 12;

pub(super) fn figures(seen: &mut Seen<'_>) -> Result<Vec<Figure>, NodeError> {
    let samples = seen.data.split(seen.split)?;
    let features = embed(seen.encoder, samples, seen.places, seen.augmenter);
    let dim = seen.encoder.dim;
    let truth = seen.data.truth(seen.split)?;
    let classes: Vec<usize> = seen.places.iter().map(|place| truth[*place as usize]).collect();
    let shown = |i: usize, caption: String| {
        let (image, class) = (seen.places[i] as usize, &seen.data.class_names[classes[i]]);
        picture(seen.images, image, caption, format!("image {image}, {class}"))
    };
    let unit = normalised(&features, dim);
    let strongest = pca_whiten(&unit, dim, 2, &mut seen.stream.child("pca"));
    let width = strongest.len() / classes.len().max(1);
    let plane = strongest
        .chunks_exact(width)
        .map(|row| (f64::from(row[0]), f64::from(row.get(1).copied().unwrap_or(0.0))));
    let near = tsne(&unit, dim, PERPLEXITY, &mut seen.stream.child("map"));
    let map = Map {
        title: "Where the features put images".into(),
        note: "Each dot is an image that no training saw, coloured by its class. Left: the two directions in which features vary most (PCA); right: \
               t-SNE, in which neighbours stay neighbours and distances between groups mean little."
            .into(),
        classes: seen.data.class_names.clone(),
        class_of: classes.clone(),
        layouts: vec![
            ("PCA".into(), plane.collect()),
            ("t-SNE".into(), near.into_iter().map(|[x, y]| (x, y)).collect()),
        ],
        pictures: (0..classes.len()).filter_map(|i| shown(i, String::new())).collect(),
    };
    let mut figures = vec![Figure::Map(map)];
    if classes.len() > NEIGHBOURS {
        let found = nearest_neighbours(&features, dim, NEIGHBOURS);
        let first = |class: usize| classes.iter().position(|of| *of == class);
        let groups = (0..seen.data.classes()).filter_map(first).take(CLASSES).map(|i| {
            let name = |i: usize| seen.data.class_names[classes[i]].clone();
            let others = found[i * NEIGHBOURS..][..NEIGHBOURS]
                .iter()
                .filter_map(|j| shown(*j as usize, name(*j as usize)));
            let right = found[i * NEIGHBOURS..][..NEIGHBOURS]
                .iter()
                .filter(|j| classes[**j as usize] == classes[i])
                .count();
            let all: Vec<Picture> = shown(i, "asked".into()).into_iter().chain(others).collect();
            (
                format!("{}: {right} of {NEIGHBOURS} nearest are of its class", name(i)),
                all,
            )
        });
        figures.push(Figure::Pictures(Pictures {
            title: "Nearest neighbours by features".into(),
            note: "First the image that is asked about, then those whose features have the most similar direction."
                .into(),
            groups: groups.collect(),
        }));
    }
    Ok(figures)
}
