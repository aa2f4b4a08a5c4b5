//! The workflow model: from a TOML file to instances that are known to fit together, or to everything that is wrong.
//!
//! parse -> resolve (names, kinds, parameters) -> unroll (rounds) -> expand (matrix) -> check (types, facts).

mod check;
mod constants;
mod defaults;
mod diagnose;
mod entries;
mod expand;
mod include;
mod instance;
mod matrix;
mod names;
mod node_table;
mod overrides;
mod params;
mod parse;
mod part;
mod policy;
mod relation;
mod resolve;
mod rounds;
mod span;
mod template;
mod tree;
mod variables;
mod when;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use check::Account;
pub use diagnose::{Diagnostics, Problem, suggest};
pub use instance::{Edge, Instance, InstanceId, InstancePort};
pub use overrides::Override;
pub use policy::{ExecutionPolicy, Retry};
pub use span::Location;

use self::include::Included;
use self::span::Source;
use crate::registry::Registry;
use crate::secrets::Secrets;

/// A workflow that was checked: no cycles, all names known, all ports fitting.
pub struct Workflow {
    name: String,
    question: Option<String>,
    path: PathBuf,
    source: Arc<Source>,
    included: Vec<Included>,
    environment: BTreeMap<String, String>,
    secrets: Secrets,
    overrides: Vec<Override>,
    instances: Vec<Instance>,
    users: Vec<Vec<InstanceId>>,
    accounts: Vec<Account>,
}

impl Workflow {
    /// Reads and checks the workflow file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it, as far as it can be determined.
    pub fn load(path: &Path, registry: &Registry, overrides: &[Override]) -> Result<Self, Diagnostics> {
        let text = crate::code::read_text(path).map_err(|error| {
            Problem::nowhere(
                "workflow::unreadable",
                format!("cannot read {}: {error}", path.display()),
            )
            .help("give the path of a workflow file, a TOML file in UTF-8")
        })?;
        Self::from_text(path, &text, registry, overrides)
    }

    /// Checks `text` as if it stood in the file at `path`.
    ///
    /// # Errors
    /// As [`Workflow::load`].
    pub fn from_text(
        path: &Path,
        text: &str,
        registry: &Registry,
        overrides: &[Override],
    ) -> Result<Self, Diagnostics> {
        let _span = tracing::info_span!("parse", path = %path.display()).entered();
        let mut included = Vec::new();
        let made = Self::made(path, text, registry, overrides, &mut included);
        made.map_err(|problems| problems.with_included(included.into_iter().map(|file| file.path).collect()))
    }

    fn made(
        path: &Path,
        text: &str,
        registry: &Registry,
        overrides: &[Override],
        included: &mut Vec<Included>,
    ) -> Result<Self, Diagnostics> {
        let source = Arc::new(Source::file(path, text));
        let mut diagnostics = Diagnostics::default();
        let document = tracing::debug_span!("read")
            .in_scope(|| parse::document(&source, included, overrides, &mut diagnostics))?;
        let (name, question, matrix) = (
            document.name.clone(),
            document.question.clone(),
            document.matrix.clone(),
        );
        let (environment, secrets) = (document.constants.environment(), document.constants.secrets());
        let resolve = || resolve::resolve(document, registry, diagnostics);
        let templates = tracing::debug_span!("resolve").in_scope(resolve)?;
        let expand = || expand::expand(&templates, &rounds::unroll(&templates)?, &matrix);
        let mut instances = tracing::debug_span!("expand").in_scope(expand)?;
        let accounts = tracing::debug_span!("check").in_scope(|| check::check(&mut instances, &templates))?;
        check::no_secret_in_names(&instances, &secrets)?;
        let users = users(&instances);
        tracing::debug!(
            nodes = templates.len(),
            instances = instances.len(),
            "workflow is valid"
        );
        Ok(Self {
            name,
            question,
            path: path.to_owned(),
            source,
            included: included.clone(),
            environment,
            secrets,
            overrides: overrides.to_vec(),
            instances,
            users,
            accounts,
        })
    }

    /// `name` of `[workflow]`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `question` of `[workflow]`.
    pub fn question(&self) -> Option<&str> {
        self.question.as_deref()
    }

    /// The file, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text as it was read.
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// The other files that it is made of, with their texts, in the order of their sections.
    pub fn included(&self) -> impl Iterator<Item = (&Path, &str)> {
        let texts = self
            .included
            .iter()
            .map(|file| (file.path.as_path(), file.text.as_deref()));
        texts.map(|(path, text)| (path, text.unwrap_or_default()))
    }

    /// What must not be written down.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The overrides that were put in, as they were given, without secrets.
    pub(crate) fn overrides_in_words(&self) -> Vec<String> {
        let words = self.overrides.iter().map(ToString::to_string);
        words.map(|set| self.secrets.hide(&set).into_owned()).collect()
    }

    /// What each node may depend on that is no part of its key, by its name without bindings.
    pub fn not_in_key(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for instance in &self.instances {
            let words = instance.node.not_in_key();
            if !words.is_empty() {
                found.entry(&instance.node_name).or_default().extend(words);
            }
        }
        found
    }

    /// What it took from the environment: the variables that it declares, with their values; of secrets `***`.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// The overrides that were put in.
    pub fn overrides(&self) -> &[Override] {
        &self.overrides
    }

    /// What nodes say of what their inputs cost, before anything runs.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// All instances; each comes after its inputs.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// The instances that take what this one makes, each once.
    pub fn users(&self, id: InstanceId) -> &[InstanceId] {
        &self.users[id]
    }

    /// All files that nodes read, joined with the folder of the file that names them, sorted, each once.
    pub fn files(&self) -> Vec<PathBuf> {
        let files: BTreeSet<PathBuf> = self
            .instances
            .iter()
            .flat_map(|i| i.files.iter().map(|file| i.dir.join(&file.path)))
            .collect();
        files.into_iter().collect()
    }
}

impl std::fmt::Debug for Workflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workflow")
            .field("name", &self.name)
            .field("instances", &self.instances)
            .finish_non_exhaustive()
    }
}

fn users(instances: &[Instance]) -> Vec<Vec<InstanceId>> {
    let mut users = vec![Vec::new(); instances.len()];
    for (id, instance) in instances.iter().enumerate() {
        let inputs: BTreeSet<InstanceId> = instance.inputs().collect();
        inputs.into_iter().for_each(|input| users[input].push(id));
    }
    users
}
