//! The sections of a workflow file: what they are called, what must be there, which keys belong to the engine.
//!
//! A node's own parameters are left as they were written; [`super::template`] gives them to the node's kind.

use std::path::Path;
use std::sync::Arc;

use super::constants::Constants;
use super::diagnose::{Diagnostics, Problem, suggest};
use super::entries::{bad_name, check_keys, is_name, string, table_of, wrong_type};
use super::include::{self, Included, SECTIONS};
use super::matrix;
use super::node_table::{NodeTable, RESERVED, Rounds};
use super::overrides::{self, Override};
use super::span::{Source, Span};
use super::tree::{Data, Entry, find};
use super::variables::Matrix;
use super::when::Condition;

/// Letters of a workflow's name.
const LONGEST_NAME: usize = 64;

/// More rounds than this are taken for a mistake.
const MAX_ROUNDS: u32 = 1000;

/// A workflow file, its sections distinguished.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) question: Option<String>,
    pub(crate) matrix: Matrix,
    pub(crate) constants: Constants,
    /// Parameters that hold where a node does not say otherwise; those of one kind in a table of the kind's name.
    pub(crate) defaults: Vec<Entry>,
    /// In the order written.
    pub(crate) nodes: Vec<NodeTable>,
    /// The names of nodes of which the table is too broken to go on with, so that references to them are not blamed.
    pub(crate) broken: Vec<String>,
}

/// Reads the file's text and what it includes, and puts the overrides in. Problems with sections and reserved keys go to `diagnostics`, so that
/// those with parameters can be told in one go.
///
/// # Errors
/// All syntax errors, and what is wrong with included files: then there is nothing to go on with.
pub(crate) fn document(
    source: &Arc<Source>,
    included: &mut Vec<Included>,
    overrides: &[Override],
    diagnostics: &mut Diagnostics,
) -> Result<Document, Diagnostics> {
    let mut root = include::read(source, included)?;
    overrides::apply(&mut root, overrides, diagnostics);
    let constants = Constants::apply(&mut root, &|name| std::env::var_os(name), diagnostics);
    let sections = root.table().unwrap_or(&[]);
    check_keys(sections, &SECTIONS, "sections", diagnostics);
    let (name, question) = header(sections, &source.path, diagnostics);
    let matrix = matrix::matrix(section(sections, "matrix", diagnostics), diagnostics);
    let defaults = section(sections, "defaults", diagnostics).to_vec();
    let (nodes, broken) = nodes(sections, &matrix, &constants, &root.span, diagnostics);
    Ok(Document {
        name,
        question,
        matrix,
        constants,
        defaults,
        nodes,
        broken,
    })
}

/// The entries of the section, none if it is absent or not a table (which is a problem).
fn section<'a>(entries: &'a [Entry], name: &str, diagnostics: &mut Diagnostics) -> &'a [Entry] {
    let Some(entry) = find(entries, name) else { return &[] };
    table_of(&entry.value, name, diagnostics).unwrap_or(&[])
}

