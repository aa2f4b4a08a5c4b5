//! Sources whose files hold many images each. What such a format says is one [`Format`]; planning, decoding, fitting, finding duplicates and
//! `flow data inspect` are the same for all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use flow_engine::node::{Host, NodeError, ParamError};
use rayon::prelude::*;

use super::folder::{shape_of, whole};
use super::{Loaded, MOST_EXAMPLES, SourceSettings, SourceShape, check_count};
use crate::artifacts::SplitName;
use crate::failure::{at, at_with};
use crate::pictures::{Entry, Fault, Found, Inspection, Looked, Picture, Pool, Reading, decode_bytes, look_at};

/// A format of files that hold many images.
pub(crate) struct Format {
    /// The source's name.
    pub(crate) name: &'static str,
    /// What lies at a path is told by names and first bytes, without a fault for anything else.
    pub(crate) fits: fn(&Path) -> bool,
    /// Gives the images in order, some at a time.
    pub(crate) read: fn(&Reader<'_>, &mut Take<'_>) -> Result<Contents, Fault>,
    /// Whether images are encoded and may differ in size, so that `side` must say which they become.
    pub(crate) encoded: bool,
}

/// What is read, and how much of it.
pub(crate) struct Reader<'a> {
    pub(crate) path: &'a Path,
    pub(crate) settings: &'a SourceSettings,
    /// Only labels and splits: the images are [`Content::Unread`].
    pub(crate) labels_only: bool,
}

/// Takes images as they are read.
pub(crate) type Take<'a> = dyn FnMut(Vec<Example>) -> Result<(), Fault> + 'a;

/// What is known at the end.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Names of the classes by their numbers, if the files have such.
    pub(crate) names: Option<Vec<String>>,
    /// Height, width and channels that all images have, if they are the same by the format.
    pub(crate) size: Option<[usize; 3]>,
}

/// One image.
pub(crate) struct Example {
    /// What it is called in messages: the file, and its place or name in it.
    pub(crate) name: PathBuf,
    pub(crate) label: Option<ClassLabel>,
    pub(crate) split: Option<SplitName>,
    pub(crate) content: Content,
}

/// A class, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClassLabel {
    Number(u64),
    Name(String),
}

/// An image's pixels.
pub(crate) enum Content {
    Pixels(Picture),
    Encoded(Vec<u8>),
    Unread,
    Bad(String),
}

/// A number as a class: -1 says that there is no label, as is usual.
pub(crate) fn class(number: i64) -> Result<Option<ClassLabel>, String> {
    match number {
        -1 => Ok(None),
        0.. => Ok(Some(ClassLabel::Number(number.unsigned_abs()))),
        _ => Err(format!("label {number} found, expected 0 or more, or -1 for none")),
    }
}

/// The entry of a format in the table of sources, with the settings that it takes beside a seed.
macro_rules! source_of {
    ($format:ident, takes: $takes:expr) => {
        $crate::sources::Source {
            name: $format.name,
            takes: $takes,
            files: &[],
            in_memory: false,
            check: |settings| $crate::sources::container::check(&$format, settings),
            shape: |settings, files| $crate::sources::container::shape(&$format, settings, files),
            load: |settings, files, host| $crate::sources::container::load(&$format, settings, files, host),
        }
    };
}
pub(super) use source_of;

/// Whether the settings make sense for the format.
pub(super) fn check(format: &Format, settings: &SourceSettings) -> Result<(), ParamError> {
    check_count("side", settings.side, 8..=1024, "pixels")?;
    check_count("test", settings.test, 1..=MOST_EXAMPLES, "images")?;
    check_count("channels", settings.files.channels, 1..=64, "channels")?;
    if format.encoded && settings.side.is_none() {
        let message = format!(
            "source `{}` needs `side`: its images have sizes of their own",
            format.name
        );
        let help = "`side = 64` makes all images 64x64; `flow data inspect` shows the sizes that there are";
        return Err(at_with("source", message, help));
    }
    Ok(())
}

