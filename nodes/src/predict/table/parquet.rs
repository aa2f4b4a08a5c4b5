//! Apache Parquet: texts as strings, numbers as 32-bit floats, vectors as lists; a column for each named number.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::text::names;
use super::{Column, Sink, Table};

/// A file under way.
pub(super) struct Parquet<W: Write + Send> {
    /// Before the columns are known.
    to: Option<W>,
    writer: Option<SerializedFileWriter<W>>,
}

impl<W: Write + Send> Parquet<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            to: Some(to),
            writer: None,
        }
    }
}

impl<W: Write + Send> Sink for Parquet<W> {
    /// A row group for each batch.
    fn write(&mut self, rows: &Table) -> io::Result<()> {
        if let Some(to) = self.to.take() {
            let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
            let schema = schema(rows)?;
            self.writer = Some(SerializedFileWriter::new(to, schema, Arc::new(properties))?);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let mut group = writer.next_row_group()?;
        for (_, column) in &rows.0 {
            write_column(&mut group, column)?;
        }
        group.close()?;
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        if let Some(writer) = self.writer {
            writer.close()?;
        }
        Ok(())
    }
}

fn schema(rows: &Table) -> Result<TypePtr, ParquetError> {
    let mut fields = Vec::new();
    for column in &rows.0 {
        match &column.1 {
            Column::Texts(_) => fields.push(primitive(column.0, Physical::BYTE_ARRAY)?),
            Column::Vectors { .. } => fields.push(list(column.0)?),
            _ => {
                for name in names(column) {
                    fields.push(primitive(&name, Physical::FLOAT)?);
                }
            }
        }
    }
    Type::group_type_builder("schema")
        .with_fields(fields)
        .build()
        .map(Arc::new)
}

fn primitive(name: &str, physical: Physical) -> Result<TypePtr, ParquetError> {
    let text = (physical == Physical::BYTE_ARRAY).then_some(LogicalType::String);
    Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(text)
        .build()
        .map(Arc::new)
}

/// A list as the format's specification has it: two groups and the element.
fn list(name: &str) -> Result<TypePtr, ParquetError> {
    let group = |name: &str, repetition, logical, field| {
        Type::group_type_builder(name)
            .with_repetition(repetition)
            .with_logical_type(logical)
            .with_fields(vec![field])
            .build()
            .map(Arc::new)
    };
    let inner = group(
        "list",
        Repetition::REPEATED,
        None,
        primitive("element", Physical::FLOAT)?,
    )?;
    group(name, Repetition::REQUIRED, Some(LogicalType::List), inner)
}

fn write_column<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    column: &Column,
) -> Result<(), ParquetError> {
    let mut floats = |values: &[f32], levels: Option<(Vec<i16>, Vec<i16>)>| -> Result<(), ParquetError> {
        let mut writer = group
            .next_column()?
            .ok_or_else(|| ParquetError::General("BUG: fewer columns than in the first batch".into()))?;
        let (definition, repetition) = levels.unzip();
        writer
            .typed::<FloatType>()
            .write_batch(values, definition.as_deref(), repetition.as_deref())?;
        writer.close()
    };
    match column {
        Column::Numbers(values) => floats(values, None),
        Column::Named { names, values } => (0..names.len()).try_for_each(|at| {
            let of_name: Vec<f32> = values.iter().skip(at).step_by(names.len()).copied().collect();
            floats(&of_name, None)
        }),
        Column::Vectors { dim, values } => {
            // The first number of a row begins a list, the others go on with it.
            let repetition = (0..values.len()).map(|at| i16::from(at % dim != 0)).collect();
            floats(values, Some((vec![1; values.len()], repetition)))
        }
        Column::Texts(texts) => {
            let texts: Vec<ByteArray> = texts.iter().map(|text| text.as_str().into()).collect();
            let mut writer = group
                .next_column()?
                .ok_or_else(|| ParquetError::General("BUG: fewer columns than in the first batch".into()))?;
            writer.typed::<ByteArrayType>().write_batch(&texts, None, None)?;
            writer.close()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    use super::*;

    #[test]
    fn rows_are_read_back_with_their_names() {
        let table = Table(vec![
            ("path", Column::Texts(vec!["a.png".into(), "ü.png".into()])),
            (
                "p",
                Column::Named {
                    names: vec!["big cat".into(), "dog".into()],
                    values: vec![0.75, 0.25, 0.0, 1.0],
                },
            ),
            (
                "features",
                Column::Vectors {
                    dim: 2,
                    values: vec![1.0, 2.0, 3.0, 4.0],
                },
            ),
        ]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.parquet");
        let mut sink = Box::new(Parquet::new(File::create(&path).expect("made")));
        sink.write(&table).expect("written");
        sink.write(&table).expect("written");
        sink.finish().expect("written");
        let reader = SerializedFileReader::new(File::open(&path).expect("there")).expect("parquet");
        let rows: Vec<_> = reader
            .get_row_iter(None)
            .expect("rows")
            .map(|row| row.expect("a row").into_columns())
            .collect();
        assert_eq!(rows.len(), 4);
        let names: Vec<&str> = rows[3].iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["path", "p:big cat", "p:dog", "features"]);
        assert_eq!(rows[3][0].1, Field::Str("ü.png".into()));
        assert_eq!(rows[2][1].1, Field::Float(0.75));
        let Field::ListInternal(features) = &rows[3][3].1 else {
            panic!("no list: {:?}", rows[3][3].1);
        };
        assert_eq!(features.elements(), [Field::Float(3.0), Field::Float(4.0)]);
    }
}
