//! From a text to a query: the condition as [`crate::expr`] reads it, its words taken as fields and values; then the clauses.

use std::str::FromStr;

use super::QueryError;
use super::ast::{Direction, Expr, Query};
use super::field::{Class, Field};
use super::literal::Literal;
use crate::expr::{self, Op, Parser, SyntaxError, Tree};

/// Says which kinds there are, if a word is none of them.
pub(crate) type Kinds<'a> = &'a dyn Fn(&str) -> Option<Vec<String>>;

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::read(text, &|_| None)?)
    }
}

impl Query {
    /// Reads a query that names only kinds that there are.
    pub(crate) fn read(text: &str, kinds: Kinds<'_>) -> Result<Self, SyntaxError> {
        let mut reader = Reader {
            parser: Parser::new(text)?,
            kinds,
        };
        reader.query()
    }
}

struct Reader<'a> {
    parser: Parser<'a>,
    kinds: Kinds<'a>,
}

impl Reader<'_> {
    fn query(&mut self) -> Result<Query, SyntaxError> {
        let parser = &mut self.parser;
        let no_filter = parser.at_end() || parser.is_word("order") || parser.is_word("limit");
        let filter = match no_filter {
            true => None,
            false => {
                let tree = parser.condition()?;
                Some(self.filter(tree)?)
            }
        };
        let order = if self.parser.take_word("order") {
            self.order()?
        } else {
            Vec::new()
        };
        let limit = if self.parser.take_word("limit") {
            Some(self.limit()?)
        } else {
            None
        };
        if !self.parser.at_end() {
            let expected = match (&limit, order.is_empty()) {
                (Some(_), _) => "nothing more",
                (None, false) => "`,`, `limit` or the end",
                (None, true) => "`and`, `or`, `order by`, `limit` or the end",
            };
            return Err(self.parser.error(expected, &["and", "or", "order", "limit"]));
        }
        Ok(Query { filter, order, limit })
    }

    fn filter(&self, tree: Tree) -> Result<Expr, SyntaxError> {
        let all = |parts: Vec<Tree>| {
            parts
                .into_iter()
                .map(|part| self.filter(part))
                .collect::<Result<_, SyntaxError>>()
        };
        match tree.expr {
            expr::Expr::Not(inner) => Ok(Expr::Not(Box::new(self.filter(*inner)?))),
            expr::Expr::And(parts) => Ok(Expr::And(all(parts)?)),
            expr::Expr::Or(parts) => Ok(Expr::Or(all(parts)?)),
            expr::Expr::Compare(left, op, right) => self.comparison(&left, op, &right),
            _ => {
                let field = self.field(&tree)?;
                Err(self.parser.error_at(tree.span.end, operators(field.class()), &[]))
            }
        }
    }

    fn comparison(&self, left: &Tree, op: Op, right: &Tree) -> Result<Expr, SyntaxError> {
        let field = self.field(left)?;
        let class = field.class();
        if !operators(class).contains(&format!("`{op}`")) {
            return Err(self.parser.error_at(left.span.end, operators(class), &[]));
        }
        match (&right.expr, op) {
            // One of a list: what `=` says of any of them.
            (expr::Expr::List(items), Op::In) => {
                let equals = |item| {
                    Ok(Expr::Compare(
                        field.clone(),
                        Op::Equal,
                        self.literal(&field, Op::Equal, item)?,
                    ))
                };
                let mut any = items.iter().map(equals).collect::<Result<Vec<Expr>, SyntaxError>>()?;
                Ok(if any.len() == 1 { any.remove(0) } else { Expr::Or(any) })
            }
            (_, Op::In) => Err(self.parser.error_at(right.span.start, "a list such as [1, 2]", &[])),
            _ => {
                let literal = self.literal(&field, op, right)?;
                Ok(Expr::Compare(field, op, literal))
            }
        }
    }

    fn field(&self, tree: &Tree) -> Result<Field, SyntaxError> {
        let expected = || format!("a field: {}", Field::names());
        let expr::Expr::Word(word) = &tree.expr else {
            return Err(self.parser.error_at(tree.span.start, &expected(), &[]));
        };
        Field::parse(word).ok_or_else(|| {
            let names = Field::suggestions(word);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            self.parser.error_at(tree.span.start, &expected(), &names)
        })
    }

    fn literal(&self, field: &Field, op: Op, tree: &Tree) -> Result<Literal, SyntaxError> {
        let wrong = |expected: &str, names: &[&str]| self.parser.error_at(tree.span.start, expected, names);
        let literal = match &tree.expr {
            expr::Expr::Word(word) => Literal::bare(word, field.class()),
            expr::Expr::Text(text) => Literal::quoted(text, field.class()),
            _ => Err("a value"),
        };
        let literal = literal.map_err(|expected| match field.class() {
            Class::Bool => wrong(expected, &["true", "false"]),
            _ => wrong(expected, &[]),
        })?;
        if let (Field::Kind, Op::Equal | Op::NotEqual, Literal::Text(kind)) = (field, op, &literal)
            && let Some(kinds) = (self.kinds)(kind)
        {
            let names: Vec<&str> = kinds.iter().map(String::as_str).collect();
            return Err(wrong(&format!("a kind: {}", names.join(", ")), &names));
        }
        Ok(literal)
    }

    fn order(&mut self) -> Result<Vec<(Field, Direction)>, SyntaxError> {
        if !self.parser.take_word("by") {
            return Err(self.parser.error("`by`", &["by"]));
        }
        let mut order = Vec::new();
        loop {
            let field = match self.parser.word() {
                Some(word) => self.field(&word)?,
                None => return Err(self.parser.error(&format!("a field: {}", Field::names()), &[])),
            };
            let descending = self.parser.take_word("desc");
            if !descending {
                self.parser.take_word("asc");
            }
            let direction = if descending {
                Direction::Descending
            } else {
                Direction::Ascending
            };
            order.push((field, direction));
            if !self.parser.take_comma() {
                return Ok(order);
            }
        }
    }

    fn limit(&mut self) -> Result<usize, SyntaxError> {
        let expected = self.parser.error("a whole number", &[]);
        let word = self.parser.word().ok_or_else(|| expected.clone())?;
        match word.expr {
            expr::Expr::Word(word) => word.parse().map_err(|_| expected),
            _ => Err(expected),
        }
    }
}

/// The comparisons that a field of this class takes.
fn operators(class: Class) -> &'static str {
    match class {
        Class::Keys => "`=`, `!=`, `in` or `~`",
        Class::Bool => "`=` or `!=`",
        Class::Text | Class::Any => "`=`, `!=`, `<`, `<=`, `>`, `>=`, `in` or `~`",
        Class::Number | Class::Bytes | Class::Time | Class::Span => "`=`, `!=`, `<`, `<=`, `>`, `>=` or `in`",
    }
}
