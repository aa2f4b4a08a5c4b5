//! `--set nodes.simclr.epochs=5`: values that take the place of what the file says, before anything is checked.

use std::ops::Range;
use std::sync::Arc;

use super::diagnose::{Diagnostics, Problem, suggest};
use super::include::SECTIONS;
use super::span::{Source, Span};
use super::tree::{Data, Entry, Located, MAX_DEPTH};

/// The name of the source of values that the command line gives.
pub(crate) const COMMAND_LINE: &str = "--set";

/// A value from the command line and the path in the workflow that it takes the place of.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    path: String,
    value: toml::Value,
    text: String,
}

impl Override {
    /// Sets `path` (dotted, e.g. `nodes.simclr.epochs`) to `value`.
    pub fn new(path: impl Into<String>, value: toml::Value) -> Self {
        let path = path.into();
        let text = format!("{path}={value}");
        Self { path, value, text }
    }

    /// Reads `path=value`; a value that is not TOML is taken as a string, so that shells need no second pair of quotes.
    ///
    /// # Errors
    /// If there is no `=`, the path is empty or has an empty part, or the value is an infinite number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((path, value)) = equals(text).map(|at| (&text[..at], &text[at + 1..])) else {
            return Err("there is no `=` in it".to_owned());
        };
        let path = path.trim();
        let Some(keys) = steps(path) else {
            return Err(format!("`{path}` is not a path"));
        };
        let column = |at: usize| text[..at].chars().count() + 1;
        if let Some((_, key)) = keys.get(MAX_DEPTH) {
            let column = column(text.find(path).unwrap_or(0) + key.start);
            return Err(format!("1:{column}: the path has more than {MAX_DEPTH} keys"));
        }
        if let Some(at) = too_deep(value) {
            let column = column(text.len() - value.len() + at);
            return Err(format!(
                "1:{column}: tables and lists are nested more than {MAX_DEPTH} deep"
            ));
        }
        let parsed = toml::from_str::<toml::Table>(&format!("v = {value}")).ok();
        let value = match parsed.and_then(|mut t| if t.len() == 1 { t.remove("v") } else { None }) {
            Some(value) => value,
            None => toml::Value::String(value.trim().to_owned()),
        };
        if !is_finite(&value) {
            return Err(format!("`{text}`: write a finite number"));
        }
        Ok(Self {
            path: path.to_owned(),
            value,
            text: text.to_owned(),
        })
    }

    /// The path that is set.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl std::fmt::Display for Override {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where brackets outside of quotes are nested more than [`MAX_DEPTH`] deep.
fn too_deep(value: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0_usize);
    value.char_indices().find_map(|(at, c)| {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        (depth > MAX_DEPTH).then_some(at)
    })
}

/// Where the path ends: the first `=` outside of quotes.
fn equals(text: &str) -> Option<usize> {
    let mut quote = None;
    text.char_indices().find_map(|(at, c)| {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '=') => return Some(at),
            _ => {}
        }
        None
    })
}

/// The keys of a dotted path, each with its place; a key in quotes is one whatever is in it, as in TOML. `None` if it is no path.
fn steps(path: &str) -> Option<Vec<(String, Range<usize>)>> {
    let (mut steps, mut at) = (Vec::new(), 0);
    loop {
        let rest = &path[at..];
        let len = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => rest[1..].find(quote)? + 2,
            _ => rest.find('.').unwrap_or(rest.len()),
        };
        let written = &rest[..len];
        let step = if written.starts_with(['"', '\'']) {
            let read: toml::Table = toml::from_str(&format!("{written} = 0")).ok()?;
            read.keys().next()?.clone()
        } else {
            written.to_owned()
        };
        if written.is_empty() {
            return None;
        }
        steps.push((step, at..at + len));
        at += len;
        match path[at..].chars().next() {
            None => return Some(steps),
            Some('.') => at += 1,
            Some(_) => return None,
        }
    }
}

/// Whether all numbers in it are.
fn is_finite(value: &toml::Value) -> bool {
    match value {
        toml::Value::Float(float) => float.is_finite(),
        toml::Value::Array(items) => items.iter().all(is_finite),
        toml::Value::Table(table) => table.values().all(is_finite),
        _ => true,
    }
}

/// Puts the overrides into the tree, the last one of a path winning.
pub(crate) fn apply(root: &mut Located, overrides: &[Override], diagnostics: &mut Diagnostics) {
    for set in overrides {
        let source = Arc::new(Source::new(COMMAND_LINE, set.text.as_str()));
        if let Err(problem) = apply_one(root, set, &source) {
            diagnostics.push(problem);
        }
    }
}

