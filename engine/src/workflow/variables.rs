//! Matrix variables, and their values inside strings: `"${seed}"` takes the value as it is, `"run-${seed}"` its text.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::diagnose::{Problem, suggest};
use super::tree::{Data, Entry, Located};

/// More instances than this are taken for a mistake in the matrix.
pub(crate) const MAX_INSTANCES: usize = 200_000;

/// `[matrix]`, in the order written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matrix {
    pub(crate) variables: Vec<Variable>,
    /// Which combinations of all variables there are; all of them if absent.
    pub(crate) allowed: Option<BTreeSet<Binding>>,
}

/// `seed = [0, 1, 2]`.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) values: Vec<toml::Value>,
}

/// A value (by its place in the list) for some of the matrix's variables, in the order of the matrix; `None` where the
/// variable is free. Orders as the matrix is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Binding(pub(crate) Box<[Option<u32>]>);

impl Matrix {
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.variables.iter().position(|v| v.name == name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|v| v.name.as_str())
    }

    /// The binding that leaves every variable free.
    pub(crate) fn free(&self) -> Binding {
        Binding::free(self.variables.len())
    }

    /// How many combinations `variables` (indices) have.
    pub(crate) fn count(&self, variables: &[usize]) -> usize {
        if self.allowed.is_some() {
            return self.combinations(variables).len();
        }
        variables
            .iter()
            .map(|v| self.variables[*v].values.len())
            .fold(1, usize::saturating_mul)
    }

    /// Every combination of values of `variables` (indices) that is part of one that there is, the last one turning
    /// fastest.
    pub(crate) fn combinations(&self, variables: &[usize]) -> Vec<Binding> {
        if let Some(allowed) = &self.allowed {
            let shape: Vec<bool> = (0..self.variables.len()).map(|i| variables.contains(&i)).collect();
            return parts(allowed, &shape).into_iter().collect();
        }
        let mut all = vec![self.free()];
        for &variable in variables {
            let count = self.variables[variable].values.len() as u32;
            all = all
                .iter()
                .flat_map(|binding| {
                    (0..count)
                        .map(|value| binding.with(variable, value))
                        .collect::<Vec<_>>()
                })
                .collect();
        }
        all
    }

    /// Those bindings that are part of a combination that there is.
    pub(crate) fn keep_allowed(&self, mut bindings: Vec<Binding>) -> Vec<Binding> {
        let Some(allowed) = &self.allowed else { return bindings };
        let mut known: HashMap<Vec<bool>, BTreeSet<Binding>> = HashMap::new();
        bindings.retain(|binding| {
            let shape = binding.bound();
            let parts = known.entry(shape).or_insert_with_key(|shape| parts(allowed, shape));
            parts.contains(binding)
        });
        bindings
    }

    /// The values of a binding by name.
    pub(crate) fn values(&self, binding: &Binding) -> BTreeMap<String, Value> {
        self.bound(binding)
            .map(|(name, value)| (name.to_owned(), json(value)))
            .collect()
    }

    /// `name[labels=40,seed=0]`, variables sorted by name; just `name` if nothing is bound.
    pub(crate) fn label(&self, name: &str, binding: &Binding) -> String {
        let mut parts: Vec<String> = self
            .bound(binding)
            .map(|(name, value)| format!("{name}={}", text(value)))
            .collect();
        parts.sort_unstable();
        if parts.is_empty() {
            name.to_owned()
        } else {
            format!("{name}[{}]", parts.join(","))
        }
    }

    fn bound<'a>(&'a self, binding: &'a Binding) -> impl Iterator<Item = (&'a str, &'a toml::Value)> {
        self.variables.iter().zip(&binding.0).filter_map(|(variable, value)| {
            value.map(|value| (variable.name.as_str(), &variable.values[value as usize]))
        })
    }
}

/// What the combinations are in the variables of `shape`; one that leaves any of them free has no part.
fn parts(combinations: &BTreeSet<Binding>, shape: &[bool]) -> BTreeSet<Binding> {
    let parts = combinations.iter().map(|combination| combination.only(shape));
    parts.filter(|part| part.bound() == shape).collect()
}

impl Binding {
    /// The binding that leaves all of so many variables free.
    pub(crate) fn free(variables: usize) -> Self {
        Self(vec![None; variables].into())
    }

    /// Whether every variable is free.
    pub(crate) fn is_free(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// With the variables after its own, up to `width` in all, free.
    pub(crate) fn widened(&self, width: usize) -> Self {
        let more = width.saturating_sub(self.0.len());
        Self(self.0.iter().copied().chain(std::iter::repeat_n(None, more)).collect())
    }

    fn with(&self, variable: usize, value: u32) -> Self {
        let mut values = self.0.clone();
        values[variable] = Some(value);
        Self(values)
    }

    /// The variables that have a value.
    pub(crate) fn bound(&self) -> Vec<bool> {
        self.0.iter().map(Option::is_some).collect()
    }

    /// Only the variables in `keep`.
    pub(crate) fn only(&self, keep: &[bool]) -> Self {
        Self(
            self.0
                .iter()
                .zip(keep)
                .map(|(value, keep)| value.filter(|_| *keep))
                .collect(),
        )
    }

    /// Both together; where both have a value they are taken to agree.
    pub(crate) fn join(&self, other: &Binding) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a.or(*b)).collect())
    }
}

fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::Integer(n) => Value::from(*n),
        toml::Value::Float(x) => Value::from(*x),
        toml::Value::Boolean(b) => Value::from(*b),
        other => Value::from(text(other)),
    }
}

