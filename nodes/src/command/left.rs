//! What a program left in its folder of outputs, read as a data set, as predictions or as features.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow_engine::node::{DeclaredFile, Host, Input, NodeError, Output};
use flow_learn::data::{Images, Label, Samples};
use flow_learn::layers::MapShape;

use super::table;
use crate::artifacts::{Dataset, DatasetFacts, FeaturesArtifact, Predictions, SplitName};
use crate::dataset::files::{Division, output as divided};
use crate::failure::{failure, refused};
use crate::pictures::Known;
use crate::sources::{self, Files, Labelled, Loaded, OnLeak, SourceSettings, npz};

/// What a program left that is no file to be kept as it is.
pub(super) struct Left {
    pub(super) root: PathBuf,
    /// Relative to the folder.
    pub(super) files: Vec<String>,
}

/// Names that a message shows.
const SHOWN: usize = 5;

impl Left {
    fn in_words(&self) -> String {
        match self.files.len() {
            0 => "it wrote nothing there".to_owned(),
            n => {
                let some: Vec<String> = self.files.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
                let more = if n > SHOWN { ", .." } else { "" };
                format!("it wrote {}{more}", some.join(", "))
            }
        }
    }

    fn with(&self, endings: &[&str]) -> Vec<&String> {
        let fits = |name: &&String| {
            let ending = Path::new(name.as_str())
                .extension()
                .and_then(|e| e.to_str())
                .unwrap_or_default();
            endings.iter().any(|known| ending.eq_ignore_ascii_case(known))
        };
        self.files.iter().filter(fits).collect()
    }

    /// The one file with such an ending.
    pub(super) fn only(&self, endings: &[&str], what: &str) -> Result<PathBuf, NodeError> {
        match self.with(endings).as_slice() {
            [one] => Ok(self.root.join(one.as_str())),
            found => {
                let endings = endings.iter().map(|e| format!(".{e}")).collect::<Vec<_>>().join(" or ");
                let message = format!(
                    "{} {endings} files found in {{outputs}}, expected one with {what}",
                    found.len()
                );
                Err(failure(message).with_help(self.in_words()))
            }
        }
    }

    /// The source that reads what was left, and where.
    fn source(&self) -> Result<(&'static str, PathBuf), NodeError> {
        let idx = |name: &String| name.contains("idx") && name.contains("ubyte");
        Ok(if !self.with(&["npz"]).is_empty() {
            ("npz", self.only(&["npz"], "arrays of images")?)
        } else if !self.with(&["parquet"]).is_empty() {
            ("parquet", self.root.clone())
        } else if self.files.iter().any(idx) {
            ("idx", self.root.clone())
        } else {
            ("folder", self.root.clone())
        })
    }

    pub(super) fn dataset(&self, expected: &DatasetFacts, host: &dyn Host) -> Result<Output, NodeError> {
        if self.files.is_empty() {
            let message = "the program succeeded, but left no data set in {outputs}";
            return Err(
                failure(message).with_help("it may be an npz file, IDX files, Parquet files or a folder of images")
            );
        }
        let (name, path) = self.source()?;
        let MapShape { h, w, c } = expected.input.shape;
        let class_names = expected.class_names.clone().unwrap_or_default();
        // What has a size and channels of its own is held against what was stated; of the rest these are made.
        let fits = matches!(name, "folder" | "parquet");
        if fits && h != w {
            let message = format!("images of {h}x{w} were stated, but of image files only squares are made");
            return Err(failure(message).with_help("let the program leave an npz file"));
        }
        let mut settings = SourceSettings {
            path: Some(path.clone()),
            side: fits.then_some(h),
            class_names: Some(class_names.clone()),
            ..SourceSettings::default()
        };
        settings.files.channels = fits.then_some(c);
        let source = sources::find(name, &settings).map_err(refused)?;
        let files = source.files_in(Path::new("/"), &DeclaredFile::from(path));
        let files: Vec<PathBuf> = files.into_iter().map(|file| file.path).collect();
        let division = Division {
            test: None,
            validation: 0,
            seed: 0,
            on_leak: OnLeak::Warn,
            remember: None,
        };
        let shaped = |found: [usize; 3]| match found == [h, w, c] {
            true => Ok(()),
            false => Err(failure(format!(
                "the program left images of {}x{} and {} channel(s), expected {h}x{w} and {c}",
                found[0], found[1], found[2]
            ))
            .with_help("correct `shape`, or what the program writes")),
        };
        let output = |files: Files| divided("command", of_classes(files, &class_names)?, &division, host);
        match (source.load)(&settings, &files, host)? {
            Loaded::Listed(listed) => output(listed.decoded(&Known::default(), host)?),
            Loaded::Files(files) => {
                shaped([files.size.0, files.size.1, files.channels])?;
                output(*files)
            }
            Loaded::Images(images) => {
                shaped([images.train.height, images.train.width, images.train.channels])?;
                of_numbers(*images, class_names)?.into_output(host)
            }
            Loaded::Texts(_) | Loaded::Placed(_) => {
                Err(failure("BUG: no source of texts or of placed images was asked for"))
            }
        }
    }

