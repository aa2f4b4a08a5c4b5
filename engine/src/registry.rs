//! The node kinds that a binary knows: one line each.
//!
//! ```text
//! let mut registry = Registry::new();
//! registry.register::<DatasetNode>();
//! registry.register::<PretrainNode>();
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use flow_cache::Artifact;
use serde_json::Value;

use crate::node::{
    ArtifactType, Context, Facts, InputFacts, Inputs, Lineage, Node, NodeError, NodeFile, Output, ParamError, Port,
    Report, Resources, Spending, Spent,
};
use crate::projection::Projection;

/// Why a node's table is not what its kind takes: serde's message, and the path of the value it is about.
pub(crate) struct ParseError {
    /// Dotted path inside the node's table; empty for the table itself.
    pub(crate) path: String,
    /// serde's own words, e.g. ``unknown field `epoch`, expected one of ...``.
    pub(crate) message: String,
}

/// [`Node`] without its type: what the engine works with.
pub(crate) trait ErasedNode: Send + Sync {
    fn kind(&self) -> &'static str;
    fn version(&self) -> u32;
    fn output(&self) -> ArtifactType;
    fn ports(&self) -> Vec<Port>;
    fn files(&self, folder: &Path) -> Vec<NodeFile>;
    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError>;
    fn spends(&self, inputs: &InputFacts) -> Option<Spending>;
    fn settled(&self, spent: &Spent<'_>) -> Result<Option<Arc<dyn ErasedNode>>, ParamError>;
    fn account(&self, spent: &Spent<'_>) -> Result<Option<String>, ParamError>;
    fn resources(&self, inputs: &InputFacts) -> Resources;
    fn isolated(&self) -> bool;
    fn copies(&self, role: &str) -> bool;
    fn not_in_key(&self) -> Vec<String>;
    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError>;
    fn report(&self, artifact: &Artifact, lineage: &Lineage<'_>) -> Result<Option<Report>, NodeError>;
    /// All parameters as JSON, defaults filled in: what a worker process makes the node from.
    fn params(&self) -> Result<Value, String>;
    /// The parameters that are part of the key.
    fn key_params(&self) -> Result<Projection, String>;
}

impl<N: Node> ErasedNode for N {
    fn kind(&self) -> &'static str {
        N::KIND
    }

    fn version(&self) -> u32 {
        N::VERSION
    }

    fn output(&self) -> ArtifactType {
        Node::makes(self)
    }

    fn ports(&self) -> Vec<Port> {
        Node::ports(self)
    }

    fn files(&self, folder: &Path) -> Vec<NodeFile> {
        Node::files(self, folder)
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        Node::facts(self, inputs)
    }

    fn spends(&self, inputs: &InputFacts) -> Option<Spending> {
        Node::spends(self, inputs)
    }

    fn settled(&self, spent: &Spent<'_>) -> Result<Option<Arc<dyn ErasedNode>>, ParamError> {
        Ok(Node::settled(self, spent)?.map(|node| Arc::new(node) as _))
    }

    fn account(&self, spent: &Spent<'_>) -> Result<Option<String>, ParamError> {
        Node::account(self, spent)
    }

    fn resources(&self, inputs: &InputFacts) -> Resources {
        Node::resources(self, inputs)
    }

    fn copies(&self, role: &str) -> bool {
        Node::copies(self, role)
    }

    fn not_in_key(&self) -> Vec<String> {
        Node::not_in_key(self)
    }

    fn isolated(&self) -> bool {
        Node::isolated(self)
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        Node::run(self, inputs, cx)
    }

    fn report(&self, artifact: &Artifact, lineage: &Lineage<'_>) -> Result<Option<Report>, NodeError> {
        Node::report(self, artifact, lineage)
    }

    /// Goes through text because `to_value` widens an `f32` (0.1 becomes 0.10000000149011612) and text does not.
    fn params(&self) -> Result<Value, String> {
        let text = serde_json::to_string(self).map_err(|e| e.to_string())?;
        serde_json::from_str(&text).map_err(|e| e.to_string())
    }

    fn key_params(&self) -> Result<Projection, String> {
        Projection::of(self)
    }
}

type ParseFn = fn(toml::Table) -> Result<Arc<dyn ErasedNode>, ParseError>;

fn parse<N: Node>(table: toml::Table) -> Result<Arc<dyn ErasedNode>, ParseError> {
    match serde_path_to_error::deserialize::<_, N>(toml::Value::Table(table)) {
        Ok(node) => Ok(Arc::new(node)),
        Err(error) => {
            let path = error.path().to_string();
            Err(ParseError {
                path: if path == "." { String::new() } else { path },
                message: error.into_inner().message().to_owned(),
            })
        }
    }
}

/// One form of a kind: as a rule its only one.
pub(crate) struct Form {
    pub(crate) marks: &'static [&'static str],
    parse: ParseFn,
    /// The JSON Schema of its parameters.
    pub(crate) schema: fn() -> Value,
    keys: OnceLock<Option<Vec<String>>>,
}

impl Form {
    /// The parameters that it takes, in the order of its struct. serde knows them, and lists them in its error for a key that
    /// cannot be one. `None` if they depend on another parameter.
    fn keys(&self) -> Option<&[String]> {
        let ask = || {
            let question = toml::Table::from_iter([("\0".to_owned(), toml::Value::Boolean(true))]);
            let answer = (self.parse)(question).err()?;
            let (_, list) = answer
                .message
                .strip_prefix("unknown field ")?
                .split_once(", expected ")?;
            Some(list.split('`').skip(1).step_by(2).map(str::to_owned).collect())
        };
        self.keys.get_or_init(ask).as_deref()
    }
}

/// The node kinds by the name written as `kind` in TOML.
#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Vec<Form>>,
}

