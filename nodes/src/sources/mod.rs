//! Where images and texts come from, one file for each source, found by name in [`SOURCES`].

mod arrays;
pub mod background;
mod cifar;
pub mod colour;
mod container;
pub mod fashion_mnist;
pub(crate) mod folder;
mod hdf5;
mod idx;
mod located;
mod npy;
pub(crate) mod npz;
mod parquet;
mod pickle;
mod read;
mod scenes;
mod stl10;
pub(crate) mod text;
mod webdataset;

use std::path::{Path, PathBuf};

use flow_engine::node::{DeclaredFile, Host, NodeError, NodeFile, ParamError};
use flow_learn::data::{Annotations, Images, NetworkInput, SceneStyle};
use flow_learn::layers::MapShape;
use serde::{Deserialize, Serialize};

pub use self::arrays::ArrayNames;
pub use self::background::Background;
pub use self::colour::Colour;
use self::container::{Format, inspected};
pub use self::folder::{FileSettings, Files, Listed, OnBad, OnLeak};
pub(crate) use self::located::test_count as located_test_count;
pub use self::located::{Placed, PlacedEntry};
use crate::artifacts::Annotated;
use crate::failure::{at, at_with};
use crate::pictures::{Fault, Inspection, Layout, Reading};

/// Options of a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceSettings {
    /// Directory of the files, or the file.
    pub path: Option<PathBuf>,
    /// Training images to make.
    pub train: Option<usize>,
    /// Test images to make, or test examples to hold out.
    pub test: Option<usize>,
    /// Height and width of the images to make.
    pub side: Option<usize>,
    /// The most tokens that the vocabulary of texts may have.
    pub vocabulary: Option<usize>,
    /// Tokens of each text.
    pub length: Option<usize>,
    /// What three channels hold, if not what the source itself gives.
    pub colour: Option<Colour>,
    /// What is behind things, if not what the source itself gives.
    pub background: Option<Background>,
    /// How wild the images to make are.
    pub style: Option<SceneStyle>,
    /// How a directory of image files is read.
    pub files: FileSettings,
    /// Names of the classes by their numbers, where files have numbers only.
    pub class_names: Option<Vec<String>>,
    /// Decides what is made.
    pub seed: u64,
}

impl SourceSettings {
    /// The keys that were given; every source has a seed.
    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("path", self.path.is_some()),
            ("train", self.train.is_some()),
            ("test", self.test.is_some()),
            ("side", self.side.is_some()),
            ("vocabulary", self.vocabulary.is_some()),
            ("length", self.length.is_some()),
            ("colour", self.colour.is_some()),
            ("background", self.background.is_some()),
            ("style", self.style.is_some()),
        ];
        let given = keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key);
        given.chain(self.files.given())
    }
}

/// What a source gives.
pub enum Loaded {
    /// Images, in two parts.
    Images(Box<Labelled>),
    /// Image files, not yet decoded.
    Listed(Box<Listed>),
    /// Images of files, decoded: they are divided, and searched for duplicates, by the node.
    Files(Box<Files>),
    /// Images with what is where in them, decoded: they are divided by the node.
    Placed(Box<Placed>),
    /// Texts, whole: a vocabulary is learnt from a part of them.
    Texts(Texts),
}

/// Images with the names of their classes.
pub struct Labelled {
    /// To learn from.
    pub train: Images,
    /// To judge on.
    pub test: Images,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// Where things are, in the training and in the test images, if the source knows.
    pub annotations: Option<[Annotations; 2]>,
}

/// Texts with the names of their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts {
    /// As they were written.
    pub texts: Vec<String>,
    /// A class for each.
    pub labels: Vec<u16>,
    /// Names of the classes.
    pub class_names: Vec<String>,
}

