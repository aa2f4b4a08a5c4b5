//! Any MNIST-like set of four IDX files, gzipped or not.
//!
//! Classes are the labels that occur, in their order and with their numbers as names: labels from 1 to 26 are 26 classes, `1` to `26`.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flow_engine::node::{Host, NodeError, ParamError};
use flow_engine::plain_file;
use flow_learn::data::{IMAGES_HEADER, Images, check_length, image_sizes, parse_labels};

use super::arrays::Layout;
use super::container::{ClassLabel, Content, Contents, Example, Format, Reader, Take};
use super::read::{is_packed, read_file, read_start};
use super::{Labelled, Loaded, MOST_EXAMPLES, Source, SourceSettings, SourceShape, usual_name};
use crate::artifacts::SplitName;
use crate::failure::at_with;
use crate::pictures::{self, Pool, Values};

/// MNIST's own file names; the files may also have their other usual names, see [`Source::paths`].
pub(super) const FILES: [&str; 4] = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
];

/// Four IDX files in a folder.
pub(super) const IDX: Source = Source {
    name: "idx",
    takes: &["path"],
    files: &FILES,
    in_memory: false,
    check: |_| Ok(()),
    shape,
    load: |_, files, host| load(files, host),
};

/// What is wrong with a file, and what to do.
struct Fault {
    message: String,
    help: &'static str,
}

impl From<Fault> for NodeError {
    fn from(fault: Fault) -> Self {
        Self::failed(fault.message).with_help(fault.help)
    }
}

/// A fault of the file at `path`.
fn fault(path: &Path, what: impl std::fmt::Display) -> Fault {
    Fault {
        message: format!("{}: {what}", path.display()),
        help: "check that the file is whole, or download it again",
    }
}

/// Number and layout of images, and their labels.
struct Part<'a> {
    images: &'a Path,
    labels: &'a Path,
    n: usize,
    layout: Layout,
    values: Vec<u8>,
}

impl<'a> Part<'a> {
    fn new(images: &'a Path, labels: &'a Path, sizes: &[usize], label_bytes: &[u8]) -> Result<Self, Fault> {
        let (n, layout) = Layout::of(sizes).map_err(|e| fault(images, e))?;
        let values = parse_labels(label_bytes).map_err(|e| fault(labels, e))?.to_vec();
        if values.len() != n {
            return Err(fault(labels, format!("{} labels for {n} images", values.len())));
        }
        if !(1..=MOST_EXAMPLES).contains(&n) {
            let message = format!("{n} images found, expected 1 to {MOST_EXAMPLES}");
            let help = "training and judging both need images: divide what there is between the two files";
            return Err(Fault {
                help,
                ..fault(images, message)
            });
        }
        Ok(Self {
            images,
            labels,
            n,
            layout,
            values,
        })
    }

    /// From the header of the images and all labels; only the first bytes of the images are read.
    fn of_headers(images: &'a Path, labels: &'a Path) -> Result<Self, Fault> {
        let start = read_start(images, IMAGES_HEADER as u64).map_err(|e| fault(images, e))?;
        let sizes = image_sizes(&start).map_err(|e| fault(images, e))?;
        let label_bytes = read_file(labels).map_err(|e| Fault {
            message: e.to_string(),
            ..fault(labels, "")
        })?;
        Self::new(images, labels, &sizes, &label_bytes)
    }

    /// Values of an image.
    fn length(&self) -> usize {
        self.layout.size().iter().product()
    }

