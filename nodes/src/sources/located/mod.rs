//! Images with what is where in them: COCO's JSON, Pascal VOC's XML, YOLO's text, masks beside images. What such a format says is one [`Layout`]; reading and fitting
//! images, moving places along and telling what is wrong are the same for all.

mod coco;
mod draw;
mod image;
mod look;
mod masks;
mod place;
mod voc;
mod yolo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow_engine::node::{NodeError, ParamError};
use flow_learn::data::{IGNORE, Located, MOST_MASK_CLASSES};
use flow_learn::layers::MapShape;
use rayon::prelude::*;

use super::{Loaded, MOST_EXAMPLES, OnBad, SourceSettings, SourceShape, check_count};
use crate::artifacts::{Annotated, SplitName};
use crate::failure::{at, at_with};
use crate::pictures::{Fault, Fitted, first_few, split_of};

pub(super) use self::coco::COCO;
use self::draw::Drawing;
use self::image::one_image;
pub(super) use self::look::{drawn, inspected};
pub(super) use self::masks::MASKS;
pub(super) use self::voc::VOC;
pub(super) use self::yolo::YOLO;

/// What a format says: it reads the files of a folder that are no images.
pub(super) type Layout = fn(folder: &Path) -> Result<Sheets, Fault>;

/// Whether a folder is laid out in some way.
type Fits = fn(&Path) -> bool;

/// An image with what is where in it, if it can be read, and what is wrong with it.
type ReadImage = (Option<(Located, Fitted)>, Vec<String>);

/// What a folder's annotations come to.
#[derive(Debug, Default)]
pub(crate) struct Sheets {
    /// Names of the classes by their numbers.
    pub(crate) class_names: Vec<String>,
    /// The images that are annotated.
    pub(crate) images: Vec<Sheet>,
    /// What is wrong, by file and id.
    pub(crate) problems: Vec<String>,
    /// What is told.
    pub(crate) annotated: Annotated,
}

/// One image with what is where in it, in its own pixels.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    /// Below the folder.
    pub(crate) path: PathBuf,
    /// That it is put in by name.
    pub(crate) split: Option<SplitName>,
    /// Height and width that its annotations are for, where they say so.
    pub(crate) size: Option<[usize; 2]>,
    /// What the annotations are called in messages: their file.
    pub(crate) source: String,
    pub(crate) things: Vec<Thing>,
    /// A file of its mask.
    pub(crate) mask: Option<PathBuf>,
}

/// One thing.
#[derive(Debug)]
pub(crate) struct Thing {
    /// What it is called in messages.
    pub(crate) id: String,
    pub(crate) class: usize,
    /// Left, top, right and bottom.
    pub(crate) bounds: Option<Bounds>,
    /// Pixels, where it is told.
    pub(crate) area: Option<f32>,
    pub(crate) ignore: bool,
    /// Its pixels, where they are told.
    pub(crate) drawing: Option<Drawing>,
}

/// A box as it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bounds {
    /// In pixels.
    Pixels([f32; 4]),
    /// As shares of width and height.
    Shares([f32; 4]),
}

/// Images, not yet divided, with what is where in each.
pub struct Placed {
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// The images as they are learnt from.
    pub images: Vec<(PlacedEntry, Fitted)>,
    /// What is told of them.
    pub annotated: Annotated,
    /// Problems that were left out, by file and id.
    pub problems: Vec<String>,
    /// Height and width.
    pub side: usize,
    /// Channels.
    pub channels: usize,
}

/// One of them.
pub struct PlacedEntry {
    /// Below the folder.
    pub path: PathBuf,
    /// That it is put in by name.
    pub split: Option<SplitName>,
    /// What is where in it.
    pub located: Located,
}

impl PlacedEntry {
    /// The class of the largest thing, or of most pixels that are no background.
    pub fn label(&self) -> Option<u16> {
        let things = self.located.objects.iter().filter(|object| !object.ignore);
        if let Some(largest) = things.max_by(|a, b| a.area.total_cmp(&b.area)) {
            return Some(largest.class);
        }
        let mut counts: BTreeMap<u8, usize> = BTreeMap::new();
        let told = self.located.mask.iter().filter(|pixel| !matches!(**pixel, 0 | IGNORE));
        told.for_each(|pixel| *counts.entry(*pixel).or_default() += 1);
        counts
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(pixel, _)| u16::from(pixel) - 1)
    }
}

