//! `[matrix]`: its variables with their values, and which combinations there are once `exclude` and `include` have spoken.
//!
//! The order is that of GitHub Actions: every combination, less those excluded, then what is included. What has no effect
//! is an error here, because as a rule it is a slip: an `exclude` that fits nothing, an `include` that changes nothing.

use std::collections::{BTreeSet, HashSet};

use super::diagnose::{Diagnostics, Problem, suggest};
use super::entries::{bad_name, is_name, table_of, wrong_type};
use super::span::Span;
use super::tree::{Data, Entry, Located, find};
use super::variables::{Binding, MAX_INSTANCES, Matrix, Variable, text};

/// The keys of `[matrix]` that are no variables.
const COMBINATIONS: [&str; 2] = ["exclude", "include"];

/// Reads the entries of `[matrix]`.
pub(crate) fn matrix(entries: &[Entry], diagnostics: &mut Diagnostics) -> Matrix {
    let variables: Vec<Variable> = entries
        .iter()
        .filter(|entry| !COMBINATIONS.contains(&entry.key.as_str()))
        .map(|entry| Variable {
            name: entry.key.clone(),
            values: values(entry, diagnostics).unwrap_or_default(),
        })
        .collect();
    let mut matrix = Matrix {
        variables,
        allowed: None,
    };
    let (exclude, include) = (find(entries, "exclude"), find(entries, "include"));
    let broken = matrix.variables.iter().any(|variable| variable.values.is_empty());
    if !broken && (exclude.is_some() || include.is_some()) {
        combine(&mut matrix, exclude, include, diagnostics);
    }
    matrix
}

/// The values of a matrix variable. One with a problem has none: the name stays known, and what uses it is not blamed.
fn values(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Vec<toml::Value>> {
    if !is_name(&entry.key) {
        diagnostics.push(bad_name(&entry.key_span, &entry.key, "a matrix variable"));
        return None;
    }
    let Data::Array(items) = &entry.value.data else {
        let problem = wrong_type(&entry.value.span, &entry.key, "a list of values", &entry.value);
        diagnostics.push(problem.help(format!("write {} = [..]", entry.key)));
        return None;
    };
    if items.is_empty() {
        let message = format!("`{}` has no values, so nothing that uses it would ever run", entry.key);
        diagnostics.push(Problem::at(
            "workflow::empty_matrix",
            &entry.value.span,
            message,
            "empty",
        ));
        return None;
    }
    let mut values: Vec<toml::Value> = Vec::new();
    let mut known = HashSet::new();
    for item in items {
        match &item.data {
            Data::Scalar(value) if !known.insert(text(value)) => {
                let message = format!("`{}` lists {} twice", entry.key, item.describe());
                diagnostics.push(Problem::at("workflow::repeated_value", &item.span, message, "again"));
            }
            Data::Scalar(value) => values.push(value.clone()),
            _ => diagnostics.push(wrong_type(
                &item.span,
                &entry.key,
                "a list of strings, numbers or booleans",
                item,
            )),
        }
    }
    Some(values)
}

/// One `{ labels = 40, seed = 1 }` of `exclude` or `include`.
struct Row<'a> {
    span: &'a Span,
    cells: Vec<(&'a Entry, &'a toml::Value)>,
}