    /// Gives the images' values as the file has them, some at a time, with the place of the first.
    fn pixels(&self, take: &mut dyn FnMut(usize, Vec<u8>) -> Result<(), NodeError>) -> Result<(), NodeError> {
        let unreadable = |e: io::Error| NodeError::from(fault(self.images, e));
        let mut file: Box<dyn Read> = match is_packed(self.images).map_err(unreadable)? {
            true => Box::new(io::Cursor::new(read_file(self.images)?)),
            false => Box::new(io::BufReader::new(plain_file::open(self.images).map_err(unreadable)?)),
        };
        let (length, together) = (self.length(), (TOGETHER / self.length()).max(1));
        // Zeros, a type, and the number of sizes: they were checked.
        let mut head = [0; 4];
        file.read_exact(&mut head).map_err(unreadable)?;
        let skipped = io::copy(&mut file.by_ref().take(4 * u64::from(head[3])), &mut io::sink());
        skipped.map_err(unreadable)?;
        let check =
            |found: usize| check_length(self.n * length, found).map_err(|e| NodeError::from(fault(self.images, e)));
        for from in (0..self.n).step_by(together) {
            let count = together.min(self.n - from);
            let mut some = Vec::with_capacity(count * length);
            let read = file.by_ref().take((count * length) as u64).read_to_end(&mut some);
            if read.map_err(unreadable)? < count * length {
                check(from * length + some.len())?;
            }
            take(from, some)?;
        }
        let more = io::copy(&mut file, &mut io::sink()).map_err(unreadable)?;
        check(self.n * length + more as usize)
    }

    /// All images, with channels last.
    fn images(&self, host: &dyn Host, class: impl Fn(u8) -> u16) -> Result<Images, NodeError> {
        let mut pool = Pool::new(host);
        self.pixels(&mut |_, some| pool.put(&self.layout.channels_last(some)))?;
        let [h, w, c] = self.layout.size();
        let labels = self.values.iter().map(|label| Some(class(*label))).collect();
        Ok(Images::partly_labelled(h, w, c, pool.pixels()?.0, labels).map_err(|e| fault(self.images, e))?)
    }
}

/// Values that are read at a time.
const TOGETHER: usize = 16 << 20;

/// The labels that training images have; those of test images must be among them, and their sizes the same.
fn classes(train: &Part<'_>, test: &Part<'_>) -> Result<Vec<u8>, Fault> {
    let ([h, w, c], [test_h, test_w, test_c]) = (train.layout.size(), test.layout.size());
    if (h, w, c) != (test_h, test_w, test_c) {
        let message = format!(
            "test images of {test_h}x{test_w} and {test_c} channel(s), but the training images have {h}x{w} and {c}"
        );
        let help = "a network is judged on images of the size that it is trained on: make both the same";
        return Err(Fault {
            help,
            ..fault(test.images, message)
        });
    }
    let occurring: BTreeSet<u8> = train.values.iter().copied().collect();
    if let Some(other) = test.values.iter().find(|label| !occurring.contains(label)) {
        let message = format!("label {other} is of some test images, but of no training image");
        let help = "a class that is tested must be trained on: leave those test images out";
        return Err(Fault {
            help,
            ..fault(test.labels, message)
        });
    }
    Ok(occurring.into_iter().collect())
}

fn names(classes: &[u8]) -> Vec<String> {
    classes.iter().map(u8::to_string).collect()
}

fn shape(_settings: &SourceSettings, files: &[PathBuf]) -> Result<Option<SourceShape>, ParamError> {
    let [train_images, train_labels, test_images, test_labels] = files else {
        return Ok(None);
    };
    // A missing file is reported where files are looked for; a pipe would never end.
    if !files.iter().all(|path| path.is_file()) {
        return Ok(None);
    }
    let read = || {
        let train = Part::of_headers(train_images, train_labels)?;
        let test = Part::of_headers(test_images, test_labels)?;
        let class_names = names(&classes(&train, &test)?);
        let class_names: Vec<&str> = class_names.iter().map(String::as_str).collect();
        Ok(SourceShape::images(
            train.layout.size(),
            &class_names,
            [train.n, test.n],
        ))
    };
    read()
        .map(Some)
        .map_err(|Fault { message, help }| at_with("path", message, help))
}

fn load(files: &[PathBuf], host: &dyn Host) -> Result<Loaded, NodeError> {
    let [train_images, train_labels, test_images, test_labels] = files else {
        return Err(NodeError::failed("BUG: an idx source has four files"));
    };
    let train = Part::of_headers(train_images, train_labels)?;
    let test = Part::of_headers(test_images, test_labels)?;
    let classes = classes(&train, &test)?;
    // Every label is one of the classes.
    let place = |label: u8| classes.partition_point(|class| *class < label) as u16;
    Ok(Loaded::Images(Box::new(Labelled {
        train: train.images(host, place)?,
        test: test.images(host, place)?,
        class_names: names(&classes),
        annotations: None,
    })))
}

