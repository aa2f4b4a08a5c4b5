//! STL-10 (Coates et al. 2011) in its binary version: 96x96 images in colour, most of them without a label.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::Source;
use super::container::{ClassLabel, Content, Contents, Example, Format, Reader, Take, source_of};
use super::read::{open, read_file};
use crate::artifacts::SplitName;
use crate::pictures::{Fault, Picture, Values};

/// Height and width.
const SIDE: usize = 96;

/// Bytes of an image: red, then green, then blue, each column by column.
const IMAGE: usize = 3 * SIDE * SIDE;

/// Images handed over together.
const TOGETHER: usize = 512;

/// Images, their labels if they have such, and the split that they are for.
const FILES: [(&str, Option<&str>, SplitName); 3] = [
    ("train_X.bin", Some("train_y.bin"), SplitName::Train),
    ("unlabeled_X.bin", None, SplitName::Train),
    ("test_X.bin", Some("test_y.bin"), SplitName::Test),
];

pub(super) const FORMAT: Format = Format {
    name: "stl10",
    fits: |path| path.is_dir() && file(path, "train_X.bin").is_file(),
    read,
    encoded: false,
};

/// The unlabelled images are read where they are there.
pub(super) const STL10: Source = source_of!(FORMAT, takes: &["path", "side", "fit", "channels", "matte", "on_leak"]);

/// Under its own name, in the folder of the archive, or packed.
fn file(path: &Path, name: &str) -> PathBuf {
    let places = [path.to_owned(), path.join("stl10_binary")];
    let names = [name.to_owned(), format!("{name}.gz")];
    let all = places
        .iter()
        .flat_map(|place| names.iter().map(|name| place.join(name)));
    all.into_iter()
        .find(|file| file.is_file())
        .unwrap_or_else(|| path.join(name))
}

fn fault(path: &Path, what: impl std::fmt::Display) -> Fault {
    let help = "`path` is the directory stl10_binary, as its archive unpacks to; check that the file is whole";
    Fault::new(format!("{}: {what}", path.display()), help)
}

fn read(reader: &Reader<'_>, take: &mut Take<'_>) -> Result<Contents, Fault> {
    let path = reader.path;
    for (name, of_labels, split) in FILES {
        let images = file(path, name);
        if !images.is_file() {
            // Most people leave the 2.7 GB of these where they are.
            match of_labels {
                None => continue,
                Some(_) => return Err(fault(path, format!("there is no {name}"))),
            }
        }
        let labels = match of_labels {
            Some(name) => Some(labels(&file(path, name))?),
            None => None,
        };
        one_file(&images, labels.as_deref(), split, reader.labels_only, take)?;
    }
    let names = file(path, "class_names.txt");
    let names = match names.is_file() {
        true => {
            let bytes = read_file(&names).map_err(|e| fault(path, e))?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Some(text.split_whitespace().map(str::to_owned).collect())
        }
        false => None,
    };
    Ok(Contents {
        names,
        size: Some([SIDE, SIDE, 3]),
    })
}

/// From 1 to 10 in the file, from 0 here.
fn labels(path: &Path) -> Result<Vec<u64>, Fault> {
    let bytes = read_file(path).map_err(|e| fault(path, e))?;
    let label = |(at, label): (usize, &u8)| match label.checked_sub(1) {
        Some(label) => Ok(u64::from(label)),
        None => Err(fault(path, format!("label 0 found for image {at}, expected 1 or more"))),
    };
    bytes.iter().enumerate().map(label).collect()
}

fn one_file(
    path: &Path,
    labels: Option<&[u64]>,
    split: SplitName,
    labels_only: bool,
    take: &mut Take<'_>,
) -> Result<(), Fault> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .trim_end_matches(".gz")
        .to_owned();
    let mut file = open(path).map_err(|e| fault(path, e))?;
    let example = |at: usize, content| Example {
        name: PathBuf::from(format!("{name}[{at}]")),
        label: labels
            .and_then(|labels| labels.get(at))
            .map(|label| ClassLabel::Number(*label)),
        split: Some(split),
        content,
    };
    let is_packed = path.extension().is_some_and(|ending| ending == "gz");
    if let (true, false, Ok(metadata)) = (labels_only, is_packed, path.metadata()) {
        let n = check(path, metadata.len(), labels)?;
        return take((0..n).map(|at| example(at, Content::Unread)).collect());
    }
    let (mut at, mut bytes) = (0, 0);
    loop {
        let mut some = Vec::new();
        let taken = file.by_ref().take((TOGETHER * IMAGE) as u64).read_to_end(&mut some);
        taken.map_err(|e| fault(path, e))?;
        bytes += some.len() as u64;
        if some.len() < TOGETHER * IMAGE {
            check(path, bytes, labels)?;
        }
        if some.is_empty() {
            return Ok(());
        }
        let content = |image: &[u8]| match labels_only {
            true => Content::Unread,
            false => Content::Pixels(picture(image)),
        };
        let images = some.chunks_exact(IMAGE).enumerate();
        take(images.map(|(i, image)| example(at + i, content(image))).collect())?;
        at += some.len() / IMAGE;
    }
}

/// How many images a file has.
fn check(path: &Path, bytes: u64, labels: Option<&[u64]>) -> Result<usize, Fault> {
    if !bytes.is_multiple_of(IMAGE as u64) {
        let message = format!("it is truncated: {bytes} bytes found, expected a multiple of {IMAGE}");
        return Err(fault(path, message));
    }
    let n = (bytes / IMAGE as u64) as usize;
    match labels {
        Some(labels) if labels.len() != n => Err(fault(path, format!("{n} images, but {} labels", labels.len()))),
        _ => Ok(n),
    }
}

fn picture(bytes: &[u8]) -> Picture {
    let plane = SIDE * SIDE;
    let value = |i: usize| {
        let (y, x, c) = (i / 3 / SIDE, i / 3 % SIDE, i % 3);
        bytes[c * plane + x * SIDE + y]
    };
    let values = Values::Eight((0..IMAGE).map(value).collect());
    Picture::of_values(FORMAT.name, [SIDE, SIDE, 3], values)
}