/// Labels without images: what is known while planning.
pub(super) fn shape(
    format: &Format,
    settings: &SourceSettings,
    files: &[PathBuf],
) -> Result<Option<SourceShape>, ParamError> {
    let Some(path) = files.first().filter(|path| path.exists()) else {
        return Ok(None);
    };
    let mut examples = Vec::new();
    let reader = Reader {
        path,
        settings,
        labels_only: true,
    };
    let contents = (format.read)(&reader, &mut |more| {
        examples.extend(more);
        Ok(())
    })?;
    let found = found(examples, &contents, settings)?;
    if found.entries.is_empty() {
        return Err(no_image(path).into());
    }
    let (h, w) = size(settings, &contents);
    let channels = settings.files.channels;
    let c = channels.or(contents.size.map(|[.., c]| c)).unwrap_or(3);
    if let (Some(c), Some([.., has])) = (channels, contents.size)
        && c != has
        && !matches!((has, c), (1, 3) | (3, 1))
    {
        return Err(at("channels", format!("{c} found, but the images have {has}")));
    }
    shape_of(&found, settings, [h, w, c]).map(Some)
}

/// What is asked for, or what all have.
fn size(settings: &SourceSettings, contents: &Contents) -> (usize, usize) {
    let own = contents.size.map_or((0, 0), |[h, w, _]| (h, w));
    settings.side.map_or(own, |side| (side, side))
}

/// Entries with the names of their classes, in the order of their numbers or names.
fn found(examples: Vec<Example>, contents: &Contents, settings: &SourceSettings) -> Result<Found, Fault> {
    let names = contents.names.as_ref().or(settings.class_names.as_ref());
    let named = |label: &ClassLabel| match (label, names) {
        (ClassLabel::Name(name), _) => Ok(name.clone()),
        (ClassLabel::Number(number), None) => Ok(number.to_string()),
        (ClassLabel::Number(number), Some(names)) => usize::try_from(*number)
            .ok()
            .and_then(|at| names.get(at))
            .cloned()
            .ok_or_else(|| {
                let message = format!("label {number} found, but there are {} names of classes", names.len());
                Fault::new(message, "labels count the names from 0")
            }),
    };
    let occurring: BTreeSet<&ClassLabel> = examples.iter().filter_map(|example| example.label.as_ref()).collect();
    let mut class_names = Vec::new();
    for label in occurring {
        class_names.push(named(label)?);
    }
    if let Some(twice) = class_names
        .iter()
        .enumerate()
        .find(|(at, name)| class_names[..*at].contains(name))
    {
        let message = format!("two classes are called `{}`", twice.1);
        return Err(Fault::new(message, "give each class a name of its own"));
    }
    let mut entries = Vec::with_capacity(examples.len());
    for Example { name, label, split, .. } in examples {
        entries.push(Entry {
            path: name,
            label: label.as_ref().map(named).transpose()?,
            split,
            group: None,
        });
    }
    Ok(Found {
        entries,
        class_names,
        table: None,
    })
}

/// Decodes and fits all images, some at a time, so that no more than those are in memory as they were.
pub(super) fn load(
    format: &Format,
    settings: &SourceSettings,
    files: &[PathBuf],
    host: &dyn Host,
) -> Result<Loaded, NodeError> {
    let [path] = files else {
        return Err(NodeError::failed("BUG: such a source has one path"));
    };
    // The size is known from the labels' pass already; of encoded images it is `side`.
    let known = contents(format, path, settings)?;
    let fitting = settings.files.fitting(
        size(settings, &known),
        settings.files.channels.or(known.size.map(|[.., c]| c)).unwrap_or(3),
    );
    let reader = Reader {
        path,
        settings,
        labels_only: false,
    };
    let (mut examples, mut images) = (Vec::new(), Vec::new());
    let (mut pool, mut full) = (Pool::new(host), None);
    let contents = (format.read)(&reader, &mut |mut more: Vec<Example>| {
        for some in more.chunks_mut(fitting.at_once()) {
            let fitted = some
                .par_iter_mut()
                .map(|example| fitting.fitted(&picture(example, &fitting.reading)?));
            if let Err(error) = pool.add_all(fitted.collect(), &mut images) {
                let stop = Fault::new(error.to_string(), "");
                full = Some(error);
                return Err(stop);
            }
        }
        examples.extend(more);
        Ok(())
    });
    if let Some(error) = full {
        return Err(error);
    }
    let found = found(examples, &contents?, settings)?;
    if found.entries.is_empty() {
        return Err(no_image(path).into());
    }
    let read = found.entries.into_iter().zip(images).collect();
    let files = whole(path, settings, &fitting, (read, pool), (found.class_names, None))?;
    Ok(Loaded::Files(Box::new(files)))
}

