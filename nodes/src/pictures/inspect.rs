//! What is known of every file of a directory, for people who do not have a workflow yet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::decode::{Header, Picture, Reading, decode, header};
use super::folder::{Entry, Fault, Layout, list};
use super::leaks::{Fingerprint, Pair, copies, pairs};
use crate::artifacts::SplitName;

/// One file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileLine {
    /// Below the directory; what is not UTF-8 is replaced.
    pub path: String,
    /// `jpeg`, `png`, `gif`, `webp`, `bmp` or `tiff`; of arrays the source.
    pub format: Option<&'static str>,
    /// Columns, upright.
    pub width: Option<u32>,
    /// Rows, upright.
    pub height: Option<u32>,
    /// Channels, alpha included.
    pub channels: Option<u8>,
    /// Bits of a channel.
    pub depth: Option<u8>,
    /// Mean of red, green and blue, 0 to 255.
    pub mean: Option<[f64; 3]>,
    /// Its class.
    pub label: Option<String>,
    /// Its split.
    pub split: Option<SplitName>,
    /// Why it cannot be read.
    pub problem: Option<String>,
}

/// A directory, looked at.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Every image file, by path.
    pub files: Vec<FileLine>,
    /// Names of the classes, sorted.
    pub class_names: Vec<String>,
    /// The table that the labels are from.
    pub table: Option<PathBuf>,
    /// Files that are the same pixel for pixel, by their places.
    pub duplicates: Vec<Pair>,
    /// Files in two splits that are the same, or nearly.
    pub leaks: Vec<Pair>,
    /// What is told of where things are.
    pub places: Option<PlaceCounts>,
}

/// What annotations come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceCounts {
    /// The source that reads them.
    pub source: &'static str,
    /// Things of each class, in the order of the classes.
    pub things: Vec<(String, usize)>,
    /// Things that are left out: crowds and such as are difficult.
    pub left_out: usize,
    /// Images with a mask.
    pub masks: usize,
    /// Images of which nothing is told.
    pub empty: usize,
    /// What is wrong, by file and id.
    pub problems: Vec<String>,
}

impl Inspection {
    /// Files of each class that can be read.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts: BTreeMap<&str, usize> = self.class_names.iter().map(|name| (name.as_str(), 0)).collect();
        for label in self.sound().filter_map(|line| line.label.as_deref()) {
            *counts.entry(label).or_default() += 1;
        }
        counts
    }

    /// Files that can be read.
    pub fn sound(&self) -> impl Iterator<Item = &FileLine> {
        self.files.iter().filter(|line| line.problem.is_none())
    }
}

/// Looks at every image of a directory, or at one file.
///
/// # Errors
/// If there is none, or the directory or its table cannot be read. A file that cannot be read is no error.
pub fn inspect(path: &Path, layout: &Layout, reading: &Reading) -> Result<Inspection, Fault> {
    if path.is_file() {
        let name = PathBuf::from(path.file_name().unwrap_or(path.as_os_str()));
        let entry = Entry {
            path: name,
            label: None,
            split: None,
            group: None,
        };
        let (line, _) = look(path, &entry, reading);
        return Ok(Inspection {
            files: vec![line],
            class_names: Vec::new(),
            table: None,
            duplicates: Vec::new(),
            leaks: Vec::new(),
            places: None,
        });
    }
    let found = list(path, layout)?;
    let one = |entry: &Entry| look(&path.join(&entry.path), entry, reading);
    let looked = found.entries.par_iter().map(one).collect();
    Ok(Inspection::of(looked, found.class_names, found.table))
}

/// What is said of a file, and what is remembered of it to find its duplicates.
pub(crate) type Looked = (FileLine, Option<Fingerprint>);

impl Inspection {
    /// Of everything that was looked at.
    pub(crate) fn of(looked: Vec<Looked>, class_names: Vec<String>, table: Option<PathBuf>) -> Self {
        let (files, prints): (Vec<FileLine>, Vec<Option<Fingerprint>>) = looked.into_iter().unzip();
        let (places, prints): (Vec<usize>, Vec<Fingerprint>) = prints
            .into_iter()
            .enumerate()
            .filter_map(|(at, print)| Some((at, print?)))
            .unzip();
        let at_files = |pair: Pair| Pair {
            a: places[pair.a],
            b: places[pair.b],
            ..pair
        };
        let split = |at: usize| files[places[at]].split;
        let across = |a: usize, b: usize| split(a) != split(b);
        let mut duplicates = copies(&prints, |_, _| true);
        duplicates.sort_unstable();
        Self {
            duplicates: duplicates.into_iter().map(at_files).collect(),
            leaks: pairs(&prints, across).into_iter().map(at_files).collect(),
            files,
            class_names,
            table,
            places: None,
        }
    }
}

fn look(path: &Path, entry: &Entry, reading: &Reading) -> Looked {
    let (line, print) = look_at(entry, decode(path, reading));
    if line.problem.is_none() {
        return (line, print);
    }
    // Of a truncated file the header may still be sound.
    match header(path, reading) {
        Ok(header) => (with(header, line), print),
        Err(_) => (line, print),
    }
}

/// What is said of an image that was decoded, or could not be.
pub(crate) fn look_at(entry: &Entry, picture: Result<Picture, String>) -> Looked {
    let line = FileLine {
        path: entry.path.to_string_lossy().into_owned(),
        format: None,
        width: None,
        height: None,
        channels: None,
        depth: None,
        mean: None,
        label: entry.label.clone(),
        split: entry.split,
        problem: None,
    };
    match picture {
        Ok(picture) => {
            let mean = Some(picture.mean());
            let line = FileLine { mean, ..line };
            (
                with(picture.header, line),
                Some(Fingerprint::of(&picture.values, picture.size())),
            )
        }
        Err(why) => {
            let problem = Some(why);
            (FileLine { problem, ..line }, None)
        }
    }
}

fn with(header: Header, line: FileLine) -> FileLine {
    FileLine {
        format: Some(header.format),
        width: Some(header.width),
        height: Some(header.height),
        channels: Some(header.channels),
        depth: Some(header.depth),
        ..line
    }
}