/// The settings that all of them take.
const TAKES: &[&str] = &[
    "path",
    "test",
    "side",
    "fit",
    "channels",
    "matte",
    "max_pixels",
    "on_bad",
];

/// The source of a layout.
macro_rules! located_source {
    ($name:literal, $layout:expr) => {
        $crate::sources::Source {
            name: $name,
            takes: $crate::sources::located::TAKES,
            files: &[],
            in_memory: true,
            check: $crate::sources::located::check,
            shape: |settings, files| $crate::sources::located::shape($layout, settings, files),
            load: |settings, files, _| $crate::sources::located::load($layout, settings, files),
        }
    };
}
use located_source;

fn check(settings: &SourceSettings) -> Result<(), ParamError> {
    check_count("side", settings.side, 8..=1024, "pixels")?;
    check_count("test", settings.test, 1..=MOST_EXAMPLES, "images")?;
    match settings.files.channels {
        None | Some(1 | 3) => {}
        Some(other) => return Err(at("channels", format!("{other} found, expected 1 (gray) or 3"))),
    }
    if settings.side.is_none() {
        let help = "`side = 64` makes all images 64x64, and moves boxes and masks along";
        return Err(at_with(
            "source",
            "this source needs `side`: images have sizes of their own",
            help,
        ));
    }
    Ok(())
}

/// How many images are held out for testing where no split is told: those asked for, or a fifth.
pub(crate) fn test_count(
    splits: impl Iterator<Item = Option<SplitName>>,
    asked: Option<usize>,
) -> Result<usize, ParamError> {
    let splits: Vec<Option<SplitName>> = splits.collect();
    let has_test = splits.contains(&Some(SplitName::Test));
    let free = splits
        .iter()
        .filter(|split| split.is_none_or(|split| split == SplitName::Train))
        .count();
    match asked {
        Some(_) if has_test => Err(at_with(
            "test",
            "the folder has a test split of its own",
            "leave `test` out",
        )),
        Some(asked) if asked >= free => {
            let message = format!("{asked} images to hold out, but there are only {free}");
            Err(at_with("test", message, "leave some to train on"))
        }
        Some(asked) => Ok(asked),
        None if has_test => Ok(0),
        None => Ok(free / 5),
    }
}

/// What the annotations tell; no image is opened.
fn shape(layout: Layout, settings: &SourceSettings, files: &[PathBuf]) -> Result<Option<SourceShape>, ParamError> {
    let Some(folder) = files.first().filter(|path| path.exists()) else {
        return Ok(None);
    };
    if !folder.is_dir() {
        let message = format!(
            "{} is a file, expected the folder with it and its images",
            folder.display()
        );
        return Err(at_with(
            "path",
            message,
            "what lies in the folder is part of the key, images as well as annotations",
        ));
    }
    let found = read(layout, folder, settings)?;
    let splits = || found.images.iter().map(|sheet| sheet.split);
    let count = |wanted| splits().filter(|split| *split == Some(wanted)).count();
    let held_out = test_count(splits(), settings.test)?;
    let (test, validation) = (count(SplitName::Test), count(SplitName::Validation));
    let exact = settings.files.on_bad.unwrap_or_default() == OnBad::Error;
    let side = settings.side.unwrap_or(0);
    let input = MapShape {
        h: side,
        w: side,
        c: settings.files.channels.unwrap_or(3),
    };
    Ok(Some(SourceShape {
        input: input.into(),
        class_names: Some(found.class_names),
        counts: exact.then(|| [found.images.len() - test - validation - held_out, test + held_out]),
        validation,
        labelled: None,
        annotated: found.annotated,
        texts: None,
    }))
}

/// What the files tell, if it makes a data set.
fn read(layout: Layout, folder: &Path, settings: &SourceSettings) -> Result<Sheets, Fault> {
    let mut found = layout(folder)?;
    found.images.sort_by(|a, b| a.path.cmp(&b.path));
    let twice = found.images.windows(2).filter(|pair| pair[0].path == pair[1].path);
    let twice: Vec<String> = twice
        .map(|pair| format!("{}: {} is listed twice", pair[1].source, pair[1].path.display()))
        .collect();
    found.images.dedup_by(|b, a| a.path == b.path);
    found.problems.extend(twice);
    if found.images.is_empty() {
        let message = format!("there is no annotated image in {}", folder.display());
        return Err(Fault::new(message, "`flow kinds dataset` says where each source looks"));
    }
    if found.annotated.masks && found.class_names.len() > MOST_MASK_CLASSES {
        let message = format!(
            "{} classes found, but a mask tells {MOST_MASK_CLASSES} apart",
            found.class_names.len()
        );
        return Err(Fault::new(message, "leave the masks out, or join classes"));
    }
    refuse(&found.problems, settings)?;
    Ok(found)
}

