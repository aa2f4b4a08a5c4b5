//! Image files that an earlier run decoded: their pixels are in the data set that it made, found by the content of the file.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

use flow_cache::Digest;
use flow_engine::node::{Host, Input};
use flow_learn::data::{Depth, Images};
use serde::{Deserialize, Serialize};

use super::decode::Values;
use super::leaks::Fingerprint;
use super::load::Fitted;
use crate::artifacts::{Dataset, SplitName};

/// Where the pixels of a file are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Decoded {
    /// Digest of the file.
    pub(crate) content: Digest,
    pub(crate) split: SplitName,
    /// The image's place in its split.
    pub(crate) place: u32,
    /// Whether the file has 16 bits, and not only the data set.
    pub(crate) deep: bool,
    pub(crate) print: Fingerprint,
}

/// The files that are known.
#[derive(Default)]
pub(crate) struct Known {
    files: HashMap<Digest, Decoded>,
    splits: BTreeMap<SplitName, Images>,
    /// How many were asked for and found.
    used: AtomicUsize,
}

impl Known {
    /// What was remembered under a name, which says how files were decoded; nothing if it is no longer there or cannot be read.
    pub(crate) fn recall(host: &dyn Host, name: &str) -> Self {
        let known = || {
            let (artifact, bytes) = host.remembered(name)?;
            let files: Vec<Decoded> = postcard::from_bytes(&bytes).ok()?;
            let input = Input {
                node: String::new(),
                bindings: BTreeMap::new(),
                artifact,
            };
            let all = [SplitName::Train, SplitName::Validation, SplitName::Test];
            let data = Dataset::read(&input, &all).ok()?;
            let images = |split: SplitName| Some((split, data.split(split).ok()?.images()?.clone()));
            Some(Self {
                files: files.into_iter().map(|file| (file.content, file)).collect(),
                splits: all.into_iter().filter_map(images).collect(),
                used: AtomicUsize::new(0),
            })
        };
        known().unwrap_or_default()
    }

    /// Remembers files under a name.
    pub(crate) fn remember(host: &dyn Host, name: &str, files: &[Decoded]) {
        if let Ok(bytes) = postcard::to_stdvec(files) {
            host.remember(name, &bytes);
        }
    }

    /// How many files were not decoded because of it.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A file's pixels as they were decoded, if they are known and of this height, width and channels.
    pub(super) fn get(&self, content: Digest, size: [usize; 3]) -> Option<Fitted> {
        let Decoded {
            split,
            place,
            deep,
            print,
            ..
        } = self.files.get(&content)?;
        let images = self.splits.get(split)?;
        let place = *place as usize;
        if place >= images.n || [images.height, images.width, images.channels] != size {
            return None;
        }
        let bytes = images.pixels_of(place);
        let sixteen = || bytes.as_chunks::<2>().0.iter().map(|v| u16::from_le_bytes(*v));
        let values = match (images.depth, deep) {
            (Depth::Eight, false) => Values::Eight(bytes.to_vec()),
            (Depth::Eight, true) => return None,
            // In a data set of 16 bits those of 8 are stretched: this is exact.
            (Depth::Sixteen, false) => Values::Eight(sixteen().map(|v| (v / 257) as u8).collect()),
            (Depth::Sixteen, true) => Values::Sixteen(sixteen().collect()),
        };
        self.used.fetch_add(1, Ordering::Relaxed);
        Some(Fitted {
            values,
            print: print.clone(),
            content: Some(content),
        })
    }
}