fn contents(format: &Format, path: &Path, settings: &SourceSettings) -> Result<Contents, Fault> {
    let reader = Reader {
        path,
        settings,
        labels_only: true,
    };
    (format.read)(&reader, &mut |_| Ok(()))
}

fn no_image(path: &Path) -> Fault {
    Fault::new(
        format!("there is no image in {}", path.display()),
        "check that it is the right file, and whole: `flow data inspect` shows what it holds",
    )
}

/// Looks at every image, for people.
fn inspect(format: &Format, path: &Path, reading: &Reading) -> Result<Inspection, Fault> {
    let settings = SourceSettings::default();
    let reader = Reader {
        path,
        settings: &settings,
        labels_only: false,
    };
    let (mut examples, mut looked) = (Vec::new(), Vec::new());
    let contents = (format.read)(&reader, &mut |mut more: Vec<Example>| {
        let look = more.par_iter_mut().map(|example| {
            let entry = Entry {
                path: example.name.clone(),
                label: None,
                split: example.split,
                group: None,
            };
            look_at(&entry, picture(example, reading))
        });
        looked.extend(look.collect::<Vec<Looked>>());
        examples.extend(more);
        Ok(())
    })?;
    let found = found(examples, &contents, &settings)?;
    if found.entries.is_empty() {
        return Err(no_image(path));
    }
    // Names of classes may come last.
    for ((line, _), entry) in looked.iter_mut().zip(&found.entries) {
        line.label.clone_from(&entry.label);
    }
    Ok(Inspection::of(looked, found.class_names, None))
}

/// The pixels of an example, which are taken out of it.
fn picture(example: &mut Example, reading: &Reading) -> Result<Picture, String> {
    match std::mem::replace(&mut example.content, Content::Unread) {
        Content::Pixels(picture) => Ok(picture),
        Content::Encoded(bytes) => decode_bytes(&bytes, reading),
        Content::Unread => Err("BUG: it was not read".to_owned()),
        Content::Bad(why) => Err(why),
    }
}

/// What lies at a path, if it is in one of the formats of many images.
pub(super) fn inspected(formats: &[Format], path: &Path, reading: &Reading) -> Option<Result<Inspection, Fault>> {
    let format = formats.iter().find(|format| (format.fits)(path))?;
    Some(inspect(format, path, reading))
}

/// The split that a name tells: a part of it between marks is `train`, `val`, `test` or the like.
pub(crate) fn split_in(name: &str) -> Option<SplitName> {
    let parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    parts
        .filter_map(|part| crate::pictures::split_of(part.as_ref()))
        .next_back()
}

/// Files below a folder, or the file, with one of these endings (before `.gz`), sorted.
pub(crate) fn files_with(path: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, Fault> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let fits = |file: &PathBuf| {
        let name = file.to_string_lossy().to_ascii_lowercase();
        endings.iter().any(|ending| name.ends_with(ending))
    };
    let files = crate::pictures::files_in(path)?.into_iter().filter(fits);
    Ok(files.map(|file| path.join(file)).collect())
}

/// Files by their names.
pub(crate) fn by_name(files: &[PathBuf]) -> BTreeMap<String, PathBuf> {
    let name = |file: &PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned());
    files
        .iter()
        .filter_map(|file| Some((name(file)?, file.clone())))
        .collect()
}