/// The name, by default that of the file, and the question.
fn header(sections: &[Entry], file: &Path, diagnostics: &mut Diagnostics) -> (String, Option<String>) {
    let header = section(sections, "workflow", diagnostics);
    check_keys(header, &["name", "question"], "keys of [workflow]", diagnostics);
    let question = find(header, "question").and_then(|e| string(e, diagnostics));
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let Some(entry) = find(header, "name") else {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let name = stem.chars().take(LONGEST_NAME).map(|c| if plain(c) { c } else { '_' });
        return (name.collect(), question);
    };
    let name = string(entry, diagnostics).unwrap_or_default();
    let valid = (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(plain);
    if !valid && entry.value.str().is_some() {
        let message = format!("{name:?} is not a name for a workflow");
        let problem = Problem::at("workflow::bad_name", &entry.value.span, message, "names a directory");
        diagnostics.push(problem.help("use 1 to 64 letters, digits, `_` and `-`"));
    }
    (name, question)
}

fn nodes(
    sections: &[Entry],
    matrix: &Matrix,
    constants: &Constants,
    whole: &Span,
    diagnostics: &mut Diagnostics,
) -> (Vec<NodeTable>, Vec<String>) {
    let entries = section(sections, "nodes", diagnostics);
    if entries.is_empty() && find(sections, "nodes").is_none_or(|e| e.value.table().is_some()) {
        let start = Span::new(&whole.source, 0..0);
        let problem = Problem::at("workflow::missing_key", &start, "the workflow has no nodes", "here");
        diagnostics.push(problem.help("write [nodes.<name>] and below it kind = \"..\""));
    }
    let (mut nodes, mut broken) = (Vec::new(), Vec::new());
    for entry in entries {
        match node(entry, matrix, constants, diagnostics) {
            Some(node) => nodes.push(node),
            None => broken.push(entry.key.clone()),
        }
    }
    (nodes, broken)
}

fn node(entry: &Entry, matrix: &Matrix, constants: &Constants, diagnostics: &mut Diagnostics) -> Option<NodeTable> {
    if !is_name(&entry.key) {
        diagnostics.push(bad_name(&entry.key_span, &entry.key, "a node"));
    }
    let table = table_of(&entry.value, &format!("nodes.{}", entry.key), diagnostics)?;
    let Some(kind) = find(table, "kind") else {
        let message = format!("node `{}` has no kind", entry.key);
        let problem = Problem::at("workflow::missing_key", &entry.key_span, message, "this node");
        diagnostics.push(problem.help("add kind = \"..\""));
        return None;
    };
    let over = over(table, matrix, diagnostics);
    let rounds = rounds(table, diagnostics);
    let when = find(table, "when").map(|when| Condition::read(&when.value, matrix, constants));
    let when = when.transpose().unwrap_or_else(|problem| {
        diagnostics.push(problem);
        None
    });
    let params: Vec<Entry> = table
        .iter()
        .filter(|e| !RESERVED.contains(&e.key.as_str()))
        .cloned()
        .collect();
    let kind_name = string(kind, diagnostics)?;
    Some(NodeTable {
        name: entry.key.clone(),
        name_span: entry.key_span.clone(),
        dir: kind.key_span.source.dir.clone(),
        kind: kind_name,
        kind_span: kind.value.span.clone(),
        params,
        over,
        rounds,
        when,
    })
}

fn over(table: &[Entry], matrix: &Matrix, diagnostics: &mut Diagnostics) -> Vec<(String, Span)> {
    let Some(entry) = find(table, "over") else {
        return Vec::new();
    };
    let Data::Array(items) = &entry.value.data else {
        let problem = wrong_type(&entry.value.span, "over", "a list of matrix variables", &entry.value);
        diagnostics.push(problem.help("write over = [\"seed\"]"));
        return Vec::new();
    };
    let mut names = Vec::new();
    for item in items {
        match item.str() {
            Some(name) if matrix.index(name).is_some() => names.push((name.to_owned(), item.span.clone())),
            Some(name) => diagnostics.push(
                Problem::at(
                    "workflow::unknown_variable",
                    &item.span,
                    format!("unknown matrix variable `{name}`"),
                    "not declared under [matrix]",
                )
                .help(suggest(name, "matrix variables", matrix.names())),
            ),
            None => diagnostics.push(wrong_type(&item.span, "over", "a list of matrix variables", item)),
        }
    }
    names
}

fn rounds(table: &[Entry], diagnostics: &mut Diagnostics) -> Option<Rounds> {
    let (count, becomes) = match (find(table, "rounds"), find(table, "becomes")) {
        (None, None) => return None,
        (Some(count), Some(becomes)) => (count, becomes),
        (Some(one), None) | (None, Some(one)) => {
            let other = if one.key == "rounds" {
                "becomes = \"node.port\""
            } else {
                "rounds = 2"
            };
            let message = format!("`{}` has no effect on its own", one.key);
            let problem = Problem::at("workflow::rounds", &one.key_span, message, "needs the other one");
            diagnostics.push(problem.help(format!(
                "add {other}: rounds repeat, and this node becomes the input of the next"
            )));
            return None;
        }
    };
    let number = match &count.value.data {
        Data::Scalar(toml::Value::Integer(n)) => u32::try_from(*n).ok().filter(|n| (1..=MAX_ROUNDS).contains(n)),
        _ => None,
    };
    if number.is_none() {
        let problem = wrong_type(
            &count.value.span,
            "rounds",
            &format!("a whole number from 1 to {MAX_ROUNDS}"),
            &count.value,
        );
        diagnostics.push(problem.help("it may not depend on a matrix variable"));
    }
    let target = string(becomes, diagnostics)?;
    let Some((node, port)) = target.split_once('.') else {
        let message = format!("`becomes` must name a node and its port, found `{target}`");
        let problem = Problem::at("workflow::rounds", &becomes.value.span, message, "no port");
        diagnostics.push(problem.help("write becomes = \"pseudo.teacher\""));
        return None;
    };
    Some(Rounds {
        // The problem is told; references to single rounds are not to blame for it.
        count: number.unwrap_or(MAX_ROUNDS),
        span: count.value.span.clone(),
        node: node.to_owned(),
        port: port.to_owned(),
        becomes_span: becomes.value.span.clone(),
    })
}
