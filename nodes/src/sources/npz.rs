//! NumPy's archives: arrays of images and of labels, found by their names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flow_engine::plain_file;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zip::ZipArchive;
use zip::read::ZipFile;

use super::container::{ClassLabel, Content, Contents, Example, Format, Reader, Take, class, source_of, split_in};
use super::npy::{Array, Header};
use super::{Source, SourceSettings};
use crate::artifacts::SplitName;
use crate::pictures::{Fault, Picture, Values};

/// The most that an array may unpack to.
const LIMIT: u64 = 16 << 30;

/// Bytes that hold any header.
const HEAD: u64 = 1 << 16;

/// What arrays of images are called, without the name of a split.
const IMAGES: &[&str] = &["x", "images", "image", "imgs", "img", "data", "inputs"];

/// What arrays of labels are called, likewise.
const LABELS: &[&str] = &["y", "labels", "label", "targets", "target", "classes"];

/// Values of images that are handed over together.
const TOGETHER: usize = 16 << 20;

/// Names of the arrays, where they are not the usual ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArrayNames {
    /// Of the images, `[n][height][width]`, `[n][height][width][channels]` or `[n][channels][height][width]`.
    pub x: String,
    /// Of their labels, whole numbers or texts; none if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
}

pub(super) const FORMAT: Format = Format {
    name: "npz",
    fits: |path| {
        let is_npz = |path: &Path| {
            path.extension()
                .is_some_and(|ending| ending.eq_ignore_ascii_case("npz"))
        };
        path.is_file() && is_npz(path)
    },
    read,
    encoded: false,
};

/// Arrays `x` and `y`, or `x_train`, `y_train`, `x_test`, `y_test` and the like.
pub(super) const NPZ: Source = source_of!(FORMAT, takes: &[
    "path", "test", "side", "arrays", "fit", "channels", "matte", "on_bad", "on_leak",
]);

/// Two arrays that belong together.
struct Pair {
    x: String,
    y: Option<String>,
    split: Option<SplitName>,
}

/// An array's values, some at a time.
struct Parts<'z> {
    entry: ZipFile<'z, BufReader<File>>,
    header: &'z Header,
}

impl<'z> Parts<'z> {
    fn open(zip: &'z mut ZipArchive<BufReader<File>>, name: &str, header: &'z Header) -> Result<Self, String> {
        let entry = zip.by_name(&format!("{name}.npy")).map_err(|e| e.to_string())?;
        let mut parts = Self { entry, header };
        let (start, _) = header.bytes(0);
        let skipped = std::io::copy(&mut parts.entry.by_ref().take(start), &mut std::io::sink());
        skipped.map_err(|e| damaged(&e))?;
        Ok(parts)
    }

    fn next(&mut self, values: usize) -> Result<Values, String> {
        let (_, length) = self.header.bytes(values);
        let mut bytes = vec![0; length];
        self.entry.read_exact(&mut bytes).map_err(|e| damaged(&e))?;
        Array::part(self.header, bytes).pixels()
    }

    /// Whether all was as it was written, which the archive tells at its end.
    fn end(mut self) -> Result<(), String> {
        let rest = std::io::copy(&mut self.entry, &mut std::io::sink());
        rest.map(drop).map_err(|e| damaged(&e))
    }
}

fn damaged(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it is truncated".to_owned(),
        _ => format!("it is damaged: {error}"),
    }
}

