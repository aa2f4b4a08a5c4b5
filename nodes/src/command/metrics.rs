//! The numbers that a program leaves in a JSON file. The work is done by then: what is no number is noted, and does not undo it.

use std::collections::{BTreeMap, BTreeSet};

use flow_engine::node::{Host, NodeError};
use serde_json::Value;

/// The numbers of a JSON file, named by their path in it.
///
/// # Errors
/// If it is no JSON object.
pub(super) fn read(
    name: &str,
    files: &[(String, Vec<u8>)],
    host: &dyn Host,
) -> Result<BTreeMap<String, f64>, NodeError> {
    let bytes = files
        .iter()
        .find(|(file, _)| file == name)
        .map_or(&[][..], |(_, bytes)| bytes);
    let wrong = |what: String| {
        NodeError::failed(format!("`metrics = \"{name}\"`: {what}"))
            .with_help("it must be a JSON object whose values are numbers or such objects")
    };
    let value: Value = serde_json::from_slice(&without_nan(bytes)).map_err(|e| wrong(e.to_string()))?;
    if !value.is_object() {
        return Err(wrong(format!("it is `{value}`")));
    }
    let (mut metrics, mut doubtful) = (BTreeMap::new(), BTreeSet::new());
    let mut open = vec![(String::new(), &value)];
    while let Some((path, value)) = open.pop() {
        let inner = |key: &String| {
            if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            }
        };
        match value {
            Value::Object(table) => open.extend(table.iter().map(|(key, value)| (inner(key), value))),
            Value::Number(number) => {
                if metrics
                    .insert(path.clone(), number.as_f64().unwrap_or(f64::NAN))
                    .is_some()
                {
                    doubtful.insert(path);
                }
            }
            other => {
                let found = if other.is_null() {
                    "not a number, or NaN".to_owned()
                } else {
                    format!("`{other}`")
                };
                host.note(&format!(
                    "warning: metric `{path}` of {name} is {found}: it is not recorded"
                ));
            }
        }
    }
    for path in doubtful {
        host.note(&format!(
            "warning: two metrics of {name} are called `{path}`: neither is recorded"
        ));
        metrics.remove(&path);
    }
    Ok(metrics)
}

/// JSON in which NaN and infinities, as Python's `json.dump` writes them, are null.
fn without_nan(json: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(json.len());
    let (mut at, mut in_string) = (0, false);
    while let Some(byte) = json.get(at) {
        let number = [&b"NaN"[..], b"-Infinity", b"Infinity"]
            .into_iter()
            .find(|word| json[at..].starts_with(word));
        match (number, byte) {
            (Some(word), _) if !in_string => {
                plain.extend_from_slice(b"null");
                at += word.len();
                continue;
            }
            (_, b'\\') if in_string => {
                plain.push(*byte);
                at += 1;
                plain.extend(json.get(at));
            }
            (_, byte) => {
                in_string ^= *byte == b'"';
                plain.push(*byte);
            }
        }
        at += 1;
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use flow_engine::node::Progress;

    use super::*;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Host for Notes {
        fn progress(&self, _: Progress) {}
        fn note(&self, line: &str) {
            self.0.lock().expect("no panic before").push(line.to_owned());
        }
        fn load_checkpoint(&self) -> Result<Option<Vec<u8>>, NodeError> {
            Ok(None)
        }
        fn save_checkpoint(&self, _: &[u8]) -> Result<(), NodeError> {
            Ok(())
        }
        fn stop_requested(&self) -> bool {
            false
        }
    }

    fn read_text(text: &str) -> (Result<BTreeMap<String, f64>, String>, Vec<String>) {
        let notes = Notes::default();
        let found = read("m.json", &[("m.json".to_owned(), text.as_bytes().to_vec())], &notes);
        (
            found.map_err(|e| e.to_string()),
            notes.0.into_inner().expect("no panic before"),
        )
    }

    #[test]
    fn what_is_no_number_does_not_undo_the_work() {
        let (found, notes) =
            read_text(r#"{"loss": NaN, "low": -Infinity, "a \"NaN": {"f1": 0.5}, "model": "NaN-free", "n": 3}"#);
        let expected = [("a \"NaN.f1".to_owned(), 0.5), ("n".to_owned(), 3.0)];
        assert_eq!(found, Ok(expected.into()));
        assert_eq!(notes.len(), 3, "{notes:?}");
    }

    #[test]
    fn of_two_metrics_of_one_name_neither_is_recorded() {
        let (found, notes) = read_text(r#"{"test.f1": 0.1, "test": {"f1": 0.9}, "x": 1}"#);
        assert_eq!(found, Ok([("x".to_owned(), 1.0)].into()));
        assert!(notes[0].contains("`test.f1`"), "{notes:?}");
    }

    #[test]
    fn a_file_that_is_no_object_is_an_error() {
        for text in ["", "[1]", "3", "{"] {
            assert!(read_text(text).0.is_err(), "{text}");
        }
    }
}
