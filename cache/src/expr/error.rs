//! What can be wrong with a condition.

use std::fmt;

/// Characters of a text that are shown on either side of what is wrong with it.
const SHOWN: usize = 60;

/// Where a text stops being a condition, and what would have been one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The whole text.
    pub text: String,
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
        self.text.get(..self.at).unwrap_or(&self.text).chars().count() + 1
    }

    /// What was expected and found, without the place.
    pub fn message(&self) -> String {
        let shorten = |found: &String| match found.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("`{}...`", &found[..end]),
            None => format!("`{found}`"),
        };
        let found = self.found.as_ref().map_or_else(|| "the end".to_owned(), shorten);
        let suggestion = self.suggestion.as_ref();
        let suggestion = suggestion.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
        format!("expected {}, found {found}{suggestion}", self.expected)
    }
}

impl std::error::Error for SyntaxError {}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = self.column();
        let from = column.saturating_sub(SHOWN);
        let shown = self.text.chars().skip(from.saturating_sub(1)).take(2 * SHOWN);
        let line: String = shown.map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
        let caret = column - from.saturating_sub(1);
        write!(
            f,
            "column {column}: {}\n    {line}\n    {:>caret$}",
            self.message(),
            '^'
        )
    }
}
