//! A directory of image files: one directory for each class, splits of such, images without a label, or a table of labels.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow_engine::node::{Host, NodeError, ParamError};
use flow_learn::data::{Depth, Pixels};
use flow_learn::layers::MapShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::arrays::ArrayNames;
use super::{Loaded, MOST_EXAMPLES, Source, SourceSettings, SourceShape, check_count, check_images};
use crate::artifacts::{Annotated, SplitName};
use crate::failure::{at, at_with};
use crate::pictures::{
    Columns, Entry, Fault, Fit, Fitting, Found, Kept, Known, Layout, MAX_PIXELS, Pool, Reading, first_few, list,
    load as load_files,
};

/// What happens to files that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnBad {
    /// The node fails and lists them.
    #[default]
    Error,
    /// They are left out; the record lists them.
    Skip,
}

/// What happens to images that are in two splits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnLeak {
    /// They are listed, and stay.
    #[default]
    Warn,
    /// The node fails and lists them.
    Error,
    /// They are left out of what is trained on, and listed.
    Drop,
}

/// How a directory of image files is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FileSettings {
    /// The directory of images without a label.
    pub unlabelled: Option<PathBuf>,
    /// The table of labels.
    pub labels: Option<PathBuf>,
    /// What its columns are called.
    pub columns: Option<Columns>,
    /// What arrays are called.
    pub arrays: Option<ArrayNames>,
    /// How images become squares.
    pub fit: Option<Fit>,
    /// 1 for gray, 3, or as many bands as TIFF files have.
    pub channels: Option<usize>,
    /// What shows through where an image is transparent.
    pub matte: Option<[u8; 3]>,
    /// The most pixels of an image.
    pub max_pixels: Option<u64>,
    /// What happens to files that cannot be read.
    pub on_bad: Option<OnBad>,
    /// What happens to images that are in two splits.
    pub on_leak: Option<OnLeak>,
}

impl FileSettings {
    /// The keys that were given.
    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("unlabelled", self.unlabelled.is_some()),
            ("labels", self.labels.is_some()),
            ("columns", self.columns.is_some()),
            ("arrays", self.arrays.is_some()),
            ("fit", self.fit.is_some()),
            ("channels", self.channels.is_some()),
            ("matte", self.matte.is_some()),
            ("max_pixels", self.max_pixels.is_some()),
            ("on_bad", self.on_bad.is_some()),
            ("on_leak", self.on_leak.is_some()),
        ];
        keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key)
    }

    fn layout(&self) -> Layout {
        Layout {
            unlabelled: self.unlabelled.clone(),
            labels: self.labels.clone(),
            columns: self.columns.clone().unwrap_or_default(),
        }
    }

    fn channels(&self) -> usize {
        self.channels.unwrap_or(3)
    }

    /// How images become such of a height, width and channels.
    pub(super) fn fitting(&self, size: (usize, usize), channels: usize) -> Fitting {
        Fitting {
            reading: Reading {
                max_pixels: self.max_pixels.unwrap_or(MAX_PIXELS),
                matte: self.matte.unwrap_or_default(),
            },
            fit: self.fit.unwrap_or_default(),
            size,
            channels,
        }
    }
}

/// The images of a directory, not yet decoded.
pub struct Listed {
    folder: PathBuf,
    found: Found,
    fitting: Fitting,
    settings: SourceSettings,
}

/// The images of a directory, not yet divided.
pub struct Files {
    /// Which they are: those that can be read.
    pub found: Found,
    /// What is known of each, in the same order.
    pub images: Vec<Kept>,
    /// Each as it is learnt from, one after the other.
    pub pixels: Pixels,
    /// Bits of their values: 16 if any image has as many, and nothing is lost of either.
    pub depth: Depth,
    /// Files that cannot be read, and why.
    pub bad: Vec<(PathBuf, String)>,
    /// Height and width.
    pub size: (usize, usize),
    /// Channels.
    pub channels: usize,
}

/// A directory of image files.
pub(super) const FOLDER: Source = Source {
    name: "folder",
    takes: &[
        "path",
        "test",
        "side",
        "unlabelled",
        "labels",
        "columns",
        "fit",
        "channels",
        "matte",
        "max_pixels",
        "on_bad",
        "on_leak",
    ],
    files: &[],
    in_memory: false,
    check: |settings| {
        check_count("side", settings.side, 8..=1024, "pixels")?;
        check_count("test", settings.test, 1..=MOST_EXAMPLES, "images")?;
        check_count("channels", settings.files.channels, 1..=64, "channels")?;
        if settings.side.is_none() {
            let help = "`side = 64` makes all images 64x64; `flow data inspect` shows the sizes that there are";
            return Err(at_with(
                "source",
                "source `folder` needs `side`: files have sizes of their own",
                help,
            ));
        }
        Ok(())
    },
    shape,
    load: |settings, files, _| load(settings, files),
};

impl From<Fault> for ParamError {
    fn from(Fault { message, help }: Fault) -> Self {
        at_with("path", message, help)
    }
}

