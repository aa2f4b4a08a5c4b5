//! Ranges of hyper-parameters: each is written next to the setting that it is of, and an error names the setting.

use std::fmt::{Debug, Display};
use std::ops::{Bound, Range, RangeBounds, RangeInclusive};

use schemars::Schema;
use serde_json::Value;

/// A setting that is out of range, or does not fit the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {message}")]
pub struct SettingError {
    /// The setting as it is written: `temperature`, `optimizer.momentum`.
    pub key: String,
    /// What was found and what is expected.
    pub message: String,
}

impl SettingError {
    /// An error in the setting `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        let (key, message) = (key.into(), message.into());
        Self { key, message }
    }

    /// The same error, of a setting in the table `table`.
    #[must_use]
    pub fn within(self, table: &str) -> Self {
        let key = format!("{table}.{}", self.key);
        Self { key, ..self }
    }
}

/// A positive number.
pub(crate) const ABOVE_ZERO: (Bound<f32>, Bound<f32>) = (Bound::Excluded(0.0), Bound::Unbounded);
/// A share that is neither nothing nor all.
pub(crate) const PART: (Bound<f32>, Bound<f32>) = (Bound::Excluded(0.0), Bound::Excluded(1.0));
/// A share.
pub(crate) const SHARE: RangeInclusive<f32> = 0.0..=1.0;
/// A share that is not all: momenta and smoothing.
pub(crate) const BELOW_ONE: Range<f32> = 0.0..1.0;
/// What similarities are divided by. Outside of this, quotients are so large or so alike that nothing is learnt.
pub(crate) const TEMPERATURE: RangeInclusive<f32> = 1e-4..=1e4;
/// Values of a layer or a token, heads, clusters: at least one, and no more than fits in memory.
pub(crate) const WIDTH: RangeInclusive<usize> = 1..=1 << 16;
/// The same of what must be distinguished.
pub(crate) const SEVERAL: RangeInclusive<usize> = 2..=1 << 16;
/// Epochs, rounds: as many as anyone will wait for.
pub(crate) const ROUNDS: RangeInclusive<usize> = 0..=1_000_000;
/// The same where there must be one.
pub(crate) const SOME_ROUNDS: RangeInclusive<usize> = 1..=1_000_000;
/// Examples, or steps: checkpoints hold their numbers as f32, which counts to this.
pub(crate) const COUNTED: RangeInclusive<usize> = 0..=1 << 24;

/// A number that may have a range.
pub(crate) trait Number: PartialOrd + Display {
    /// Whether it is one: neither NaN nor infinite.
    fn is_finite(&self) -> bool {
        true
    }

    /// For a schema.
    fn json(&self) -> Value;
}

impl Number for usize {
    fn json(&self) -> Value {
        (*self).into()
    }
}

impl Number for f32 {
    fn is_finite(&self) -> bool {
        f32::is_finite(*self)
    }

    /// As it is written: 0.1, not the f64 that is nearest to the f32.
    fn json(&self) -> Value {
        self.to_string().parse::<f64>().unwrap_or(f64::from(*self)).into()
    }
}

/// A setting of one number or of several that have the same range.
pub(crate) trait Numbers {
    /// Their type.
    type Number: Number;
    /// All of them.
    fn numbers(&self) -> &[Self::Number];
}

impl<T: Number> Numbers for T {
    type Number = T;
    fn numbers(&self) -> &[T] {
        std::slice::from_ref(self)
    }
}

impl<T: Number> Numbers for [T; 2] {
    type Number = T;
    fn numbers(&self) -> &[T] {
        self
    }
}

/// Whether the numbers of the setting `key` are finite and in `range`.
///
/// # Errors
/// With what was found and what is expected.
pub(crate) fn check<S: Numbers>(key: &str, value: &S, range: impl RangeBounds<S::Number>) -> Result<(), SettingError> {
    let fits = |number: &&S::Number| number.is_finite() && range.contains(*number);
    match value.numbers().iter().find(|number| !fits(number)) {
        None => Ok(()),
        Some(found) => Err(SettingError::new(
            key,
            format!("{found} found, expected {}", described(&range)),
        )),
    }
}

/// Whether two numbers are the ends of a range: the first must not be above the second.
pub(crate) fn check_rising<T: Number>(key: &str, [from, to]: &[T; 2]) -> Result<(), SettingError> {
    if from <= to {
        return Ok(());
    }
    let message = format!("[{from}, {to}] found, expected the smaller number first");
    Err(SettingError::new(key, message))
}

