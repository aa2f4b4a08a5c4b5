//! Results as files: a table that is written batch by batch, in the format that the file's ending names.

mod npz;
mod parquet;
mod text;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

pub(crate) use self::npz::header as npz_header;
pub use self::text::{Csv, JsonLines};

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Texts.
    Texts(Vec<String>),
    /// Numbers.
    Numbers(Vec<f32>),
    /// Rows of numbers with a name each: a column each, or an object.
    Named {
        /// Their names, each once.
        names: Vec<String>,
        /// `[rows][names]`.
        values: Vec<f32>,
    },
    /// Rows of numbers: a list, or an array of two dimensions.
    Vectors {
        /// Numbers of a row.
        dim: usize,
        /// `[rows][dim]`.
        values: Vec<f32>,
    },
}

impl Column {
    fn rows(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Numbers(numbers) => numbers.len(),
            Self::Named { names, values } => values.len() / names.len().max(1),
            Self::Vectors { dim, values } => values.len() / (*dim).max(1),
        }
    }
}

/// Some rows of a table: columns of equal length with their names. All batches of a table have the same columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(pub Vec<(&'static str, Column)>);

impl Table {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.0.first().map_or(0, |(_, column)| column.rows())
    }
}

/// Takes a table, batch by batch.
pub trait Sink {
    /// Writes some rows.
    ///
    /// # Errors
    /// If they cannot be written.
    fn write(&mut self, rows: &Table) -> io::Result<()>;

    /// Writes what is left.
    ///
    /// # Errors
    /// If it cannot be written.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// A format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a line of names.
    Csv,
    /// A JSON object a line.
    JsonLines,
    /// Apache Parquet.
    Parquet,
    /// NumPy's archive of arrays, one for each column.
    Npz,
}

impl Format {
    /// By a file's ending.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "parquet" => Some(Self::Parquet),
            "npz" => Some(Self::Npz),
            _ => None,
        }
    }

    /// Writes to a file.
    ///
    /// # Errors
    /// If a temporary file that it needs cannot be made.
    pub fn sink(self, file: File) -> io::Result<Box<dyn Sink>> {
        let to: Box<dyn Write + Send> = Box::new(BufWriter::new(file));
        Ok(match self {
            Self::Csv => Box::new(Csv::new(to)),
            Self::JsonLines => Box::new(JsonLines::new(to)),
            Self::Parquet => Box::new(parquet::Parquet::new(to)),
            Self::Npz => Box::new(npz::Npz::new(to)),
        })
    }
}
