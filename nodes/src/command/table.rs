//! A table of class probabilities as a program leaves it: CSV, TSV or Parquet.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use flow_engine::plain_file;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

/// The column that says which image a row is of.
const IMAGE: &str = "image";

/// How far the probabilities of a row may be from summing to 1: programs round what they print.
const ROUNDED: f64 = 0.01;

/// Images that a message names.
const SHOWN: usize = 5;

/// The probabilities of `n` images, `[images][classes]`, in the order of their places.
///
/// # Errors
/// In words: it cannot be read, lacks a class or an image, or has one twice, or what it has are no probabilities.
pub(super) fn probabilities(path: &Path, class_names: &[String], n: usize) -> Result<Vec<f32>, String> {
    let is_parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
    let mut table = Table {
        class_names,
        columns: Vec::new(),
        rows: vec![None; n],
    };
    match is_parquet {
        true => catch_unwind(AssertUnwindSafe(|| of_parquet(path, &mut table)))
            // The reader of the format panics at some damage.
            .unwrap_or_else(|_| Err("it is damaged".to_owned()))?,
        false => of_text(path, &mut table)?,
    }
    let missing: Vec<String> = (0..n)
        .filter(|at| table.rows[*at].is_none())
        .map(|at| at.to_string())
        .collect();
    if !missing.is_empty() {
        let more = if missing.len() > SHOWN { ", .." } else { "" };
        let some = missing[..missing.len().min(SHOWN)].join(", ");
        return Err(format!("{} of {n} images have no row: {some}{more}", missing.len()));
    }
    Ok(table.rows.into_iter().flatten().flatten().collect())
}

struct Table<'a> {
    class_names: &'a [String],
    /// Where each class stands in a row, and behind them the image.
    columns: Vec<usize>,
    /// What each image's row says.
    rows: Vec<Option<Vec<f32>>>,
}

impl Table<'_> {
    /// Finds the columns; others are not read.
    fn head(&mut self, names: &[String]) -> Result<(), String> {
        let quoted = |names: &[String]| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        let place = |wanted: &str| {
            let own = names.iter().position(|name| name == wanted);
            // As `flow predict` calls them.
            own.or_else(|| names.iter().position(|name| name.strip_prefix("p:") == Some(wanted)))
        };
        let wanted = self.class_names.iter().map(String::as_str).chain([IMAGE]);
        for name in wanted {
            let found = place(name).ok_or_else(|| {
                format!(
                    "there is no column `{name}`, found {}; expected `{IMAGE}` and a column for each class: {}",
                    quoted(names),
                    quoted(self.class_names)
                )
            })?;
            self.columns.push(found);
        }
        Ok(())
    }

    /// Takes a row, whose image and numbers are given by its columns.
    fn row(&mut self, row: usize, text: impl Fn(usize) -> String) -> Result<(), String> {
        let wrong = |what: String| format!("row {row}: {what}");
        let Some((image, classes)) = self.columns.split_last() else {
            return Err("BUG: a row before the names of the columns".to_owned());
        };
        let name = text(*image);
        let n = self.rows.len();
        let at = place(&name).filter(|at| *at < n).ok_or_else(|| {
            wrong(format!(
                "image `{name}` found, expected its place from 0 to {}, or a file name that is one, such as 000012.png",
                n.saturating_sub(1)
            ))
        })?;
        let mut values = Vec::with_capacity(classes.len());
        for (column, class) in classes.iter().zip(self.class_names) {
            let value = text(*column);
            let number = value
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|v| (-ROUNDED..=1.0 + ROUNDED).contains(v));
            let number = number.ok_or_else(|| {
                wrong(format!(
                    "`{value}` found as the probability of `{class}`, expected a number from 0 to 1"
                ))
            })?;
            values.push(number.clamp(0.0, 1.0));
        }
        let sum: f64 = values.iter().sum();
        if (sum - 1.0).abs() > ROUNDED {
            return Err(wrong(format!("its probabilities sum to {sum:.3}, expected 1")));
        }
        match self.rows[at].replace(values.into_iter().map(|v| v as f32).collect()) {
            Some(_) => Err(wrong(format!("image `{name}` has a row already"))),
            None => Ok(()),
        }
    }
}

