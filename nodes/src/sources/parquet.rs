//! Parquet as Hugging Face's `datasets` writes it: a column of images with their bytes, a column of classes with names in the schema's metadata.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use flow_engine::plain_file;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;
use serde_json::Value;

use super::container::{
    ClassLabel, Content, Contents, Example, Format, Reader, Take, class, files_with, source_of, split_in,
};
use super::{Source, SourceSettings, check_images};
use crate::pictures::Fault;

/// Usual names of the columns.
const IMAGES: &[&str] = &["image", "img", "images", "picture", "jpg", "png"];
const LABELS: &[&str] = &["label", "labels", "fine_label", "class", "target", "cls"];

/// Rows handed over together.
const TOGETHER: usize = 256;

/// Under this key `datasets` puts what columns mean.
const FEATURES: &str = "huggingface";

pub(super) const FORMAT: Format = Format {
    name: "parquet",
    fits: |path| match path.is_dir() {
        true => files_with(path, &[".parquet"]).is_ok_and(|files| !files.is_empty()),
        false => path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("parquet")),
    },
    read,
    encoded: true,
};

/// A file, or a folder of shards; a name with `train`, `validation` or `test` in it is of that split.
pub(super) const PARQUET: Source = source_of!(FORMAT, takes: &[
    "path",
    "test",
    "side",
    "columns",
    "fit",
    "channels",
    "matte",
    "max_pixels",
    "on_bad",
    "on_leak",
]);

/// What the columns of a file are.
struct Columns {
    image: String,
    label: Option<String>,
    /// Names of the classes by their numbers.
    names: Option<Vec<String>>,
}

fn fault(path: &Path, what: impl std::fmt::Display) -> Fault {
    let help = "a column holds images (bytes, or a struct with `bytes`), another their class: `columns = { path = \"..\", label = \"..\" }` names them";
    Fault::new(format!("{}: {what}", path.display()), help)
}

fn read(reader: &Reader<'_>, take: &mut Take<'_>) -> Result<Contents, Fault> {
    let shards = files_with(reader.path, &[".parquet"])?;
    if shards.is_empty() {
        return Err(fault(reader.path, "there is no .parquet file in it"));
    }
    let mut names: Option<(Option<Vec<String>>, PathBuf)> = None;
    for shard in shards {
        let below = shard.strip_prefix(reader.path).unwrap_or(&shard);
        let below = if below.as_os_str().is_empty() {
            Path::new(shard.file_name().unwrap_or_default())
        } else {
            below
        };
        // The reader of the format panics at some damage.
        let read = catch_unwind(AssertUnwindSafe(|| one_shard(&shard, below, reader, take)));
        let of_shard = read.unwrap_or_else(|_| Err(fault(&shard, "it is damaged")))?;
        match &names {
            Some((known, first)) if *known != of_shard => {
                let message = format!("its names of classes are others than those of {}", first.display());
                return Err(fault(&shard, message));
            }
            Some(_) => {}
            None => names = Some((of_shard, shard)),
        }
    }
    Ok(Contents {
        names: names.and_then(|(names, _)| names),
        size: None,
    })
}

/// Gives the rows of a file; the names of the classes that it has.
fn one_shard(
    path: &Path,
    below: &Path,
    reader: &Reader<'_>,
    take: &mut Take<'_>,
) -> Result<Option<Vec<String>>, Fault> {
    let file = plain_file::open(path).map_err(|e| fault(path, e))?;
    let parquet = SerializedFileReader::new(file).map_err(|e| {
        let message = format!("{}: no whole Parquet file: {e}", path.display());
        Fault::new(message, "check that the file is whole, or download it again")
    })?;
    let metadata = parquet.metadata().file_metadata();
    let features = metadata
        .key_value_metadata()
        .into_iter()
        .flatten()
        .find(|pair| pair.key == FEATURES);
    let features = features.and_then(|pair| serde_json::from_str::<Value>(pair.value.as_deref()?).ok());
    let schema = metadata.schema();
    let columns = columns(schema, features.as_ref(), reader.settings).map_err(|what| fault(path, what))?;
    let wanted = |field: &Type| {
        let name = field.name();
        (!reader.labels_only && name == columns.image) || columns.label.as_deref() == Some(name)
    };
    let fields: Vec<_> = schema
        .get_fields()
        .iter()
        .filter(|field| wanted(field))
        .cloned()
        .collect();
    let split = split_in(&below.to_string_lossy());
    let name = |at: usize| below.join(format!("row {at}"));
    if fields.is_empty() {
        // Nothing but the number of rows is of interest.
        let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
        check_images(rows).map_err(|what| fault(path, what))?;
        let unread = |at| Example {
            name: name(at),
            label: None,
            split,
            content: Content::Unread,
        };
        take((0..rows).map(unread).collect())?;
        return Ok(columns.names);
    }
    let projection = Type::group_type_builder(schema.name()).with_fields(fields).build();
    let projection = projection.map_err(|e| fault(path, e))?;
    let rows = parquet.get_row_iter(Some(projection)).map_err(|e| fault(path, e))?;
    let mut waiting = Vec::new();
    for (at, row) in rows.enumerate() {
        let row = row.map_err(|e| fault(path, format!("row {at}: it is damaged: {e}")))?;
        let (mut label, mut content) = (None, Content::Unread);
        for (column, field) in row.into_columns() {
            if columns.label.as_ref() == Some(&column) {
                label = of_field(&field).map_err(|what| fault(path, format!("row {at}: {what}")))?;
            } else {
                content = image(field);
            }
        }
        waiting.push(Example {
            name: name(at),
            label,
            split,
            content,
        });
        if waiting.len() == TOGETHER {
            take(std::mem::take(&mut waiting))?;
        }
    }
    take(waiting)?;
    Ok(columns.names)
}