/// Images and labels of two files.
pub(super) fn read_pair(images: &Path, labels: &Path, host: &dyn Host) -> Result<Images, NodeError> {
    Part::of_headers(images, labels)?.images(host, u16::from)
}

/// Told by the names of the files; for `flow data inspect`.
pub(super) const FORMAT: Format = Format {
    name: "idx",
    fits: |path| path.is_dir() && files(path)[0].is_file(),
    read: everything,
    encoded: false,
};

/// The four files in a folder.
fn files(folder: &Path) -> [PathBuf; 4] {
    FILES.map(|name| folder.join(usual_name(folder, name)))
}

fn everything(reader: &Reader<'_>, take: &mut Take<'_>) -> Result<Contents, pictures::Fault> {
    let files = files(reader.path);
    let mut size = None;
    for (at, split) in [(0, SplitName::Train), (2, SplitName::Test)] {
        let wrong = |e: NodeError| pictures::Fault::new(e.to_string(), "check that the files are whole");
        let part = Part::of_headers(&files[at], &files[at + 1]).map_err(|e| wrong(e.into()))?;
        size = Some(part.layout.size());
        let name = files[at].file_name().unwrap_or_default().to_string_lossy();
        let mut taken = Ok(());
        part.pixels(&mut |from, pixels| {
            let values = Values::Eight(pixels);
            let count = values.len() / part.length();
            let example = |at: usize| Example {
                name: PathBuf::from(format!("{name}[{}]", from + at)),
                label: Some(ClassLabel::Number(u64::from(part.values[from + at]))),
                split: Some(split),
                content: Content::Pixels(part.layout.picture(FORMAT.name, &values, at)),
            };
            taken = take((0..count).map(example).collect());
            taken.clone().map_err(NodeError::from)
        })
        .or_else(|error| taken.and(Err(wrong(error))))?;
    }
    Ok(Contents { names: None, size })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::quiet::Quiet;

    fn file(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
        let sizes = dimensions.iter().flat_map(|size| size.to_be_bytes());
        [0, 0, 8, dimensions.len() as u8]
            .into_iter()
            .chain(sizes)
            .chain(values.iter().copied())
            .collect()
    }

    /// The files' bytes for images of a side and these labels.
    fn part(side: u32, labels: &[u8]) -> [Vec<u8>; 2] {
        let n = labels.len() as u32;
        let pixels = vec![7; (n * side * side) as usize];
        [file(&[n, side, side], &pixels), file(&[n], labels)]
    }

    /// A directory with a set whose files are packed and named by `name`.
    fn folder(train: [Vec<u8>; 2], test: [Vec<u8>; 2], name: impl Fn(&str) -> String) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (usual, bytes) in FILES.iter().zip(train.iter().chain(&test)) {
            let name = name(usual);
            let mut bytes = bytes.clone();
            if Path::new(&name).extension().is_some_and(|ending| ending == "gz") {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&bytes).expect("written");
                bytes = encoder.finish().expect("packed");
            }
            std::fs::write(folder.path().join(name), bytes).expect("written");
        }
        folder
    }

    fn paths(folder: &std::path::Path) -> Vec<PathBuf> {
        let files = IDX.files_in(folder, &PathBuf::from(".").into());
        files.iter().map(|file| folder.join(&file.path)).collect()
    }

    /// What is said before anything runs, which loading must bear out.
    fn known(train: [Vec<u8>; 2], test: [Vec<u8>; 2]) -> Result<SourceShape, String> {
        let folder = folder(train, test, str::to_owned);
        let files = paths(folder.path());
        let known = shape(&SourceSettings::default(), &files).map_err(|e| {
            assert_eq!(e.key, "path");
            e.message
        });
        let loaded = load(&files, &Quiet);
        match (&known, loaded) {
            (Ok(known), Ok(Loaded::Images(loaded))) => {
                let known = known.as_ref().expect("all files are there");
                assert_eq!(known.counts, Some([loaded.train.n, loaded.test.n]));
                assert_eq!(known.class_names.as_ref(), Some(&loaded.class_names));
                let highest = loaded.train.labels.iter().chain(&loaded.test.labels).flatten().max();
                assert!(highest.is_some_and(|label| usize::from(*label) < loaded.class_names.len()));
                assert_eq!(known.input.shape.h, loaded.train.height);
            }
            (Err(message), Err(error)) => assert!(error.to_string().contains(message), "{error}"),
            (known, loaded) => panic!("{known:?}, but loading: {}", loaded.is_ok()),
        }
        known.map(|known| known.expect("all files are there"))
    }

    #[test]
    fn headers_tell_shape_counts_and_classes_before_anything_runs() {
        let shape = known(part(20, &[0, 1, 2, 1]), part(20, &[2, 0])).expect("a sound set");
        assert_eq!((shape.input.shape.h, shape.input.shape.c), (20, 1));
        assert_eq!(shape.counts, Some([4, 2]));
        assert_eq!(shape.class_names, Some(vec!["0".into(), "1".into(), "2".into()]));
    }

    #[test]
    fn classes_are_the_labels_that_occur() {
        let shape = known(part(16, &[3, 1, 26, 1]), part(16, &[26, 3])).expect("a sound set");
        assert_eq!(shape.class_names, Some(vec!["1".into(), "3".into(), "26".into()]));
        let other = known(part(16, &[1, 3]), part(16, &[2])).expect_err("class 2 cannot be learnt");
        assert!(other.contains("label 2") && other.contains("t10k-labels"), "{other}");
    }

    #[test]
    fn test_images_of_another_size_or_none_at_all_are_refused_with_the_file() {
        let size = known(part(28, &[0, 1]), part(32, &[0, 1])).expect_err("sizes differ");
        assert!(
            size.contains("t10k-images") && size.contains("32x32") && size.contains("28x28"),
            "{size}"
        );
        let none = known(part(28, &[0, 1]), part(28, &[])).expect_err("nothing to judge on");
        assert!(none.contains("t10k-images") && none.contains("0 images"), "{none}");
        let [images, _] = part(28, &[0, 1]);
        let labels = known([images, file(&[3], &[0, 1, 1])], part(28, &[0])).expect_err("counts differ");
        assert!(labels.contains("3 labels for 2 images"), "{labels}");
    }

    #[test]
    fn images_in_colour_have_a_fourth_size_last_or_second() {
        let values: Vec<u8> = (0..2 * 16 * 16 * 3).map(|i| (i % 251) as u8).collect();
        let labels = file(&[2], &[0, 1]);
        let last = file(&[2, 16, 16, 3], &values);
        let planes: Vec<u8> = (0..2 * 768)
            .map(|i| values[i / 768 * 768 + i % 256 * 3 + i % 768 / 256])
            .collect();
        let second = file(&[2, 3, 16, 16], &planes);
        let shape = known([last.clone(), labels.clone()], [second.clone(), labels.clone()]).expect("a sound set");
        assert_eq!(shape.input.shape.c, 3);
        let folder = folder([last, labels.clone()], [second, labels], str::to_owned);
        let Loaded::Images(loaded) = load(&paths(folder.path()), &Quiet).expect("sound") else {
            panic!("no images");
        };
        assert_eq!(loaded.train.pixels()[..], values[..]);
        assert_eq!(loaded.test.pixels()[..], values[..]);
    }

    #[test]
    fn files_are_found_under_their_other_usual_names() {
        let set = || (part(16, &[0, 1]), part(16, &[1]));
        let renamed: [fn(&str) -> String; 3] = [
            |name| name.trim_end_matches(".gz").to_owned(),
            |name| name.replacen("-idx", ".idx", 1),
            |name| name.replacen("-idx", ".idx", 1).trim_end_matches(".gz").to_owned(),
        ];
        for name in renamed {
            let (train, test) = set();
            let folder = folder(train, test, name);
            assert!(load(&paths(folder.path()), &Quiet).is_ok(), "{}", name(FILES[0]));
        }
        let empty = tempfile::tempdir().expect("a folder");
        assert!(paths(empty.path())[0].ends_with(FILES[0]));
        assert_eq!(
            shape(&SourceSettings::default(), &paths(empty.path())).expect("no error yet"),
            None
        );
    }
}
