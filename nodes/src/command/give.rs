//! Data sets as programs read them: NumPy's archive, a folder of PNGs, Parquet as Hugging Face's `datasets` writes it.
//!
//! An image is called by its split and its place in it. What has no label for the receiver, be it that nobody knows it or that it is withheld,
//! has none in the files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use flow_engine::node::{Input, NodeError, ParamError};
use flow_learn::data::{Depth, Images, Label};
use image::ExtendedColorType::{L8, L16, Rgb8, Rgb16};
use image::ImageEncoder;
use image::codecs::png::PngEncoder;
use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::stage::stays_inside;
use crate::artifacts::{Dataset, DatasetFacts, SplitName};
use crate::failure::{at_with, failure, refused};
use crate::predict::table::npz_header;

/// How an input is handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Form {
    /// flow's own files, as they are.
    #[default]
    Files,
    /// Of a data set `data.npz`, NumPy's archive: `x_train` `[n][height][width][channels]`, `y_train` (the number of a class, -1 for none), likewise
    /// `validation` and `test`, and `class_names`.
    Npz,
    /// Of a data set PNG files, `train/CLASS/000000.png`, or `train/000000.png` where an image has no label; likewise `validation` and `test`.
    /// `classes.txt` has the classes in order.
    Png,
    /// Of a data set `train.parquet`, `validation.parquet` and `test.parquet`, with the columns `image` and `label` of Hugging Face's
    /// `datasets`; the label -1 is none.
    Parquet,
}

/// The splits by name, in the order in which they are written.
const SPLITS: [SplitName; 3] = [SplitName::Train, SplitName::Validation, SplitName::Test];

/// Whether such a data set can be handed over in a form.
///
/// # Errors
/// At `give`.
pub(super) fn check(name: &str, form: Form, data: &DatasetFacts) -> Result<(), ParamError> {
    let key = format!("give.{name}");
    if data.input.modality.is_text() {
        let help = "texts are given as `files`: `vocabulary.txt` has their words";
        return Err(at_with(key, "only images are handed over in other forms", help));
    }
    let channels = data.input.shape.c;
    if matches!(form, Form::Png | Form::Parquet) && !matches!(channels, 1 | 3) {
        let message = format!("images of {channels} channels cannot be PNG files");
        return Err(at_with(key, message, "`npz` holds any number of channels"));
    }
    Ok(())
}

/// Writes a data set into a folder; without the labels of test images where these are withheld.
///
/// # Errors
/// If the input is no data set of images, or something cannot be written.
pub(super) fn put(folder: &Path, name: &str, form: Form, input: &Input, withheld: bool) -> Result<(), NodeError> {
    let data = Dataset::read(input, &SPLITS)?;
    check(name, form, &data.facts()?).map_err(refused)?;
    let mut parts = Vec::new();
    for split in SPLITS {
        let Some(images) = data.split(split).ok().and_then(|samples| samples.images()) else {
            continue;
        };
        let labels = match (split, &data.examples) {
            (SplitName::Test, _) if withheld => vec![None; images.n],
            (SplitName::Train, Some(examples)) => {
                let mut labels = vec![None; images.n];
                for (at, class) in examples.indices.iter().zip(examples.classes()) {
                    labels[*at as usize] = u16::try_from(class).ok();
                }
                labels
            }
            _ => images.labels.clone(),
        };
        parts.push(Part { split, images, labels });
    }
    let written = match form {
        Form::Files => Ok(()),
        Form::Npz => npz(folder, &parts, &data.class_names),
        Form::Png => return png(folder, &parts, &data.class_names),
        Form::Parquet => parts
            .iter()
            .try_for_each(|part| parquet(folder, part, &data.class_names).map_err(io::Error::from)),
    };
    written.map_err(|e| cannot_write(folder, &e))
}

/// The images of a split, with the labels that the receiver sees.
struct Part<'a> {
    split: SplitName,
    images: &'a Images,
    labels: Vec<Label>,
}

fn cannot_write(path: &Path, error: &io::Error) -> NodeError {
    failure(format!("cannot write {}: {error}", path.display()))
        .with_help("is there room in the directory for temporary files (TMPDIR)?")
}

/// The number of a class, or -1.
fn number(label: Label) -> i64 {
    label.map_or(-1, i64::from)
}