/// Sets which combinations there are.
fn combine(matrix: &mut Matrix, exclude: Option<&Entry>, include: Option<&Entry>, diagnostics: &mut Diagnostics) {
    let all: Vec<usize> = (0..matrix.variables.len()).collect();
    if matrix.count(&all) > MAX_INSTANCES {
        let at = exclude.or(include).map(|entry| &entry.key_span);
        let message = format!("the matrix has more than {MAX_INSTANCES} combinations");
        diagnostics
            .extend(at.map(|span| Problem::at("workflow::too_many", span, message, "cannot be listed one by one")));
        return;
    }
    // Without a variable there is one combination, the empty one: nothing to exclude from, nothing to extend.
    let mut combinations = if all.is_empty() {
        Vec::new()
    } else {
        matrix.combinations(&all)
    };
    for row in rows(exclude, diagnostics) {
        if let Err(problem) = take_out(matrix, &mut combinations, &row) {
            diagnostics.push(problem);
        }
    }
    let mut added = Added {
        own: all.len(),
        originals: combinations.len(),
        combinations,
    };
    for row in rows(include, diagnostics) {
        if let Err(problem) = added.put_in(matrix, &row) {
            diagnostics.push(problem);
        }
    }
    if let (true, Some(exclude)) = (added.combinations.is_empty(), exclude) {
        let problem = Problem::at(
            "workflow::empty_matrix",
            &exclude.key_span,
            "every combination is excluded",
            "",
        );
        diagnostics.push(problem.help("remove one of these, or include something"));
    }
    let width = matrix.variables.len();
    let widened = added.combinations.into_iter().map(|binding| binding.widened(width));
    matrix.allowed = Some(widened.collect::<BTreeSet<Binding>>());
}

fn rows<'a>(entry: Option<&'a Entry>, diagnostics: &mut Diagnostics) -> Vec<Row<'a>> {
    let Some(entry) = entry else { return Vec::new() };
    let Data::Array(items) = &entry.value.data else {
        let problem = wrong_type(&entry.value.span, &entry.key, "a list of tables", &entry.value);
        let help = format!("write {} = [{{ variable = value, .. }}, ..]", entry.key);
        diagnostics.push(problem.help(format!("{help}; a matrix variable cannot have this name")));
        return Vec::new();
    };
    items.iter().filter_map(|item| row(entry, item, diagnostics)).collect()
}

fn row<'a>(list: &Entry, item: &'a Located, diagnostics: &mut Diagnostics) -> Option<Row<'a>> {
    let entries = table_of(item, &format!("{}[..]", list.key), diagnostics)?;
    let mut cells = Vec::new();
    for entry in entries {
        match &entry.value.data {
            Data::Scalar(value) => cells.push((entry, value)),
            _ => {
                let expected = "a string, a number or a boolean";
                diagnostics.push(wrong_type(&entry.value.span, &entry.key, expected, &entry.value));
                return None;
            }
        }
    }
    if cells.is_empty() {
        let message = format!("an empty table in `{}` has no effect", list.key);
        diagnostics.push(Problem::at("workflow::matrix", &item.span, message, "empty"));
        return None;
    }
    Some(Row {
        span: &item.span,
        cells,
    })
}

/// The place of a value in its variable's list.
fn place(variable: &Variable, value: &toml::Value) -> Option<u32> {
    let at = variable.values.iter().position(|known| text(known) == text(value))?;
    u32::try_from(at).ok()
}

fn take_out(matrix: &Matrix, combinations: &mut Vec<Binding>, row: &Row<'_>) -> Result<(), Problem> {
    let mut wanted = Vec::new();
    for (entry, value) in &row.cells {
        let Some(index) = matrix.index(&entry.key) else {
            return Err(unknown_variable(entry, matrix));
        };
        let variable = &matrix.variables[index];
        match place(variable, value) {
            Some(value) => wanted.push((index, value)),
            None => return Err(unknown_value(entry, value, variable)),
        }
    }
    let before = combinations.len();
    combinations.retain(|binding| !wanted.iter().all(|(index, value)| binding.0[*index] == Some(*value)));
    if combinations.len() < before {
        return Ok(());
    }
    let message = "this excludes nothing: what it matches was excluded already";
    Err(Problem::at("workflow::matrix", row.span, message, "has no effect").help("remove it"))
}

fn unknown_variable(entry: &Entry, matrix: &Matrix) -> Problem {
    let message = format!("`exclude` names `{}`, which is not a matrix variable", entry.key);
    Problem::at(
        "workflow::unknown_variable",
        &entry.key_span,
        message,
        "excludes nothing",
    )
    .help(suggest(&entry.key, "matrix variables", matrix.names()))
}

