//! Texts with a class each from a file: one example a line, `label<TAB>text`.

use std::path::{Path, PathBuf};

use flow_engine::node::{NodeError, ParamError};
use flow_learn::data::{Modality, NetworkInput};
use flow_learn::layers::MapShape;
use flow_learn::text::{BYTES, LARGEST, words};

use super::read::read_file;
use super::{Loaded, MOST_EXAMPLES, Source, SourceSettings, SourceShape, Texts, check_count};
use crate::artifacts::Annotated;
use crate::failure::at;

/// Tokens of a text where nothing is said.
const LENGTH: usize = 32;
/// Tokens of a vocabulary where nothing is said.
const VOCABULARY: usize = 2000;

/// One UTF-8 file, gzipped or not.
pub(super) const TEXT: Source = Source {
    name: "text",
    takes: &["path", "test", "vocabulary", "length"],
    files: &[],
    in_memory: true,
    check: |settings| {
        check_count("test", settings.test, 1..=MOST_EXAMPLES, "texts")?;
        check_count("length", settings.length, 4..=512, "tokens")?;
        check_count("vocabulary", settings.vocabulary, 16..=LARGEST, "tokens")
    },
    shape,
    load: |settings, files, _| load(settings, files),
};

/// A larger file is not read before anything runs.
const READ_AHEAD: u64 = 32 << 20;
/// The vocabulary of a larger file is not learnt before anything runs.
const LEARN_AHEAD: u64 = 4 << 20;

/// Which words there are is known once training texts are chosen: until then the fingerprint is 0, and the vocabulary as large as it may get.
fn shape(settings: &SourceSettings, files: &[PathBuf]) -> Result<Option<SourceShape>, ParamError> {
    let shape = MapShape {
        h: length(settings),
        w: 1,
        c: BYTES,
    };
    let modality = Modality::Texts {
        vocabulary: vocabulary(settings),
        fingerprint: 0,
    };
    let mut known = SourceShape {
        input: NetworkInput { shape, modality },
        class_names: None,
        counts: None,
        validation: 0,
        labelled: None,
        annotated: Annotated::default(),
        texts: None,
    };
    let small = |path: &&PathBuf| path.metadata().is_ok_and(|m| m.is_file() && m.len() <= READ_AHEAD);
    let Some(path) = files.first().filter(small) else {
        return Ok(Some(known));
    };
    let texts = read_file(path).and_then(|bytes| parse(path, &bytes));
    let texts = texts.map_err(|e| match e {
        NodeError::Failed { message, help } => ParamError {
            help,
            ..at("path", message)
        },
        other => at("path", other.to_string()),
    })?;
    let all = texts.texts.len();
    let test = settings.test.unwrap_or(all / 5);
    if test >= all {
        return Err(at("test", format!("{test} found, but the file has only {all} texts")));
    }
    known.class_names = Some(texts.class_names.clone());
    known.counts = Some([all - test, test]);
    known.texts = path.metadata().is_ok_and(|m| m.len() <= LEARN_AHEAD).then_some(texts);
    Ok(Some(known))
}

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
        let line = bytes[..e.valid_up_to()].split(|b| *b == b'\n').count();
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
    fn classes_and_counts_are_known_from_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.tsv");
        std::fs::write(&path, "sea\ta wave\nland\ta house\nsea\ta ship\n").expect("written");
        let shape = |test| {
            let settings = SourceSettings {
                test,
                ..Default::default()
            };
            (TEXT.shape)(&settings, std::slice::from_ref(&path))
        };
        let known = shape(Some(1)).expect("well-formed").expect("a file");
        assert_eq!(known.class_names, Some(vec!["land".into(), "sea".into()]));
        assert_eq!(known.counts, Some([2, 1]));
        assert_eq!(shape(Some(3)).expect_err("nothing to train on").key, "test");
        let missing = (TEXT.shape)(&SourceSettings::default(), &[folder.path().join("none.tsv")]);
        assert_eq!(missing.expect("not an error yet").expect("a length").counts, None);
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