/// The value as it stands in names and in longer strings.
pub(crate) fn text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A piece of a string with variables.
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// Where a variable begins. Texts are short, and most have none: looking at each byte is faster than preparing a search.
pub(crate) fn opening(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|two| two == b"${")
}

/// Splits `"run-${seed}"`; `$${` stands for `${` itself. `None` if a `${` is not closed.
pub(crate) fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = opening(rest) {
        if rest[..at].ends_with('$') {
            pieces.push(Piece::Text(&rest[..at - 1]));
            pieces.push(Piece::Text("${"));
            rest = &rest[at + 2..];
            continue;
        }
        let end = rest[at..].find('}')? + at;
        pieces.push(Piece::Text(&rest[..at]));
        pieces.push(Piece::Variable(rest[at + 2..end].trim()));
        rest = &rest[end + 1..];
    }
    pieces.push(Piece::Text(rest));
    Some(pieces)
}

/// The matrix variables (indices, in the matrix's order) that a node's parameters use.
///
/// # Errors
/// A problem for each unknown variable and each `${` that is not closed.
pub(crate) fn used(params: &[Entry], matrix: &Matrix) -> Result<Vec<usize>, Vec<Problem>> {
    let mut found = vec![false; matrix.variables.len()];
    let mut problems = Vec::new();
    params
        .iter()
        .for_each(|entry| collect(&entry.value, matrix, &mut found, &mut problems));
    if problems.is_empty() {
        Ok((0..found.len()).filter(|i| found[*i]).collect())
    } else {
        Err(problems)
    }
}

fn collect(value: &Located, matrix: &Matrix, found: &mut [bool], problems: &mut Vec<Problem>) {
    match &value.data {
        Data::Array(items) => items.iter().for_each(|item| collect(item, matrix, found, problems)),
        Data::Table(entries) => entries.iter().for_each(|e| collect(&e.value, matrix, found, problems)),
        Data::Scalar(toml::Value::String(text)) => {
            let Some(pieces) = pieces(text) else {
                let problem = Problem::at("workflow::variable", &value.span, "`${` without `}`", "not closed");
                problems.push(problem.help("write \"${name}\", or \"$${\" for the characters themselves"));
                return;
            };
            for piece in pieces {
                let Piece::Variable(name) = piece else { continue };
                match matrix.index(name) {
                    Some(index) => found[index] = true,
                    None => {
                        let message = format!("unknown variable `{name}`");
                        let label = "not declared under [matrix] or [variables]";
                        let problem = Problem::at("workflow::unknown_variable", &value.span, message, label);
                        problems.push(problem.help(suggest(name, "matrix variables", matrix.names())));
                    }
                }
            }
        }
        Data::Scalar(_) => {}
    }
}

/// The parameters with the binding's values in place of variables. All variables must be known: see [`used`].
pub(crate) fn fill(params: &[Entry], matrix: &Matrix, binding: &Binding) -> toml::Table {
    params
        .iter()
        .map(|e| (e.key.clone(), fill_value(&e.value, matrix, binding)))
        .collect()
}

fn fill_value(value: &Located, matrix: &Matrix, binding: &Binding) -> toml::Value {
    match &value.data {
        Data::Array(items) => items
            .iter()
            .map(|item| fill_value(item, matrix, binding))
            .collect::<Vec<_>>()
            .into(),
        Data::Table(entries) => toml::Value::Table(fill(entries, matrix, binding)),
        Data::Scalar(toml::Value::String(text)) => fill_text(text, matrix, binding),
        Data::Scalar(other) => other.clone(),
    }
}

fn fill_text(written: &str, matrix: &Matrix, binding: &Binding) -> toml::Value {
    let value_of = |name: &str| {
        let index = matrix.index(name)?;
        Some(&matrix.variables[index].values[binding.0[index]? as usize])
    };
    let Some(pieces) = pieces(written) else {
        return toml::Value::String(written.to_owned());
    };
    if let [Piece::Text(""), Piece::Variable(name), Piece::Text("")] = pieces.as_slice()
        && let Some(value) = value_of(name)
    {
        return value.clone();
    }
    let filled = pieces.iter().map(|piece| match piece {
        Piece::Text(plain) => (*plain).to_owned(),
        Piece::Variable(name) => value_of(name).map(text).unwrap_or_default(),
    });
    toml::Value::String(filled.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> Matrix {
        let seeds = vec![toml::Value::Integer(0), toml::Value::Integer(7)];
        let arms = vec![toml::Value::String("both".into())];
        Matrix {
            allowed: None,
            variables: vec![
                Variable {
                    name: "seed".into(),
                    values: seeds,
                },
                Variable {
                    name: "arm".into(),
                    values: arms,
                },
            ],
        }
    }

    #[test]
    fn a_whole_string_takes_the_typed_value_and_a_part_its_text() {
        let matrix = matrix();
        let binding = Binding(vec![Some(1), Some(0)].into());
        assert_eq!(fill_text("${seed}", &matrix, &binding), toml::Value::Integer(7));
        assert_eq!(
            fill_text("s-${ seed }-${arm}", &matrix, &binding).as_str(),
            Some("s-7-both")
        );
        assert_eq!(fill_text("$${seed}", &matrix, &binding).as_str(), Some("${seed}"));
    }

    #[test]
    fn labels_sort_variables_by_name() {
        let matrix = matrix();
        assert_eq!(
            matrix.label("student", &Binding(vec![Some(0), Some(0)].into())),
            "student[arm=both,seed=0]"
        );
        assert_eq!(matrix.label("student", &matrix.free()), "student");
    }

    #[test]
    fn combinations_turn_the_last_variable_fastest() {
        let all = matrix().combinations(&[0, 1]);
        assert_eq!(all.len(), 2);
        assert!(all[0] < all[1]);
    }
}