fn unknown_value(entry: &Entry, value: &toml::Value, variable: &Variable) -> Problem {
    let known: Vec<String> = variable.values.iter().map(text).collect();
    let message = format!("`{}` is never {}, so this excludes nothing", entry.key, text(value));
    let help = suggest(
        &text(value),
        &format!("values of {}", entry.key),
        known.iter().map(String::as_str),
    );
    Problem::at("workflow::matrix", &entry.value.span, message, "not among its values").help(help)
}

/// The combinations while `include` adds to them.
struct Added {
    /// How many variables have lists of their own: those of the others come from `include`.
    own: usize,
    /// How many combinations, from the first, came out of the lists: only those are extended.
    originals: usize,
    combinations: Vec<Binding>,
}

impl Added {
    fn put_in(&mut self, matrix: &mut Matrix, row: &Row<'_>) -> Result<(), Problem> {
        let cells = row
            .cells
            .iter()
            .map(|(entry, value)| intern(matrix, entry, value))
            .collect::<Result<Vec<(usize, u32)>, Problem>>()?;
        let width = matrix.variables.len();
        self.combinations
            .iter_mut()
            .for_each(|binding| *binding = binding.widened(width));
        let (own, extra): (Vec<_>, Vec<_>) = cells.iter().copied().partition(|(index, _)| *index < self.own);
        let (mut fits, mut changes) = (false, false);
        for binding in &mut self.combinations[..self.originals] {
            if own.iter().all(|(index, value)| binding.0[*index] == Some(*value)) {
                fits = true;
                for (index, value) in &extra {
                    changes |= binding.0[*index] != Some(*value);
                    binding.0[*index] = Some(*value);
                }
            }
        }
        if !fits {
            self.check_whole(matrix, row, &own)?;
            let mut binding = matrix.free();
            cells.iter().for_each(|(index, value)| binding.0[*index] = Some(*value));
            changes = !self.combinations.contains(&binding);
            if changes {
                self.combinations.push(binding);
            }
        }
        if changes {
            return Ok(());
        }
        let message = "this includes what is there already";
        Err(Problem::at("workflow::matrix", row.span, message, "changes nothing").help("remove it"))
    }

    /// A new combination has a value for each variable with a list, or it would be half of one.
    fn check_whole(&self, matrix: &Matrix, row: &Row<'_>, own: &[(usize, u32)]) -> Result<(), Problem> {
        let missing: Vec<String> = (0..self.own)
            .filter(|index| own.iter().all(|(said, _)| said != index))
            .map(|index| format!("`{}`", matrix.variables[index].name))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!(
            "this matches no combination, and as a new one it lacks {}",
            missing.join(", ")
        );
        let help =
            "check its values if it is meant to extend combinations; give every variable a value if it is a new one";
        Err(Problem::at("workflow::matrix", row.span, message, "neither").help(help))
    }
}