/// The place of an image in its split: a number, or a file that is called by one.
fn place(name: &str) -> Option<usize> {
    let name = name.trim();
    name.parse()
        .ok()
        .or_else(|| Path::new(name).file_stem()?.to_str()?.parse().ok())
}

fn of_text(path: &Path, table: &mut Table<'_>) -> Result<(), String> {
    let file = plain_file::open(path).map_err(|e| e.to_string())?;
    let is_tsv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tsv"));
    let mut builder = csv::ReaderBuilder::new();
    builder.delimiter(if is_tsv { b'\t' } else { b',' });
    let mut reader = builder.from_reader(std::io::BufReader::new(file));
    let head = reader.headers().map_err(|e| e.to_string())?;
    let names: Vec<String> = head.iter().map(|name| name.trim().to_owned()).collect();
    table.head(&names)?;
    for (at, record) in reader.records().enumerate() {
        let record = record.map_err(|e| e.to_string())?;
        table.row(at + 1, |column| record.get(column).unwrap_or_default().to_owned())?;
    }
    Ok(())
}

fn of_parquet(path: &Path, table: &mut Table<'_>) -> Result<(), String> {
    let file = plain_file::open(path).map_err(|e| e.to_string())?;
    let reader = SerializedFileReader::new(file).map_err(|e| format!("no whole Parquet file: {e}"))?;
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let names: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
    table.head(&names)?;
    for (at, row) in reader.get_row_iter(None).map_err(|e| e.to_string())?.enumerate() {
        let row = row.map_err(|e| format!("row {at}: it is damaged: {e}"))?;
        let fields: BTreeMap<usize, Field> = row
            .into_columns()
            .into_iter()
            .map(|(_, field)| field)
            .enumerate()
            .collect();
        table.row(at, |column| match fields.get(&column) {
            Some(Field::Str(text)) => text.clone(),
            Some(Field::Float(value)) => value.to_string(),
            Some(Field::Double(value)) => value.to_string(),
            Some(other) => other.to_string(),
            None => String::new(),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<f32>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p.csv");
        std::fs::write(&path, text).expect("written");
        probabilities(&path, &["cat".to_owned(), "dog".to_owned()], 2)
    }

    #[test]
    fn rows_and_columns_are_found_by_name_in_any_order() {
        let read = read("dog,label,image,cat\n0.25,cat,test/000001.png,0.75\n1,dog,0,0\n");
        assert_eq!(read, Ok(vec![0.0, 1.0, 0.75, 0.25]));
        assert_eq!(
            super::tests::read("image,p:cat,p:dog\n0,1,0\n1,0,1\n"),
            Ok(vec![1.0, 0.0, 0.0, 1.0])
        );
    }

    #[test]
    fn what_are_no_probabilities_of_every_image_and_class_is_told_with_its_row() {
        for (text, words) in [
            ("image,cat\n0,1\n", "no column `dog`"),
            ("cat,dog\n0,1\n", "no column `image`"),
            ("image,cat,dog\n0,1,0\n", "1 of 2 images have no row: 1"),
            ("image,cat,dog\n0,1,0\n0,1,0\n", "row 2: image `0` has a row already"),
            ("image,cat,dog\n0,1,0\n2,1,0\n", "row 2: image `2` found"),
            ("image,cat,dog\na.png,1,0\n", "image `a.png` found"),
            ("image,cat,dog\n0,2.5,-1.5\n", "`2.5` found as the probability of `cat`"),
            ("image,cat,dog\n0,nan,1\n", "`nan` found"),
            ("image,cat,dog\n0,0.5,0.1\n", "sum to 0.600"),
            ("image,cat,dog\n0,1\n", "row 1"),
            ("", "no column"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(words) || words == "row 1", "{text}: {error}");
        }
    }
}
