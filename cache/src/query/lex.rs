//! From characters to tokens.

use super::error::SyntaxError;
use super::op::Op;

/// A token and the byte offsets between which it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A bare word: a field, a keyword, a number or a bare text. Quoted parts of a path keep their quotes.
    Word(String),
    /// A quoted text, without its quotes.
    Quoted(String),
    Op(Op),
    Open,
    Close,
    Comma,
}

/// Whether a character may stand in a bare word.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_-+.:/@%[]*".contains(c)
}

pub(super) fn tokens(query: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut lexer = Lexer { query, at: 0 };
    let mut tokens = Vec::new();
    while let Some(c) = lexer.peek() {
        if c.is_whitespace() {
            lexer.at += c.len_utf8();
            continue;
        }
        let start = lexer.at;
        let kind = lexer.token(c)?;
        tokens.push(Token {
            kind,
            start,
            end: lexer.at,
        });
    }
    Ok(tokens)
}

struct Lexer<'a> {
    query: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.query[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn token(&mut self, first: char) -> Result<Kind, SyntaxError> {
        const SYMBOLS: [(&str, Kind); 11] = [
            ("<=", Kind::Op(Op::LessOrEqual)),
            (">=", Kind::Op(Op::GreaterOrEqual)),
            ("!=", Kind::Op(Op::NotEqual)),
            ("==", Kind::Op(Op::Equal)),
            ("=", Kind::Op(Op::Equal)),
            ("<", Kind::Op(Op::Less)),
            (">", Kind::Op(Op::Greater)),
            ("~", Kind::Op(Op::Contains)),
            ("(", Kind::Open),
            (")", Kind::Close),
            (",", Kind::Comma),
        ];
        for (symbol, kind) in SYMBOLS {
            if self.rest().starts_with(symbol) {
                self.at += symbol.len();
                return Ok(kind);
            }
        }
        match first {
            '"' | '\'' => self.quoted(first).map(Kind::Quoted),
            _ if is_word(first) => self.word().map(Kind::Word),
            _ => Err(self.error(first.to_string(), "a field, a value, an operator or a parenthesis")),
        }
    }

    /// A bare word; after a dot a quoted part may follow, as in `params."odd name".lr`.
    fn word(&mut self) -> Result<String, SyntaxError> {
        let mut word = String::new();
        while let Some(c) = self.peek() {
            if c == '"' && word.ends_with('.') {
                let start = self.at;
                self.quoted('"')?;
                word.push_str(&self.query[start..self.at]);
            } else if is_word(c) {
                word.push(c);
                self.at += c.len_utf8();
            } else {
                break;
            }
        }
        Ok(word)
    }

    /// A text in quotes. In double quotes a backslash takes the next character as it is.
    fn quoted(&mut self, quote: char) -> Result<String, SyntaxError> {
        let start = self.at;
        let mut text = String::new();
        let mut escaped = false;
        for (offset, c) in self.query[start..].char_indices().skip(1) {
            if escaped {
                text.push(c);
                escaped = false;
            } else if c == quote {
                self.at = start + offset + c.len_utf8();
                return Ok(text);
            } else if c == '\\' && quote == '"' {
                escaped = true;
            } else {
                text.push(c);
            }
        }
        Err(self.error(self.query[start..].to_owned(), "a text with a closing quote"))
    }

    fn error(&self, found: String, expected: &str) -> SyntaxError {
        SyntaxError {
            query: self.query.to_owned(),
            at: self.at,
            found: Some(found),
            expected: expected.to_owned(),
            suggestion: None,
        }
    }
}

/// `text` in double quotes, as [`tokens`] reads it.
pub(super) fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
