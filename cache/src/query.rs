//! The query language over records, for `flow cache query`.
//!
//! ```text
//! kind = evaluate and params.labels <= 100 and cost.total_s < 300 order by metrics.accuracy desc limit 5
//! ```
//!
//! | field | what it is | compared with |
//! | --- | --- | --- |
//! | `kind`, `workflow` | as in the record | text |
//! | `node` | as in the record; `student` is also `student[seed=0]` and `student@1[seed=0]` | text |
//! | `key` | the action key | its first digits |
//! | `inputs` | the keys of the records that were consumed | the first digits of one of them |
//! | `params.<path>` | a parameter, e.g. `params.optimizer.lr` | number, text, `true`, `false` |
//! | `metrics.<name>`, `cost.wall_s`, `cost.threads` | as in the record | number |
//! | `cost.total_s` | `cost.wall_s` of the entry and of all that it was made from, each counted once | number |
//! | `size` | bytes of all outputs | number, `500kB`, `10MB`, `1GiB` |
//! | `started`, `finished` | a time (UTC) | `2026-11-23`, `2026-11-23T08:30` |
//! | `tag` | the names that people gave it | text |
//! | `pinned`, `collected` | whether it is kept, whether its outputs were collected | `true`, `false` |
//! | `age` | time since it finished | `90s`, `30m`, `12h`, `2d`, `1w` |
//!
//! Operators: `=` `!=` `<` `<=` `>` `>=`, `~` (contains), `in [a, b]`, `not`, `and`, `or`, parentheses ([`crate::expr`]). Text with
//! spaces or operators in it is quoted, and so is a part of a path that has dots or spaces: `params."odd name"`. A kind that
//! there is not is an error.
//!
//! A parameter that an entry does not have itself is that of the nearest entries that it was made from. Where those differ,
//! `!=` holds if all of them are unequal, and any other comparison if it holds for one of them; in an order the first counts.
//!
//! A record that lacks a field is never selected by a comparison with it, neither by `=` nor by `!=` nor by a `not` around
//! them, and comes last in an order; so does one whose field is NaN. Numbers are compared without loss, but a parameter that
//! was rounded to an `f32` is found by the digits that were written as well.

mod ast;
mod eval;
mod field;
mod lineage;
mod literal;
mod parse;
mod row;

pub use ast::{Direction, Expr, Query};
pub use field::Field;
pub(crate) use lineage::Candidate;
pub use literal::{Literal, parse_size, parse_span};
pub(crate) use row::{Cells, Columns, World};

use crate::error::CacheError;
use crate::expr::SyntaxError;

/// A query that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is no query.
    #[error("query, {0}")]
    Syntax(#[from] SyntaxError),
    /// The records cannot be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

#[cfg(test)]
mod tests;
