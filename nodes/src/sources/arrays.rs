//! Files of named arrays: images and labels are found by their names, whatever the file is.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::container::{ClassLabel, Content, Contents, Example, Reader, Take, class, split_in};
use super::npy::{Array, Header};
use super::{SourceSettings, check_images};
use crate::artifacts::SplitName;
use crate::pictures::{Fault, Picture, Values};

/// The most bytes that an array may unpack to.
pub(super) const LIMIT: u64 = 16 << 30;

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

/// Two arrays that belong together.
struct Pair {
    x: String,
    y: Option<String>,
    split: Option<SplitName>,
}

/// A file of named arrays. Errors are in words, without the name.
pub(super) trait Archive {
    /// What its arrays are called.
    fn names(&self) -> Result<Vec<String>, String>;

    /// What an array holds.
    fn header(&mut self, name: &str) -> Result<Header, String>;

    /// All of an array.
    fn whole(&mut self, name: &str) -> Result<Array, String>;

    /// An array of so many images, each of so many values, some images at a time: about so many.
    fn parts(&mut self, name: &str, header: &Header, images: [usize; 3], give: &mut Give<'_>) -> Result<(), Stop>;
}

/// Takes some images' values, from the image at a place on.
pub(super) type Give<'a> = dyn FnMut(usize, &Values, usize) -> Result<(), Fault> + 'a;

/// Why no more is read.
pub(super) enum Stop {
    /// The array is damaged: in words.
    Damaged(String),
    /// Who takes the images wants no more.
    Taker(Fault),
}

impl From<String> for Stop {
    fn from(what: String) -> Self {
        Self::Damaged(what)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Taker(fault)
    }
}

/// Gives the images of all arrays that are called like images. `fault` is given what is wrong with the file.
pub(super) fn read(
    archive: &mut dyn Archive,
    format: &'static str,
    reader: &Reader<'_>,
    take: &mut Take<'_>,
    fault: &dyn Fn(String) -> Fault,
) -> Result<Contents, Fault> {
    let names = archive.names().map_err(fault)?;
    let mut size = None;
    for Pair { x, y, split } in pairs(&names, reader.settings).map_err(fault)? {
        let in_array = |name: &str, what: String| fault(format!("array `{name}`: {what}"));
        let head = archive.header(&x).map_err(|what| in_array(&x, what))?;
        let (n, layout) = Layout::of(&head.shape).map_err(|what| in_array(&x, what))?;
        check_images(n).map_err(|what| in_array(&x, what))?;
        if *size.get_or_insert(layout.size()) != layout.size() {
            return Err(in_array(
                &x,
                format!("its images are {:?}, others {size:?}", layout.size()),
            ));
        }
        let labels = match &y {
            Some(y) => archive
                .whole(y)
                .and_then(|array| labels(&array))
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
            let picture = |at| Content::Pixels(layout.picture(format, values, at));
            take((0..count).map(|at| example(from + at, picture(at))).collect())
        };
        if !head.is_of_pixels() {
            let values = archive.whole(&x).and_then(|array| array.pixels());
            give(0, &values.map_err(|what| in_array(&x, what))?, n)?;
            continue;
        }
        let values = layout.size().iter().product::<usize>();
        let images = [n, values, (TOGETHER / values).max(1)];
        archive.parts(&x, &head, images, &mut give).map_err(|stop| match stop {
            Stop::Damaged(what) => in_array(&x, what),
            Stop::Taker(fault) => fault,
        })?;
    }
    Ok(Contents { names: None, size })
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
        let parts = name.split(['_', '-', '.', '/']).filter(|part| split_in(part).is_none());
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

fn labels(array: &Array) -> Result<Vec<Option<ClassLabel>>, String> {
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
