//! `include = ["common.toml"]`: other files whose sections are put before those of the file that names them.
//!
//! Sections are put together key by key, and nothing takes the place of anything: what is defined twice is an error that
//! shows both places. A file that is reached by two ways is read once. Every key keeps the place where it was written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnose::{Diagnostics, Problem};
use super::entries::{check_keys, wrong_type};
use super::span::{Source, Span};
use super::tree::{self, Data, Entry, Located};

/// The sections of a workflow file.
pub(crate) const SECTIONS: [&str; 6] = ["workflow", "variables", "env", "matrix", "defaults", "nodes"];

/// How deep includes may be nested.
const MAX_INCLUDE_DEPTH: usize = 64;

/// How many files a workflow may include, directly or through others.
const MAX_INCLUDES: usize = 1000;

/// The lists of `[matrix]` that grow where two files have one.
const LISTS: [&str; 2] = ["include", "exclude"];

/// Another file that the workflow is made of.
#[derive(Clone, Debug)]
pub(crate) struct Included {
    /// As written, joined with the directory of the file that names it.
    pub(crate) path: PathBuf,
    /// Its text; `None` if it could not be read.
    pub(crate) text: Option<Arc<str>>,
}

/// Reads the text of `source` and whatever it includes into one tree. `included` gets every other file that was looked
/// for, in the order of its sections, also where there are errors: one who waits for changes must know them.
///
/// # Errors
/// All syntax errors, files that cannot be read, circles, and what is defined twice.
pub(crate) fn read(source: &Arc<Source>, included: &mut Vec<Included>) -> Result<Located, Diagnostics> {
    let mut reading = Reading {
        chain: vec![identity(&source.path)],
        names: vec![source.name.to_string()],
        done: Vec::new(),
        included,
        diagnostics: Diagnostics::default(),
    };
    let root = reading.file(source);
    let diagnostics = reading.diagnostics;
    match root {
        Some(root) => diagnostics.ok(root),
        None => Err(diagnostics),
    }
}

struct Reading<'a> {
    /// The files that lead here, the first one first.
    chain: Vec<PathBuf>,
    names: Vec<String>,
    done: Vec<PathBuf>,
    included: &'a mut Vec<Included>,
    diagnostics: Diagnostics,
}