/// Which columns hold images and classes: as asked for, as the metadata says, or by their names.
fn columns(schema: &Type, features: Option<&Value>, settings: &SourceSettings) -> Result<Columns, String> {
    let has = |name: &str| schema.get_fields().iter().any(|field| field.name() == name);
    let all = || {
        let fields = schema.get_fields().iter();
        fields
            .map(|field| format!("`{}`", field.name()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let features = features.and_then(|all| all.pointer("/info/features")?.as_object());
    let of_type = |kind: &str| {
        let mut of_type = features
            .into_iter()
            .flatten()
            .filter(|(_, feature)| feature["_type"] == kind);
        of_type.next().map(|(name, _)| name.clone()).filter(|name| has(name))
    };
    let usual = |names: &[&str]| names.iter().find(|name| has(name)).map(|name| (*name).to_owned());
    let asked = settings.files.columns.clone().unwrap_or_default();
    if let Some(missing) = [&asked.path, &asked.label]
        .into_iter()
        .flatten()
        .find(|name| !has(name))
    {
        return Err(format!("there is no column `{missing}`; it has {}", all()));
    }
    let image = asked.path.or_else(|| of_type("Image")).or_else(|| usual(IMAGES));
    let image = image.ok_or_else(|| format!("it has no column of images; it has {}", all()))?;
    let label = asked.label.or_else(|| usual(LABELS)).or_else(|| of_type("ClassLabel"));
    let names = label.as_ref().and_then(|label| {
        let names = features?.get(label)?.get("names")?.as_array()?;
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    });
    Ok(Columns { image, label, names })
}

fn of_field(field: &Field) -> Result<Option<ClassLabel>, String> {
    match field {
        Field::Null => Ok(None),
        Field::Byte(number) => class(i64::from(*number)),
        Field::Short(number) => class(i64::from(*number)),
        Field::Int(number) => class(i64::from(*number)),
        Field::Long(number) => class(*number),
        Field::UByte(number) => class(i64::from(*number)),
        Field::UShort(number) => class(i64::from(*number)),
        Field::UInt(number) => class(i64::from(*number)),
        Field::Bool(yes) => class(i64::from(*yes)),
        Field::Str(name) => Ok((!name.is_empty()).then(|| ClassLabel::Name(name.clone()))),
        other => Err(format!("label {other} found, expected a whole number or a name")),
    }
}

/// Bytes, or a struct with them.
fn image(field: Field) -> Content {
    match field {
        Field::Bytes(bytes) => Content::Encoded(bytes.data().to_vec()),
        Field::Group(row) => {
            let mut path = None;
            for (name, field) in row.into_columns() {
                match (name.as_str(), field) {
                    ("bytes", Field::Bytes(bytes)) => return Content::Encoded(bytes.data().to_vec()),
                    ("path", Field::Str(text)) => path = Some(text),
                    _ => {}
                }
            }
            Content::Bad(match path {
                Some(path) => format!("its bytes are not in the file, but at `{path}`: embed them"),
                None => "it has no bytes".to_owned(),
            })
        }
        Field::Null => Content::Bad("it has no image".to_owned()),
        _ => Content::Bad("its column does not hold images: expected bytes, or a struct with `bytes`".to_owned()),
    }
}