impl From<Fault> for NodeError {
    fn from(Fault { message, help }: Fault) -> Self {
        Self::failed(message).with_help(help)
    }
}

/// What the names of files and the table tell; no image is opened.
fn shape(settings: &SourceSettings, files: &[PathBuf]) -> Result<Option<SourceShape>, ParamError> {
    let Some(folder) = files.first().filter(|path| path.is_dir()) else {
        return match files.first().filter(|path| path.exists()) {
            Some(file) => Err(at("path", format!("{} is not a directory", file.display()))),
            // What is missing is told where files are looked for.
            None => Ok(None),
        };
    };
    let found = list(folder, &settings.files.layout())?;
    let side = settings.side.unwrap_or(0);
    shape_of(&found, settings, [side, side, settings.files.channels()]).map(Some)
}

/// What is known of images before they are read, where they become `[height, width, channels]`.
pub(super) fn shape_of(
    found: &Found,
    settings: &SourceSettings,
    [h, w, c]: [usize; 3],
) -> Result<SourceShape, ParamError> {
    check_found(found)?;
    let count = |split| found.entries.iter().filter(|entry| entry.split == Some(split)).count();
    let (test, validation) = (count(SplitName::Test), count(SplitName::Validation));
    let held_out = test_count(found, settings.test)?;
    let all = found.entries.len();
    // Which files are damaged, and which are duplicates, shows only when they are read.
    let exact = settings.files.on_bad != Some(OnBad::Skip) && settings.files.on_leak != Some(OnLeak::Drop);
    // Groups are held out whole, so that it may be fewer than were asked for.
    let known = exact && found.entries.iter().all(|entry| entry.group.is_none());
    let train = || found.entries.iter().filter(|entry| entry.is_for_training());
    let labelled = train().filter(|entry| entry.label.is_some()).count();
    let unlabelled = train().any(|entry| entry.label.is_none());
    Ok(SourceShape {
        input: MapShape { h, w, c }.into(),
        class_names: Some(found.class_names.clone()),
        counts: known.then(|| [all - test - validation - held_out, test + held_out]),
        validation,
        labelled: unlabelled.then(|| labelled - held_out),
        annotated: Annotated::default(),
        texts: None,
    })
}

/// How many images are to be held out for testing: none where the directory has a test split, or no labels.
pub(crate) fn test_count(found: &Found, asked: Option<usize>) -> Result<usize, ParamError> {
    let free = |entry: &&Entry| entry.is_for_training() && entry.label.is_some();
    let may = found.entries.iter().filter(free).count();
    let has_test = found.entries.iter().any(|entry| entry.split == Some(SplitName::Test));
    match asked {
        Some(_) if has_test => Err(at_with(
            "test",
            "the directory has a test split of its own",
            "leave `test` out",
        )),
        Some(asked) if asked >= may => {
            let message = format!("{asked} images to hold out, but only {may} have a label");
            Err(at_with("test", message, "leave some to train on"))
        }
        Some(asked) => Ok(asked),
        None if has_test => Ok(0),
        None => fifth(found, may),
    }
}

/// A fifth of the labelled images, but of no class more than a third.
fn fifth(found: &Found, labelled: usize) -> Result<usize, ParamError> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for label in found
        .entries
        .iter()
        .filter(|entry| entry.is_for_training())
        .filter_map(|entry| entry.label.as_deref())
    {
        *counts.entry(label).or_default() += 1;
    }
    let Some((name, smallest)) = counts.iter().min_by_key(|(_, count)| **count) else {
        return Ok(0);
    };
    if *smallest < 3 {
        let message = format!("class `{name}` has {smallest} image(s): too few to hold some out for testing");
        let help = "give each class three images or more, put the test images into a directory `test`, or say how many with `test`";
        return Err(at_with("path", message, help));
    }
    Ok((labelled / 5).clamp(counts.len(), counts.len() * (smallest / 3)))
}

fn check_number(n: usize) -> Result<(), Fault> {
    let help = "split it into several directories, each a data set of its own";
    check_images(n).map_err(|what| Fault::new(what, help))
}

/// What no data set can be made of.
pub(super) fn check_found(found: &Found) -> Result<(), Fault> {
    let named = |entry: &Entry| entry.path.display().to_string();
    let judged = |entry: &&Entry| matches!(entry.split, Some(SplitName::Test | SplitName::Validation));
    check_number(found.entries.len())?;
    if let Some(entry) = found.entries.iter().filter(judged).find(|entry| entry.label.is_none()) {
        let message = format!("{} is a test or validation image without a label", named(entry));
        return Err(Fault::new(
            message,
            "test and validation images need a directory of their class, or a label in the table",
        ));
    }
    if let [only] = found.class_names.as_slice() {
        let message = format!(
            "all {} labelled images are of one class, `{only}`: there is nothing to tell apart",
            found.labelled()
        );
        let help = "a class is a directory: `path` must be the directory above them. Images without a label go into a directory `unlabelled`";
        return Err(Fault::new(message, help));
    }
    let learnt = |name: &str| {
        found
            .entries
            .iter()
            .filter(|entry| entry.is_for_training())
            .any(|entry| entry.label.as_deref() == Some(name))
    };
    if let Some(name) = found.class_names.iter().find(|name| !learnt(name)) {
        let of_class = found.entries.iter().find(|entry| entry.label.as_ref() == Some(name));
        let first = of_class.map(named).unwrap_or_default();
        let message = format!("class `{name}` has no training image: {first} cannot be judged");
        return Err(Fault::new(
            message,
            "a class that is tested must be trained on: give it training images, or leave it out",
        ));
    }
    groups(found)
}

