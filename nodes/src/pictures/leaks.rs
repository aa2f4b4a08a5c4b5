//! Images that are in two places at once: the same pixels, or as good as the same.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};

use flow_cache::Digest;
use flow_learn::image::{Crop, Size};
use serde::{Deserialize, Serialize};

use super::Values;
use super::fit::{gray, resized};

/// Side of the small picture by which near duplicates are told.
const THUMB: usize = 8;

/// Bits by which the difference hashes of near duplicates may differ.
const BITS: u32 = 3;

/// How much the small pictures may differ on average, in their own standard deviations.
const LARGEST_DIFFERENCE: f32 = 0.1;

/// Small pictures that vary less (of 255) show nothing by which images could be told apart.
const LEAST_CONTRAST: f32 = 2.0;

/// What is remembered of an image to find its duplicates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Height, width and digest of the pixels.
    pub exact: (u32, u32, Digest),
    /// Whether each value of a 9x8 picture is larger than its right neighbour (dHash, Krawetz 2013).
    hash: u64,
    /// An 8x8 gray picture, or nothing if it is too flat.
    thumb: Option<Vec<u8>>,
}

impl Fingerprint {
    /// Of an image's values.
    pub fn of(values: &Values, size: Size) -> Self {
        let small = |columns| {
            let whole = Size {
                h: THUMB,
                w: columns,
                c: size.c,
            };
            one_channel(&resized(values, size, (THUMB, columns), Crop::whole(whole)), size.c)
        };
        let (nine, thumb) = (small(THUMB + 1), small(THUMB));
        let rows = nine.chunks_exact(THUMB + 1);
        let bits = rows.flat_map(|row| row.windows(2).map(|pair| pair[0] > pair[1]));
        Self {
            exact: (size.h as u32, size.w as u32, digest(values)),
            hash: bits.fold(0, |hash, bit| hash << 1 | u64::from(bit)),
            thumb: Some(thumb).filter(|thumb| standardised(thumb).is_some()),
        }
    }

    /// Whether another image shows as good as the same.
    fn is_near(&self, other: &Self) -> bool {
        if (self.hash ^ other.hash).count_ones() > BITS {
            return false;
        }
        let of = |print: &Self| standardised(print.thumb.as_deref()?);
        let (Some(a), Some(b)) = (of(self), of(other)) else {
            return false;
        };
        let difference = a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32;
        difference <= LARGEST_DIFFERENCE
    }
}

fn digest(values: &Values) -> Digest {
    match values {
        Values::Eight(values) => Digest::of(values),
        Values::Sixteen(values) => Digest::of(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()),
    }
}

/// Lightness, or of what is no colour image its first channel.
fn one_channel(values: &Values, channels: usize) -> Vec<u8> {
    match channels {
        3 => gray(&values.eight()),
        _ => values.eight().iter().step_by(channels.max(1)).copied().collect(),
    }
}

/// Values of mean 0 and standard deviation 1; nothing if they are too flat.
fn standardised(gray: &[u8]) -> Option<Vec<f32>> {
    let n = gray.len() as f32;
    let mean = gray.iter().map(|v| f32::from(*v)).sum::<f32>() / n;
    let std = (gray.iter().map(|v| (f32::from(*v) - mean).powi(2)).sum::<f32>() / n).sqrt();
    (std >= LEAST_CONTRAST).then(|| gray.iter().map(|v| (f32::from(*v) - mean) / std).collect())
}

/// Two images that are the same, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The first.
    pub a: usize,
    /// The second, after the first.
    pub b: usize,
    /// Whether they are the same pixel for pixel.
    pub exact: bool,
}

/// The pairs of images that are the same pixel for pixel, where `wanted` takes both, in the order of their second places.
///
/// Each is paired with the first of each kind that `wanted` tells apart, so that a thousand copies are not half a million pairs.
pub(super) fn copies(prints: &[impl Borrow<Fingerprint>], wanted: impl Fn(usize, usize) -> bool) -> Vec<Pair> {
    let mut seen: HashMap<(u32, u32, Digest), Vec<usize>> = HashMap::new();
    let copy = |(b, print): (usize, &Fingerprint)| {
        let earlier = seen.entry(print.exact).or_default();
        let first = earlier.iter().copied().find(|a| wanted(*a, b));
        earlier.push(b);
        first.map(|a| Pair { a, b, exact: true })
    };
    let prints = prints.iter().map(Borrow::borrow);
    prints.enumerate().filter_map(copy).collect()
}

/// All pairs of images that are the same ([`copies`]) or as good as the same, where `wanted` takes both, in the order of their places.
pub fn pairs(prints: &[impl Borrow<Fingerprint>], wanted: impl Fn(usize, usize) -> bool) -> Vec<Pair> {
    let prints: Vec<&Fingerprint> = prints.iter().map(Borrow::borrow).collect();
    let exact = copies(&prints, &wanted);
    let mut found: BTreeMap<(usize, usize), bool> = exact.iter().map(|pair| ((pair.a, pair.b), true)).collect();
    // Hashes that differ by three bits agree in one of four parts.
    for part in 0..4 {
        let mut buckets: HashMap<u64, Vec<usize>> = HashMap::new();
        for (b, print) in prints.iter().enumerate().filter(|(_, print)| print.thumb.is_some()) {
            let bucket = buckets.entry(print.hash >> (16 * part) & 0xffff).or_default();
            for a in bucket.iter().copied().filter(|a| wanted(*a, b)) {
                if prints[a].exact != print.exact && prints[a].is_near(print) {
                    found.entry((a, b)).or_insert(false);
                }
            }
            bucket.push(b);
        }
    }
    found.into_iter().map(|((a, b), exact)| Pair { a, b, exact }).collect()
}