impl Reading<'_> {
    /// The tree of a file with what it includes before its own sections; `None` if it is not TOML.
    fn file(&mut self, source: &Arc<Source>) -> Option<Located> {
        let mut own = match tree::read(source) {
            Ok(own) => own,
            Err(problems) => {
                self.diagnostics.extend(problems);
                return None;
            }
        };
        let entries = std::mem::take(own.table_mut()?);
        let (includes, sections): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| entry.key == "include");
        let mut merged = Vec::new();
        for entry in &includes {
            for (name, span) in self.names_in(entry) {
                merge(
                    &mut merged,
                    self.included(source, &name, &span),
                    &[],
                    &mut self.diagnostics,
                );
            }
        }
        merge(&mut merged, sections, &[], &mut self.diagnostics);
        own.data = Data::Table(merged);
        Some(own)
    }

    fn names_in(&mut self, entry: &Entry) -> Vec<(String, Span)> {
        let Data::Array(items) = &entry.value.data else {
            let problem = wrong_type(&entry.value.span, "include", "a list of files", &entry.value);
            self.diagnostics.push(problem.help("write include = [\"common.toml\"]"));
            return Vec::new();
        };
        let mut names = Vec::new();
        for item in items {
            match item.str() {
                Some(name) => names.push((name.to_owned(), item.span.clone())),
                None => self
                    .diagnostics
                    .push(wrong_type(&item.span, "include", "a list of files", item)),
            }
        }
        names
    }

    /// Which limit another included file would exceed.
    fn exceeded_limit(&self) -> Option<String> {
        if self.chain.len() > MAX_INCLUDE_DEPTH {
            return Some(format!("includes are nested more than {MAX_INCLUDE_DEPTH} deep"));
        }
        (self.done.len() >= MAX_INCLUDES).then(|| format!("the workflow includes more than {MAX_INCLUDES} files"))
    }

    /// The sections of the file called `name` in `by`; none if it was read already, or cannot be.
    fn included(&mut self, by: &Source, name: &str, span: &Span) -> Vec<Entry> {
        let path = by.dir.join(name);
        let known = identity(&path);
        if let Some(at) = self.chain.iter().position(|above| *above == known) {
            let circle: Vec<&str> = self.names[at..].iter().map(String::as_str).collect();
            let message = format!("include cycle: {} -> {}", circle.join(" -> "), self.names[at]);
            let problem = Problem::at("workflow::include", span, message, "closes the cycle");
            self.diagnostics
                .push(problem.help("remove one of these; put what both need into a third file"));
            return Vec::new();
        }
        if self.done.contains(&known) {
            return Vec::new();
        }
        if let Some(limit) = self.exceeded_limit() {
            let problem = Problem::at("workflow::include", span, limit, "one too many");
            self.diagnostics.push(problem.help("merge some of the files"));
            return Vec::new();
        }
        self.done.push(known.clone());
        let place = self.included.len();
        self.included.push(Included {
            path: path.clone(),
            text: None,
        });
        let source = match crate::code::read_text(&path) {
            Ok(text) => Arc::new(Source::file(&path, text)),
            Err(error) => {
                let message = format!("cannot read `{name}`: {error}");
                let problem = Problem::at("workflow::include", span, message, "included here");
                let help = "searched at {}: paths are relative to the file that they are written in";
                self.diagnostics
                    .push(problem.help(help.replace("{}", &path.display().to_string())));
                return Vec::new();
            }
        };
        self.included[place].text = Some(Arc::clone(&source.text));
        self.chain.push(known);
        self.names.push(source.name.to_string());
        let mut root = self.file(&source);
        self.chain.pop();
        self.names.pop();
        let entries = root
            .as_mut()
            .and_then(Located::table_mut)
            .map(std::mem::take)
            .unwrap_or_default();
        self.only_parts(entries)
    }

    /// What an included file may have: all but a name and a question, of which a workflow has one.
    fn only_parts(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let (header, parts): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|entry| entry.key == "workflow");
        for entry in header {
            let message = "an included file has no [workflow] table";
            let problem = Problem::at("workflow::include", &entry.key_span, message, "not in this file");
            self.diagnostics
                .push(problem.help("the name is that of the file that is run: move what both need into a third file"));
        }
        check_keys(&parts, &SECTIONS, "sections", &mut self.diagnostics);
        parts
            .into_iter()
            .filter(|entry| SECTIONS.contains(&entry.key.as_str()))
            .collect()
    }
}