/// What is known of a source before it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceShape {
    /// Shape and kind of an example.
    pub input: NetworkInput,
    /// Names of the classes in order, where they are known.
    pub class_names: Option<Vec<String>>,
    /// Training and test examples, where they are known.
    pub counts: Option<[usize; 2]>,
    /// Examples that the source itself holds out to choose settings on.
    pub validation: usize,
    /// How many of the training examples have a label, where some have none.
    pub labelled: Option<usize>,
    /// What is known of where things are.
    pub annotated: Annotated,
    /// The texts themselves, where they are few: their vocabulary tells whether they go with a network.
    pub texts: Option<Texts>,
}

impl SourceShape {
    /// Images of a height, width and channels; of these classes; so many training and test images.
    fn images([h, w, c]: [usize; 3], class_names: &[&str], counts: [usize; 2]) -> Self {
        Self {
            input: MapShape { h, w, c }.into(),
            class_names: Some(class_names.iter().map(|name| (*name).to_owned()).collect()),
            counts: Some(counts),
            validation: 0,
            labelled: None,
            annotated: Annotated::default(),
            texts: None,
        }
    }
}

/// A source of examples.
pub struct Source {
    /// The name written in workflows.
    pub name: &'static str,
    /// The settings that it takes.
    pub takes: &'static [&'static str],
    /// Names of the files that it reads under `path`; none where `path` is itself the file.
    pub files: &'static [&'static str],
    /// Whether all examples are in memory at once while they are read or made.
    pub in_memory: bool,
    /// Whether the settings that it takes are in range, and it can make what they ask for.
    pub check: fn(&SourceSettings) -> Result<(), ParamError>,
    /// What is known before anything runs, from the settings and the headers of the files; `None` where the files cannot be read (yet). An
    /// error, at the setting that it is about, if the files do not make a data set.
    pub shape: fn(&SourceSettings, files: &[PathBuf]) -> Result<Option<SourceShape>, ParamError>,
    /// Reads or makes the examples. `files` are those named above, in order; the host has room for many of them.
    pub load: fn(&SourceSettings, files: &[PathBuf], host: &dyn Host) -> Result<Loaded, NodeError>,
}

impl Source {
    /// The files that it reads under `path`, which is relative to `folder`: of each the first of its usual names that there is, or the
    /// one in [`Source::files`], which is its role.
    pub fn files_in(&self, folder: &Path, path: &DeclaredFile) -> Vec<NodeFile> {
        if self.files.is_empty() {
            return vec![NodeFile::new("path", path)];
        }
        let located = |name: &&str| NodeFile {
            role: format!("path/{name}"),
            path: path.path().join(usual_name(&folder.join(path.path()), name)),
        };
        self.files.iter().map(located).collect()
    }
}

/// The name of a file in a directory: its own, without `.gz`, or with a dot before what kind of file it is, as both are also published.
fn usual_name(folder: &Path, name: &str) -> String {
    let plain = name.trim_end_matches(".gz");
    let dotted = |name: &str| name.replacen("-idx", ".idx", 1);
    let names = [name.to_owned(), plain.to_owned(), dotted(name), dotted(plain)];
    // Images in colour have a size more.
    let in_colour = names.each_ref().map(|name| name.replace("idx3", "idx4"));
    let found = names
        .into_iter()
        .chain(in_colour)
        .find(|name| folder.join(name).exists());
    found.unwrap_or_else(|| name.to_owned())
}

/// Whether a count or a size, in `unit`s, is one that a source can make.
fn check_count(
    key: &str,
    value: Option<usize>,
    range: std::ops::RangeInclusive<usize>,
    unit: &str,
) -> Result<(), ParamError> {
    match value {
        Some(found) if !range.contains(&found) => {
            let (least, most) = range.into_inner();
            Err(at(key, format!("{found} found, expected {least} to {most} {unit}")))
        }
        _ => Ok(()),
    }
}

/// The most examples that a data set may have: artifacts hold their places as f32, which counts to this.
const MOST_EXAMPLES: usize = 1 << 24;

