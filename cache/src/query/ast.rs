//! A query as a tree. Printing it gives a text that parses to the same tree.

use std::fmt;

use super::field::Field;
use super::literal::Literal;
use crate::expr::Op;

/// A parsed query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Which records; all if absent.
    pub filter: Option<Expr>,
    /// In which order, the first field counting most; newest first among equals.
    pub order: Vec<(Field, Direction)>,
    /// How many at most.
    pub limit: Option<usize>,
}

/// Which way an order runs. Records without the field come last either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// A condition. `And` and `Or` hold at least two.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A field compared with a value.
    Compare(Field, Op, Literal),
    /// The opposite.
    Not(Box<Expr>),
    /// All of them.
    And(Vec<Expr>),
    /// One of them at least.
    Or(Vec<Expr>),
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clauses = Vec::new();
        clauses.extend(self.filter.as_ref().map(Expr::to_string));
        if !self.order.is_empty() {
            let fields: Vec<String> = self
                .order
                .iter()
                .map(|(field, direction)| format!("{field} {direction}"))
                .collect();
            clauses.push(format!("order by {}", fields.join(", ")));
        }
        clauses.extend(self.limit.map(|limit| format!("limit {limit}")));
        f.write_str(&clauses.join(" "))
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        })
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare(field, op, literal) => write!(f, "{field} {op} {literal}"),
            Self::Not(inner) => {
                f.write_str("not ")?;
                inner.fmt_inside(f, matches!(**inner, Self::And(_) | Self::Or(_)))
            }
            Self::And(parts) => fmt_joined(f, parts, " and ", |part| matches!(part, Self::And(_) | Self::Or(_))),
            Self::Or(parts) => fmt_joined(f, parts, " or ", |part| matches!(part, Self::Or(_))),
        }
    }
}

impl Expr {
    fn fmt_inside(&self, f: &mut fmt::Formatter<'_>, parentheses: bool) -> fmt::Result {
        if parentheses {
            write!(f, "({self})")
        } else {
            write!(f, "{self}")
        }
    }
}

fn fmt_joined(f: &mut fmt::Formatter<'_>, parts: &[Expr], by: &str, parentheses: fn(&Expr) -> bool) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            f.write_str(by)?;
        }
        part.fmt_inside(f, parentheses(part))?;
    }
    Ok(())
}
