//! WebDataset's shards: tar archives in which files of one name, but for its ending, are a sample.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::container::{
    self, ClassLabel, Content, Contents, Example, Format, Reader, Take, class, files_with, split_in,
};
use super::read::open;
use super::{Source, SourceSettings};
use crate::pictures::Fault;

/// Endings of shards.
const SHARDS: &[&str] = &[".tar", ".tar.gz", ".tgz"];

/// Endings of images.
const IMAGES: &[&str] = &["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm"];

/// Fields of a `.json` that may be the class.
const FIELDS: &[&str] = &["label", "cls", "class", "target"];

/// Samples handed over together.
const TOGETHER: usize = 256;

/// A longer member is not read.
const LIMIT: u64 = 512 << 20;

pub(super) const FORMAT: Format = Format {
    name: "webdataset",
    fits: |path| {
        let is_shard = |path: &Path| {
            let name = path.to_string_lossy().to_ascii_lowercase();
            SHARDS.iter().any(|ending| name.ends_with(ending))
        };
        match path.is_dir() {
            true => files_with(path, SHARDS).is_ok_and(|files| !files.is_empty()),
            false => is_shard(path),
        }
    },
    read,
    encoded: true,
};

/// A shard, or a folder of them; a name with `train`, `val` or `test` in it is of that split.
pub(super) const WEBDATASET: Source = Source {
    name: FORMAT.name,
    takes: &[
        "path",
        "test",
        "side",
        "fit",
        "channels",
        "matte",
        "max_pixels",
        "on_bad",
        "on_leak",
    ],
    files: &[],
    check: |settings| container::check(&FORMAT, settings),
    shape: |settings: &SourceSettings, files| container::shape(&FORMAT, settings, files),
    load: |settings, files| container::load(&FORMAT, settings, files),
};

/// The files of one sample, as far as they are read.
#[derive(Default)]
struct Sample {
    key: String,
    image: Option<Content>,
    label: Option<ClassLabel>,
}

fn read(reader: &Reader<'_>, take: &mut Take<'_>) -> Result<Contents, Fault> {
    let shards = files_with(reader.path, SHARDS)?;
    if shards.is_empty() {
        return Err(fault(reader.path, "there is no .tar file in it"));
    }
    // Labels of names and of numbers would be two sets of classes.
    let mut kinds: BTreeMap<bool, String> = BTreeMap::new();
    for shard in shards {
        let below = shard.strip_prefix(reader.path).unwrap_or(&shard);
        let below = if below.as_os_str().is_empty() {
            Path::new(shard.file_name().unwrap_or_default())
        } else {
            below
        };
        one_shard(&shard, below, reader.labels_only, &mut |samples| {
            for sample in samples.iter() {
                if let Some(label) = &sample.label {
                    let is_number = matches!(label, ClassLabel::Number(_));
                    kinds
                        .entry(is_number)
                        .or_insert_with(|| sample.name.display().to_string());
                }
            }
            take(samples)
        })?;
    }
    match (kinds.get(&true), kinds.get(&false)) {
        (Some(number), Some(name)) => Err(fault(
            reader.path,
            format!("the class of {number} is a number, that of {name} a name"),
        )),
        _ => Ok(Contents::default()),
    }
}

fn fault(path: &Path, what: impl std::fmt::Display) -> Fault {
    let help = "a shard is a tar archive of samples such as 0001.jpg with 0001.cls or 0001.json";
    Fault::new(format!("{}: {what}", path.display()), help)
}

fn one_shard(shard: &Path, below: &Path, labels_only: bool, take: &mut Take<'_>) -> Result<(), Fault> {
    let split = split_in(&below.to_string_lossy());
    let damaged = |e: std::io::Error| fault(shard, format!("the archive is damaged or truncated: {e}"));
    let mut tar = tar::Archive::new(open(shard).map_err(damaged)?);
    let (mut sample, mut waiting) = (Sample::default(), Vec::new());
    let example = |sample: Sample| Example {
        name: below.join(&sample.key),
        label: sample.label,
        split,
        content: sample
            .image
            .unwrap_or(Content::Bad("the sample has no image".to_owned())),
    };
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.to_string_lossy().into_owned();
        let Some((key, ending)) = parts(&name).filter(|_| entry.header().entry_type().is_file()) else {
            continue;
        };
        if key != sample.key {
            let whole = std::mem::replace(
                &mut sample,
                Sample {
                    key: key.to_owned(),
                    ..Sample::default()
                },
            );
            if !whole.key.is_empty() {
                waiting.push(example(whole));
            }
            if waiting.len() >= TOGETHER {
                take(std::mem::take(&mut waiting))?;
            }
        }
        let in_sample = |what: String| fault(shard, format!("{name}: {what}"));
        match ending.as_str() {
            "cls" | "json" => {
                let mut text = String::new();
                entry.take(LIMIT).read_to_string(&mut text).map_err(damaged)?;
                let label = if ending == "cls" {
                    of_text(&text)
                } else {
                    of_json(&text)
                };
                // What `.cls` says goes before what else there is.
                let label = label.map_err(in_sample)?;
                if ending == "cls" || sample.label.is_none() {
                    sample.label = label;
                }
            }
            // The last part of an ending like `left.jpg` tells; of several images the first counts.
            ending if IMAGES.contains(&ending.rsplit('.').next().unwrap_or_default()) && sample.image.is_none() => {
                sample.image = Some(match labels_only {
                    true => Content::Unread,
                    false => {
                        let mut bytes = Vec::new();
                        entry.by_ref().take(LIMIT).read_to_end(&mut bytes).map_err(damaged)?;
                        Content::Encoded(bytes)
                    }
                });
            }
            _ => {}
        }
    }
    if !sample.key.is_empty() {
        waiting.push(example(sample));
    }
    take(waiting)
}

/// The name of a sample, up to the first dot of the file's name, and what is behind it in lower case.
fn parts(path: &str) -> Option<(&str, String)> {
    let path = path.trim_start_matches("./");
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name + path[name..].find('.')?;
    (dot > name).then(|| (&path[..dot], path[dot + 1..].to_ascii_lowercase()))
}

/// A number, or a name.
fn of_text(text: &str) -> Result<Option<ClassLabel>, String> {
    match text.trim() {
        "" => Ok(None),
        text => match text.parse() {
            Ok(number) => class(number),
            Err(_) => Ok(Some(ClassLabel::Name(text.to_owned()))),
        },
    }
}

/// A number, a text, or an object with one of them under a usual name.
fn of_json(text: &str) -> Result<Option<ClassLabel>, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("this is no JSON: {e}"))?;
    let value = match &value {
        Value::Object(fields) => FIELDS.iter().find_map(|name| fields.get(*name)).unwrap_or(&Value::Null),
        other => other,
    };
    match value {
        Value::Null => Ok(None),
        Value::String(name) => Ok((!name.is_empty()).then(|| ClassLabel::Name(name.clone()))),
        Value::Number(number) => match number.as_i64() {
            Some(number) => class(number),
            None => Err(format!("label {number} found, expected a whole number or a name")),
        },
        other => Err(format!("label {other} found, expected a whole number or a name")),
    }
}
