//! Labels from a table: CSV, or TSV by its ending, with a row for each image.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::folder::{Entry, Fault, split_of};

/// What the columns of a table of labels are called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// Where the image is, relative to the table: `path` if left out.
    pub path: Option<String>,
    /// Its class, empty where it has no label: `label` if left out.
    pub label: Option<String>,
    /// `train`, `validation` or `test`, empty where that is left to flow: `split` if left out and there.
    pub split: Option<String>,
    /// What it belongs together with (a patient, a video): such images are never divided between splits.
    pub group: Option<String>,
}

/// Places of the columns in a row.
struct Places {
    path: usize,
    label: usize,
    split: Option<usize>,
    group: Option<usize>,
}

/// The files at `paths` with the labels that the table gives them; none to those that it does not name.
pub(super) fn entries(
    folder: &Path,
    table: &Path,
    columns: &Columns,
    paths: Vec<PathBuf>,
) -> Result<Vec<Entry>, Fault> {
    let shown = folder.join(table);
    let separator = if table.extension().is_some_and(|e| e.eq_ignore_ascii_case("tsv")) {
        b'\t'
    } else {
        b','
    };
    let fault = |what: String| {
        let help = "a table has a line with the names of its columns, then a line for each image: `path,label`";
        Fault::new(format!("{}{what}", shown.display()), help)
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .from_path(&shown)
        .map_err(|e| fault(format!(": {e}")))?;
    let head = reader.byte_headers().map_err(|e| fault(format!(": {e}")))?.clone();
    let places = Places::find(&head, columns).map_err(|what| fault(format!(":1: {what}")))?;
    let base = table.parent().unwrap_or(Path::new(""));
    let by_path: HashMap<PathBuf, usize> = paths.iter().cloned().zip(0..).collect();
    let unlabelled = |path| Entry {
        path,
        label: None,
        split: None,
        group: None,
    };
    let mut entries: Vec<Entry> = paths.into_iter().map(unlabelled).collect();
    let mut row_of: HashMap<usize, u64> = HashMap::new();
    for record in reader.byte_records() {
        let record = record.map_err(|e| match e.kind() {
            csv::ErrorKind::UnequalLengths {
                pos: Some(at),
                expected_len,
                len,
            } => fault(format!(
                ":{}: {len} cell(s) found, expected {expected_len} as in line 1",
                at.line()
            )),
            _ => fault(format!(": {e}")),
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |what: String| fault(format!(":{line}: {what}"));
        let cell = |place: usize| record.get(place).unwrap_or_default().trim_ascii();
        let written = Path::new(OsStr::from_bytes(cell(places.path)));
        let path: PathBuf = base
            .join(written)
            .components()
            .filter(|c| !matches!(c, Component::CurDir))
            .collect();
        let Some(at) = by_path.get(&path) else {
            return Err(wrong(format!("there is no image `{}`", written.display())));
        };
        if let Some(earlier) = row_of.insert(*at, line) {
            return Err(wrong(format!("`{}` is already in line {earlier}", written.display())));
        }
        let text = |place: usize| match String::from_utf8_lossy(cell(place)) {
            text if text.is_empty() => None,
            text => Some(text.into_owned()),
        };
        let entry = &mut entries[*at];
        entry.label = text(places.label);
        entry.group = places.group.and_then(text);
        if let Some(split) = places.split.and_then(text) {
            let known = split_of(OsStr::new(&split));
            entry.split = Some(
                known.ok_or_else(|| wrong(format!("`{split}` is not a split: expected train, validation or test")))?,
            );
        }
    }
    Ok(entries)
}

impl Places {
    fn find(head: &csv::ByteRecord, columns: &Columns) -> Result<Self, String> {
        let place = |name: &str| head.iter().position(|cell| plain(cell) == name.as_bytes());
        let names = || {
            let names: Vec<_> = head.iter().map(|cell| String::from_utf8_lossy(plain(cell))).collect();
            names.join(", ")
        };
        let needed = |given: &Option<String>, usual: &str| {
            let name = given.as_deref().unwrap_or(usual);
            place(name).ok_or_else(|| {
                format!(
                    "there is no column `{name}` among {}; `columns = {{ {usual} = \"..\" }}` names it",
                    names()
                )
            })
        };
        Ok(Self {
            path: needed(&columns.path, "path")?,
            label: needed(&columns.label, "label")?,
            split: columns
                .split
                .as_ref()
                .map_or(Ok(place("split")), |_| needed(&columns.split, "split").map(Some))?,
            group: columns
                .group
                .as_ref()
                .map(|_| needed(&columns.group, "group"))
                .transpose()?,
        })
    }
}

/// A cell of the first line without a byte order mark and blanks.
fn plain(cell: &[u8]) -> &[u8] {
    cell.strip_prefix(b"\xef\xbb\xbf").unwrap_or(cell).trim_ascii()
}
