//! Which images a folder has, of what class and in which split: told by the names of folders or by a table.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use flow_engine::code::Listing;

use super::decode::is_image;
use super::table::{self, Columns};
use crate::artifacts::SplitName;

/// Endings of files that are taken for images whatever they hold, so that damaged ones are told.
const ENDINGS: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "png", "gif", "webp", "bmp", "dib", "tif", "tiff",
];

/// Folders of this name hold images without a label, as long as nothing else is said.
const POOLS: &[&str] = &["unlabelled", "unlabeled"];

/// Tables of this name are read as long as nothing else is said.
const TABLES: &[&str] = &["labels.csv", "labels.tsv"];

/// How a folder is to be understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The folder of images without a label, below the folder; `unlabelled` or `unlabeled` if left out.
    pub unlabelled: Option<PathBuf>,
    /// A table of labels, below the folder; `labels.csv` or `labels.tsv` if left out and there.
    pub labels: Option<PathBuf>,
    /// What the columns of the table are called.
    pub columns: Columns,
}

/// An image file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, below the folder.
    pub path: PathBuf,
    /// The name of its class; `None` where it has no label.
    pub label: Option<String>,
    /// The split that it is put in by name; `None` where that is left to flow.
    pub split: Option<SplitName>,
    /// What it belongs together with, which is never divided between splits.
    pub group: Option<String>,
}

impl Entry {
    /// Whether it is trained on, unless it is held out: nothing puts it into another split.
    pub(crate) fn is_for_training(&self) -> bool {
        self.split.is_none_or(|split| split == SplitName::Train)
    }
}

/// What a folder has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its image files, by path.
    pub entries: Vec<Entry>,
    /// Names of the classes, sorted.
    pub class_names: Vec<String>,
    /// The table that the labels are from, below the folder.
    pub table: Option<PathBuf>,
}

impl Found {
    /// How many images have a label.
    pub fn labelled(&self) -> usize {
        self.entries.iter().filter(|entry| entry.label.is_some()).count()
    }
}

/// What is wrong with a folder, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, and where.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Fault {
    /// A fault with what to do about it.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
        }
    }
}

/// The files of a folder and of the folders in it, sorted; not those that file managers leave.
pub(crate) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let unreadable = |e: std::io::Error| {
        let help = "check that it is there and that you may read it; a link to a directory above itself has no end";
        Fault::new(format!("cannot read the directory {}: {e}", folder.display()), help)
    };
    let Listing {
        mut files, dangling, ..
    } = Listing::of(folder).map_err(unreadable)?;
    if let Some(link) = dangling.iter().find(|path| has_image_ending(path) && !is_hidden(path)) {
        let message = format!("{} is a link that leads nowhere", folder.join(link).display());
        let help = "fetch what it leads to (`git annex get`, `dvc pull`, mount the disk), or remove it";
        return Err(Fault::new(message, help));
    }
    files.retain(|path| !is_hidden(path));
    Ok(files)
}

/// The image files of a folder and of the folders in it, by paths below it, sorted.
///
/// # Errors
/// If something in it cannot be read, or a link leads back to a folder above it.
pub fn images_in(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut files = files_in(folder)?;
    files.retain(|path| has_image_ending(path) || holds_image(&folder.join(path)));
    Ok(files)
}

/// Whether a file begins as an image does. What cannot be opened is told when it is decoded.
fn holds_image(path: &Path) -> bool {
    is_image(path).unwrap_or(false)
}