/// Whether a data set may have so many images: asked before anything is made for each, as a header may say any number.
///
/// # Errors
/// In words.
fn check_images(n: usize) -> Result<(), String> {
    if n <= MOST_EXAMPLES {
        return Ok(());
    }
    Err(format!("{n} images found, expected at most {MOST_EXAMPLES}"))
}

/// All sources. A new one is a file and a line.
pub const SOURCES: &[Source] = &[
    cifar::CIFAR,
    located::COCO,
    fashion_mnist::SAMPLE,
    fashion_mnist::FULL,
    folder::FOLDER,
    hdf5::HDF5,
    idx::IDX,
    located::MASKS,
    npz::NPZ,
    parquet::PARQUET,
    scenes::SCENES,
    stl10::STL10,
    text::TEXT,
    located::VOC,
    webdataset::WEBDATASET,
    located::YOLO,
];

/// The formats of many images that are told from what lies at a path, in the order in which they are tried.
const FORMATS: &[Format] = &[
    cifar::FORMAT,
    stl10::FORMAT,
    idx::FORMAT,
    parquet::FORMAT,
    npz::FORMAT,
    hdf5::FORMAT,
    webdataset::FORMAT,
];

/// Looks at every image of a folder or a file of any source, or at one image file.
///
/// # Errors
/// If there is none, or what holds them cannot be read. An image that cannot be read is no error.
pub fn inspect(path: &Path, layout: &Layout, reading: &Reading) -> Result<Inspection, Fault> {
    let located = || located::inspected(path, reading);
    match inspected(FORMATS, path, reading).or_else(located) {
        Some(found) => found,
        None => crate::pictures::inspect(path, layout, reading),
    }
}

/// Takes a picture's path and its file.
pub type Put<'a> = dyn Fn(&Path, &[u8]) -> Result<(), Fault> + Sync + 'a;

/// Draws every image of a folder with boxes and masks that are told of it: `put` is given its path below the folder and a PNG file. Gives the names of the classes
/// and how many images were drawn; none if nothing tells where things are.
///
/// # Errors
/// If the annotations cannot be read, and those of `put`.
pub fn drawn(path: &Path, reading: &Reading, put: &Put<'_>) -> Option<Result<(Vec<String>, usize), Fault>> {
    located::drawn(path, reading, put)
}

/// The source that reads what lies at a path: that of a format of many images, or `folder`.
pub fn of_path(path: &Path) -> Option<&'static Source> {
    let format = FORMATS.iter().find(|format| (format.fits)(path));
    let name = match format {
        Some(format) => format.name,
        None if path.is_dir() => folder::FOLDER.name,
        None => return None,
    };
    SOURCES.iter().find(|source| source.name == name)
}

/// The names of all sources.
pub fn names() -> Vec<&'static str> {
    SOURCES.iter().map(|source| source.name).collect()
}

/// The source of a name, with only settings that it takes.
///
/// # Errors
/// If there is no such source, or it does not take a setting.
pub fn find(name: &str, settings: &SourceSettings) -> Result<&'static Source, ParamError> {
    let source = SOURCES.iter().find(|s| s.name == name).ok_or_else(|| {
        let names = names().join(", ");
        at_with(
            "source",
            format!("unknown source `{name}`"),
            format!("expected one of {names}"),
        )
    })?;
    if let Some(key) = settings.given().find(|key| !source.takes.contains(key)) {
        return Err(at_with(
            key,
            format!("source `{name}` takes no `{key}`"),
            "leave it out",
        ));
    }
    (source.check)(settings)?;
    if source.takes.contains(&"path") && settings.path.is_none() {
        let help = match source.files {
            [] => "give the file".to_owned(),
            files => format!("give the directory that holds {}", files.join(", ")),
        };
        return Err(at_with("source", format!("source `{name}` needs `path`"), help));
    }
    Ok(source)
}
