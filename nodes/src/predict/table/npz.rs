//! NumPy's archive of arrays. A header says how long an array is, so columns wait in temporary files until the end.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Column, Sink, Table};

/// One array for each column: texts as `<U`, numbers as `<f4`.
pub(super) struct Npz<W: Write> {
    to: W,
    columns: Vec<Waiting>,
}

/// A column that is not whole yet.
struct Waiting {
    name: &'static str,
    /// Behind the number of rows; of texts nothing.
    dims: Vec<usize>,
    rows: usize,
    /// Characters of the longest text, if there are texts.
    longest: Option<usize>,
    /// Numbers as in the array, or texts, each behind its length.
    file: BufWriter<File>,
}

impl<W: Write> Npz<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            to,
            columns: Vec::new(),
        }
    }
}

impl Waiting {
    fn new(name: &'static str, column: &Column) -> io::Result<Self> {
        let (dims, longest) = match column {
            Column::Texts(_) => (vec![], Some(0)),
            Column::Numbers(_) => (vec![], None),
            Column::Named { names, .. } => (vec![names.len()], None),
            Column::Vectors { dim, .. } => (vec![*dim], None),
        };
        Ok(Self {
            name,
            dims,
            rows: 0,
            longest,
            file: BufWriter::new(tempfile::tempfile()?),
        })
    }

    fn add(&mut self, column: &Column) -> io::Result<()> {
        self.rows += column.rows();
        match column {
            Column::Texts(texts) => {
                for text in texts {
                    let longest = self.longest.unwrap_or(0).max(text.chars().count());
                    self.longest = Some(longest);
                    self.file.write_all(&(text.len() as u64).to_le_bytes())?;
                    self.file.write_all(text.as_bytes())?;
                }
                Ok(())
            }
            Column::Numbers(values) | Column::Named { values, .. } | Column::Vectors { values, .. } => {
                values.iter().try_for_each(|v| self.file.write_all(&v.to_le_bytes()))
            }
        }
    }

    fn array(self, to: &mut impl Write) -> io::Result<()> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        let mut file = BufReader::new(file);
        let shape: String = [self.rows].iter().chain(&self.dims).map(|n| format!("{n}, ")).collect();
        let Some(longest) = self.longest else {
            header("<f4", &shape, to)?;
            return io::copy(&mut file, to).map(|_| ());
        };
        // NumPy has no texts of no characters.
        let longest = longest.max(1);
        header(&format!("<U{longest}"), &shape, to)?;
        for _ in 0..self.rows {
            let mut length = [0; 8];
            file.read_exact(&mut length)?;
            let mut text = String::new();
            file.by_ref()
                .take(u64::from_le_bytes(length))
                .read_to_string(&mut text)?;
            let mut characters: Vec<u32> = text.chars().map(u32::from).collect();
            characters.resize(longest, 0);
            characters.iter().try_for_each(|c| to.write_all(&c.to_le_bytes()))?;
        }
        Ok(())
    }
}

/// The head of an array in NumPy's format 1.0, padded to 64 bytes: its type and its sizes, each with a comma behind it.
pub(crate) fn header(dtype: &str, shape: &str, to: &mut impl Write) -> io::Result<()> {
    let mut text = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape}), }}");
    let unpadded = 10 + text.len() + 1;
    text.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    text.push('\n');
    to.write_all(b"\x93NUMPY\x01\x00")?;
    to.write_all(&(text.len() as u16).to_le_bytes())?;
    to.write_all(text.as_bytes())
}

impl<W: Write> Sink for Npz<W> {
    fn write(&mut self, rows: &Table) -> io::Result<()> {
        if self.columns.is_empty() {
            let columns = rows.0.iter().map(|(name, column)| Waiting::new(name, column));
            self.columns = columns.collect::<io::Result<_>>()?;
        }
        let mut columns = self.columns.iter_mut().zip(&rows.0);
        columns.try_for_each(|(waiting, (_, column))| waiting.add(column))
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let Self { to, columns } = *self;
        let mut zip = ZipWriter::new_stream(to);
        // As `numpy.savez` has it, and larger than 4 GiB if need be.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(true);
        for column in columns {
            zip.start_file(format!("{}.npy", column.name), options)?;
            column.array(&mut zip)?;
        }
        zip.finish()?.into_inner().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_several_batches_are_read_back() {
        let batch = |texts: [&str; 2], first: f32| {
            let texts = texts.map(str::to_owned).to_vec();
            let values = (0..6).map(|i| first + i as f32).collect();
            Table(vec![
                ("path", Column::Texts(texts)),
                ("features", Column::Vectors { dim: 3, values }),
            ])
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.npz");
        let mut npz = Box::new(Npz::new(File::create(&path).expect("made")));
        npz.write(&batch(["a", "grün"], 0.0)).expect("written");
        npz.write(&batch(["", "\u{1f408} b"], 6.0)).expect("written");
        npz.finish().expect("written");
        let mut zip = zip::ZipArchive::new(File::open(&path).expect("there")).expect("a zip");
        let mut array = |name: &str| {
            let mut bytes = Vec::new();
            zip.by_name(name)
                .expect("there")
                .read_to_end(&mut bytes)
                .expect("whole");
            bytes
        };
        let features = array("features.npy");
        let (head, data) = features.split_at(128);
        let head = String::from_utf8_lossy(&head[10..]);
        assert!(head.contains("'<f4'") && head.contains("(4, 3, )"), "{head}");
        let values: Vec<f32> = data.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect();
        assert_eq!(values, (0..12).map(|i| i as f32).collect::<Vec<f32>>());
        let paths = array("path.npy");
        assert!(String::from_utf8_lossy(&paths[10..128]).contains("'<U4'"));
        let data = &paths[paths.len() - 4 * 4 * 4..];
        let characters: Vec<u32> = data.as_chunks::<4>().0.iter().map(|c| u32::from_le_bytes(*c)).collect();
        let text = |row: usize| -> String {
            let row = characters[4 * row..4 * row + 4].iter();
            row.filter(|c| **c != 0).filter_map(|c| char::from_u32(*c)).collect()
        };
        assert_eq!([0, 1, 2, 3].map(text), ["a", "grün", "", "\u{1f408} b"]);
    }
}