fn read(reader: &Reader<'_>, take: &mut Take<'_>) -> Result<Contents, Fault> {
    let path = reader.path;
    let fault = |what: String| {
        let help = "`numpy.savez(\"file.npz\", x=images, y=labels)` writes what is read";
        Fault::new(format!("{}: {what}", path.display()), help)
    };
    let file = plain_file::open(path).map_err(|e| fault(e.to_string()))?;
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| fault(format!("no whole npz archive: {e}")))?;
    let names = zip.file_names().filter_map(Result::ok);
    let names = names.filter_map(|name| name.strip_suffix(".npy").map(str::to_owned));
    let names: Vec<String> = names.collect();
    let mut size = None;
    for Pair { x, y, split } in pairs(&names, reader.settings).map_err(fault)? {
        let in_array = |name: &str, what: String| fault(format!("array `{name}`: {what}"));
        let head = member(&mut zip, &x, HEAD).and_then(|bytes| Header::parse(&bytes));
        let head = head.map_err(|what| in_array(&x, what))?;
        let (n, layout) = Layout::of(&head.shape).map_err(|what| in_array(&x, what))?;
        if *size.get_or_insert(layout.size()) != layout.size() {
            return Err(in_array(
                &x,
                format!("its images are {:?}, others {size:?}", layout.size()),
            ));
        }
        let labels = match &y {
            Some(y) => labels(&member(&mut zip, y, LIMIT).map_err(|what| in_array(y, what))?)
                .map_err(|what| in_array(y, what))?,
            None => vec![None; n],
        };
        if labels.len() != n {
            let y = y.unwrap_or_default();
            return Err(in_array(
                &y,
                format!("{} labels for the {n} images of `{x}`", labels.len()),
            ));
        }
        let example = |at: usize, content| Example {
            name: PathBuf::from(format!("{x}[{at}]")),
            label: labels[at].clone(),
            split,
            content,
        };
        if reader.labels_only {
            take((0..n).map(|at| example(at, Content::Unread)).collect())?;
            continue;
        }
        let mut give = |from: usize, values: &Values, count: usize| {
            let picture = |at| Content::Pixels(layout.picture(FORMAT.name, values, at));
            take((0..count).map(|at| example(from + at, picture(at))).collect())
        };
        if !head.is_of_pixels() {
            let array = member(&mut zip, &x, LIMIT).and_then(|bytes| Array::parse(&bytes)?.pixels());
            give(0, &array.map_err(|what| in_array(&x, what))?, n)?;
            continue;
        }
        let mut parts = Parts::open(&mut zip, &x, &head).map_err(|what| in_array(&x, what))?;
        let values = layout.size().iter().product::<usize>();
        let together = (TOGETHER / values).max(1);
        for from in (0..n).step_by(together) {
            let count = together.min(n - from);
            let some = parts.next(count * values).map_err(|what| in_array(&x, what))?;
            give(from, &some, count)?;
        }
        parts.end().map_err(|what| in_array(&x, what))?;
    }
    Ok(Contents { names: None, size })
}

/// The arrays of an archive, by their names: of each the numbers of a row, and all of them.
pub(crate) fn arrays(path: &Path) -> Result<BTreeMap<String, (usize, Vec<f32>)>, String> {
    let file = plain_file::open(path).map_err(|e| e.to_string())?;
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| format!("no whole npz archive: {e}"))?;
    let names: Vec<String> = zip.file_names().filter_map(Result::ok).map(Cow::into_owned).collect();
    let mut arrays = BTreeMap::new();
    for name in names.iter().filter_map(|name| name.strip_suffix(".npy")) {
        let array = member(&mut zip, name, LIMIT).and_then(|bytes| Array::parse(&bytes));
        let rows = array
            .and_then(|array| array.rows())
            .map_err(|what| format!("array `{name}`: {what}"))?;
        arrays.insert(name.to_owned(), rows);
    }
    Ok(arrays)
}

fn member(zip: &mut ZipArchive<BufReader<File>>, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    let entry = zip.by_name(&format!("{name}.npy")).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    entry.take(limit).read_to_end(&mut bytes).map_err(|e| damaged(&e))?;
    Ok(bytes)
}

