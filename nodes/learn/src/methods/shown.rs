//! Pictures of what a method shows the network, and of what it makes: for people to look at.

use super::batch::Batch;
use crate::layers::MapShape;

/// Pictures of one sort: one for each image of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// What they are, e.g. `turned by 90°`.
    pub name: String,
    /// Of one picture.
    pub shape: MapShape,
    /// `[images][h][w][c]`, from 0 to 1; what lies outside is cut off.
    pub values: Vec<f32>,
}

impl Shown {
    /// Of values that are normalised as the batch's images are.
    pub(super) fn of_images(name: impl Into<String>, mut values: Vec<f32>, shape: MapShape, batch: &Batch<'_>) -> Self {
        batch.augmenter.denormalize(&mut values);
        Self {
            name: name.into(),
            shape,
            values,
        }
    }

    /// Of tiles that are standardised one by one, `[images][tiles][h][w][c]`: those of an image side by side, `across` in a row, with a gap.
    pub(super) fn of_tiles(name: impl Into<String>, tiles: &[f32], tile: MapShape, across: usize, each: usize) -> Self {
        let shape = MapShape {
            h: each.div_ceil(across) * (tile.h + 1) - 1,
            w: across * (tile.w + 1) - 1,
            c: tile.c,
        };
        let mut values = vec![1.0; tiles.len() / (each * tile.len()) * shape.len()];
        for (image, tiles) in values
            .chunks_exact_mut(shape.len())
            .zip(tiles.chunks_exact(each * tile.len()))
        {
            for (i, values) in tiles.chunks_exact(tile.len()).enumerate() {
                let (top, left) = (i / across * (tile.h + 1), i % across * (tile.w + 1));
                for (y, line) in values.chunks_exact(tile.w * tile.c).enumerate() {
                    let at = ((top + y) * shape.w + left) * shape.c;
                    let line = line.iter().map(|v| 0.5 + 0.2 * v);
                    image[at..].iter_mut().zip(line).for_each(|(to, v)| *to = v);
                }
            }
        }
        Self {
            name: name.into(),
            shape,
            values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_of_an_image_stand_in_rows_with_gaps() {
        let tile = MapShape { h: 2, w: 1, c: 1 };
        // Two images of three tiles, each of one value.
        let tiles: Vec<f32> = [0.0, 1.0, 2.0, -1.0, 0.5, 0.0]
            .into_iter()
            .flat_map(|v| [v, v])
            .collect();
        let shown = Shown::of_tiles("tiles", &tiles, tile, 2, 3);
        assert_eq!(shown.shape, MapShape { h: 5, w: 3, c: 1 });
        let rounded: Vec<i32> = shown.values.iter().map(|v| (10.0 * v).round() as i32).collect();
        // A gap, and the place of a tile that is not there, are white.
        assert_eq!(rounded[..15], [5, 10, 7, 5, 10, 7, 10, 10, 10, 9, 10, 10, 9, 10, 10]);
        assert_eq!(rounded[15..18], [3, 10, 6]);
    }
}