/// Problems are errors unless they are to be left out.
fn refuse(problems: &[String], settings: &SourceSettings) -> Result<(), Fault> {
    if problems.is_empty() || settings.files.on_bad.unwrap_or_default() == OnBad::Skip {
        return Ok(());
    }
    let message = format!(
        "{} problem(s) with annotations:{}",
        problems.len(),
        first_few(problems.iter().cloned())
    );
    Err(Fault::new(
        message,
        "correct them; `on_bad = \"skip\"` leaves them out, and the record lists them",
    ))
}

fn load(layout: Layout, settings: &SourceSettings, files: &[PathBuf]) -> Result<Loaded, NodeError> {
    let [folder] = files else {
        return Err(NodeError::failed("BUG: such a source has one folder"));
    };
    let Sheets {
        class_names,
        images: sheets,
        mut problems,
        annotated,
    } = read(layout, folder, settings)?;
    let side = settings.side.unwrap_or(0);
    let channels = settings.files.channels.unwrap_or(3);
    let fitting = settings.files.fitting((side, side), channels);
    let folder = folder_of(folder);
    let one = |sheet: &Sheet| one_image(folder, sheet, &fitting, (class_names.len(), annotated));
    let read: Vec<ReadImage> = sheets.par_iter().map(one).collect();
    let mut images = Vec::new();
    for (sheet, (image, wrong)) in sheets.into_iter().zip(read) {
        problems.extend(wrong);
        let Sheet { path, split, .. } = sheet;
        images.extend(image.map(|(located, fitted)| (PlacedEntry { path, split, located }, fitted)));
    }
    refuse(&problems, settings)?;
    if images.is_empty() {
        return Err(NodeError::failed(format!(
            "no image in {} can be read",
            folder.display()
        )));
    }
    Ok(Loaded::Placed(Box::new(Placed {
        class_names,
        images,
        annotated,
        problems,
        side,
        channels,
    })))
}

/// The layouts, with what tells that a folder has it.
const LAYOUTS: &[(&str, Layout, Fits)] = &[
    ("voc", voc::sheets, |path| {
        path.join("Annotations").is_dir() && path.join("JPEGImages").is_dir()
    }),
    ("masks", masks::sheets, |path| {
        path.join("masks").is_dir() && path.join("classes.txt").is_file()
    }),
    ("yolo", yolo::sheets, |path| {
        path.join("labels").is_dir() && path.join("images").is_dir()
    }),
    ("coco", coco::sheets, |path| {
        let is_file = path.is_file() && path.extension().is_some_and(|ending| ending == "json");
        is_file || path.join("annotations").is_dir()
    }),
];

/// The folder that images lie in: `path`, or where the file lies.
fn folder_of(path: &Path) -> &Path {
    if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(path)
    }
}

/// The split that the folders of a path tell.
fn split_by_folders(path: &Path) -> Option<SplitName> {
    // COCO's folders have a year behind the split: `val2017`.
    let name = |part: &std::ffi::OsStr| {
        split_of(
            part.to_string_lossy()
                .trim_end_matches(|c: char| c.is_ascii_digit())
                .as_ref(),
        )
    };
    path.parent().into_iter().flat_map(Path::iter).find_map(name)
}

/// The names in a file, a line each.
fn names_in(file: &Path) -> Result<Vec<String>, Fault> {
    let text = text_of(file)?;
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

/// A text file.
fn text_of(file: &Path) -> Result<String, Fault> {
    let unreadable = |what: String| {
        Fault::new(
            format!("cannot read {}: {what}", file.display()),
            "check that it is whole, and that you may read it",
        )
    };
    let bytes = flow_engine::plain_file::read(file).map_err(|e| unreadable(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| unreadable(e.to_string()))
}

/// A path below the folder, as messages have it.
fn below(folder: &Path, file: &Path) -> PathBuf {
    file.strip_prefix(folder).unwrap_or(file).to_owned()
}
