//! Every message that a person reads is in a snapshot: what the sources say is looked up in what the snapshots show. The few that no test can bring
//! about are listed, each with its reason.
//!
//! A message is a text of two words or more in a source file, outside of tests. It is shown if some snapshot has it, placeholders filled in.

mod rust;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rust::Token;

/// Directories of source files, below the workspace.
const SOURCES: &[&str] = &["src", "engine/src", "cache/src", "nodes/src", "nodes/learn/src"];

/// What is called with texts that no person reads as messages, and why.
const NOT_READ: &[(&str, &str)] = &[
    ("debug!", "shown on request, with -vv"),
    ("debug_span!", "as above"),
    ("io", "what was done, in the sentence of `CacheError::Io`"),
    ("cannot", "what was done, in a sentence that begins with `cannot`"),
    (
        "bug",
        "what is wrong with the program, in a sentence that begins with `BUG`",
    ),
    ("unusable", "as above"),
    (
        "call",
        "what a GPU's driver was asked for, in the sentence of `DeviceError::Driver`",
    ),
    ("told", "what is counted, on a bar"),
    ("Stream::new", "the name of a random stream"),
    ("child", "as above"),
    ("timed", "a row of a table of measurements"),
    ("strip_prefix", "compared with"),
    ("trim_start_matches", "as above"),
    ("quoted_after", "as above"),
    ("contains", "as above"),
    ("replace", "as above"),
];

/// Files whose texts are pages, figures and files rather than messages, and where these are tested.
const PAGES: &[(&str, &str)] = &[
    ("src/commands/report/chart.rs", "SVG"),
    ("src/commands/report/drawing.rs", "SVG"),
    ("src/commands/report/matrix.rs", "SVG"),
    (
        "src/commands/report/page.rs",
        "HTML: `tests/report.rs` looks at the page",
    ),
    ("src/commands/report/section.rs", "as above"),
    ("src/commands/report/datasets.rs", "a table of the page"),
    ("src/commands/report/panel.rs", "SVG"),
    ("src/commands/ui/events.rs", "HTTP: `tests/ui.rs`"),
    ("src/commands/ui/pages.rs", "HTML: `tests/ui.rs` looks at the pages"),
    ("nodes/src/evaluate/summary/chart.rs", "SVG"),
    ("nodes/src/show/", "figures' captions"),
    ("nodes/src/inspect/channels.rs", "as above"),
    ("nodes/src/inspect/features.rs", "as above"),
    ("nodes/src/inspect/views.rs", "as above"),
    ("nodes/learn/src/device/cuda/check/", "names of checks"),
    ("nodes/learn/src/measure/", "names of measurements"),
    (
        "engine/src/schema.rs",
        "descriptions in the JSON Schema, which editors show",
    ),
];

/// Texts that no snapshot shows, and why not.
const NOT_SHOWN: &[(&str, &str)] = &[
    ("flow archive 1\n", "the first file of an archive"),
    (
        "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of flow: its content can be computed again.\n# Layout 1: blobs/ and records/ are the truth, index/ can be rebuilt from them.\n",
        "the file CACHEDIR.TAG, which is compared byte by byte",
    ),
    (
        "{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape}), }}",
        "the head of an array in NumPy's format",
    ),
    (
        "unknown field `{unknown}`, expected one of {}",
        "as serde says it: `workflow/diagnose.rs` makes the message of it",
    ),
    (
        "a reference to a later round makes nodes depend on themselves",
        "such a cycle is one of names too, which is told first",
    ),
    (
        "Each image as it is, with its ground truth, and with what the network finds: boxes of which it is surer than {SURE}, masks as a veil. {}.",
        "a figure's caption",
    ),
    (
        "changes there are noticed late",
        "needs more watched directories than the system allows, while a run is watched",
    ),
];

/// Pieces of a text shorter than this prove nothing.
const LEAST: usize = 12;
/// The longest that stands for a placeholder in a snapshot.
const LONGEST_VALUE: usize = 600;

/// A text in a source file.
struct Literal {
    file: String,
    line: usize,
    /// What it is handed to, the outermost first.
    callers: Vec<String>,
    text: String,
}