fn npz(folder: &Path, parts: &[Part<'_>], class_names: &[String]) -> io::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::new(File::create(folder.join("data.npz"))?));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(true);
    for Part { split, images, labels } in parts {
        let dtype = match images.depth {
            Depth::Eight => "|u1",
            Depth::Sixteen => "<u2",
        };
        let sizes = [images.n, images.height, images.width, images.channels];
        zip.start_file(format!("x_{split}.npy"), options)?;
        npz_header(dtype, &sizes.map(|size| format!("{size}, ")).concat(), &mut zip)?;
        (0..images.n).try_for_each(|i| zip.write_all(images.pixels_of(i)))?;
        zip.start_file(format!("y_{split}.npy"), options)?;
        npz_header("<i8", &format!("{}, ", images.n), &mut zip)?;
        let numbers: Vec<u8> = labels.iter().flat_map(|label| number(*label).to_le_bytes()).collect();
        zip.write_all(&numbers)?;
    }
    let longest = class_names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(1)
        .max(1);
    zip.start_file("class_names.npy", options)?;
    npz_header(&format!("<U{longest}"), &format!("{}, ", class_names.len()), &mut zip)?;
    for name in class_names {
        let mut characters: Vec<u32> = name.chars().map(u32::from).collect();
        characters.resize(longest, 0);
        let bytes: Vec<u8> = characters.iter().flat_map(|c| c.to_le_bytes()).collect();
        zip.write_all(&bytes)?;
    }
    zip.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(())
}

/// An image as the bytes of a PNG file.
fn png_of(images: &Images, at: usize) -> io::Result<Vec<u8>> {
    let bytes = images.pixels_of(at);
    // The encoder takes 16 bits in this machine's order.
    let native: Vec<u8>;
    let (colour, bytes) = match (images.depth, images.channels) {
        (Depth::Eight, 1) => (L8, bytes),
        (Depth::Eight, _) => (Rgb8, bytes),
        (Depth::Sixteen, channels) => {
            let values = bytes.as_chunks::<2>().0.iter();
            native = values.flat_map(|v| u16::from_le_bytes(*v).to_ne_bytes()).collect();
            (if channels == 1 { L16 } else { Rgb16 }, native.as_slice())
        }
    };
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(bytes, images.width as u32, images.height as u32, colour)
        .map_err(io::Error::other)?;
    Ok(png)
}

fn png(folder: &Path, parts: &[Part<'_>], class_names: &[String]) -> Result<(), NodeError> {
    if let Some(name) = class_names
        .iter()
        .find(|name| name.contains(['/', '\n']) || !stays_inside(Path::new(name)))
    {
        let message = format!("class `{}` cannot be a directory's name", name.escape_debug());
        return Err(failure(message).with_help("give the data set as `npz` or `parquet`"));
    }
    let place = |part: &Part<'_>, label: Label| {
        let class = label.and_then(|label| class_names.get(usize::from(label)));
        let split = folder.join(part.split.to_string());
        class.map_or(split.clone(), |class| split.join(class))
    };
    let list: String = class_names.iter().map(|name| format!("{name}\n")).collect();
    let classes = folder.join("classes.txt");
    fs::write(&classes, list).map_err(|e| cannot_write(&classes, &e))?;
    for part in parts {
        let labels: BTreeSet<Label> = part.labels.iter().copied().collect();
        for folder in labels.iter().map(|label| place(part, *label)) {
            fs::create_dir_all(&folder).map_err(|e| cannot_write(&folder, &e))?;
        }
        (0..part.images.n).into_par_iter().try_for_each(|at| {
            let path = place(part, part.labels[at]).join(format!("{at:06}.png"));
            let written = png_of(part.images, at).and_then(|bytes| fs::write(&path, bytes));
            written.map_err(|e| cannot_write(&path, &e))
        })?;
    }
    Ok(())
}

/// Rows of a group.
const ROWS: usize = 1024;

fn parquet(folder: &Path, part: &Part<'_>, class_names: &[String]) -> Result<(), ParquetError> {
    let features = json!({ "info": { "features": {
        "image": { "_type": "Image" },
        "label": { "_type": "ClassLabel", "names": class_names },
    } } });
    let metadata = KeyValue::new("huggingface".to_owned(), features.to_string());
    let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![metadata]));
    let file = BufWriter::new(File::create(folder.join(format!("{}.parquet", part.split)))?);
    let mut writer = SerializedFileWriter::new(file, schema()?, Arc::new(properties.build()))?;
    for from in (0..part.images.n).step_by(ROWS) {
        let rows = from..(from + ROWS).min(part.images.n);
        let png = |at: usize| png_of(part.images, at).map(ByteArray::from);
        let images: Vec<ByteArray> = rows.clone().into_par_iter().map(png).collect::<io::Result<_>>()?;
        let paths = rows
            .clone()
            .map(|at| format!("{}/{at:06}.png", part.split).into_bytes().into());
        let numbers: Vec<i64> = part.labels[rows.clone()].iter().map(|label| number(*label)).collect();
        let mut group = writer.next_row_group()?;
        column::<ByteArrayType>(&mut group, &images)?;
        column::<ByteArrayType>(&mut group, &paths.collect::<Vec<_>>())?;
        column::<Int64Type>(&mut group, &numbers)?;
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, BufWriter<File>>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    let next = group.next_column()?;
    let mut writer = next.ok_or_else(|| ParquetError::General("BUG: fewer columns than in the schema".into()))?;
    writer.typed::<T>().write_batch(values, None, None)?;
    writer.close()
}

fn schema() -> Result<TypePtr, ParquetError> {
    let leaf = |name: &str, physical, logical| {
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(logical)
            .build()
            .map(Arc::new)
    };
    let image = Type::group_type_builder("image")
        .with_repetition(Repetition::REQUIRED)
        .with_fields(vec![
            leaf("bytes", Physical::BYTE_ARRAY, None)?,
            leaf("path", Physical::BYTE_ARRAY, Some(LogicalType::String))?,
        ])
        .build()?;
    Type::group_type_builder("schema")
        .with_fields(vec![Arc::new(image), leaf("label", Physical::INT64, None)?])
        .build()
        .map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_cannot_be_given_to_a_program_says_where_room_is_lacking() {
        let error = cannot_write(Path::new("work/inputs/data"), &io::ErrorKind::StorageFull.into());
        insta::assert_snapshot!(crate::failure::tests::said(&error));
    }
}