fn apply_one(root: &mut Located, set: &Override, source: &Arc<Source>) -> Result<(), Problem> {
    let equals = equals(&set.text).unwrap_or(set.text.len());
    let value_span = Span::new(source, equals + 1..set.text.len());
    let written = steps(&set.path).unwrap_or_default();
    let steps: Vec<&str> = written.iter().map(|(step, _)| step.as_str()).collect();
    let mut here = root;
    for (depth, (step, range)) in written.iter().enumerate() {
        let span = Span::new(source, range.clone());
        let last = depth + 1 == steps.len();
        let Some(entries) = here.table_mut() else {
            let parent = steps[..depth].join(".");
            let message = format!("`{parent}` is a value, it has no `{step}`");
            return Err(Problem::at("override::path", &span, message, "no such key"));
        };
        let at = match entries.iter().position(|e| e.key == *step) {
            Some(at) => at,
            None => {
                check_may_add(entries, &steps, depth, last, &span)?;
                let value = Located {
                    data: Data::Table(Vec::new()),
                    span: span.clone(),
                };
                entries.push(Entry {
                    key: step.clone(),
                    key_span: span.clone(),
                    value,
                });
                entries.len() - 1
            }
        };
        let entry = &mut entries[at];
        // A declaration stays what it is, secret or not: it is given a value, and its default is known still.
        if last && steps[0] == "env" && depth == 1 {
            let default = |key_span: &Span, value: Located| Entry {
                key: "default".to_owned(),
                key_span: key_span.clone(),
                value,
            };
            let given = default(&span, Located::from_value(set.value.clone(), &value_span));
            match &mut entry.value.data {
                Data::Table(fields) => fields.insert(0, given),
                _ => {
                    let old = default(&entry.key_span, entry.value.clone());
                    entry.value.data = Data::Table(vec![given, old]);
                }
            }
            return Ok(());
        }
        if last {
            entry.key_span = span;
            entry.value = Located::from_value(set.value.clone(), &value_span);
            return Ok(());
        }
        here = &mut entry.value;
    }
    Ok(())
}

/// Keys may be added (a default is overridden that way), nodes and sections may not: those are slips.
fn check_may_add(entries: &[Entry], steps: &[&str], depth: usize, last: bool, span: &Span) -> Result<(), Problem> {
    let step = steps[depth];
    let known: Vec<&str> = match (depth, steps[0]) {
        (0, section) if !last && SECTIONS.contains(&section) => return Ok(()),
        (0, _) => SECTIONS.to_vec(),
        (1, "matrix") if ["include", "exclude"].contains(&step) => return Ok(()),
        (1, "nodes" | "variables" | "matrix" | "env") => entries.iter().map(|e| e.key.as_str()).collect(),
        _ => return Ok(()),
    };
    let what = if depth == 0 { "sections" } else { steps[0] };
    let message = format!("--set names `{step}`, which the workflow does not have");
    Err(Problem::at("override::path", span, message, "no such name").help(suggest(step, what, known)))
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    fn value_at<'a>(root: &'a Located, path: &str) -> Option<&'a Located> {
        path.split('.')
            .try_fold(root, |here, step| tree::find(here.table()?, step).map(|e| &e.value))
    }

    fn tree(text: &str) -> Located {
        tree::read(&Arc::new(Source::new("w.toml", text))).unwrap()
    }

    #[test]
    fn values_are_toml_or_else_strings() {
        assert_eq!(Override::parse("a.b=5").unwrap().value, toml::Value::Integer(5));
        assert_eq!(
            Override::parse("a.b=[1, 2]").unwrap().value.as_array().map(Vec::len),
            Some(2)
        );
        assert_eq!(
            Override::parse("a.b=fashion-mnist").unwrap().value.as_str(),
            Some("fashion-mnist")
        );
        assert_eq!(
            Override::parse("a.b=x\nc = 2").unwrap().value.as_str(),
            Some("x\nc = 2")
        );
        assert!(Override::parse("a.b").is_err());
        assert!(Override::parse("a..b=1").is_err());
    }

    #[test]
    fn a_key_in_quotes_is_one_key_as_in_toml() {
        let mut root = tree("[nodes.a.params]\n\"a.b\" = 1\n");
        let mut diagnostics = Diagnostics::default();
        let sets = ["nodes.a.params.\"a.b\"=5", "nodes.a.params.'c=d'=6"].map(|t| Override::parse(t).unwrap());
        apply(&mut root, &sets, &mut diagnostics);
        assert!(diagnostics.is_empty());
        let params = value_at(&root, "nodes.a.params")
            .and_then(Located::table)
            .expect("a table");
        let keys: Vec<&str> = params.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["a.b", "c=d"]);
        for wrong in ["a..b=1", "a.\"b=1", "=1", "\"a\"b=1", ".a=1"] {
            assert!(Override::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_later_override_wins_and_a_missing_key_is_added() {
        let mut root = tree("[nodes.a]\nx = 1\n");
        let sets = ["nodes.a.x=2", "nodes.a.x=3", "nodes.a.y=4"].map(|t| Override::parse(t).unwrap());
        let mut diagnostics = Diagnostics::default();
        apply(&mut root, &sets, &mut diagnostics);
        assert!(diagnostics.is_empty());
        assert_eq!(value_at(&root, "nodes.a.x").unwrap().describe(), "the number 3");
        assert_eq!(value_at(&root, "nodes.a.y").unwrap().describe(), "the number 4");
    }

    #[test]
    fn an_unknown_node_is_named_with_the_nearest() {
        let mut root = tree("[nodes.simclr]\nx = 1\n");
        let mut diagnostics = Diagnostics::default();
        apply(
            &mut root,
            &[Override::parse("nodes.simcrl.x=2").unwrap()],
            &mut diagnostics,
        );
        let problem = &diagnostics.problems()[0];
        assert!(problem.help_text().unwrap().contains("did you mean `simclr`?"));
        assert_eq!(problem.location().unwrap().to_string(), "--set:1:7");
    }
}
