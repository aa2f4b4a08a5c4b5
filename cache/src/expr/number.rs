//! Numbers that are compared without loss: seeds from a clock have more digits than an `f64` can tell apart.

use std::cmp::Ordering;
use std::fmt;

/// A number as it was written.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A whole number.
    Integer(i128),
    /// Any other.
    Float(f64),
}

/// Integers up to this, either way, are `f64`s.
const EXACT: u128 = 1 << 53;
/// The first float that is too large for an `i128`.
const TOO_LARGE: f64 = (1_u128 << 127) as f64;

impl Number {
    /// The finite number that a word is. Stricter than `f64::from_str`, which takes `inf` and `nan`: those are words here.
    pub fn parse(word: &str) -> Option<Self> {
        if let Ok(integer) = word.parse() {
            return Some(Self::Integer(integer));
        }
        let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
        let starts_like_one = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let float = word.parse().ok().filter(|float: &f64| float.is_finite())?;
        starts_like_one.then_some(Self::Float(float))
    }

    /// The nearest `f64`.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }
}

impl From<&serde_json::Number> for Number {
    fn from(number: &serde_json::Number) -> Self {
        match number.as_i128() {
            Some(integer) => Self::Integer(integer),
            None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    /// By value, whatever it was written as; `None` only for a NaN.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (*self, *other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b),
            (Self::Integer(a), Self::Float(b)) => integer_and_float(a, b),
            (Self::Float(a), Self::Integer(b)) => integer_and_float(b, a).map(Ordering::reverse),
        }
    }
}

fn integer_and_float(integer: i128, float: f64) -> Option<Ordering> {
    if integer.unsigned_abs() <= EXACT {
        return (integer as f64).partial_cmp(&float);
    }
    if float >= TOO_LARGE {
        return Some(Ordering::Less);
    }
    if float < -TOO_LARGE {
        return Some(Ordering::Greater);
    }
    // Within these bounds the part before the point is an `i128`.
    let fraction = 0.0.partial_cmp(&float.fract())?;
    Some(integer.cmp(&(float as i128)).then(fraction))
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            // With a point or an exponent, so that it is read as a float again.
            Self::Float(float) => write!(f, "{float:?}"),
        }
    }
}
