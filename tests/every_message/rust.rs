//! As much of Rust as it takes to find its texts and what they are handed to.

use std::iter::Peekable;
use std::str::Chars;

/// What a source file is made of, without its comments.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Word(String),
    /// A text, and the line in which it ends.
    Text(String, usize),
    /// A bracket, or anything else of one character.
    Sign(char),
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

/// The tokens of a source file.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader {
        chars: source.chars().peekable(),
        line: 1,
    };
    let mut tokens = Vec::new();
    while let Some(c) = reader.next() {
        match c {
            '/' if reader.chars.peek() == Some(&'/') => while reader.next().is_some_and(|c| c != '\n') {},
            '/' if reader.chars.peek() == Some(&'*') => reader.block_comment(),
            '"' => tokens.push(reader.text()),
            '\'' => reader.character(),
            c if c.is_whitespace() => {}
            c if c.is_alphanumeric() || c == '_' => {
                let word = reader.word(c);
                let raw = ["r", "br", "cr"].contains(&&*word);
                match reader.chars.peek() {
                    Some('"' | '#') if raw => tokens.extend(reader.raw_text()),
                    Some('\'') if word == "b" => {
                        reader.next();
                        reader.character();
                    }
                    // Bytes are for files.
                    Some('"') if word == "b" => {
                        reader.next();
                        reader.text();
                    }
                    _ => tokens.push(Token::Word(word)),
                }
            }
            c => tokens.push(Token::Sign(c)),
        }
    }
    tokens
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn block_comment(&mut self) {
        let (mut depth, mut last) = (0, '/');
        while let Some(c) = self.next() {
            match (last, c) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    last = c;
                    continue;
                }
            }
            last = ' ';
            if depth == 0 {
                return;
            }
        }
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
            word.push(c);
        }
        word
    }

    /// Behind the quotation mark.
    fn text(&mut self) -> Token {
        let mut text = String::new();
        while let Some(c) = self.next() {
            match c {
                '"' => break,
                '\\' => text.extend(self.escaped()),
                _ => text.push(c),
            }
        }
        Token::Text(text, self.line)
    }

    /// Behind the backslash; nothing where a line goes on.
    fn escaped(&mut self) -> Option<char> {
        match self.next()? {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            '0' => Some('\0'),
            'x' => {
                let digits: String = [self.next()?, self.next()?].iter().collect();
                u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)
            }
            'u' => {
                let digits: String = std::iter::from_fn(|| self.next().filter(|c| *c != '}')).collect();
                u32::from_str_radix(digits.trim_start_matches('{'), 16)
                    .ok()
                    .and_then(char::from_u32)
            }
            '\n' => {
                while self.chars.peek().is_some_and(|c| c.is_whitespace()) {
                    self.next();
                }
                None
            }
            other => Some(other),
        }
    }

    /// Behind the `r`; nothing if it is a raw name.
    fn raw_text(&mut self) -> Option<Token> {
        let mut marks = 0;
        while self.chars.next_if_eq(&'#').is_some() {
            marks += 1;
        }
        self.chars.next_if_eq(&'"')?;
        let end = format!("\"{}", "#".repeat(marks));
        let mut text = String::new();
        while !text.ends_with(&end) {
            text.push(self.next()?);
        }
        text.truncate(text.len() - end.len());
        Some(Token::Text(text, self.line))
    }

    /// Behind the apostrophe of a character or a lifetime.
    fn character(&mut self) {
        match self.next() {
            Some('\\') => {
                self.escaped();
                self.chars.next_if_eq(&'\'');
            }
            // `'a'` is a character, `'a` and `'static` are lifetimes.
            _ => {
                self.chars.next_if_eq(&'\'');
            }
        }
    }
}

#[test]
fn texts_are_found_and_nothing_else() {
    let source = r##"/* "a" /* "b" */ "c" */ fn f<'a>(x: &'a str) { g('"', '\'', b'"', "d\"e\
        f", r#"g"h"#, b"i"); } // "j"
        "k\u{e9}""##;
    let texts: Vec<String> = tokens(source)
        .into_iter()
        .filter_map(|token| match token {
            Token::Text(text, _) => Some(text),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["d\"ef", "g\"h", "k\u{e9}"]);
}
