//! Names of outputs. They become paths where an artifact is laid out as files, so that a name which leads out of a directory must not exist:
//! it is refused where a draft is published and wherever a record or a summary is decoded, and no reader can meet one.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
pub const MAX_NAME: usize = 1024;
/// The longest part of a name between two `/`, in bytes: what file systems take.
pub const MAX_PART: usize = 255;

/// The name of an output: parts with `/` between them, like `model.pt` or `logs/train.txt`. Not absolute, no part that is empty, `.` or
/// `..`, no control characters, at most [`MAX_NAME`] bytes with parts of at most [`MAX_PART`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct OutputName(String);

/// Why a text is no name of an output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot be the name of an output: {why}")]
pub struct BadOutputName {
    name: String,
    why: &'static str,
}

impl OutputName {
    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The one place where it is decided what a name may be.
impl TryFrom<String> for OutputName {
    type Error = BadOutputName;

    fn try_from(name: String) -> Result<Self, BadOutputName> {
        let fault = if name.len() > MAX_NAME {
            Some("it has more than 1024 bytes")
        } else if name.chars().any(char::is_control) {
            Some("it has control characters")
        } else {
            name.split('/').find_map(fault_of_part)
        };
        match fault {
            None => Ok(Self(name)),
            Some(why) => {
                let name = name.chars().take(64).collect();
                Err(BadOutputName { name, why })
            }
        }
    }
}

fn fault_of_part(part: &str) -> Option<&'static str> {
    match part {
        "" => Some("it is empty, or begins or ends with `/`, or has `//`"),
        "." | ".." => Some("`.` and `..` are not allowed in it"),
        _ => (part.len() > MAX_PART).then_some("a part of it has more than 255 bytes"),
    }
}

impl Deref for OutputName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for OutputName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OutputName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_name(text: &str) -> bool {
        let direct = OutputName::try_from(text.to_owned()).is_ok();
        let json = serde_json::Value::from(text);
        assert_eq!(serde_json::from_value::<OutputName>(json).is_ok(), direct, "one rule");
        direct
    }

    #[test]
    fn a_name_stays_in_its_folder_whatever_it_is_joined_to() {
        for name in [
            "model.pt",
            "a/b/c",
            "..a",
            "a..",
            "...",
            "-rf",
            "a\\b",
            "größe 1",
            ".hidden",
            "a:b",
        ] {
            assert!(is_name(name), "{name}");
        }
        let long = "x".repeat(256);
        let deep = "abc/".repeat(300) + "x";
        for name in [
            "",
            "/",
            "/etc/passwd",
            "..",
            ".",
            "a/..",
            "../a",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            "./a",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
            "\u{9b}2J",
            "\u{7f}",
            &long,
            &deep,
        ] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name(&"x".repeat(255)));
    }
}
