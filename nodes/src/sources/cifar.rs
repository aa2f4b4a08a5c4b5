//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009) as they are published: the binary version and the one for Python, unpacked or as `.tar.gz`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Source;
use super::container::{Content, Contents, Example, Format, Reader, Take, by_name, class, source_of};
use super::pickle::{self, Value};
use super::read::{open, read_file};
use crate::artifacts::SplitName;
use crate::pictures::{Fault, Picture, Values, files_in};

/// Height and width.
const SIDE: usize = 32;

/// Bytes of an image: red, then green, then blue.
const IMAGE: usize = 3 * SIDE * SIDE;

/// A longer member of an archive is none of these files.
const LIMIT: u64 = 1 << 30;

pub(super) const FORMAT: Format = Format {
    name: "cifar",
    fits: |path| {
        let names = names(path).unwrap_or_default();
        let has = |name: &str| names.iter().any(|known| known == name);
        // A file that is called `train` alone says nothing.
        ["data_batch_1.bin", "data_batch_1", "train.bin"].into_iter().any(has) || (has("train") && has("test"))
    },
    read,
    encoded: false,
};

/// 32x32 images in colour.
pub(super) const CIFAR: Source = source_of!(FORMAT, takes: &["path", "side", "fit", "channels", "matte", "on_leak"]);

/// One published file.
struct Batch {
    file: &'static str,
    split: SplitName,
    layout: Layout,
}

/// What is before an image's bytes, or how a pickle calls its labels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// So many bytes, of which the last is the class.
    Binary(usize),
    /// A dictionary with these labels.
    Python(&'static str),
}

const fn batch(file: &'static str, split: SplitName, layout: Layout) -> Batch {
    Batch { file, split, layout }
}

/// In the order in which they are read. Of CIFAR-100 the fine classes count.
const BATCHES: &[Batch] = &[
    batch("data_batch_1.bin", SplitName::Train, Layout::Binary(1)),
    batch("data_batch_2.bin", SplitName::Train, Layout::Binary(1)),
    batch("data_batch_3.bin", SplitName::Train, Layout::Binary(1)),
    batch("data_batch_4.bin", SplitName::Train, Layout::Binary(1)),
    batch("data_batch_5.bin", SplitName::Train, Layout::Binary(1)),
    batch("test_batch.bin", SplitName::Test, Layout::Binary(1)),
    batch("train.bin", SplitName::Train, Layout::Binary(2)),
    batch("test.bin", SplitName::Test, Layout::Binary(2)),
    batch("data_batch_1", SplitName::Train, Layout::Python("labels")),
    batch("data_batch_2", SplitName::Train, Layout::Python("labels")),
    batch("data_batch_3", SplitName::Train, Layout::Python("labels")),
    batch("data_batch_4", SplitName::Train, Layout::Python("labels")),
    batch("data_batch_5", SplitName::Train, Layout::Python("labels")),
    batch("test_batch", SplitName::Test, Layout::Python("labels")),
    batch("train", SplitName::Train, Layout::Python("fine_labels")),
    batch("test", SplitName::Test, Layout::Python("fine_labels")),
];

/// Files with names of classes: lines, or a pickle with them under this name.
const NAMES: &[(&str, Option<&str>)] = &[
    ("batches.meta.txt", None),
    ("fine_label_names.txt", None),
    ("batches.meta", Some("label_names")),
    ("meta", Some("fine_label_names")),
];

/// Names of the files of a folder or an archive, without `.gz`; none for what is neither.
fn names(path: &Path) -> Option<Vec<String>> {
    if path.is_dir() {
        let files = files_in(path).ok()?;
        return Some(
            by_name(&files)
                .into_keys()
                .map(|name| plain(&name).to_owned())
                .collect(),
        );
    }
    let ending = path.file_name()?.to_str()?.to_ascii_lowercase();
    let is_tar = [".tar", ".tar.gz", ".tgz"].iter().any(|known| ending.ends_with(known));
    // The first few members tell; the archive is not read through.
    let mut names = Vec::new();
    if is_tar {
        let _ = members(path, |name, _| {
            names.push(name.to_owned());
            Ok(names.len() < 8)
        });
    }
    is_tar.then_some(names)
}

fn plain(name: &str) -> &str {
    name.strip_suffix(".gz").unwrap_or(name)
}

/// Goes through the files of a tar archive, packed or not, until `each` has enough.
fn members(path: &Path, mut each: impl FnMut(&str, &mut dyn Read) -> Result<bool, String>) -> Result<(), String> {
    let mut tar = tar::Archive::new(open(path).map_err(|e| e.to_string())?);
    for entry in tar.entries().map_err(|e| e.to_string())? {
        let mut entry = entry.map_err(|e| format!("the archive is damaged or truncated: {e}"))?;
        let name = entry.path().map_err(|e| e.to_string())?;
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if entry.header().entry_type().is_file() && !each(&name, &mut entry)? {
            break;
        }
    }
    Ok(())
}