impl Literal {
    /// What lies between its placeholders.
    fn pieces(&self) -> Vec<String> {
        let mut pieces = vec![String::new()];
        let mut chars = self.text.chars().peekable();
        while let Some(c) = chars.next() {
            let last = pieces.last_mut().expect("there is one");
            match c {
                '{' | '}' if chars.next_if_eq(&c).is_some() => last.push(c),
                '{' => {
                    chars.by_ref().find(|c| *c == '}');
                    pieces.push(String::new());
                }
                _ => last.push(c),
            }
        }
        let pieces = pieces.iter().map(|piece| spaced(piece));
        pieces.filter(|piece| !piece.trim().is_empty()).collect()
    }

    /// Whether it is handed to a function or a macro, at any depth.
    fn is_handed_to(&self, call: &str) -> bool {
        let is = |caller: &String| caller == call || caller.rsplit("::").next() == Some(call);
        self.callers.iter().any(is)
    }

    fn is_message(&self) -> bool {
        let long = |piece: &String| piece.trim().len() >= LEAST && piece.trim().contains(' ');
        // A bug of ours says so.
        !self.text.starts_with("BUG") && self.pieces().iter().any(long)
    }
}

/// With one space for white space of any length.
fn spaced(text: &str) -> String {
    let mut spaced = String::new();
    for c in text.chars() {
        match c.is_whitespace() {
            true if spaced.ends_with(' ') => {}
            true => spaced.push(' '),
            false => spaced.push(c),
        }
    }
    spaced
}

/// All files below a directory with an ending, sorted.
fn files(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(dir).expect("a directory of the workspace");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
}

/// What a file says, and which modules of it are tests.
#[derive(Default)]
struct Scan {
    literals: Vec<(usize, Vec<String>, String)>,
    test_modules: Vec<String>,
}

impl Scan {
    /// Reads up to the bracket that closes; `callers` are what the tokens are handed to.
    fn read(&mut self, tokens: &mut impl Iterator<Item = Token>, callers: &[String], is_test: bool) {
        // The words before a bracket: `Problem::at(`.
        let mut words: Vec<String> = Vec::new();
        let mut in_test = is_test;
        while let Some(token) = tokens.next() {
            match token {
                Token::Word(word) => match words.last_mut().filter(|last| last.ends_with("::")) {
                    Some(path) => path.push_str(&word),
                    None => words.push(word),
                },
                Token::Text(text, line) => {
                    if !in_test {
                        self.literals.push((line, callers.to_vec(), text));
                    }
                    words.clear();
                }
                Token::Sign('#') => words = vec!["#".to_owned()],
                Token::Sign('[') if words.first().is_some_and(|word| word.starts_with('#')) => {
                    in_test |= self.attribute(tokens, in_test);
                    words.clear();
                }
                Token::Sign('!') => words.last_mut().into_iter().for_each(|word| word.push('!')),
                Token::Sign(open @ ('(' | '[' | '{')) => {
                    let called = words.last().filter(|word| open == '(' || word.ends_with('!'));
                    self.read(tokens, &[callers, called.cloned().as_slice()].concat(), in_test);
                    in_test = is_test || in_test && open != '{';
                    words.clear();
                }
                Token::Sign(')' | ']' | '}') => return,
                Token::Sign(';') => {
                    if in_test && words.len() > 1 && words[words.len() - 2] == "mod" {
                        self.test_modules.extend(words.pop());
                    }
                    in_test = is_test;
                    words.clear();
                }
                Token::Sign(':') => words.last_mut().into_iter().for_each(|word| word.push(':')),
                Token::Sign('.') => {}
                Token::Sign(_) => words.clear(),
            }
        }
    }

    /// Reads the text of an error; tells whether what follows is for tests alone.
    fn attribute(&mut self, tokens: &mut impl Iterator<Item = Token>, in_test: bool) -> bool {
        let name = tokens.next();
        let mut of_error = Self::default();
        let (mut depth, mut words) = (1, Vec::new());
        let mut inside = Vec::new();
        while let Some(token) = (depth > 0).then(|| tokens.next()).flatten() {
            match &token {
                Token::Sign('(' | '[' | '{') => depth += 1,
                Token::Sign(')' | ']' | '}') => depth -= 1,
                Token::Word(word) => words.push(word.clone()),
                _ => {}
            }
            inside.push(token);
        }
        let is = |what: &str| matches!(&name, Some(Token::Word(name)) if name == what);
        if is("error") && !in_test {
            of_error.read(&mut inside.into_iter(), &[], false);
            self.literals.extend(of_error.literals);
        }
        is("cfg") && words.iter().any(|word| word == "test" || word == "doctest")
    }
}