/// One name for all ways to write a path.
fn identity(path: &Path) -> PathBuf {
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// Puts `more` behind `entries`; `path` is where they stand.
fn merge(entries: &mut Vec<Entry>, more: Vec<Entry>, path: &[&str], diagnostics: &mut Diagnostics) {
    for entry in more {
        let Some(known) = entries.iter_mut().find(|known| known.key == entry.key) else {
            entries.push(entry);
            continue;
        };
        match (&mut known.value.data, entry.value.data, path) {
            (Data::Table(known), Data::Table(more), []) => merge(known, more, &[entry.key.as_str()], diagnostics),
            (Data::Table(known), Data::Table(more), ["defaults"]) => {
                merge(known, more, &["defaults", entry.key.as_str()], diagnostics);
            }
            (Data::Array(known), Data::Array(more), ["matrix"]) if LISTS.contains(&entry.key.as_str()) => {
                known.extend(more);
            }
            _ => diagnostics.push(twice(path, known, &entry.key_span)),
        }
    }
}

fn twice(path: &[&str], first: &Entry, again: &Span) -> Problem {
    let name = [path, &[first.key.as_str()]].concat().join(".");
    let place = first.key_span.location();
    Problem::at(
        "workflow::defined_twice",
        again,
        format!("`{name}` is defined twice"),
        "again",
    )
    .also(&first.key_span, "first here")
    .help(format!("it is at {place} already: remove one, or rename it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `w.toml` among these files.
    fn read_all(files: &[(&str, &str)]) -> (Result<Located, Diagnostics>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let path = dir.path().join("w.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut included = Vec::new();
        let root = read(&Arc::new(Source::file(&path, text)), &mut included);
        let names = included
            .iter()
            .map(|i| i.path.strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned());
        (root, names.collect())
    }

    fn keys(root: &Located, section: &str) -> Vec<String> {
        let section = tree::find(root.table().unwrap(), section).unwrap();
        section.value.table().unwrap().iter().map(|e| e.key.clone()).collect()
    }

    fn problem(files: &[(&str, &str)]) -> Problem {
        let problems = read_all(files).0.unwrap_err();
        assert_eq!(problems.problems().len(), 1, "{:?}", problems.problems());
        problems.problems()[0].clone()
    }

    #[test]
    fn sections_come_together_with_what_is_included_first_and_each_file_once() {
        let (root, files) = read_all(&[
            (
                "w.toml",
                "include = [\"parts/a.toml\", \"parts/b.toml\"]\n[nodes.w]\nx = 1\n",
            ),
            (
                "parts/a.toml",
                "include = [\"c.toml\"]\n[nodes.a]\nx = 1\n[defaults.k]\nx = 1\n",
            ),
            (
                "parts/b.toml",
                "include = [\"../parts/c.toml\"]\n[nodes.b]\nx = 1\n[defaults.k]\ny = 1\n",
            ),
            ("parts/c.toml", "[nodes.c]\nx = 1\n[matrix]\nexclude = [{ a = 1 }]\n"),
        ]);
        let root = root.unwrap();
        assert_eq!(keys(&root, "nodes"), ["c", "a", "b", "w"]);
        assert_eq!(files, ["parts/a.toml", "parts/c.toml", "parts/b.toml"]);
        let k = &tree::find(root.table().unwrap(), "defaults").unwrap().value;
        assert_eq!(k.table().unwrap()[0].value.table().unwrap().len(), 2);
    }

    #[test]
    fn a_circle_is_shown_whole() {
        let circle = problem(&[
            ("w.toml", "include = [\"a.toml\"]\n"),
            ("a.toml", "include = [\"b.toml\"]\n"),
            ("b.toml", "include = [\"a.toml\"]\n"),
        ]);
        let message = circle.to_string().replace(std::path::MAIN_SEPARATOR, "/");
        let names: Vec<&str> = message.split(" -> ").map(|p| p.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["a.toml", "b.toml", "a.toml"]);
        let location = circle.location().unwrap();
        assert!(location.file.ends_with("b.toml") && (location.line, location.column) == (1, 12));
    }

    #[test]
    fn what_is_defined_twice_is_shown_at_both_places() {
        let twice = problem(&[
            ("w.toml", "include = [\"a.toml\"]\n[nodes.n]\nx = 1\n"),
            ("a.toml", "\n\n[nodes.n]\nx = 1\n"),
        ]);
        assert!(twice.location().unwrap().to_string().ends_with("w.toml:2:8"));
        assert!(
            twice.help_text().unwrap().contains("a.toml:3:8"),
            "{:?}",
            twice.help_text()
        );
        let matrix = problem(&[
            ("w.toml", "include = [\"a.toml\"]\n[matrix]\nseed = [1]\n"),
            ("a.toml", "[matrix]\nseed = [1]\n"),
        ]);
        assert!(matrix.to_string().contains("`matrix.seed` is defined twice"));
    }

    #[test]
    fn what_cannot_be_included_is_told_in_the_file_that_says_so() {
        let absent = problem(&[("w.toml", "include = [\"none.toml\"]\n")]);
        assert!(absent.to_string().contains("cannot read `none.toml`"));
        let syntax = problem(&[("w.toml", "include = [\"a.toml\"]\n"), ("a.toml", "x = \n")]);
        assert!(syntax.location().unwrap().file.ends_with("a.toml"));
        let header = problem(&[
            ("w.toml", "include = [\"a.toml\"]\n"),
            ("a.toml", "[workflow]\nname = \"a\"\n"),
        ]);
        assert!(header.location().unwrap().to_string().ends_with("a.toml:1:2"));
        let text = problem(&[("w.toml", "include = \"a.toml\"\n")]);
        assert!(text.to_string().contains("must be a list of files"));
        assert_eq!(read_all(&[("w.toml", "include = [\"none.toml\"]\n")]).1, ["none.toml"]);
    }
}