/// A range in words.
fn described<T: Display>(range: &impl RangeBounds<T>) -> String {
    let low = match range.start_bound() {
        Bound::Included(low) => Some(format!("at least {low}")),
        Bound::Excluded(low) => Some(format!("a number above {low}")),
        Bound::Unbounded => None,
    };
    let high = match range.end_bound() {
        Bound::Included(high) => Some(format!("at most {high}")),
        Bound::Excluded(high) => Some(format!("below {high}")),
        Bound::Unbounded => None,
    };
    let parts: Vec<String> = low.into_iter().chain(high).collect();
    if parts.is_empty() {
        return "a finite number".into();
    }
    parts.join(" and ")
}

/// Writes the range of a setting into the JSON Schema of its struct: on the number, or on the numbers of a list.
pub(crate) fn write_range<T: Number>(schema: &mut Schema, key: &str, range: impl RangeBounds<T>) {
    let Some(property) = schema
        .pointer_mut(&format!("/properties/{key}"))
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let numbers = match property.get_mut("items") {
        Some(Value::Object(items)) => items,
        _ => property,
    };
    let ends = [
        (range.start_bound(), "minimum", "exclusiveMinimum"),
        (range.end_bound(), "maximum", "exclusiveMaximum"),
    ];
    for (bound, included, excluded) in ends {
        let (key, end) = match bound {
            Bound::Included(end) => (included, end),
            Bound::Excluded(end) => (excluded, end),
            Bound::Unbounded => continue,
        };
        numbers.insert(key.to_owned(), end.json());
    }
}

/// Declares hyper-parameters: each with its type, its default and, after `in`, the range of its numbers.
///
/// `lr: f32 = 0.1, in ABOVE_ZERO;` is a field `lr` of 0.1 where nothing is said; `check_ranges` refuses what is not in the range.
macro_rules! settings {
    ($(#[$about:meta])* $visibility:vis struct $name:ident {
        $($(#[$doc:meta])* $field:ident: $type:ty = $default:expr $(, in $range:expr)?;)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        #[schemars(transform = Self::write_ranges)]
        $visibility struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            fn write_ranges(schema: &mut schemars::Schema) {
                let _ = &schema;
                $($($crate::settings::write_range::<<$type as $crate::settings::Numbers>::Number>(
                    schema, stringify!($field), $range,
                );)?)*
            }

            /// Whether every number is in its range.
            pub(crate) fn check_ranges(&self) -> Result<(), $crate::settings::SettingError> {
                $($($crate::settings::check(stringify!($field), &self.$field, $range)?;)?)*
                Ok(())
            }
        }
    };
}
pub(crate) use settings;

#[cfg(test)]
mod tests {
    use super::*;

    settings! {
        #[derive(Copy)]
        struct Example {
            /// Has no range.
            on: bool = true;
            /// One number.
            rate: f32 = 0.5, in ABOVE_ZERO;
            /// Two.
            betas: [f32; 2] = [0.9, 0.99], in BELOW_ONE;
            /// A count.
            width: usize = 3, in 2..=4;
        }
    }

    fn refused(example: Example) -> String {
        example.check_ranges().err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_number_out_of_its_range_is_named_with_what_is_expected() {
        let fine = Example::default();
        assert_eq!(refused(fine), "");
        assert_eq!(
            refused(Example { rate: 0.0, ..fine }),
            "`rate`: 0 found, expected a number above 0"
        );
        for rate in [f32::NAN, f32::INFINITY] {
            assert!(refused(Example { rate, ..fine }).starts_with("`rate`"));
        }
        let betas = refused(Example {
            betas: [0.9, 1.0],
            ..fine
        });
        assert_eq!(betas, "`betas`: 1 found, expected at least 0 and below 1");
        let width = refused(Example { width: 5, ..fine });
        assert_eq!(width, "`width`: 5 found, expected at least 2 and at most 4");
        assert!(!refused(Example { on: false, ..fine }).contains("on"));
    }

    #[test]
    fn an_error_in_a_table_names_the_table_too() {
        assert_eq!(
            SettingError::new("momentum", "x").within("optimizer").key,
            "optimizer.momentum"
        );
    }
}
