//! CSV and JSON lines.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::{Column, Sink, Table};

/// Comma-separated values: a line of names, then a line a row.
pub struct Csv<W: Write> {
    writer: csv::Writer<W>,
    begun: bool,
}

impl<W: Write> Csv<W> {
    /// To `to`.
    pub fn new(to: W) -> Self {
        Self {
            writer: csv::Writer::from_writer(to),
            begun: false,
        }
    }

    fn write_rows(&mut self, rows: &Table) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            self.writer.write_record(rows.0.iter().flat_map(names))?;
        }
        for row in 0..rows.rows() {
            self.writer
                .write_record(rows.0.iter().flat_map(|(_, column)| cells(column, row)))?;
        }
        self.writer.flush()
    }
}

impl<W: Write> Sink for Csv<W> {
    fn write(&mut self, rows: &Table) -> io::Result<()> {
        self.write_rows(rows)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What a column's cells are called; of several behind its own name.
pub(super) fn names((name, column): &(&'static str, Column)) -> Vec<String> {
    match column {
        Column::Texts(_) | Column::Numbers(_) => vec![(*name).to_owned()],
        Column::Named { names, .. } => names.iter().map(|of| format!("{name}:{of}")).collect(),
        Column::Vectors { dim, .. } => (0..*dim).map(|at| format!("{name}:{at}")).collect(),
    }
}

fn cells(column: &Column, row: usize) -> Vec<String> {
    let numbers = |values: &[f32], width: usize| {
        let of_row = values[row * width..(row + 1) * width].iter();
        of_row.map(f32::to_string).collect()
    };
    match column {
        Column::Texts(texts) => vec![texts[row].clone()],
        Column::Numbers(values) => numbers(values, 1),
        Column::Named { names, values } => numbers(values, names.len()),
        Column::Vectors { dim, values } => numbers(values, *dim),
    }
}

/// A JSON object a line.
pub struct JsonLines<W: Write> {
    to: W,
}

impl<W: Write> JsonLines<W> {
    /// To `to`.
    pub fn new(to: W) -> Self {
        Self { to }
    }
}

impl<W: Write> Sink for JsonLines<W> {
    fn write(&mut self, rows: &Table) -> io::Result<()> {
        for row in 0..rows.rows() {
            let object: Map<String, Value> = rows
                .0
                .iter()
                .map(|(name, column)| ((*name).to_owned(), value(column, row)))
                .collect();
            serde_json::to_writer(&mut self.to, &object)?;
            self.to.write_all(b"\n")?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.to.flush()
    }
}

fn value(column: &Column, row: usize) -> Value {
    match column {
        Column::Texts(texts) => texts[row].as_str().into(),
        Column::Numbers(values) => values[row].into(),
        Column::Named { names, values } => {
            let values = &values[row * names.len()..];
            Value::Object(names.iter().cloned().zip(values.iter().map(|v| (*v).into())).collect())
        }
        Column::Vectors { dim, values } => values[row * dim..(row + 1) * dim].iter().copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table(vec![
            ("path", Column::Texts(vec!["a, b.png".into(), "\"ü\".png".into()])),
            ("confidence", Column::Numbers(vec![0.75, 1.0])),
            (
                "p",
                Column::Named {
                    names: vec!["cat".into(), "dog".into()],
                    values: vec![0.75, 0.25, 0.0, 1.0],
                },
            ),
            (
                "features",
                Column::Vectors {
                    dim: 1,
                    values: vec![-2.0, 0.1],
                },
            ),
        ])
    }

    #[test]
    fn csv_has_one_line_of_names_and_a_line_a_row() {
        let mut bytes = Vec::new();
        let mut csv = Csv::new(&mut bytes);
        csv.write(&table()).expect("written");
        csv.write(&table()).expect("written");
        drop(csv);
        let text = String::from_utf8(bytes).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0], "path,confidence,p:cat,p:dog,features:0");
        assert_eq!(lines[1], "\"a, b.png\",0.75,0.75,0.25,-2");
        assert_eq!(lines[4], "\"\"\"ü\"\".png\",1,0,1,0.1");
    }

    #[test]
    fn a_json_line_is_an_object_with_names_within() {
        let mut bytes = Vec::new();
        JsonLines::new(&mut bytes).write(&table()).expect("written");
        let text = String::from_utf8(bytes).expect("text");
        let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        let expected = serde_json::json!({
            "path": "a, b.png", "confidence": 0.75, "p": { "cat": 0.75, "dog": 0.25 }, "features": [-2.0],
        });
        assert_eq!(first, expected);
    }
}