/// Arrays of images with their labels.
fn pairs(names: &[String], settings: &SourceSettings) -> Result<Vec<Pair>, String> {
    let list = || {
        format!(
            "it has {}",
            names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
        )
    };
    if let Some(asked) = &settings.files.arrays {
        let missing = [Some(&asked.x), asked.y.as_ref()]
            .into_iter()
            .flatten()
            .find(|name| !names.contains(name));
        return match missing {
            Some(name) => Err(format!("there is no array `{name}`; {}", list())),
            None => Ok(vec![Pair {
                x: asked.x.clone(),
                y: asked.y.clone(),
                split: None,
            }]),
        };
    }
    let base = |name: &str| -> String {
        let parts = name.split(['_', '-', '.']).filter(|part| split_in(part).is_none());
        parts.collect::<Vec<_>>().join("_").to_ascii_lowercase()
    };
    let of = |usual: &[&str]| {
        names
            .iter()
            .filter(|name| usual.contains(&base(name).as_str()))
            .collect::<Vec<_>>()
    };
    let labels = of(LABELS);
    let pair = |x: &&String| {
        let split = split_in(x);
        let y = labels.iter().find(|y| split_in(y) == split).map(|y| (*y).clone());
        Pair {
            x: (*x).clone(),
            y,
            split,
        }
    };
    let found: Vec<Pair> = of(IMAGES).iter().map(pair).collect();
    match found.is_empty() {
        true => Err(format!(
            "no array is called `x`, `images` or the like; {}: `arrays = {{ x = \"..\", y = \"..\" }}` names them",
            list()
        )),
        false => Ok(found),
    }
}

fn labels(bytes: &[u8]) -> Result<Vec<Option<ClassLabel>>, String> {
    let array = Array::parse(bytes)?;
    // One label an image, some write each as a list.
    if !matches!(array.header.shape.as_slice(), [_] | [_, 1]) {
        return Err(format!(
            "shape {:?} found, expected a label for each image",
            array.header.shape
        ));
    }
    if let Some(texts) = array.texts() {
        let label = |text: String| (!text.is_empty()).then_some(ClassLabel::Name(text));
        return Ok(texts.into_iter().map(label).collect());
    }
    array.integers()?.into_iter().map(class).collect()
}

/// How an array holds images.
pub(super) struct Layout {
    h: usize,
    w: usize,
    c: usize,
    /// Whether channels come before rows.
    planar: bool,
}

impl Layout {
    /// Of a shape; and how many images it has. Four sizes of which only the second is usual for channels are channels first.
    pub(super) fn of(shape: &[usize]) -> Result<(usize, Self), String> {
        let usual = |c: usize| matches!(c, 1 | 3);
        let (n, h, w, c, planar) = match *shape {
            [n, h, w] => (n, h, w, 1, false),
            [n, c, h, w] if usual(c) && !usual(w) => (n, h, w, c, true),
            // Of odd numbers of channels the smaller of the two.
            [n, c, h, w] if !usual(w) && c < w && c < h => (n, h, w, c, true),
            [n, h, w, c] => (n, h, w, c, false),
            _ => {
                return Err(format!(
                    "shape {shape:?} found, expected images: [n, h, w], [n, h, w, c] or [n, c, h, w]"
                ));
            }
        };
        let side = 1..=8192;
        if !side.contains(&h) || !side.contains(&w) || !(1..=64).contains(&c) {
            return Err(format!(
                "images of {h}x{w} pixels and {c} channels found: those are no sizes of images"
            ));
        }
        Ok((n, Self { h, w, c, planar }))
    }

    pub(super) fn size(&self) -> [usize; 3] {
        [self.h, self.w, self.c]
    }

    /// The image at a place, of a file of this format.
    pub(super) fn picture(&self, format: &'static str, values: &Values, at: usize) -> Picture {
        let values = match values {
            Values::Eight(values) => Values::Eight(self.cut(values, at)),
            Values::Sixteen(values) => Values::Sixteen(self.cut(values, at)),
        };
        Picture::of_values(format, self.size(), values)
    }

    /// All images' values, channels last.
    pub(super) fn channels_last(&self, values: Vec<u8>) -> Vec<u8> {
        let len = self.h * self.w * self.c;
        match self.planar {
            false => values,
            true => (0..values.len() / len).flat_map(|at| self.cut(&values, at)).collect(),
        }
    }

    fn cut<V: Copy>(&self, values: &[V], at: usize) -> Vec<V> {
        let (plane, len) = (self.h * self.w, self.h * self.w * self.c);
        let image = &values[at * len..(at + 1) * len];
        match self.planar {
            false => image.to_vec(),
            true => (0..len).map(|i| image[i % self.c * plane + i / self.c]).collect(),
        }
    }
}
