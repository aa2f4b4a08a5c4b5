//! From characters to tokens.

use std::ops::Range;

use super::error::SyntaxError;
use super::op::Op;

/// A token and the byte offsets between which it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A bare word: a name, a keyword, a number or a bare text. Quoted parts of a path keep their quotes.
    Word(String),
    /// A text in quotes, without them.
    Text(String),
    Op(Op),
    Open,
    Close,
    ListOpen,
    ListClose,
    Comma,
}

const SYMBOLS: [(&str, Kind); 13] = [
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
    ("[", Kind::ListOpen),
    ("]", Kind::ListClose),
    (",", Kind::Comma),
];

/// Whether a character may stand in a bare word.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_-+.:/@%*".contains(c)
}

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, length) = token(&text[at..], first).map_err(|expected| SyntaxError {
            text: text.to_owned(),
            at,
            found: Some(match first {
                '"' | '\'' => text[at..].to_owned(),
                _ => first.to_string(),
            }),
            expected: expected.to_owned(),
            suggestion: None,
        })?;
        tokens.push(Token {
            kind,
            span: at..at + length,
        });
        at += length;
    }
    Ok(tokens)
}

/// The token at the beginning of `rest` and its length in bytes, or what was expected.
fn token(rest: &str, first: char) -> Result<(Kind, usize), &'static str> {
    if let Some((symbol, kind)) = SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
        return Ok((kind.clone(), symbol.len()));
    }
    match first {
        '"' | '\'' => {
            let (text, length) = unquote(rest).ok_or("a string with a closing quote")?;
            Ok((Kind::Text(text), length))
        }
        _ if is_word(first) => {
            let length = word(rest)?;
            Ok(match &rest[..length] {
                word if word.eq_ignore_ascii_case("in") => (Kind::Op(Op::In), length),
                word => (Kind::Word(word.to_owned()), length),
            })
        }
        _ => Err("a name, a value, an operator or a parenthesis"),
    }
}

/// The length of a bare word. After a dot a part in quotes may follow, as in `params."odd name".lr`; after a name the
/// values of its variables in brackets, as in `student[labels=40,seed=0]`.
fn word(rest: &str) -> Result<usize, &'static str> {
    let mut length = 0;
    while let Some(c) = rest[length..].chars().next() {
        if c == '"' && rest[..length].ends_with('.') {
            length += unquote(&rest[length..]).ok_or("a string with a closing quote")?.1;
        } else if is_word(c) {
            length += c.len_utf8();
        } else {
            let bindings = rest[length..]
                .strip_prefix('[')
                .filter(|_| !rest[..length].eq_ignore_ascii_case("in"));
            let end = bindings.and_then(|inside| inside.find(|c: char| !is_word(c) && c != '=' && c != ','));
            return Ok(match bindings.zip(end) {
                Some((inside, end)) if inside[end..].starts_with(']') => length + 1 + end + 1,
                _ => length,
            });
        }
    }
    Ok(length)
}

/// The text in quotes at the beginning of `rest`, and the length of both; `None` if it is not closed. In double quotes a
/// backslash takes the next character as it is.
pub(crate) fn unquote(rest: &str) -> Option<(String, usize)> {
    let quote = rest.chars().next()?;
    let mut text = String::new();
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            text.push(c);
            escaped = false;
        } else if c == quote {
            return Some((text, at + c.len_utf8()));
        } else if c == '\\' && quote == '"' {
            escaped = true;
        } else {
            text.push(c);
        }
    }
    None
}

/// `text` in double quotes, as it is read.
pub fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
