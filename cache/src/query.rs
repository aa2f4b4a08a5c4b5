//! The query language over records, for `flow cache query`.
//!
//! ```text
//! kind = finetune and params.labels <= 100 and metrics.accuracy > 0.7 order by metrics.accuracy desc limit 5
//! ```
//!
//! | field | what it is | compared with |
//! | --- | --- | --- |
//! | `kind`, `node`, `workflow` | as in the record | text |
//! | `key` | the action key | its first digits |
//! | `inputs` | the keys of the records that were consumed | the first digits of one of them |
//! | `params.<path>` | a parameter, e.g. `params.optimizer.lr` | number, text, `true`, `false` |
//! | `metrics.<name>`, `cost.wall_s`, `cost.threads` | as in the record | number |
//! | `size` | bytes of all outputs | number, `500kB`, `10MB`, `1GiB` |
//! | `started`, `finished` | a time (UTC) | `2026-11-23`, `2026-11-23T08:30` |
//! | `tag` | the names that people gave it | text |
//! | `pinned`, `collected` | whether it is kept, whether its outputs were collected | `true`, `false` |
//! | `age` | time since it finished | `90s`, `30m`, `12h`, `2d`, `1w` |
//!
//! Operators: `=` `!=` `<` `<=` `>` `>=`, `~` (contains), `not`, `and`, `or`, parentheses. Text with spaces or operators in it
//! is quoted, and so is a part of a path that has dots or spaces: `params."odd name"`. A record that lacks a field is
//! never selected by a comparison with it, neither by `=` nor by `!=` nor by a `not` around them.

mod ast;
mod error;
mod eval;
mod field;
mod lex;
mod literal;
mod op;
mod parse;
mod row;

pub use ast::{Direction, Expr, Query};
pub use error::{QueryError, SyntaxError};
pub use field::Field;
pub use literal::{Literal, parse_size, parse_span};
pub use op::Op;
pub(crate) use row::{Columns, World};

#[cfg(test)]
mod tests;
