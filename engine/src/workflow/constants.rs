//! Values that are the same everywhere in a workflow: `[variables]`, and of the environment what `[env]` declares.
//!
//! ```toml
//! [variables]
//! epochs = 20
//!
//! [env]
//! DATA = "data"                  # the environment's value, or else this
//! HOST = { required = true }     # an error where it is not set
//! LICENCE = { default = "", secret = true }    # not to be written down; so is what looks like it, e.g. API_TOKEN, unless `secret = false`
//!
//! [nodes.images]
//! kind = "dataset"
//! path = "${env.DATA}/images"
//! ```
//!
//! They are put in before anything else is read, so that it is the value that enters keys, wherever it came from. A string
//! that is nothing but `"${name}"` becomes the value itself, a number or a list too.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use super::diagnose::{Diagnostics, Problem, suggest};
use super::entries::{check_keys, is_variable_name, table_of, wrong_type};
use super::overrides::COMMAND_LINE;
use super::tree::{Data, Entry, Located, find};
use super::variables::{Piece, opening, pieces, text};
use crate::secrets::{HIDDEN, Secrets, is_secret};

/// The section of variables, and that of the environment.
const SECTIONS: [&str; 2] = ["variables", "env"];
/// What comes before the name of an environment variable.
const ENV: &str = "env.";

/// All constants of a workflow by the name that stands for them: `epochs`, `env.DATA`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constants {
    values: BTreeMap<String, Located>,
    /// The names, without [`ENV`], of those that are not to be written down.
    secret: BTreeSet<String>,
    /// Defaults of these that are written in the workflow, whether they count or not.
    written: Vec<(String, String)>,
    /// Names that are declared but have no value, which was told.
    broken: Vec<String>,
}

