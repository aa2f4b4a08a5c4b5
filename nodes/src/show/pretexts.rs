//! What pretext tasks showed of a few images, and what came of it: turned, cut, covered, without colour, made again.

use std::collections::BTreeSet;

use flow_engine::figure::{Figure, Picture, Pictures};
use flow_engine::node::NodeError;

use super::Shown;
use super::picture::of_bytes;
use crate::artifacts::PretextPictures;

/// Images of a node, at most.
const SHOWN: usize = 2;

pub(super) fn figures(nodes: &[Shown<'_>]) -> Option<Figure> {
    let mut known = BTreeSet::new();
    let mut groups = Vec::new();
    // Instances of one node show the same, but for chance.
    for node in nodes.iter().filter(|node| node.outcome.kind == "pretrain") {
        let has = node.artifact.as_ref().is_some_and(PretextPictures::are_in);
        if !has || !known.insert(node.base()) {
            continue;
        }
        let found = node
            .input()
            .map(|input| PretextPictures::read(&input).and_then(|found| of_node(node.base(), &found)));
        match found {
            Some(Ok(found)) => groups.extend(found),
            Some(Err(error)) => {
                tracing::debug!(node = node.outcome.name, %error, "its pretext pictures cannot be read");
            }
            None => {}
        }
    }
    (!groups.is_empty()).then(|| {
        Figure::Pictures(Pictures {
            title: "What pretext tasks show".into(),
            note: "Images that are not trained on, as the task showed them to the network when training had ended, and what it made of them, where it makes \
                   images."
                .into(),
            groups,
        })
    })
}

/// A group for each image.
fn of_node(name: &str, found: &PretextPictures) -> Result<Vec<(String, Vec<Picture>)>, NodeError> {
    let mut groups: Vec<(String, Vec<Picture>)> = Vec::new();
    for sort in &found.sorts {
        let (shape, pictures) = sort.pictures()?;
        for (i, pixels) in pictures.into_iter().enumerate().take(SHOWN) {
            if groups.len() <= i {
                groups.push((format!("{name}, image {i}"), Vec::new()));
            }
            let alt = format!("image {i} in {name}: {}", sort.name);
            groups[i].1.extend(of_bytes(pixels, shape, sort.name.clone(), alt));
        }
    }
    Ok(groups)
}