/// All messages of the workspace.
fn messages(root: &Path) -> Vec<Literal> {
    let mut paths = Vec::new();
    SOURCES.iter().for_each(|dir| files(&root.join(dir), "rs", &mut paths));
    let mut tests: Vec<PathBuf> = Vec::new();
    let mut found = Vec::new();
    for path in &paths {
        let text = std::fs::read_to_string(path).expect("a source file");
        let mut scan = Scan::default();
        scan.read(&mut rust::tokens(&text).into_iter(), &[], false);
        let here = match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("mod" | "lib" | "main") => path.with_file_name(""),
            _ => path.with_extension(""),
        };
        tests.extend(scan.test_modules.iter().map(|name| here.join(name)));
        let file = path.strip_prefix(root).expect("below").display().to_string();
        found.extend(scan.literals.into_iter().map(|(line, callers, text)| {
            (
                path,
                Literal {
                    file: file.clone(),
                    line,
                    callers,
                    text,
                },
            )
        }));
    }
    let is_test = |path: &Path| {
        tests
            .iter()
            .any(|test| path.with_extension("") == *test || path.starts_with(test))
    };
    let outside = found
        .into_iter()
        .filter(|(path, literal)| !is_test(path) && literal.is_message());
    outside.map(|(_, literal)| literal).collect()
}

/// What all snapshots show, without the frames of the terminal.
fn shown(root: &Path) -> String {
    let mut paths = Vec::new();
    for dir in SOURCES.iter().copied().chain([
        "tests",
        "cache/tests",
        "engine/tests",
        "nodes/tests",
        "nodes/learn/tests",
    ]) {
        files(&root.join(dir), "snap", &mut paths);
    }
    let texts = paths.iter().map(|path| {
        let text = std::fs::read_to_string(path).expect("a snapshot");
        let text = text
            .splitn(3, "---\n")
            .last()
            .unwrap_or_default()
            .replace(['│', '×', '╰', '├', '▶', '─'], " ");
        spaced(&text)
    });
    texts.collect::<Vec<String>>().join("\n")
}

/// Whether `pieces` follow each other in `text`, with no more than a value between two.
fn occurs(text: &str, pieces: &[String]) -> bool {
    let follow = |mut end: usize| {
        pieces[1..].iter().all(|piece| {
            let far = text.floor_char_boundary(end + LONGEST_VALUE + piece.len());
            let at = text[end..far].find(piece.as_str());
            at.map(|at| end += at + piece.len()).is_some()
        })
    };
    pieces.iter().all(|piece| text.contains(piece.as_str()))
        && text
            .match_indices(pieces[0].as_str())
            .any(|(at, first)| follow(at + first.len()))
}

/// The entry of a list of exceptions that a message falls under.
fn exception(message: &Literal) -> Option<&'static str> {
    let call = NOT_READ.iter().find(|(call, _)| message.is_handed_to(call));
    let page = PAGES.iter().find(|(file, _)| message.file.starts_with(file));
    call.or(page).map(|(what, _)| *what)
}

#[test]
fn a_message_that_a_person_reads_is_in_a_snapshot_or_listed_with_the_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shown = shown(root);
    let all = NOT_READ.iter().chain(PAGES).chain(NOT_SHOWN);
    let mut unused: BTreeSet<&str> = all.map(|(what, _)| *what).collect();
    let mut missing = String::new();
    for message in messages(root) {
        if let Some(what) = exception(&message) {
            unused.remove(what);
        } else if !occurs(&shown, &message.pieces()) && !unused.remove(&*message.text) {
            let Literal { file, line, text, .. } = message;
            missing.push_str(&format!("{file}:{line}: {text:?}\n"));
        }
    }
    assert!(missing.is_empty(), "show these messages in a snapshot:\n{missing}");
    assert!(unused.is_empty(), "exceptions that are none (any more): {unused:#?}");
}