/// The variable and value of a cell, added to the matrix where they are new.
fn intern(matrix: &mut Matrix, entry: &Entry, value: &toml::Value) -> Result<(usize, u32), Problem> {
    let index = match matrix.index(&entry.key) {
        Some(index) => index,
        None if is_name(&entry.key) => {
            matrix.variables.push(Variable {
                name: entry.key.clone(),
                values: Vec::new(),
            });
            matrix.variables.len() - 1
        }
        None => return Err(bad_name(&entry.key_span, &entry.key, "a matrix variable")),
    };
    let variable = &mut matrix.variables[index];
    let at = match place(variable, value) {
        Some(at) => at,
        None => {
            variable.values.push(value.clone());
            variable.values.len() as u32 - 1
        }
    };
    Ok((index, at))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::span::Source;
    use super::super::tree;
    use super::*;

    fn read(text: &str) -> (Matrix, Diagnostics) {
        let root = tree::read(&Arc::new(Source::new("w.toml", text))).unwrap();
        let mut diagnostics = Diagnostics::default();
        let matrix = matrix(root.table().unwrap(), &mut diagnostics);
        (matrix, diagnostics)
    }

    fn combinations(text: &str) -> Vec<String> {
        let (matrix, diagnostics) = read(text);
        assert!(diagnostics.is_empty(), "{:?}", diagnostics.problems());
        let allowed = matrix.allowed.as_ref().expect("combinations are listed");
        allowed.iter().map(|binding| matrix.label("", binding)).collect()
    }

    fn problem(text: &str) -> Problem {
        let (_, diagnostics) = read(text);
        assert_eq!(diagnostics.problems().len(), 1, "{:?}", diagnostics.problems());
        diagnostics.problems()[0].clone()
    }

    #[test]
    fn an_exclusion_takes_out_all_that_it_fits() {
        assert_eq!(
            combinations("a = [1, 2]\nb = [\"x\", \"y\"]\nexclude = [{ a = 1, b = \"x\" }]\n"),
            ["[a=1,b=y]", "[a=2,b=x]", "[a=2,b=y]"]
        );
        assert_eq!(combinations("a = [1, 2]\nb = [3, 4]\nexclude = [{ a = 1 }]\n").len(), 2);
    }

    /// The example of GitHub's documentation, with every combination whole.
    #[test]
    fn inclusions_extend_what_they_fit_and_add_the_rest_as_github_does() {
        let text = r#"
fruit = ["apple", "pear"]
animal = ["cat", "dog"]
include = [
    { color = "green" },
    { color = "pink", animal = "cat" },
    { fruit = "apple", shape = "circle" },
    { fruit = "banana", animal = "cat" },
]
"#;
        assert_eq!(
            combinations(text),
            [
                "[animal=cat,color=pink,fruit=apple,shape=circle]",
                "[animal=dog,color=green,fruit=apple,shape=circle]",
                "[animal=cat,color=pink,fruit=pear]",
                "[animal=dog,color=green,fruit=pear]",
                "[animal=cat,fruit=banana]",
            ]
        );
    }

    #[test]
    fn what_was_excluded_can_be_included_again_and_a_matrix_may_be_inclusions_only() {
        let text = "a = [1, 2]\nexclude = [{ a = 2 }]\ninclude = [{ a = 2, lr = 0.1 }]\n";
        assert_eq!(combinations(text), ["[a=1]", "[a=2,lr=0.1]"]);
        assert_eq!(
            combinations("include = [{ a = 1, b = 2 }, { a = 2, b = 3 }]\n"),
            ["[a=1,b=2]", "[a=2,b=3]"]
        );
    }

    #[test]
    fn an_exclusion_without_effect_is_told_with_what_was_meant() {
        let value = problem("labels = [40, 100]\nexclude = [{ labels = 400 }]\n");
        assert!(value.to_string().contains("`labels` is never 400"), "{value}");
        assert!(
            value.help_text().unwrap().contains("did you mean `40`?"),
            "{:?}",
            value.help_text()
        );
        assert_eq!(value.location().unwrap().to_string(), "w.toml:2:23");
        let name = problem("labels = [40, 100]\nexclude = [{ label = 40 }]\n");
        assert!(name.help_text().unwrap().contains("did you mean `labels`?"));
        let again = problem("a = [1, 2]\nexclude = [{ a = 1 }, { a = 1 }]\n");
        assert!(again.to_string().contains("excluded already"));
        let all = problem("a = [1]\nexclude = [{ a = 1 }]\n");
        assert!(all.to_string().contains("every combination"));
    }

    #[test]
    fn an_inclusion_that_is_half_or_nothing_is_told() {
        let half = problem("a = [1, 2]\nb = [3]\ninclude = [{ a = 5, lr = 0.1 }]\n");
        assert!(half.to_string().contains("lacks `b`"), "{half}");
        let nothing = problem("a = [1, 2]\ninclude = [{ a = 1 }]\n");
        assert!(nothing.to_string().contains("there already"));
        let list = problem("a = [1]\ninclude = [2]\n");
        assert!(list.to_string().contains("must be a table"), "{list}");
    }
}
