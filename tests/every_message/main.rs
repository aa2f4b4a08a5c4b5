//! Every message that a person reads is to be in a snapshot: what the sources say is looked up in what the snapshots show. Those that are in none
//! yet are counted, file by file.
//!
//! A message is a text of two words or more in a source file, outside of tests. It is shown if some snapshot has it, placeholders filled in.

mod rust;

use std::collections::{BTreeMap, BTreeSet};
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
        "call",
        "what a GPU's driver was asked for, in the sentence of `DeviceError::Driver`",
    ),
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

/// How many messages of a file no snapshot has yet. Most need a GPU, a full disk, a signal or another process at the right moment. A number may
/// fall, when it must be lowered here too, but never rise.
const NOT_YET: &[(&str, usize)] = &[
    ("cache/src/archive/install.rs", 3),
    ("cache/src/archive/mod.rs", 1),
    ("cache/src/archive/read.rs", 1),
    ("cache/src/catalog.rs", 5),
    ("cache/src/claim.rs", 3),
    ("cache/src/disk.rs", 1),
    ("cache/src/expr/parse.rs", 1),
    ("cache/src/files.rs", 6),
    ("cache/src/host.rs", 1),
    ("cache/src/index/columns.rs", 2),
    ("cache/src/index/mod.rs", 6),
    ("cache/src/key.rs", 1),
    ("cache/src/layout.rs", 1),
    ("cache/src/litter.rs", 1),
    ("cache/src/lock.rs", 4),
    ("cache/src/past.rs", 1),
    ("cache/src/publish.rs", 3),
    ("cache/src/publishing.rs", 3),
    ("cache/src/query/parse.rs", 1),
    ("cache/src/record.rs", 2),
    ("cache/src/record_file.rs", 3),
    ("cache/src/scratch.rs", 3),
    ("cache/src/sharing.rs", 1),
    ("cache/src/store.rs", 2),
    ("cache/src/verify.rs", 1),
    ("cache/src/work_folder.rs", 1),
    ("engine/src/action.rs", 4),
    ("engine/src/code.rs", 3),
    ("engine/src/events.rs", 1),
    ("engine/src/execute/end.rs", 1),
    ("engine/src/execute/mod.rs", 1),
    ("engine/src/execute/real.rs", 4),
    ("engine/src/gpus.rs", 3),
    ("engine/src/leash.rs", 3),
    ("engine/src/limits.rs", 2),
    ("engine/src/lineage.rs", 1),
    ("engine/src/lines.rs", 1),
    ("engine/src/node_log.rs", 4),
    ("engine/src/outcome.rs", 1),
    ("engine/src/plain_file.rs", 1),
    ("engine/src/projection.rs", 2),
    ("engine/src/registry.rs", 1),
    ("engine/src/run_list.rs", 2),
    ("engine/src/runs.rs", 2),
    ("engine/src/runs/folder.rs", 2),
    ("engine/src/stat.rs", 2),
    ("engine/src/timeline.rs", 1),
    ("engine/src/watch/files.rs", 1),
    ("engine/src/worker/child.rs", 7),
    ("engine/src/worker/mod.rs", 3),
    ("engine/src/worker/process.rs", 3),
    ("engine/src/workflow/check.rs", 4),
    ("engine/src/workflow/constants.rs", 1),
    ("engine/src/workflow/diagnose.rs", 1),
    ("engine/src/workflow/expand.rs", 12),
    ("engine/src/workflow/include.rs", 4),
    ("engine/src/workflow/tree.rs", 1),
    ("nodes/learn/src/data/annotations.rs", 1),
    ("nodes/learn/src/device/bf16.rs", 1),
    ("nodes/learn/src/device/cuda/driver.rs", 4),
    ("nodes/learn/src/kernels/tile/pairs.rs", 1),
    ("nodes/learn/src/kernels/tile/x86.rs", 1),
    ("nodes/learn/src/layers/residual.rs", 1),
    ("nodes/learn/src/layers/transformer.rs", 1),
    ("nodes/learn/src/methods/colorization.rs", 4),
    ("nodes/learn/src/methods/context_prediction.rs", 1),
    ("nodes/learn/src/methods/dino.rs", 1),
    ("nodes/learn/src/methods/gan.rs", 1),
    ("nodes/learn/src/methods/jigsaw.rs", 1),
    ("nodes/learn/src/methods/mae.rs", 2),
    ("nodes/learn/src/methods/masked_token.rs", 4),
    ("nodes/learn/src/methods/moco.rs", 1),
    ("nodes/learn/src/methods/pirl.rs", 1),
    ("nodes/learn/src/methods/supervised.rs", 1),
    ("nodes/learn/src/methods/tiles.rs", 1),
    ("nodes/learn/src/settings.rs", 1),
    ("nodes/learn/src/stats/metric.rs", 1),
    ("nodes/learn/src/tasks/detect/head.rs", 1),
    ("nodes/learn/src/tasks/detect/mod.rs", 1),
    ("nodes/learn/src/tasks/fit.rs", 1),
    ("nodes/learn/src/tasks/segment.rs", 2),
    ("nodes/learn/src/train/classifier.rs", 1),
    ("nodes/learn/src/train/classify.rs", 2),
    ("nodes/learn/src/train/length.rs", 2),
    ("nodes/src/artifacts/large_images.rs", 2),
    ("nodes/src/artifacts/pretext_pictures.rs", 1),
    ("nodes/src/artifacts/scores.rs", 1),
    ("nodes/src/command/give.rs", 1),
    ("nodes/src/command/process.rs", 3),
    ("nodes/src/command/stage.rs", 3),
    ("nodes/src/device.rs", 8),
    ("nodes/src/evaluate/compare/change.rs", 3),
    ("nodes/src/evaluate/compare/first.rs", 2),
    ("nodes/src/evaluate/compare/judge.rs", 1),
    ("nodes/src/evaluate/compare/mod.rs", 1),
    ("nodes/src/evaluate/compare/pareto.rs", 3),
    ("nodes/src/evaluate/compare/saved.rs", 7),
    ("nodes/src/evaluate/compare/terminal.rs", 6),
    ("nodes/src/evaluate/compare/words.rs", 5),
    ("nodes/src/evaluate/control.rs", 1),
    ("nodes/src/evaluate/probe.rs", 1),
    ("nodes/src/evaluate/summary/mod.rs", 3),
    ("nodes/src/failure.rs", 2),
    ("nodes/src/finetune.rs", 1),
    ("nodes/src/inspect/mod.rs", 4),
    ("nodes/src/inspect/places.rs", 5),
    ("nodes/src/memory.rs", 1),
    ("nodes/src/pictures/bands.rs", 1),
    ("nodes/src/pictures/decode.rs", 4),
    ("nodes/src/pictures/folder.rs", 2),
    ("nodes/src/pictures/load.rs", 1),
    ("nodes/src/pictures/stream.rs", 6),
    ("nodes/src/pictures/table.rs", 1),
    ("nodes/src/predict/best.rs", 3),
    ("nodes/src/predict/origin.rs", 1),
    ("nodes/src/predict/table/npz.rs", 1),
    ("nodes/src/pretrain.rs", 1),
    ("nodes/src/pseudo_label/locate.rs", 1),
    ("nodes/src/sources/fashion_mnist.rs", 1),
    ("nodes/src/sources/folder.rs", 1),
    ("nodes/src/sources/located/look.rs", 1),
    ("nodes/src/sources/located/masks.rs", 1),
    ("nodes/src/sources/parquet.rs", 1),
    ("nodes/src/sources/read.rs", 1),
    ("nodes/src/torch.rs", 2),
    ("src/cli.rs", 2),
    ("src/commands/bench.rs", 8),
    ("src/commands/bench_gpu.rs", 5),
    ("src/commands/cache/explain.rs", 1),
    ("src/commands/cache/gc.rs", 3),
    ("src/commands/cache/mod.rs", 4),
    ("src/commands/data.rs", 6),
    ("src/commands/doctor.rs", 4),
    ("src/commands/init.rs", 9),
    ("src/commands/kinds.rs", 1),
    ("src/commands/mod.rs", 1),
    ("src/commands/plan.rs", 2),
    ("src/commands/predict.rs", 1),
    ("src/commands/report/compare.rs", 2),
    ("src/commands/report/content.rs", 4),
    ("src/commands/report/map.rs", 1),
    ("src/commands/report/markdown.rs", 2),
    ("src/commands/report/mod.rs", 3),
    ("src/commands/report/numbers.rs", 1),
    ("src/commands/report/paint/mod.rs", 1),
    ("src/commands/report/paint/png.rs", 1),
    ("src/commands/report/save.rs", 4),
    ("src/commands/report/schedule.rs", 2),
    ("src/commands/run.rs", 4),
    ("src/commands/runs.rs", 1),
    ("src/commands/ui/mod.rs", 13),
    ("src/commands/watch.rs", 1),
    ("src/handle.rs", 1),
    ("src/main.rs", 2),
    ("src/output.rs", 3),
    ("src/progress.rs", 2),
    ("src/trace.rs", 1),
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
fn a_message_that_a_person_reads_is_in_a_snapshot_or_counted_as_missing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shown = shown(root);
    let mut unused: BTreeSet<&str> = NOT_READ.iter().chain(PAGES).map(|(what, _)| *what).collect();
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in messages(root) {
        if let Some(what) = exception(&message) {
            unused.remove(what);
        } else if !occurs(&shown, &message.pieces()) {
            let Literal { file, line, text, .. } = message;
            missing.entry(file).or_default().push(format!("{line}: {text:?}"));
        }
    }
    assert!(unused.is_empty(), "exceptions that are none: {unused:?}");
    let known: BTreeMap<&str, usize> = NOT_YET.iter().copied().collect();
    let files = missing.keys().map(String::as_str).chain(known.keys().copied());
    let mut wrong = String::new();
    for file in files.collect::<BTreeSet<&str>>() {
        let none = Vec::new();
        let (lines, expected) = (
            missing.get(file).unwrap_or(&none),
            known.get(file).copied().unwrap_or(0),
        );
        if lines.len() != expected {
            let list = lines.join("\n    ");
            wrong.push_str(&format!(
                "{file}: {} messages in no snapshot, {expected} known\n    {list}\n",
                lines.len()
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "show new messages in a snapshot, lower the numbers of those that now are:\n{wrong}"
    );
}