/// Where the environment is looked up.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Constants {
    /// Takes both sections out of the root and puts their values wherever they are named.
    pub(crate) fn apply(root: &mut Located, environment: Environment<'_>, diagnostics: &mut Diagnostics) -> Self {
        let Some(sections) = root.table_mut() else {
            return Self::default();
        };
        let (mine, mut rest): (Vec<Entry>, Vec<Entry>) = std::mem::take(sections)
            .into_iter()
            .partition(|section| SECTIONS.contains(&section.key.as_str()));
        let mut constants = Self::default();
        constants.read_environment(&mine, environment, diagnostics);
        constants.read_variables(&mine, &rest, diagnostics);
        for section in rest.iter_mut().filter(|section| section.key != "workflow") {
            match section.value.table_mut().filter(|_| section.key == "nodes") {
                Some(nodes) => nodes
                    .iter_mut()
                    .for_each(|node| constants.fill_node(&mut node.value, diagnostics)),
                None => constants.fill(&mut section.value, diagnostics),
            }
        }
        *sections = rest;
        constants
    }

    /// The value of a constant.
    pub(crate) fn get(&self, name: &str) -> Option<&Located> {
        self.values.get(name)
    }

    /// The names of all constants.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Whether a name is declared.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.broken.iter().any(|broken| broken == name)
    }

    /// The declared environment variables with their values; of secrets [`HIDDEN`].
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let shown = |name: &str, value: &str| match self.secret.contains(name) {
            true => HIDDEN.to_owned(),
            false => value.to_owned(),
        };
        self.declared_ones()
            .map(|(name, value)| (name.to_owned(), shown(name, value)))
            .collect()
    }

    /// The declared environment variables that are secrets.
    pub(crate) fn secrets(&self) -> Secrets {
        let secret = self.declared_ones().filter(|(name, _)| self.secret.contains(*name));
        let secret = secret.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Secrets::new(secret.chain(self.written.iter().cloned()))
    }

    fn declared_ones(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = self.values.iter();
        values.filter_map(|(name, value)| Some((name.strip_prefix(ENV)?, value.str()?)))
    }

    fn read_environment(&mut self, sections: &[Entry], environment: Environment<'_>, diagnostics: &mut Diagnostics) {
        let declared = find(sections, "env").and_then(|entry| table_of(&entry.value, "env", diagnostics));
        for entry in declared.unwrap_or(&[]) {
            let name = format!("{ENV}{}", entry.key);
            let declaration = declaration(entry, diagnostics);
            if let Some(declared) = &declaration {
                let hidden = declared
                    .defaults
                    .iter()
                    .filter(|text| is_secret(&entry.key, declared.secret, text));
                self.written
                    .extend(hidden.map(|text| (entry.key.clone(), text.clone())));
            }
            match declaration {
                // What the command line says comes before the environment.
                Some(Declared {
                    default: Some(value),
                    given: true,
                    secret,
                    ..
                }) => self.declared(name, entry, secret, value),
                Some(Declared { default, secret, .. }) => {
                    match environment(&entry.key).map_or(Ok(default), |value| value.into_string().map(Some)) {
                        Err(_) => {
                            let message = format!("the environment variable {} is not UTF-8", entry.key);
                            diagnostics.push(Problem::at("workflow::env", &entry.key_span, message, "needed here"));
                            self.broken.push(name);
                        }
                        Ok(Some(value)) => self.declared(name, entry, secret, value),
                        Ok(None) => {
                            let message = format!("the environment variable {} is not set", entry.key);
                            let problem = Problem::at("workflow::env", &entry.key_span, message, "needed here");
                            let help = format!("set it, or give it a default: {} = \"..\"", entry.key);
                            diagnostics.push(problem.help(help));
                            self.broken.push(name);
                        }
                    }
                }
                None => self.broken.push(name),
            }
        }
    }

    /// Its value is known.
    fn declared(&mut self, name: String, entry: &Entry, secret: Option<bool>, value: String) {
        if is_secret(&entry.key, secret, &value) {
            self.secret.insert(entry.key.clone());
        }
        let data = Data::Scalar(toml::Value::String(value));
        self.values.insert(
            name,
            Located {
                data,
                span: entry.value.span.clone(),
            },
        );
    }

    /// A variable may use the environment, but no other variable: there is no order among them.
    fn read_variables(&mut self, sections: &[Entry], rest: &[Entry], diagnostics: &mut Diagnostics) {
        let matrix = find(rest, "matrix")
            .and_then(|entry| entry.value.table())
            .unwrap_or(&[]);
        let declared = find(sections, "variables").and_then(|entry| table_of(&entry.value, "variables", diagnostics));
        let mut variables = BTreeMap::new();
        for entry in declared.unwrap_or(&[]) {
            if !is_variable_name(&entry.key_span, &entry.key, diagnostics) {
                continue;
            }
            if let Some(other) = find(matrix, &entry.key) {
                let message = format!("`{}` is a matrix variable as well", entry.key);
                let problem = Problem::at("workflow::defined_twice", &entry.key_span, message, "again");
                diagnostics.push(
                    problem
                        .also(&other.key_span, "first here")
                        .help("give one of them another name"),
                );
            }
            let mut value = entry.value.clone();
            self.fill(&mut value, diagnostics);
            variables.insert(entry.key.clone(), value);
        }
        self.values.extend(variables);
    }

    /// As [`Constants::fill`], but for a node's condition, which names what it means without `${}`.
    fn fill_node(&self, node: &mut Located, diagnostics: &mut Diagnostics) {
        match node.table_mut() {
            Some(entries) => entries
                .iter_mut()
                .filter(|entry| entry.key != "when")
                .for_each(|entry| self.fill(&mut entry.value, diagnostics)),
            None => self.fill(node, diagnostics),
        }
    }

    /// Puts values in the place of names. What is no constant is left to the matrix.
    fn fill(&self, value: &mut Located, diagnostics: &mut Diagnostics) {
        match &mut value.data {
            Data::Array(items) => items.iter_mut().for_each(|item| self.fill(item, diagnostics)),
            Data::Table(entries) => entries
                .iter_mut()
                .for_each(|entry| self.fill(&mut entry.value, diagnostics)),
            Data::Scalar(toml::Value::String(written)) if opening(written).is_some() => {
                if let Some(filled) = self.filled(written, &value.span, diagnostics) {
                    value.data = filled;
                }
            }
            Data::Scalar(_) => {}
        }
    }

    fn filled(&self, written: &str, span: &super::span::Span, diagnostics: &mut Diagnostics) -> Option<Data> {
        let pieces = pieces(written)?;
        if let [Piece::Text(""), Piece::Variable(name), Piece::Text("")] = pieces.as_slice()
            && let Some(value) = self.get(name)
        {
            return Some(match &value.data {
                Data::Scalar(toml::Value::String(text)) => Data::Scalar(toml::Value::String(escaped(text))),
                other => other.clone(),
            });
        }
        let mut whole = String::new();
        for piece in pieces {
            match piece {
                Piece::Text("${") => whole.push_str("$${"),
                Piece::Text(plain) => whole.push_str(plain),
                Piece::Variable(name) => match self.get(name).map(|value| &value.data) {
                    Some(Data::Scalar(value)) => whole.push_str(&escaped(&text(value))),
                    Some(_) => {
                        let message = format!("`{name}` is not a string, so it cannot be part of one");
                        let problem = Problem::at("workflow::variable", span, message, "used here");
                        diagnostics.push(problem.help(format!("use it alone: \"${{{name}}}\"")));
                    }
                    None => {
                        if let Some(env) = name.strip_prefix(ENV).filter(|_| !self.knows(name)) {
                            let message = format!("the environment variable `{env}` is not declared");
                            let problem = Problem::at("workflow::env", span, message, "used here");
                            let declared = self.names().filter_map(|name| name.strip_prefix(ENV));
                            let help = suggest(env, "declared ones", declared);
                            diagnostics
                                .push(problem.help(format!("{help}; write [env] and below it {env} = \"default\"")));
                        } else if !self.knows(name) {
                            whole.push_str(&format!("${{{name}}}"));
                        }
                    }
                },
            }
        }
        Some(Data::Scalar(toml::Value::String(whole)))
    }
}

