//! From tokens to a tree: recursive descent, `or` binding least, then `and`, then `not`.

use std::str::FromStr;

use super::ast::{Direction, Expr, Query};
use super::error::{QueryError, SyntaxError, nearest};
use super::field::{Class, Field};
use super::lex::{Kind, Token, tokens};
use super::literal::Literal;
use super::op::Op;

/// How deep parentheses and `not` may nest, so that no text overflows the stack.
const DEPTH: usize = 64;

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parser = Parser {
            query: text,
            tokens: tokens(text)?,
            next: 0,
            depth: 0,
        };
        Ok(parser.query()?)
    }
}

struct Parser<'a> {
    query: &'a str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser<'_> {
    fn query(&mut self) -> Result<Query, SyntaxError> {
        let starts_with_clause = self.at_end() || self.is_word("order") || self.is_word("limit");
        let filter = if starts_with_clause { None } else { Some(self.or()?) };
        let order = if self.take_word("order") {
            self.order()?
        } else {
            Vec::new()
        };
        let limit = if self.take_word("limit") {
            Some(self.limit()?)
        } else {
            None
        };
        if !self.at_end() {
            let expected = match (&limit, order.is_empty()) {
                (Some(_), _) => "nothing more",
                (None, false) => "`,`, `limit` or the end",
                (None, true) => "`and`, `or`, `order by`, `limit` or the end",
            };
            return Err(self.error(expected, &["and", "or", "order", "limit"]));
        }
        Ok(Query { filter, order, limit })
    }

    fn or(&mut self) -> Result<Expr, SyntaxError> {
        let first = self.and()?;
        self.joined(first, "or", Self::and, Expr::Or)
    }

    fn and(&mut self) -> Result<Expr, SyntaxError> {
        let first = self.not()?;
        self.joined(first, "and", Self::not, Expr::And)
    }

    fn joined(
        &mut self,
        first: Expr,
        word: &str,
        next: fn(&mut Self) -> Result<Expr, SyntaxError>,
        join: fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr, SyntaxError> {
        let mut parts = vec![first];
        while self.take_word(word) {
            parts.push(next(self)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { join(parts) })
    }

    fn not(&mut self) -> Result<Expr, SyntaxError> {
        if self.depth == DEPTH {
            return Err(self.error("a condition nested less deeply", &[]));
        }
        self.depth += 1;
        let expr = if self.take_word("not") {
            Expr::Not(Box::new(self.not()?))
        } else if self.take(&Kind::Open) {
            let inner = self.or()?;
            if !self.take(&Kind::Close) {
                return Err(self.error("`and`, `or` or `)`", &["and", "or"]));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn comparison(&mut self) -> Result<Expr, SyntaxError> {
        let field = self.field()?;
        let op = self.op(&field)?;
        let literal = match self.peek() {
            Some(Kind::Word(word)) => Literal::bare(word, field.class()),
            Some(Kind::Quoted(text)) => Literal::quoted(text, field.class()),
            _ => Err("a value"),
        };
        let literal = literal.map_err(|expected| self.error(expected, &[]))?;
        self.next += 1;
        Ok(Expr::Compare(field, op, literal))
    }

    fn field(&mut self) -> Result<Field, SyntaxError> {
        let word = match self.peek() {
            Some(Kind::Word(word)) => word.clone(),
            _ => return Err(self.error(&format!("a field: {}", Field::names()), &[])),
        };
        match Field::parse(&word) {
            Some(field) => {
                self.next += 1;
                Ok(field)
            }
            None => {
                let names = Field::suggestions(&word);
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Err(self.error(&format!("a field: {}", Field::names()), &names))
            }
        }
    }

    fn op(&mut self, field: &Field) -> Result<Op, SyntaxError> {
        let expected = match field.class() {
            Class::Keys => "`=`, `!=` or `~`",
            Class::Text | Class::Any => "`=`, `!=`, `<`, `<=`, `>`, `>=` or `~`",
            Class::Number | Class::Bytes | Class::Time | Class::Span => "`=`, `!=`, `<`, `<=`, `>` or `>=`",
        };
        match self.peek() {
            Some(Kind::Op(op)) if expected.contains(&format!("`{op}`")) => {
                let op = *op;
                self.next += 1;
                Ok(op)
            }
            _ => Err(self.error(expected, &[])),
        }
    }

    fn order(&mut self) -> Result<Vec<(Field, Direction)>, SyntaxError> {
        if !self.take_word("by") {
            return Err(self.error("`by`", &["by"]));
        }
        let mut order = Vec::new();
        loop {
            let field = self.field()?;
            let descending = self.take_word("desc");
            if !descending {
                self.take_word("asc");
            }
            order.push((
                field,
                if descending {
                    Direction::Descending
                } else {
                    Direction::Ascending
                },
            ));
            if !self.take(&Kind::Comma) {
                return Ok(order);
            }
        }
    }

    fn limit(&mut self) -> Result<usize, SyntaxError> {
        match self.peek() {
            Some(Kind::Word(word)) if word.parse::<usize>().is_ok() => {
                let limit = word.parse().unwrap_or(usize::MAX);
                self.next += 1;
                Ok(limit)
            }
            _ => Err(self.error("a whole number", &[])),
        }
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn at_end(&self) -> bool {
        self.next == self.tokens.len()
    }

    fn is_word(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Kind::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let taken = self.is_word(keyword);
        self.next += usize::from(taken);
        taken
    }

    fn take(&mut self, kind: &Kind) -> bool {
        let taken = self.peek() == Some(kind);
        self.next += usize::from(taken);
        taken
    }

    fn error(&self, expected: &str, names: &[&str]) -> SyntaxError {
        let token = self.tokens.get(self.next);
        let found = token
            .and_then(|token| self.query.get(token.start..token.end))
            .map(str::to_owned);
        SyntaxError {
            query: self.query.to_owned(),
            at: token.map_or(self.query.len(), |token| token.start),
            suggestion: found.as_deref().and_then(|found| nearest(found, names.iter().copied())),
            found,
            expected: expected.to_owned(),
        }
    }
}
