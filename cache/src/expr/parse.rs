//! From tokens to a tree: recursive descent, `or` binding least, then `and`, then `not`.

use std::ops::Range;

use super::error::SyntaxError;
use super::lex::{Kind, Token, tokens};
use super::{Expr, Tree};

/// How deep parentheses and `not` may nest, so that no text overflows the stack.
const DEPTH: usize = 64;

/// Reads a text that is a condition and nothing else.
///
/// # Errors
/// Where it stops being one.
pub fn condition(text: &str) -> Result<Tree, SyntaxError> {
    let mut parser = Parser::new(text)?;
    let tree = parser.condition()?;
    if parser.at_end() {
        Ok(tree)
    } else {
        Err(parser.error("`and`, `or` or the end", &["and", "or"]))
    }
}

/// Reads a text from its beginning to its end, condition by condition and word by word.
pub struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// Begins with a text.
    ///
    /// # Errors
    /// If it has a character that means nothing, or a quote that is not closed.
    pub fn new(text: &'a str) -> Result<Self, SyntaxError> {
        Ok(Self {
            text,
            tokens: tokens(text)?,
            next: 0,
            depth: 0,
        })
    }

    /// The condition that stands here.
    ///
    /// # Errors
    /// If there is none, or if it nests too deeply.
    pub fn condition(&mut self) -> Result<Tree, SyntaxError> {
        self.joined("or", |parser| parser.joined("and", Self::not, Expr::And), Expr::Or)
    }

    fn joined(
        &mut self,
        word: &str,
        part: impl Fn(&mut Self) -> Result<Tree, SyntaxError>,
        join: fn(Vec<Tree>) -> Expr,
    ) -> Result<Tree, SyntaxError> {
        let mut parts = vec![part(self)?];
        while self.take_word(word) {
            parts.push(part(self)?);
        }
        if let [_] = parts.as_slice() {
            return Ok(parts.remove(0));
        }
        let span = parts[0].span.start..parts[parts.len() - 1].span.end;
        Ok(Tree {
            expr: join(parts),
            span,
        })
    }

    fn not(&mut self) -> Result<Tree, SyntaxError> {
        if self.depth == DEPTH {
            return Err(self.error(&format!("a condition nested at most {DEPTH} deep"), &[]));
        }
        self.depth += 1;
        let start = self.here().start;
        let tree = if self.take_word("not") {
            let inner = self.not()?;
            let span = start..inner.span.end;
            Tree {
                expr: Expr::Not(Box::new(inner)),
                span,
            }
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(tree)
    }

    fn comparison(&mut self) -> Result<Tree, SyntaxError> {
        let left = self.operand()?;
        let Some(Kind::Op(op)) = self.peek() else {
            return Ok(left);
        };
        let op = *op;
        self.next += 1;
        let right = self.operand()?;
        let span = left.span.start..right.span.end;
        Ok(Tree {
            expr: Expr::Compare(Box::new(left), op, Box::new(right)),
            span,
        })
    }

    fn operand(&mut self) -> Result<Tree, SyntaxError> {
        if self.take(&Kind::Open) {
            let inner = self.condition()?;
            return match self.take(&Kind::Close) {
                true => Ok(inner),
                false => Err(self.error("`and`, `or` or `)`", &["and", "or"])),
            };
        }
        let start = self.here().start;
        if !self.take(&Kind::ListOpen) {
            return self.value("a value");
        }
        let mut items = vec![self.value("a number or a string")?];
        while self.take(&Kind::Comma) {
            items.push(self.value("a number or a string")?);
        }
        let span = start..self.here().end;
        if !self.take(&Kind::ListClose) {
            return Err(self.error("`,` or `]`", &[]));
        }
        Ok(Tree {
            expr: Expr::List(items),
            span,
        })
    }

    fn value(&mut self, expected: &str) -> Result<Tree, SyntaxError> {
        let expr = match self.peek() {
            Some(Kind::Word(word)) => Expr::Word(word.clone()),
            Some(Kind::Text(text)) => Expr::Text(text.clone()),
            _ => return Err(self.error(expected, &[])),
        };
        let span = self.here();
        self.next += 1;
        Ok(Tree { expr, span })
    }

    /// The word that stands here.
    pub fn word(&mut self) -> Option<Tree> {
        matches!(self.peek(), Some(Kind::Word(_))).then(|| self.value("a word").ok())?
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn here(&self) -> Range<usize> {
        let end = self.text.len();
        self.tokens.get(self.next).map_or(end..end, |token| token.span.clone())
    }

    /// Whether nothing is left.
    pub fn at_end(&self) -> bool {
        self.next == self.tokens.len()
    }

    /// Whether this keyword comes next, in small or in capital letters.
    pub fn is_word(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Kind::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    /// Goes on behind this keyword, if it comes next.
    pub fn take_word(&mut self, keyword: &str) -> bool {
        let taken = self.is_word(keyword);
        self.next += usize::from(taken);
        taken
    }

    /// Goes on behind a comma, if one comes next.
    pub fn take_comma(&mut self) -> bool {
        self.take(&Kind::Comma)
    }

    fn take(&mut self, kind: &Kind) -> bool {
        let taken = self.peek() == Some(kind);
        self.next += usize::from(taken);
        taken
    }

    /// What comes next is not what was expected; it may have meant one of `names`.
    pub fn error(&self, expected: &str, names: &[&str]) -> SyntaxError {
        self.error_at(self.here().start, expected, names)
    }

    /// As [`Parser::error`], for what stands at this offset or behind it.
    pub fn error_at(&self, at: usize, expected: &str, names: &[&str]) -> SyntaxError {
        let token = self.tokens.iter().find(|token| token.span.start >= at);
        let found = token.map(|token| self.text[token.span.clone()].to_owned());
        SyntaxError {
            text: self.text.to_owned(),
            at: token.map_or(self.text.len(), |token| token.span.start),
            suggestion: found.as_deref().and_then(|found| {
                let plain = found.trim_matches(['"', '\'']);
                crate::nearest(plain, names.iter().copied()).map(str::to_owned)
            }),
            found,
            expected: expected.to_owned(),
        }
    }
}