/// A group must not be in two splits.
fn groups(found: &Found) -> Result<(), Fault> {
    let mut first: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in &found.entries {
        let (Some(group), Some(split)) = (&entry.group, entry.split) else {
            continue;
        };
        let earlier = *first.entry(group).or_insert(entry);
        if earlier.split != Some(split) {
            let other = earlier.split.map(|s| s.to_string()).unwrap_or_default();
            let (a, b) = (earlier.path.display(), entry.path.display());
            let message = format!("group `{group}` is in two splits: {a} is in {other}, {b} in {split}");
            return Err(Fault::new(
                message,
                "what belongs together must be in one split: correct the table",
            ));
        }
    }
    Ok(())
}

fn load(settings: &SourceSettings, files: &[PathBuf]) -> Result<Loaded, NodeError> {
    let [folder] = files else {
        return Err(NodeError::failed("BUG: a directory source has one directory"));
    };
    let found = list(folder, &settings.files.layout())?;
    check_found(&found)?;
    let side = settings.side.unwrap_or(0);
    Ok(Loaded::Listed(Box::new(Listed {
        folder: folder.clone(),
        found,
        fitting: settings.files.fitting((side, side), settings.files.channels()),
        settings: settings.clone(),
    })))
}

impl Listed {
    /// What files are remembered by that were decoded like this, by such a version of what decodes them.
    pub(crate) fn name(&self, version: u32) -> String {
        let folder = std::path::absolute(&self.folder).unwrap_or_else(|_| self.folder.clone());
        format!(
            "images of {} as {:?} by version {version}",
            folder.display(),
            self.fitting
        )
    }

    /// Decodes them, but for those that are known.
    ///
    /// # Errors
    /// If some cannot be read and are not to be left out, or what is left makes no data set.
    pub(crate) fn decoded(self, known: &Known, host: &dyn Host) -> Result<Files, NodeError> {
        let Found {
            entries,
            class_names,
            table,
        } = self.found;
        let mut pool = Pool::new(host);
        let read = load_files(&self.folder, &entries, &self.fitting, known, &mut pool)?;
        let images = entries.into_iter().zip(read).collect();
        whole(
            &self.folder,
            &self.settings,
            &self.fitting,
            (images, pool),
            (class_names, table),
        )
    }
}

/// What became of each file, and the pixels of those that could be read.
type Read<'h> = (Vec<(Entry, Result<Kept, String>)>, Pool<'h>);

/// The images that could be read, if they may be fewer than all and still make a data set.
pub(super) fn whole(
    path: &Path,
    settings: &SourceSettings,
    fitting: &Fitting,
    (read, pool): Read<'_>,
    (class_names, table): (Vec<String>, Option<PathBuf>),
) -> Result<Files, NodeError> {
    let (mut entries, mut images, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for (entry, image) in read {
        match image {
            Ok(image) => {
                entries.push(entry);
                images.push(image);
            }
            Err(why) => bad.push((entry.path, why)),
        }
    }
    if !bad.is_empty() && settings.files.on_bad.unwrap_or_default() == OnBad::Error {
        return Err(unreadable(path, &bad, entries.len() + bad.len()));
    }
    if entries.is_empty() {
        return Err(unreadable(path, &bad, bad.len()));
    }
    let found = Found {
        entries,
        class_names,
        table,
    };
    check_found(&found)?;
    let (pixels, depth) = pool.pixels()?;
    Ok(Files {
        found,
        images,
        pixels,
        depth,
        bad,
        size: fitting.size,
        channels: fitting.channels,
    })
}

fn unreadable(folder: &Path, bad: &[(PathBuf, String)], all: usize) -> NodeError {
    let lines = bad.iter().map(|(path, why)| format!("{}: {why}", path.display()));
    let message = format!(
        "{} of {all} image files in {} cannot be read:{}",
        bad.len(),
        folder.display(),
        first_few(lines)
    );
    NodeError::failed(message)
        .with_help("remove or replace them; `on_bad = \"skip\"` goes on without them, and the record lists them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_images_than_a_data_set_holds_are_refused_with_what_to_do() {
        let fault = check_number(usize::MAX).expect_err("too many");
        insta::assert_snapshot!(format!("{}\n  help: {}", fault.message, fault.help));
    }
}
