//! Texts with a class each from a file: one example a line, `label<TAB>text`.

use std::path::{Path, PathBuf};

use flow_engine::node::NodeError;
use flow_learn::data::{Modality, NetworkInput};
use flow_learn::layers::MapShape;
use flow_learn::text::{BYTES, words};

use super::{Loaded, Source, SourceSettings, SourceShape, Texts, read_file};

/// Tokens of a text where nothing is said.
const LENGTH: usize = 32;
/// Tokens of a vocabulary where nothing is said.
const VOCABULARY: usize = 2000;

/// One UTF-8 file, gzipped or not.
pub(super) const TEXT: Source = Source {
    name: "text",
    takes: &["path", "test", "vocabulary", "length"],
    files: &[],
    check: |_| Ok(()),
    shape: |settings| {
        let shape = MapShape {
            h: length(settings),
            w: 1,
            c: BYTES,
        };
        // The words are not known before the file is read; there may turn out to be fewer.
        let modality = Modality::Texts {
            vocabulary: vocabulary(settings),
            fingerprint: 0,
        };
        Some(SourceShape {
            input: NetworkInput { shape, modality },
            classes: None,
            class_names: Vec::new(),
            counts: None,
            most: None,
        })
    },
    load,
};

/// Tokens of each text.
pub(crate) fn length(settings: &SourceSettings) -> usize {
    settings.length.unwrap_or(LENGTH)
}

/// The most tokens that the vocabulary may have.
pub(crate) fn vocabulary(settings: &SourceSettings) -> usize {
    settings.vocabulary.unwrap_or(VOCABULARY)
}

fn load(_settings: &SourceSettings, files: &[PathBuf]) -> Result<Loaded, NodeError> {
    let [path] = files else {
        return Err(NodeError::failed("BUG: a text source has one file"));
    };
    parse(path, &read_file(path)?).map(Loaded::Texts)
}

/// The labelled texts of a file. Classes are numbered by the alphabet; empty lines count for nothing.
fn parse(path: &Path, bytes: &[u8]) -> Result<Texts, NodeError> {
    let wrong = |line: usize, what: &str| {
        NodeError::failed(format!("{}:{line}: {what}", path.display()))
            .with_help("every line is one example: its class, a tab, its text, in UTF-8")
    };
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count();
        wrong(line, "this is not UTF-8")
    })?;
    let mut examples: Vec<(&str, &str)> = Vec::new();
    for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let (label, text) = line
            .split_once('\t')
            .ok_or_else(|| wrong(i + 1, "there is no tab between class and text"))?;
        if label.trim().is_empty() {
            return Err(wrong(i + 1, "there is no class before the tab"));
        }
        if words(text).is_empty() {
            return Err(wrong(i + 1, "there is no text behind the tab"));
        }
        examples.push((label.trim(), text));
    }
    let mut class_names: Vec<String> = examples.iter().map(|(label, _)| (*label).to_owned()).collect();
    class_names.sort_unstable();
    class_names.dedup();
    if class_names.len() < 2 {
        let message = format!(
            "{}: {} class(es) found, expected at least 2",
            path.display(),
            class_names.len()
        );
        return Err(NodeError::failed(message).with_help("what stands before the first tab of a line is its class"));
    }
    let class = |label: &str| class_names.binary_search_by(|name| name.as_str().cmp(label));
    let labels = examples.iter().map(|(label, _)| class(label).map_or(0, |c| c as u16));
    Ok(Texts {
        labels: labels.collect(),
        texts: examples.into_iter().map(|(_, text)| text.to_owned()).collect(),
        class_names,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8]) -> Result<Texts, String> {
        parse(Path::new("t.tsv"), bytes).map_err(|e| e.to_string())
    }

    #[test]
    fn a_line_is_a_class_and_a_text() {
        let texts =
            parsed("\u{feff}sea\tA ship.\r\n\nland\tA house\tby a road\nsea\tWaves".as_bytes()).expect("well-formed");
        assert_eq!(texts.class_names, ["land", "sea"]);
        assert_eq!(texts.labels, [1, 0, 1]);
        assert_eq!(texts.texts, ["A ship.", "A house\tby a road", "Waves"]);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        for (bytes, expected) in [
            (&b"a\tx\nno tab\nb\ty"[..], "t.tsv:2: there is no tab"),
            (b"a\tx\n\n\ty", "t.tsv:3: there is no class"),
            (b"a\tx\nb\t \n", "t.tsv:2: there is no text"),
            (b"a\tx\nb\t\xff\xfe\n", "t.tsv:2: this is not UTF-8"),
            (b"a\tx\na\ty\n", "1 class(es) found"),
            (b"", "0 class(es) found"),
        ] {
            let message = parsed(bytes).expect_err("malformed");
            assert!(message.starts_with(expected) || message.contains(expected), "{message}");
        }
    }
}