/// The files that are read, by name.
fn wanted(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    let is_wanted =
        |name: &str| BATCHES.iter().any(|batch| batch.file == name) || NAMES.iter().any(|(file, _)| *file == name);
    let mut found = BTreeMap::new();
    if path.is_dir() {
        for (name, file) in by_name(&files_in(path)?) {
            if is_wanted(plain(&name)) {
                let bytes = read_file(&path.join(file)).map_err(|e| fault(path, e.to_string()))?;
                found.insert(plain(&name).to_owned(), bytes);
            }
        }
        return Ok(found);
    }
    let read = members(path, |name, reader| {
        if is_wanted(name) {
            let mut bytes = Vec::new();
            let taken = reader.take(LIMIT).read_to_end(&mut bytes);
            taken.map_err(|e| format!("{name}: the archive is damaged or truncated: {e}"))?;
            found.insert(name.to_owned(), bytes);
        }
        Ok(true)
    });
    read.map_err(|what| fault(path, what))?;
    Ok(found)
}

fn fault(path: &Path, what: impl std::fmt::Display) -> Fault {
    let help = "`path` is the directory or the archive as it is published, e.g. cifar-10-batches-bin or cifar-100-python.tar.gz";
    Fault::new(format!("{}: {what}", path.display()), help)
}

fn read(reader: &Reader<'_>, take: &mut Take<'_>) -> Result<Contents, Fault> {
    let path = reader.path;
    let files = wanted(path)?;
    let batches = || BATCHES.iter().filter(|batch| files.contains_key(batch.file));
    let Some(first) = batches().next() else {
        return Err(fault(
            path,
            "none of CIFAR's files is in it, such as data_batch_1.bin, data_batch_1 or train",
        ));
    };
    if let Some(other) = batches().find(|batch| batch.layout != first.layout) {
        let message = format!("{} and {} are of two versions", first.file, other.file);
        return Err(fault(path, message));
    }
    let mut names = None;
    for (file, key) in NAMES {
        if let Some(bytes) = files.get(*file) {
            names = names.or(names_of(bytes, *key).map_err(|what| fault(path, format!("{file}: {what}")))?);
        }
    }
    for batch in batches() {
        let bytes = &files[batch.file];
        let (labels, pixels) = match batch.layout {
            Layout::Binary(before) => of_binary(bytes, before),
            Layout::Python(labels) => of_pickle(bytes, labels),
        }
        .map_err(|what| fault(path, format!("{}: {what}", batch.file)))?;
        let mut examples = Vec::with_capacity(labels.len());
        for (at, (label, image)) in labels.into_iter().zip(pixels.chunks_exact(IMAGE)).enumerate() {
            let label = class(label).map_err(|what| fault(path, format!("{}: image {at}: {what}", batch.file)))?;
            examples.push(Example {
                name: PathBuf::from(format!("{}[{at}]", batch.file)),
                label,
                split: Some(batch.split),
                content: if reader.labels_only {
                    Content::Unread
                } else {
                    Content::Pixels(picture(image))
                },
            });
        }
        take(examples)?;
    }
    Ok(Contents {
        names,
        size: Some([SIDE, SIDE, 3]),
    })
}

fn picture(planes: &[u8]) -> Picture {
    let plane = SIDE * SIDE;
    let values = (0..IMAGE).map(|i| planes[i % 3 * plane + i / 3]).collect();
    Picture::of_values(FORMAT.name, [SIDE, SIDE, 3], Values::Eight(values))
}

fn names_of(bytes: &[u8], key: Option<&str>) -> Result<Option<Vec<String>>, String> {
    let Some(key) = key else {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        return Ok(Some(lines.map(str::to_owned).collect()));
    };
    Ok(pickle::parse(bytes)?.get(key).and_then(|names| names.texts()))
}

/// Labels, and the pixels of all images.
type Rows = (Vec<i64>, Vec<u8>);

fn of_binary(bytes: &[u8], before: usize) -> Result<Rows, String> {
    let row = before + IMAGE;
    if bytes.is_empty() || !bytes.len().is_multiple_of(row) {
        return Err(format!(
            "it is truncated: {} bytes found, expected a multiple of {row}: {before} for the class and {IMAGE} for the pixels",
            bytes.len()
        ));
    }
    let rows = || bytes.chunks_exact(row);
    let labels = rows().map(|row| i64::from(row[before - 1])).collect();
    Ok((labels, rows().flat_map(|row| &row[before..]).copied().collect()))
}

fn of_pickle(bytes: &[u8], key: &str) -> Result<Rows, String> {
    let value = pickle::parse(bytes)?;
    let labels = value.get(key).as_ref().and_then(Value::integers);
    let labels = labels.ok_or_else(|| format!("it has no list of numbers `{key}`"))?;
    let array = value.get("data").as_ref().and_then(Value::array);
    let array = array.ok_or("it has no array `data`")?;
    if array.header.shape != [labels.len(), IMAGE] {
        let shape = &array.header.shape;
        return Err(format!(
            "`data` has the shape {shape:?}, expected [{}, {IMAGE}]",
            labels.len()
        ));
    }
    match array.pixels()? {
        Values::Eight(pixels) => Ok((labels, pixels)),
        Values::Sixteen(_) => Err("`data` has values above 255".into()),
    }
}
