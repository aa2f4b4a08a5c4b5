//! What can be wrong with a query.

use std::fmt;

use crate::error::CacheError;

/// A query that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is no query.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// The records cannot be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Where a text stops being a query, and what would have been one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The query.
    pub query: String,
    /// The byte offset of what is wrong.
    pub at: usize,
    /// What stands there; `None` at the end.
    pub found: Option<String>,
    /// What could stand there.
    pub expected: String,
    /// The valid name nearest to what was found.
    pub suggestion: Option<String>,
}

impl SyntaxError {
    /// The column, counted in characters from 1.
    pub fn column(&self) -> usize {
        self.query.get(..self.at).unwrap_or(&self.query).chars().count() + 1
    }
}

impl std::error::Error for SyntaxError {}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = self.column();
        write!(f, "query, column {column}: expected {}, found ", self.expected)?;
        match &self.found {
            Some(found) => write!(f, "`{found}`")?,
            None => write!(f, "the end")?,
        }
        if let Some(name) = &self.suggestion {
            write!(f, "; did you mean `{name}`?")?;
        }
        let line = self.query.replace(['\n', '\t'], " ");
        write!(f, "\n    {line}\n    {:>column$}", '^')
    }
}

/// The valid name that `found` may have meant.
pub(super) fn nearest<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let scored = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name));
    let (distance, name) = scored.min()?;
    (distance <= 1.max(name.len() / 3) && distance < name.len()).then(|| name.to_owned())
}
