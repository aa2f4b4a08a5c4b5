//! The pixels of a thing, as files tell them.

use flow_learn::data::{from_polygon, from_runs, unpacked};

/// How they are told.
#[derive(Clone, Debug)]
pub(crate) enum Drawing {
    /// Polygons, `x, y` of each corner in turn.
    Polygons(Vec<Vec<f64>>),
    /// Run lengths, with the height and width that they are for.
    Runs(Vec<i64>, [usize; 2]),
    /// The same, packed into text.
    Packed(String, [usize; 2]),
}

impl Drawing {
    /// Which pixels of an image of a height and width they are, row by row.
    ///
    /// # Errors
    /// In words: if they are none, or of an image of another size.
    pub(super) fn mask(&self, size: [usize; 2]) -> Result<Vec<bool>, String> {
        let fits = |of: &[usize; 2]| match *of == size {
            true => Ok(()),
            false => Err(format!(
                "its run lengths are for {}x{} pixels, the image has {}x{}",
                of[1], of[0], size[1], size[0]
            )),
        };
        match self {
            Self::Polygons(polygons) => {
                let mut all = vec![false; size[0] * size[1]];
                for polygon in polygons {
                    let one = from_polygon(polygon, size).map_err(|e| e.to_string())?;
                    all.iter_mut().zip(one).for_each(|(all, one)| *all |= one);
                }
                Ok(all)
            }
            Self::Runs(runs, of) => {
                fits(of)?;
                from_runs(runs, size).map_err(|e| e.to_string())
            }
            Self::Packed(text, of) => {
                fits(of)?;
                from_runs(&unpacked(text).map_err(|e| e.to_string())?, size).map_err(|e| e.to_string())
            }
        }
    }
}

/// The box around some pixels; none around none.
pub(super) fn around(inside: &[bool], width: usize) -> Option<[f32; 4]> {
    let places = inside.iter().enumerate().filter(|(_, inside)| **inside);
    let places = places.map(|(at, _)| ((at % width) as f32, (at / width) as f32));
    places.fold(None, |bounds, (x, y)| {
        let [left, top, right, bottom] = bounds.unwrap_or([x, y, x + 1.0, y + 1.0]);
        Some([left.min(x), top.min(y), right.max(x + 1.0), bottom.max(y + 1.0)])
    })
}
