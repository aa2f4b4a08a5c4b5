//! The images of a folder, decoded side by side; what comes out does not depend on how many threads there are.

use std::path::Path;

use rayon::prelude::*;

use super::decode::{Reading, decode};
use super::fit::Fit;
use super::folder::Entry;
use super::leaks::Fingerprint;

/// How many problems a message lists.
pub const LISTED: usize = 10;

/// An image as it is learnt from.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// `[side][side][channels]` bytes.
    pub pixels: Vec<u8>,
    /// To find its duplicates.
    pub print: Fingerprint,
    /// Bits of a channel in the file; more than 8 were made 8.
    pub depth: u8,
}

/// How images are read and fitted.
#[derive(Clone, Copy, Debug)]
pub struct Fitting {
    /// Limits and the matte colour.
    pub reading: Reading,
    /// The rule.
    pub fit: Fit,
    /// Height and width.
    pub side: usize,
    /// 1 for gray, or 3.
    pub channels: usize,
}

/// Decodes and fits each file, in the order given; why not, for those that are damaged.
pub fn load(folder: &Path, entries: &[Entry], fitting: &Fitting) -> Vec<Result<Fitted, String>> {
    let one = |entry: &Entry| {
        let picture = decode(&folder.join(&entry.path), &fitting.reading)?;
        Ok(Fitted {
            pixels: fitting
                .fit
                .apply(&picture, fitting.side, fitting.channels, fitting.reading.matte),
            print: Fingerprint::of(&picture),
            depth: picture.header.depth,
        })
    };
    entries.par_iter().map(one).collect()
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
