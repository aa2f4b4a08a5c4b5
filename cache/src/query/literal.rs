//! The values that a query can name, typed by the field that they are compared with.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::field::Class;
use crate::expr::{Number, quote};

/// A value in a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A text, or the first digits of a key.
    Text(String),
    /// A number.
    Number(Number),
    /// `true` or `false`.
    Bool(bool),
    /// A size: the amount and the unit as written, e.g. 10 and `MB`.
    Bytes(f64, &'static str),
    /// A span of time: the amount and the unit as written, e.g. 2 and `d`.
    Span(f64, &'static str),
    /// A time, in milliseconds since 1970 (UTC).
    Time(i64),
}

/// Units of size, in bytes.
const BYTES: [(&str, f64); 8] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
];

/// Units of time, in seconds.
const SPANS: [(&str, f64); 5] = [("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0), ("w", 604_800.0)];

impl Literal {
    /// The value that a bare word is for a field of `class`, or what was expected.
    pub(super) fn bare(word: &str, class: Class) -> Result<Self, &'static str> {
        match class {
            Class::Text => Ok(Self::Text(word.to_owned())),
            Class::Keys => key_digits(word),
            Class::Number => Number::parse(word).map(Self::Number).ok_or("a number"),
            Class::Bool => word.parse().map(Self::Bool).map_err(|_| "`true` or `false`"),
            Class::Any => Ok(match (word.parse(), Number::parse(word)) {
                (Ok(bool), _) => Self::Bool(bool),
                (_, Some(number)) => Self::Number(number),
                (_, None) => Self::Text(word.to_owned()),
            }),
            Class::Bytes => {
                let (amount, unit) = amount(word, &BYTES).ok_or(SIZE)?;
                Ok(Self::Bytes(amount, unit.unwrap_or("B")))
            }
            Class::Span => match amount(word, &SPANS) {
                Some((amount, Some(unit))) => Ok(Self::Span(amount, unit)),
                _ => Err("a span of time such as 90s, 30m, 12h, 2d or 1w"),
            },
            Class::Time => time(word).map(Self::Time).ok_or(TIME),
        }
    }

    /// The value that a quoted text is for a field of `class`, or what was expected.
    pub(super) fn quoted(text: &str, class: Class) -> Result<Self, &'static str> {
        match class {
            Class::Text | Class::Any => Ok(Self::Text(text.to_owned())),
            other => Self::bare(text, other),
        }
    }

    /// The number behind a number, a size (bytes), a span (seconds) or a time (milliseconds since 1970).
    pub(super) fn number(&self) -> Option<Number> {
        let scaled = |amount: f64, unit: &str, units: &[(&str, f64)]| {
            let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
            Some(Number::Float(amount * scale))
        };
        match self {
            Self::Number(number) => Some(*number),
            Self::Bytes(amount, unit) => scaled(*amount, unit, &BYTES),
            Self::Span(amount, unit) => scaled(*amount, unit, &SPANS),
            Self::Time(millis) => Some(Number::Integer((*millis).into())),
            Self::Text(_) | Self::Bool(_) => None,
        }
    }
}

/// Bytes from a text such as `4096`, `500kB` or `1GiB`.
///
/// # Errors
/// What was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let read = amount(text, &BYTES).map(|(amount, unit)| Literal::Bytes(amount, unit.unwrap_or("B")));
    let bytes = read.and_then(|size| size.number()).map(|bytes| bytes.as_f64() as u64);
    bytes.ok_or_else(|| format!("`{text}` found, expected {SIZE}"))
}

/// Seconds from a text such as `90s`, `12h` or `2d`.
///
/// # Errors
/// What was expected.
pub fn parse_span(text: &str) -> Result<f64, String> {
    let read = Literal::bare(text, Class::Span).map_err(|expected| format!("`{text}` found, expected {expected}"))?;
    Ok(read.number().map_or(0.0, Number::as_f64))
}

const SIZE: &str = "a size such as 4096, 500kB, 10MB or 1GiB";
const TIME: &str = "a time (UTC) such as 2026-11-23 or 2026-11-23T08:30";

fn key_digits(word: &str) -> Result<Literal, &'static str> {
    let hex = !word.is_empty() && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if hex {
        Ok(Literal::Text(word.to_owned()))
    } else {
        Err("hexadecimal digits of a key, in lower case")
    }
}

/// A number of at least 0 with an optional unit.
fn amount(word: &str, units: &[(&'static str, f64)]) -> Option<(f64, Option<&'static str>)> {
    let split = word
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(word.len());
    let (digits, suffix) = word.split_at(split);
    let unit = match suffix {
        "" => None,
        _ => Some(units.iter().find(|(name, _)| *name == suffix)?.0),
    };
    Some((Number::parse(digits)?.as_f64(), unit))
}

fn time(word: &str) -> Option<i64> {
    if let Ok(time) = word.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    // `Date` reads a date with a time too, and would forget the time: the longer form first.
    let civil = word
        .parse::<DateTime>()
        .or_else(|_| word.parse::<Date>().map(DateTime::from))
        .ok()?;
    Some(TimeZone::UTC.to_timestamp(civil).ok()?.as_millisecond())
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quote(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Bytes(amount, unit) | Self::Span(amount, unit) => write!(f, "{amount}{unit}"),
            Self::Time(millis) => match Timestamp::from_millisecond(*millis) {
                Ok(time) => write!(f, "{time}"),
                Err(_) => write!(f, "{millis}"),
            },
        }
    }
}