/// What a value says is not read again as a variable.
fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

/// `NAME = "default"` or `NAME = { default = "..", required = true, secret = true }` below `[env]`.
#[derive(Default)]
struct Declared {
    default: Option<String>,
    /// All that are written, of which the first counts.
    defaults: Vec<String>,
    /// Whether the default is what the command line says.
    given: bool,
    secret: Option<bool>,
}

/// `None` if the declaration makes no sense, which was told.
fn declaration(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Declared> {
    const EXPECTED: &str =
        "a default (a string) or { required = true }, with `secret = true` where it is not to be written down";
    let wrong = |value: &Located| wrong_type(&value.span, &entry.key, EXPECTED, value);
    let mut declared = Declared::default();
    let fields = match &entry.value.data {
        Data::Table(fields) => fields.as_slice(),
        _ => &[],
    };
    check_keys(
        fields,
        &["default", "required", "secret"],
        "keys of a declaration",
        diagnostics,
    );
    let mut required = false;
    for field in fields {
        match (field.key.as_str(), &field.value.data) {
            ("required", Data::Scalar(toml::Value::Boolean(true))) => required = true,
            ("secret", Data::Scalar(toml::Value::Boolean(secret))) => declared.secret = Some(*secret),
            ("default", Data::Scalar(toml::Value::String(text))) => declared.defaults.push(text.clone()),
            ("default" | "required" | "secret", _) => {
                diagnostics.push(wrong(&field.value));
                return None;
            }
            _ => {}
        }
    }
    let default = match &entry.value.data {
        Data::Table(fields) => find(fields, "default").map(|default| &default.value),
        _ => Some(&entry.value),
    };
    if let Some((default, text)) = default.and_then(|default| Some((default, default.str()?))) {
        declared.default = Some(text.to_owned());
        declared.defaults.push(text.to_owned());
        declared.given = &*default.span.source.name == COMMAND_LINE;
        return Some(declared);
    }
    if !required {
        diagnostics.push(wrong(&entry.value));
        return None;
    }
    Some(declared)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::overrides::{self, Override};
    use super::super::span::Source;
    use super::super::tree;
    use super::*;

    /// What `env.DATA` is, or what is wrong, with `set` on the command line and `value` in the environment.
    fn data(set: &[&str], value: Option<OsString>) -> Result<String, String> {
        let mut root = tree::read(&Arc::new(Source::new(
            "w.toml",
            "[env]\nDATA = \"default\"\n[nodes.a]\nx = 1\n",
        )))
        .expect("TOML");
        let mut diagnostics = Diagnostics::default();
        let sets: Vec<Override> = set
            .iter()
            .map(|set| Override::parse(set).expect("well-formed"))
            .collect();
        overrides::apply(&mut root, &sets, &mut diagnostics);
        let constants = Constants::apply(&mut root, &|_| value.clone(), &mut diagnostics);
        match diagnostics.problems().first() {
            Some(problem) => Err(problem.to_string()),
            None => Ok(constants.environment()["DATA"].clone()),
        }
    }

    #[test]
    fn the_command_line_comes_before_the_environment_and_that_before_the_default() {
        assert_eq!(data(&[], None).as_deref(), Ok("default"));
        assert_eq!(data(&[], Some("outside".into())).as_deref(), Ok("outside"));
        assert_eq!(
            data(&["env.DATA=given"], Some("outside".into())).as_deref(),
            Ok("given")
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_utf8_is_an_error_and_not_unset() {
        use std::os::unix::ffi::OsStringExt;
        let latin = OsString::from_vec(b"donn\xe9es".to_vec());
        let refused = data(&[], Some(latin)).expect_err("it is set");
        assert!(refused.contains("DATA is not UTF-8"), "{refused}");
    }
}