/// Lists a folder. No file is opened but the table, and those whose ending does not tell whether they are images.
///
/// # Errors
/// If something cannot be read, a link leads back to a folder above it, there is no image, or the table does not fit the files.
pub fn list(folder: &Path, layout: &Layout) -> Result<Found, Fault> {
    let files = files_in(folder)?;
    let table = match &layout.labels {
        Some(table) => Some(table.clone()),
        None => TABLES.iter().map(PathBuf::from).find(|path| files.contains(path)),
    };
    let is_table = |path: &PathBuf| table.as_ref() == Some(path);
    let paths: Vec<PathBuf> = files
        .into_iter()
        .filter(|path| has_image_ending(path) || (!is_table(path) && holds_image(&folder.join(path))))
        .collect();
    if paths.is_empty() {
        return Err(Fault::new(
            format!("there is no image in {}", folder.display()),
            "give a directory with JPEG, PNG, GIF, WebP, BMP or TIFF files in it",
        ));
    }
    let pool = pool(folder, layout, &paths)?;
    let mut entries = match &table {
        Some(name) => table::entries(folder, name, &layout.columns, paths)?,
        None => by_folders(paths, pool.as_deref()),
    };
    let in_pool = |entry: &Entry| pool.as_ref().is_some_and(|pool| entry.path.starts_with(pool));
    if let Some(entry) = entries.iter().find(|entry| in_pool(entry) && entry.label.is_some()) {
        return Err(Fault::new(
            format!(
                "{} is in the unlabelled directory, but the table gives it a label",
                entry.path.display()
            ),
            "leave it out of the table, or move it",
        ));
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut class_names: Vec<String> = entries.iter().filter_map(|entry| entry.label.clone()).collect();
    class_names.sort_unstable();
    class_names.dedup();
    check_classes(class_names.len())?;
    Ok(Found {
        entries,
        class_names,
        table,
    })
}

/// The folder of images without a label, if there is one.
fn pool(folder: &Path, layout: &Layout, paths: &[PathBuf]) -> Result<Option<PathBuf>, Fault> {
    let Some(named) = &layout.unlabelled else {
        let is_pool = |name: &&OsStr| POOLS.iter().any(|pool| name.eq_ignore_ascii_case(pool));
        let found = paths.iter().filter(|path| path.components().count() > 1);
        return Ok(found
            .filter_map(|path| path.iter().next())
            .find(is_pool)
            .map(PathBuf::from));
    };
    let plain: PathBuf = named.components().filter(|c| !matches!(c, Component::CurDir)).collect();
    if paths.iter().any(|path| path.starts_with(&plain)) {
        return Ok(Some(plain));
    }
    Err(Fault::new(
        format!("`unlabelled`: there is no image in {}", folder.join(named).display()),
        "it is the path of a directory below `path`",
    ))
}

/// Labels and splits by the names of folders: `class/...` or `split/class/...`. What lies in no folder of a class has no label.
fn by_folders(paths: Vec<PathBuf>, pool: Option<&Path>) -> Vec<Entry> {
    let outside = |path: &&PathBuf| pool.is_none_or(|pool| !path.starts_with(pool));
    let firsts = || {
        paths
            .iter()
            .filter(outside)
            .filter(|path| path.components().count() > 1)
    };
    let first_split = |path: &PathBuf| path.iter().next().and_then(split_of);
    let in_splits = firsts().next().is_some() && firsts().all(|path| first_split(path).is_some());
    let entry = |path: PathBuf| {
        let mut folders = path.parent().unwrap_or(Path::new("")).iter();
        let mut entry = Entry {
            path: path.clone(),
            label: None,
            split: None,
            group: None,
        };
        if pool.is_some_and(|pool| path.starts_with(pool)) {
            return entry;
        }
        if in_splits {
            entry.split = folders.next().and_then(split_of);
        }
        entry.label = folders.next().map(|name| name.to_string_lossy().into_owned());
        entry
    };
    paths.into_iter().map(entry).collect()
}

/// The split of a name in one of its usual spellings.
pub(crate) fn split_of(name: &OsStr) -> Option<SplitName> {
    match name.to_str()?.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(SplitName::Train),
        "val" | "valid" | "validation" | "dev" => Some(SplitName::Validation),
        "test" | "testing" => Some(SplitName::Test),
        _ => None,
    }
}

pub(super) fn has_image_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// What file managers leave, and what begins with a dot.
pub(super) fn is_hidden(path: &Path) -> bool {
    let hidden = |name: &OsStr| {
        name.as_encoded_bytes().starts_with(b".")
            || ["thumbs.db", "desktop.ini", "__macosx"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
    };
    path.iter().any(hidden)
}

fn check_classes(n: usize) -> Result<(), Fault> {
    if n < usize::from(u16::MAX) {
        return Ok(());
    }
    let message = format!("{n} classes found, expected fewer than {}", u16::MAX);
    Err(Fault::new(message, "is each image in a directory of its own?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_classes_than_labels_can_tell_apart_are_refused_with_what_may_be_wrong() {
        let fault = check_classes(70_000).expect_err("too many");
        insta::assert_snapshot!(format!("{}\n  help: {}", fault.message, fault.help));
    }
}
