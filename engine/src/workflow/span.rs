//! Where a value was written: in the workflow file or in an override on the command line.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A text that people wrote, with the name by which they know it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The file's path as given, or `--set`.
    pub(crate) name: Arc<str>,
    /// All of it.
    pub(crate) text: Arc<str>,
    /// The file; `name` where there is none.
    pub(crate) path: PathBuf,
    /// The directory that the paths written in it are relative to.
    pub(crate) dir: PathBuf,
}

impl Source {
    pub(crate) fn new(name: &str, text: impl Into<Arc<str>>) -> Self {
        Self::file(Path::new(name), text)
    }

    /// The text of a file, whose path need not be UTF-8.
    pub(crate) fn file(path: &Path, text: impl Into<Arc<str>>) -> Self {
        let dir = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self {
            name: path.to_string_lossy().into(),
            text: text.into(),
            path: path.to_owned(),
            dir,
        }
    }
}

/// A piece of a [`Source`], as a byte range.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) source: Arc<Source>,
    pub(crate) range: Range<usize>,
}

impl Span {
    pub(crate) fn new(source: &Arc<Source>, range: Range<usize>) -> Self {
        let end = source.text.len();
        let start = range.start.min(end);
        Self {
            source: Arc::clone(source),
            range: start..range.end.clamp(start, end),
        }
    }

    /// Where it begins.
    pub(crate) fn location(&self) -> Location {
        Location::of(&self.source, self.range.start)
    }

    pub(crate) fn same(&self, other: &Span) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && self.range == other.range
    }
}

/// A place for people: file, line and column, both counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Location {
    /// The file's path as given, or `--set`.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Location {
    fn of(source: &Source, offset: usize) -> Self {
        let before = &source.text.as_bytes()[..offset.min(source.text.len())];
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        Self {
            file: source.name.to_string(),
            line: before.split(|b| *b == b'\n').count(),
            column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_start_at_one() {
        let source = Arc::new(Source::new("a.toml", "é = 1\nüx = 2"));
        let at = Span::new(&source, 9..10).location();
        assert_eq!((at.line, at.column), (2, 2));
        assert_eq!(at.to_string(), "a.toml:2:2");
    }

    #[test]
    fn a_span_past_the_end_is_cut_to_the_text() {
        let source = Arc::new(Source::new("a.toml", "ab"));
        assert_eq!(Span::new(&source, 5..9).range, 2..2);
    }
}
