//! The images of a folder, decoded side by side; what comes out does not depend on how many threads there are.

use std::path::Path;

use flow_cache::Digest;
use flow_engine::node::NodeError;
use flow_learn::image::Size;
use rayon::prelude::*;

use super::decode::{Picture, Reading, Values, bytes_of, decode_bytes, reuse};
use super::fit::{Fit, in_channels};
use super::folder::Entry;
use super::known::Known;
use super::leaks::Fingerprint;
use super::pool::{Kept, Pool};

/// How many problems a message lists.
pub const LISTED: usize = 10;

/// Bytes of fitted images that are in memory at a time, unless there are more threads than that is images.
const AT_ONCE: usize = 32 << 20;

/// An image as it is learnt from.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// `[height][width][channels]` values.
    pub values: Values,
    /// To find its duplicates.
    pub print: Fingerprint,
    /// Digest of the file that it is the only image of.
    pub content: Option<Digest>,
}

/// How images are read and fitted.
#[derive(Clone, Copy, Debug)]
pub struct Fitting {
    /// Limits and the matte colour.
    pub reading: Reading,
    /// The rule.
    pub fit: Fit,
    /// Height and width, which are equal unless images have them already.
    pub size: (usize, usize),
    /// 1 for gray, 3, or those that all images have.
    pub channels: usize,
}

impl Fitting {
    /// How many images are decoded before their pixels are put away.
    pub(crate) fn at_once(&self) -> usize {
        let (h, w) = self.size;
        let fewest = 4 * rayon::current_num_threads();
        (AT_ONCE / (h * w * self.channels).max(1)).clamp(fewest, fewest.max(1024))
    }

    /// A picture's pixels as a network is given them, `[height][width][channels]`.
    ///
    /// # Errors
    /// In words: if it has other channels, or is not of the size asked for and that is no square.
    pub fn apply(&self, picture: &Picture) -> Result<Values, String> {
        let (h, w) = self.size;
        let found = (picture.header.height as usize, picture.header.width as usize);
        if h == w {
            return self.fit.apply(picture, h, self.channels, self.reading.matte);
        }
        if found == (h, w) {
            return in_channels(picture, self.channels).map(|picture| picture.into_owned().values);
        }
        Err(format!(
            "it is {}x{} pixels, expected {w}x{h}: only squares are made of images of other sizes",
            found.1, found.0
        ))
    }

    /// As a training image. Two are the same if what is learnt from is.
    ///
    /// # Errors
    /// As [`Fitting::apply`].
    pub fn fitted(&self, picture: &Picture) -> Result<Fitted, String> {
        let values = self.apply(picture)?;
        let (h, w) = self.size;
        let size = Size { h, w, c: self.channels };
        Ok(Fitted {
            print: Fingerprint::of(&values, size),
            values,
            content: None,
        })
    }
}

/// Decodes and fits each file that is not known, in the order given, into the pool; why not, for those that are damaged.
///
/// # Errors
/// If there is no room for them.
pub(crate) fn load(
    folder: &Path,
    entries: &[Entry],
    fitting: &Fitting,
    known: &Known,
    pool: &mut Pool<'_>,
) -> Result<Vec<Result<Kept, String>>, NodeError> {
    let (h, w) = fitting.size;
    let one = |entry: &Entry| {
        let bytes = bytes_of(&folder.join(&entry.path))?;
        let content = Digest::of(&bytes);
        if let Some(fitted) = known.get(content, [h, w, fitting.channels]) {
            return Ok(fitted);
        }
        let picture = decode_bytes(&bytes, &fitting.reading)?;
        let fitted = fitting.fitted(&picture)?;
        reuse(picture);
        Ok(Fitted {
            content: Some(content),
            ..fitted
        })
    };
    let mut kept = Vec::with_capacity(entries.len());
    let mut decoded = Vec::new();
    for some in entries.chunks(fitting.at_once()) {
        // Some are put away while the next are decoded.
        let (put, next) = rayon::join(
            || pool.add_all(std::mem::take(&mut decoded), &mut kept),
            || some.par_iter().map(one).collect(),
        );
        put?;
        decoded = next;
    }
    pool.add_all(decoded, &mut kept)?;
    Ok(kept)
}

/// The first few of some lines and how many more there are.
pub fn first_few(lines: impl IntoIterator<Item = String>) -> String {
    let lines: Vec<String> = lines.into_iter().collect();
    let mut text: String = lines.iter().take(LISTED).map(|line| format!("\n  {line}")).collect();
    if lines.len() > LISTED {
        text.push_str(&format!("\n  and {} more", lines.len() - LISTED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_another_size_than_a_set_that_is_no_square_is_refused() {
        let fitting = Fitting {
            reading: Reading::default(),
            fit: Fit::default(),
            size: (8, 9),
            channels: 1,
        };
        let mut png = std::io::Cursor::new(Vec::new());
        image::GrayImage::new(20, 16)
            .write_to(&mut png, image::ImageFormat::Png)
            .expect("encoded");
        let picture = super::super::decode::decode_bytes(&png.into_inner(), &Reading::default()).expect("an image");
        insta::assert_snapshot!(fitting.apply(&picture).expect_err("another size"));
    }
}