    pub(super) fn predictions(&self, input: &Input, split: SplitName) -> Result<Output, NodeError> {
        let data = Dataset::read(input, &[SplitName::Train, split])?;
        let path = self.only(&["csv", "tsv", "parquet"], "class probabilities")?;
        let n = data.split(split)?.n();
        let probabilities =
            table::probabilities(&path, &data.class_names, n).map_err(|what| {
                let name = path.strip_prefix(&self.root).unwrap_or(&path).display();
                failure(format!("`{name}` has no predictions for the {n} {split} examples: {what}")).with_help(
                "a row for each: `image`, its place in the split from 0, and the probability of each class by its name",
            )
            })?;
        let predictions = Predictions {
            split,
            predicted_on: Dataset::digest_of(input, split)?,
            class_names: data.class_names,
            probabilities,
        };
        Ok(Output {
            files: vec![predictions.into_file()],
            ..Output::default()
        })
    }

    pub(super) fn features(&self, input: &Input) -> Result<Output, NodeError> {
        let all = [SplitName::Train, SplitName::Validation, SplitName::Test];
        let data = Dataset::read(input, &all)?;
        let path = self.only(&["npz"], "features")?;
        let wrong = |what: String| {
            let help = "in Python: `numpy.savez(path, train=features_of_train, test=features_of_test)`, a row for each image in order";
            let name = path.strip_prefix(&self.root).unwrap_or(&path).display();
            failure(format!("`{name}`: {what}")).with_help(help)
        };
        let mut arrays = npz::arrays(&path).map_err(&wrong)?;
        let mut features = FeaturesArtifact::default();
        for split in all {
            let Some((dim, values)) = arrays.remove(&split.to_string()) else {
                continue;
            };
            let (rows, n) = (values.len() / dim, data.split(split)?.n());
            if rows != n {
                return Err(wrong(format!("array `{split}` has {rows} rows for {n} {split} images")));
            }
            if features.dim != 0 && features.dim != dim {
                return Err(wrong(format!(
                    "array `{split}` has {dim} numbers a row, others {}",
                    features.dim
                )));
            }
            features.dim = dim;
            features
                .splits
                .insert(split, (Dataset::digest_of(input, split)?, values));
        }
        match features.splits.contains_key(&SplitName::Train) {
            true => Ok(Output {
                files: vec![features.into_file()],
                ..Output::default()
            }),
            false => Err(wrong("there is no array `train`".to_owned())),
        }
    }
}

/// Images whose classes are numbers, with the classes that were stated.
fn of_numbers(images: Labelled, class_names: Vec<String>) -> Result<Dataset, NodeError> {
    let renamed = |part: Images| {
        let new = |label: &Label| {
            let Some(old) = label else { return Ok(None) };
            let number = &images.class_names[usize::from(*old)];
            let known = number
                .parse()
                .ok()
                .filter(|new: &u16| usize::from(*new) < class_names.len());
            known.map(Some).ok_or_else(|| {
                let message = format!("label {number} found, but {} classes were stated", class_names.len());
                failure(message).with_help("labels count `classes` from 0")
            })
        };
        let labels = part.labels.iter().map(new).collect::<Result<Vec<Label>, NodeError>>()?;
        Ok::<_, NodeError>(Samples::from(part).with_labels(labels))
    };
    let splits = [
        (SplitName::Train, renamed(images.train)?),
        (SplitName::Test, renamed(images.test)?),
    ];
    let name = "command".to_owned();
    Ok(Dataset::new(name, class_names, splits.into(), BTreeMap::new(), None))
}

/// The files with the classes that were stated, in their order.
fn of_classes(mut files: Files, class_names: &[String]) -> Result<Files, NodeError> {
    let quoted = class_names
        .iter()
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let found = &files.found.class_names;
    if let Some(other) = found.iter().find(|name| !class_names.contains(name)) {
        let message = format!("the program left images of class `{other}`, expected {quoted}");
        return Err(failure(message).with_help("correct `classes`, or what the program writes"));
    }
    if let Some(without) = class_names.iter().find(|name| !found.contains(name)) {
        let message = format!("the program left no image of class `{without}`, expected {quoted}");
        return Err(failure(message).with_help("correct `classes`, or what the program writes"));
    }
    files.found.class_names = class_names.to_vec();
    Ok(files)
}
