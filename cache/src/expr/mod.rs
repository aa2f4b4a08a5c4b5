//! Conditions as text: one language for `when` in workflows and for queries over records.
//!
//! ```text
//! condition  = all {"or" all}
//! all        = not {"and" not}
//! not        = "not" not | comparison
//! comparison = operand [operator operand]
//! operand    = "(" condition ")" | "[" value {"," value} "]" | value
//! operator   = "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "in"
//! ```
//!
//! A value is a bare word or a text in quotes; what a word means is for the user of the tree to say. Nesting is limited, so
//! that neither reading a text nor walking its tree can overflow the stack.

mod error;
mod lex;
mod number;
mod op;
mod parse;

use std::ops::Range;

pub use error::SyntaxError;
pub use lex::quote;
pub(crate) use lex::{is_word, unquote};
pub use number::Number;
pub use op::Op;
pub use parse::{Parser, condition};

/// A part of a condition and the byte offsets between which it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// What it says.
    pub expr: Expr,
    /// Where, parentheses not counted.
    pub span: Range<usize>,
}

/// What a condition says. `And` and `Or` hold at least two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// A name, a number, `true`, `false` or a text without quotes.
    Word(String),
    /// A text in quotes, without them.
    Text(String),
    /// Words and texts.
    List(Vec<Tree>),
    /// Two operands compared.
    Compare(Box<Tree>, Op, Box<Tree>),
    /// The opposite.
    Not(Box<Tree>),
    /// All of them.
    And(Vec<Tree>),
    /// One of them at least.
    Or(Vec<Tree>),
}

#[cfg(test)]
mod tests;
