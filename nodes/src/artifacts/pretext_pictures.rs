//! What a pre-training showed its network of a few images, and what it made of them: beside an encoder whose method does more than make views.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flow_cache::Artifact;
use flow_engine::node::{Input, NodeError};
use flow_learn::layers::MapShape;
use flow_learn::methods::Shown;
use serde::{Deserialize, Serialize};

use super::{decoded, from_json, to_json};
use crate::failure::failure;

const FILE: &str = "pretext.json";
const VERSION: u32 = 1;

/// Pictures of the same images, by sort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PretextPictures {
    /// The format's version.
    pub version: u32,
    /// In the order in which the network sees or makes them.
    pub sorts: Vec<Sort>,
}

/// Pictures of one sort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sort {
    /// What they are.
    pub name: String,
    /// Height, width and channels of each.
    pub shape: [usize; 3],
    /// `[images][h][w][c]`, 8 bits a value, in base64.
    pub pixels: String,
}

impl PretextPictures {
    /// Of what a method gave.
    pub fn of(shown: &[Shown]) -> Self {
        let sort = |shown: &Shown| {
            let bytes = shown.values.iter().map(|v| (255.0 * v.clamp(0.0, 1.0)).round() as u8);
            Sort {
                name: shown.name.clone(),
                shape: [shown.shape.h, shown.shape.w, shown.shape.c],
                pixels: STANDARD.encode(bytes.collect::<Vec<u8>>()),
            }
        };
        Self {
            version: VERSION,
            sorts: shown.iter().map(sort).collect(),
        }
    }

    /// The file's name and bytes; none where there are no pictures.
    pub fn to_file(&self) -> Option<(String, Vec<u8>)> {
        (!self.sorts.is_empty()).then(|| (FILE.into(), to_json(self)))
    }

    /// Whether there are some beside an encoder.
    pub fn are_in(artifact: &Artifact) -> bool {
        artifact.names().any(|name| name == FILE)
    }

    /// From files.
    ///
    /// # Errors
    /// If there is no such file, or it cannot be read.
    pub fn read(input: &Input) -> Result<Self, NodeError> {
        decoded(&input.artifact, FILE, from_json)
    }
}

impl Sort {
    /// The pixels of each picture, and its shape.
    ///
    /// # Errors
    /// If the text does not hold pictures of that shape.
    pub fn pictures(&self) -> Result<(MapShape, Vec<Vec<u8>>), NodeError> {
        let [h, w, c] = self.shape;
        let wrong = || {
            failure(format!(
                "`{}` in {FILE} does not hold pictures of {h}x{w}x{c}",
                self.name
            ))
        };
        let pixels = STANDARD.decode(&self.pixels).map_err(|_| wrong())?;
        let size = h
            .checked_mul(w)
            .and_then(|size| size.checked_mul(c))
            .filter(|size| *size > 0);
        let size = size
            .filter(|size| pixels.len().is_multiple_of(*size))
            .ok_or_else(wrong)?;
        Ok((
            MapShape { h, w, c },
            pixels.chunks_exact(size).map(<[u8]>::to_vec).collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_that_are_none_of_the_shape_are_refused() {
        let sort = Sort {
            name: "view".to_owned(),
            shape: [2, 2, 3],
            pixels: STANDARD.encode([0; 5]),
        };
        let Err(NodeError::Failed { message, .. }) = sort.pictures() else {
            panic!("it is refused");
        };
        insta::assert_snapshot!(message);
    }
}
