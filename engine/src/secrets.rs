//! Values that are in nothing that is written down: keys have a keyed digest of them, and logs, events and summaries `***`.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

/// What stands in a secret's place.
pub(crate) const HIDDEN: &str = "***";

/// Values of variables that only look like secrets are taken for some from this length on; below it they would be found everywhere.
const LEAST: usize = 4;

/// How the names of such variables end, or what they are.
const ENDINGS: &[&str] = &[
    "TOKEN",
    "KEY",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "CREDENTIALS",
];

/// The secrets of a workflow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Arc<Vec<Secret>>);

#[derive(Clone)]
struct Secret {
    name: String,
    value: String,
    /// What is not to be printed: the value, and where it has several, each of its lines.
    lines: Vec<String>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// Whether a variable of the environment is taken for a secret: as declared, or else by its name.
pub(crate) fn is_secret(name: &str, declared: Option<bool>, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let looks_like_one = |ending: &&'static str| {
        let before = name.strip_suffix(*ending);
        before.is_some_and(|before| before.is_empty() || before.ends_with('_') || ending.starts_with("PASS"))
    };
    !value.is_empty() && declared.unwrap_or_else(|| value.len() >= LEAST && ENDINGS.iter().any(looks_like_one))
}

impl Secrets {
    /// The variables of these names and values.
    pub(crate) fn new(named: impl IntoIterator<Item = (String, String)>) -> Self {
        let secret = |(name, value): (String, String)| {
            let inner = value
                .lines()
                .filter(|line| line.len() >= LEAST && **line != value)
                .map(str::to_owned);
            let lines = std::iter::once(value.clone()).chain(inner).collect();
            Secret { name, value, lines }
        };
        let mut secrets: Vec<Secret> = named.into_iter().map(secret).collect();
        // One may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.value.len()));
        Self(Arc::new(secrets))
    }

    /// Names and values, for a worker.
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        self.0
            .iter()
            .map(|secret| (secret.name.clone(), secret.value.clone()))
            .collect()
    }

    /// The name of a secret that a text has in it.
    pub(crate) fn in_text(&self, text: &str) -> Option<&str> {
        let found = self.0.iter().find(|secret| text.contains(&secret.value));
        found.map(|secret| secret.name.as_str())
    }

    /// The text without them.
    pub(crate) fn hide<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut hidden = Cow::Borrowed(text);
        for line in self.0.iter().flat_map(|secret| &secret.lines) {
            if hidden.contains(line.as_str()) {
                hidden = hidden.replace(line.as_str(), HIDDEN).into();
            }
        }
        hidden
    }

    /// The same for what need not be text.
    pub(crate) fn hide_bytes(&self, bytes: &mut Vec<u8>) {
        for line in self.0.iter().flat_map(|secret| &secret.lines) {
            let mut rest = bytes.as_slice();
            let mut hidden = Vec::new();
            while let Some(at) = find(rest, line.as_bytes()) {
                hidden.extend_from_slice(&rest[..at]);
                hidden.extend_from_slice(HIDDEN.as_bytes());
                rest = &rest[at + line.len()..];
            }
            if !hidden.is_empty() {
                hidden.extend_from_slice(rest);
                *bytes = hidden;
            }
        }
    }

    /// A parameter as keys have it: in the place of each secret its name and `digest` of it.
    pub(crate) fn seal(&self, value: &mut Value, digest: &dyn Fn(&str) -> String) {
        match value {
            Value::String(text) => {
                for Secret { name, value, .. } in self.0.iter() {
                    if text.contains(value) {
                        *text = text.replace(value, &format!("secret:{name}:{}", digest(value)));
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.seal(item, digest)),
            Value::Object(entries) => entries.values_mut().for_each(|entry| self.seal(entry, digest)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_secrets_are_secret_unless_declared_otherwise() {
        for name in [
            "API_KEY",
            "TOKEN",
            "HF_TOKEN",
            "db_password",
            "DBPASSWORD",
            "AWS_SECRET",
        ] {
            assert!(is_secret(name, None, "hunter22"), "{name}");
            assert!(!is_secret(name, Some(false), "hunter22"), "{name}");
        }
        for name in ["DATA", "MONKEY", "KEYS_PER_ROW", "TOKENS"] {
            assert!(!is_secret(name, None, "hunter22"), "{name}");
            assert!(is_secret(name, Some(true), "x"), "{name}");
        }
    }

    #[test]
    fn every_occurrence_is_hidden_in_text_bytes_and_parameters() {
        let named = [("A", "s3cret"), ("B", "s3cret-and-more"), ("C", "line one\nline two")];
        let secrets = Secrets::new(named.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let text = "x s3cret-and-more s3cret, then line two.";
        assert_eq!(secrets.hide(text), "x *** ***, then ***.");
        let mut bytes = [b"\xff", text.as_bytes()].concat();
        secrets.hide_bytes(&mut bytes);
        assert_eq!(bytes, b"\xffx *** ***, then ***.");
        let mut params = serde_json::json!({"env": {"T": "Bearer s3cret"}, "run": ["x", "y"], "n": 1});
        secrets.seal(&mut params, &|value| value.len().to_string());
        assert_eq!(
            params,
            serde_json::json!({"env": {"T": "Bearer secret:A:6"}, "run": ["x", "y"], "n": 1})
        );
    }
}