impl Registry {
    /// A registry that knows no kind.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind, or a form of one.
    ///
    /// # Panics
    /// If the kind's name is taken, and not all who have it are forms with marks of their own.
    pub fn register<N: Node>(&mut self) -> &mut Self {
        let forms = self.kinds.entry(N::KIND).or_default();
        let taken = |form: &Form| form.marks.is_empty() || form.marks.iter().any(|mark| N::FORM.contains(mark));
        let is_new = forms.is_empty() || !N::FORM.is_empty() && !forms.iter().any(taken);
        assert!(is_new, "BUG: node kind `{}` is registered twice", N::KIND);
        forms.push(Form {
            marks: N::FORM,
            parse: parse::<N>,
            schema: crate::schema::of::<N>,
            keys: OnceLock::new(),
        });
        self
    }

    /// The names of all kinds, sorted.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.kinds.keys().copied().collect()
    }

    /// The forms of a kind; none if there is no such kind.
    pub(crate) fn forms(&self, kind: &str) -> &[Form] {
        self.kinds.get(kind).map_or(&[], Vec::as_slice)
    }

    /// Whether there is such a kind.
    pub(crate) fn knows(&self, kind: &str) -> bool {
        self.kinds.contains_key(kind)
    }

    /// The parameters that a kind takes, in any of its forms. `None` if they depend on another parameter, or if there is no such kind.
    pub(crate) fn keys(&self, kind: &str) -> Option<Vec<String>> {
        let mut keys: Vec<String> = Vec::new();
        for form in self.kinds.get(kind)? {
            for key in form.keys()? {
                if !keys.contains(key) {
                    keys.push(key.clone());
                }
            }
        }
        Some(keys)
    }

    /// The parameters that a node takes which has the parameters `given`; those of all forms if these do not tell which it is.
    pub(crate) fn keys_of_form(&self, kind: &str, given: &[&str]) -> Option<Vec<String>> {
        let forms = self.kinds.get(kind)?;
        match meant(forms, |key| given.contains(&key)).as_slice() {
            [form] => form.keys().map(<[String]>::to_vec),
            _ => self.keys(kind),
        }
    }

    /// Makes a node of `kind` from its table; `None` if there is no such kind.
    pub(crate) fn parse(&self, kind: &str, table: toml::Table) -> Option<Result<Arc<dyn ErasedNode>, ParseError>> {
        let forms = self.kinds.get(kind)?;
        Some(match meant(forms, |key| table.contains_key(key)).as_slice() {
            [form] => (form.parse)(table).map_err(|error| of_other_form(forms, form, error)),
            meant => Err(self.no_form(kind, forms, meant, &table)),
        })
    }

    /// Why a table is of no form of its kind: a key that none knows, none of the keys that tell a form, or those of several.
    fn no_form(&self, kind: &str, forms: &[Form], meant: &[&Form], table: &toml::Table) -> ParseError {
        let quoted = |marks: &[&str]| marks.iter().map(|mark| format!("`{mark}`")).collect::<Vec<_>>();
        let keys = self.keys(kind).unwrap_or_default();
        let message = match (table.keys().find(|key| !keys.contains(key)), meant) {
            (Some(unknown), []) => {
                let known = quoted(&keys.iter().map(String::as_str).collect::<Vec<_>>());
                format!("unknown field `{unknown}`, expected one of {}", known.join(", "))
            }
            (_, []) => {
                let marks: Vec<&str> = forms.iter().flat_map(|form| form.marks).copied().collect();
                format!(
                    "it needs one of {}: they tell the forms of this kind apart",
                    quoted(&marks).join(", ")
                )
            }
            (_, several) => {
                let given = several.iter().flat_map(|form| form.marks).copied();
                let given: Vec<&str> = given.filter(|mark| table.contains_key(*mark)).collect();
                format!(
                    "{} do not go together: each stands for another form of this kind",
                    quoted(&given).join(" and ")
                )
            }
        };
        ParseError {
            path: String::new(),
            message,
        }
    }
}

/// A key that this form does not know, but another does, is reported as such, not as a typo.
fn of_other_form(forms: &[Form], form: &Form, error: ParseError) -> ParseError {
    let unknown = error
        .message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split('`').next());
    let top = |key: &String| error.path.is_empty() || error.path == *key;
    let Some(key) = unknown.map(str::to_owned).filter(top) else {
        return error;
    };
    let knows = |other: &&Form| other.marks != form.marks && other.keys().is_some_and(|keys| keys.contains(&key));
    match forms.iter().find(knows) {
        Some(other) => {
            let quoted = |marks: &[&str]| {
                marks
                    .iter()
                    .map(|mark| format!("`{mark}`"))
                    .collect::<Vec<_>>()
                    .join(" or ")
            };
            let message = format!(
                "`{key}` goes with {}, not with {}",
                quoted(other.marks),
                quoted(form.marks)
            );
            ParseError { path: key, message }
        }
        None => error,
    }
}

/// The forms that a table with such keys can be of.
fn meant(forms: &[Form], has: impl Fn(&str) -> bool) -> Vec<&Form> {
    match forms {
        [only] => vec![only],
        several => several
            .iter()
            .filter(|form| form.marks.iter().any(|mark| has(mark)))
            .collect(),
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}
