//! `when = "labels <= 100 and arm != 'both'"`: for which values of the matrix a node exists.
//!
//! Names are matrix variables, `[variables]` and `env.NAME`; a node is expanded by the matrix variables that its condition
//! names. The language is that of [`flow_cache::expr`]; text stands in quotes. Numbers compare by value, without loss; other
//! types are equal or not, and in no order. Two sides that can never be equal, such as a number and a text, are an error.

use flow_cache::expr::{self, Number, Op, Tree, condition};
use toml::Value;

use super::constants::Constants;
use super::diagnose::{Problem, suggest};
use super::span::Span;
use super::tree::{Data, Located};
use super::variables::{Binding, Matrix};

/// A condition that was read.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    expr: Expr,
    /// The matrix variables (indices) that it names.
    pub(crate) variables: Vec<usize>,
    span: Span,
}

#[derive(Clone, Debug)]
enum Expr {
    Literal(Value),
    Variable(usize),
    Compare(Box<Expr>, Op, Box<Expr>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
}

impl Condition {
    /// Reads a condition.
    pub(crate) fn read(written: &Located, matrix: &Matrix, constants: &Constants) -> Result<Self, Problem> {
        let mut reader = Reader {
            matrix,
            constants,
            span: &written.span,
            variables: Vec::new(),
        };
        let help = "write e.g. when = \"labels <= 100 and arm != 'both'\"";
        let text = written
            .str()
            .ok_or_else(|| reader.problem(format!("it is {}", written.describe())).help(help))?;
        let tree = condition(text).map_err(|error| {
            let place = format!("column {} of it: {}", error.column(), error.message());
            reader.problem(place).help(help)
        })?;
        let expr = reader.expr(tree)?;
        let mut variables = reader.variables;
        variables.sort_unstable();
        variables.dedup();
        Ok(Self {
            expr,
            variables,
            span: written.span.clone(),
        })
    }

    /// Whether it holds for these values.
    pub(crate) fn holds(&self, matrix: &Matrix, binding: &Binding) -> Result<bool, Problem> {
        truth(&self.expr, matrix, binding).map_err(|why| {
            let message = format!("this condition cannot be evaluated: {why}");
            Problem::at("workflow::when", &self.span, message, "here")
        })
    }
}

struct Reader<'a> {
    matrix: &'a Matrix,
    constants: &'a Constants,
    span: &'a Span,
    variables: Vec<usize>,
}

impl Reader<'_> {
    fn problem(&self, why: impl std::fmt::Display) -> Problem {
        let message = format!("invalid condition: {why}");
        Problem::at("workflow::when", self.span, message, "here")
    }

    fn expr(&mut self, tree: Tree) -> Result<Expr, Problem> {
        let all = |reader: &mut Self, parts: Vec<Tree>| {
            parts
                .into_iter()
                .map(|part| reader.expr(part))
                .collect::<Result<_, Problem>>()
        };
        match tree.expr {
            expr::Expr::Text(text) => Ok(Expr::Literal(text.into())),
            expr::Expr::Word(word) => match literal(&word) {
                Some(value) => Ok(Expr::Literal(value)),
                None => self.name(&word),
            },
            expr::Expr::List(items) => {
                let item = |item: &Tree| match &item.expr {
                    expr::Expr::Text(text) => Some(text.as_str().into()),
                    expr::Expr::Word(word) => literal(word),
                    _ => None,
                };
                let items = items.iter().map(item).collect::<Option<Vec<Value>>>();
                let items =
                    items.ok_or_else(|| self.problem("a list holds numbers, quoted strings, true and false"))?;
                Ok(Expr::Literal(Value::Array(items)))
            }
            expr::Expr::Not(inner) => Ok(Expr::Not(Box::new(self.expr(*inner)?))),
            expr::Expr::And(parts) => Ok(Expr::And(all(self, parts)?)),
            expr::Expr::Or(parts) => Ok(Expr::Or(all(self, parts)?)),
            expr::Expr::Compare(left, op, right) => {
                let (left, right) = (self.expr(*left)?, self.expr(*right)?);
                self.check(&left, op, &right)?;
                Ok(Expr::Compare(Box::new(left), op, Box::new(right)))
            }
        }
    }

    /// Whether the two sides have any type in common: if not, the answer would be the same for all values.
    fn check(&self, left: &Expr, op: Op, right: &Expr) -> Result<(), Problem> {
        let (lefts, mut rights) = (self.values(left), self.values(right));
        let items: Vec<&Value>;
        if op == Op::In {
            let lists = rights.iter().filter_map(|value| value.as_array());
            items = lists.flatten().collect();
            rights = items.clone();
        }
        let alike = |a: &Value| lefts.is_empty() || lefts.iter().any(|b| kind(a) == kind(b));
        let odd = match op {
            Op::In => rights.iter().find(|item| !alike(item)),
            _ => rights.first().filter(|_| !rights.iter().any(|value| alike(value))),
        };
        let (Some(odd), Some(left)) = (odd, lefts.first()) else {
            return Ok(());
        };
        let why = match op {
            Op::Equal | Op::NotEqual | Op::In => "they are never equal",
            _ => "they have no order",
        };
        let sides = format!("{} {left} is compared with {} {odd}: {why}", kind(left), kind(odd));
        let problem = self.problem(sides);
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Err(match (kind(left), kind(odd)) {
            ("the string", "the number") => {
                problem.help(format!("write '{}' in quotes to compare with a string", plain(odd)))
            }
            ("the number", "the string") => {
                problem.help(format!("write {} without quotes to compare with a number", plain(odd)))
            }
            _ => problem,
        })
    }

    /// The values that an operand can have; none if they are not known before it is decided.
    fn values<'e>(&'e self, expr: &'e Expr) -> Vec<&'e Value> {
        match expr {
            Expr::Literal(value) => vec![value],
            Expr::Variable(index) => self.matrix.variables[*index].values.iter().collect(),
            _ => Vec::new(),
        }
    }

    fn name(&mut self, name: &str) -> Result<Expr, Problem> {
        if let Some(index) = self.matrix.index(name) {
            self.variables.push(index);
            return Ok(Expr::Variable(index));
        }
        if let Some(value) = self.constants.get(name) {
            let plain = plain(value).ok_or_else(|| self.problem(format!("`{name}` is a table")))?;
            return Ok(Expr::Literal(plain));
        }
        let known = self.matrix.names().chain(self.constants.names());
        Err(self
            .problem(format!("unknown variable `{name}`"))
            .help(suggest(name, "variables", known)))
    }
}

/// The number or truth that a word is.
fn literal(word: &str) -> Option<Value> {
    match Number::parse(word) {
        Some(Number::Integer(integer)) => Some(match i64::try_from(integer) {
            Ok(integer) => integer.into(),
            Err(_) => (integer as f64).into(),
        }),
        Some(Number::Float(float)) => Some(float.into()),
        None => word.parse::<bool>().ok().map(Into::into),
    }
}

fn plain(value: &Located) -> Option<Value> {
    match &value.data {
        Data::Scalar(value) => Some(value.clone()),
        Data::Array(items) => items.iter().map(plain).collect::<Option<Vec<_>>>().map(Value::Array),
        Data::Table(_) => None,
    }
}

/// What a value is, for messages; numbers of either type are one.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) | Value::Float(_) => "the number",
        Value::String(_) => "the string",
        Value::Boolean(_) => "the boolean",
        Value::Datetime(_) => "the date",
        Value::Array(_) => "the list",
        Value::Table(_) => "the table",
    }
}

fn truth(expr: &Expr, matrix: &Matrix, binding: &Binding) -> Result<bool, String> {
    let all = |parts: &[Expr], until: bool| {
        for part in parts {
            if truth(part, matrix, binding)? == until {
                return Ok(until);
            }
        }
        Ok(!until)
    };
    match expr {
        Expr::Not(inner) => truth(inner, matrix, binding).map(|truth| !truth),
        Expr::And(parts) => all(parts, false),
        Expr::Or(parts) => all(parts, true),
        Expr::Compare(left, op, right) => compare(&value(left, matrix, binding)?, *op, &value(right, matrix, binding)?),
        Expr::Literal(_) | Expr::Variable(_) => {
            let value = value(expr, matrix, binding)?;
            value.as_bool().ok_or_else(|| format!("{value} is not a boolean"))
        }
    }
}

fn value(expr: &Expr, matrix: &Matrix, binding: &Binding) -> Result<Value, String> {
    Ok(match expr {
        Expr::Literal(value) => value.clone(),
        Expr::Variable(index) => {
            let place = binding.0[*index].ok_or("BUG: a variable of it is free")?;
            matrix.variables[*index].values[place as usize].clone()
        }
        _ => truth(expr, matrix, binding)?.into(),
    })
}

fn compare(left: &Value, op: Op, right: &Value) -> Result<bool, String> {
    match (op, left, right) {
        (Op::Equal, ..) => Ok(equal(left, right)),
        (Op::NotEqual, ..) => Ok(!equal(left, right)),
        (Op::In, _, Value::Array(items)) => Ok(items.iter().any(|item| equal(left, item))),
        (Op::In, ..) => Err(format!("`in` needs a list, found {right}")),
        (Op::Contains, Value::String(text), Value::String(part)) => Ok(text.contains(part.as_str())),
        (Op::Contains, ..) => Err(format!("`~` needs two strings, found {left} and {right}")),
        _ => {
            let ordering = number(left).zip(number(right)).and_then(|(a, b)| a.partial_cmp(&b));
            let ordering = ordering.ok_or_else(|| format!("{left} and {right} have no order"))?;
            Ok(op.accepts(ordering))
        }
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    match (number(left), number(right)) {
        (Some(a), Some(b)) => a == b,
        _ => left == right,
    }
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Integer(integer) => Some(Number::Integer((*integer).into())),
        Value::Float(float) => Some(Number::Float(*float)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::span::Source;
    use super::super::variables::Variable;
    use super::*;

    fn matrix() -> Matrix {
        Matrix {
            variables: vec![
                Variable {
                    name: "labels".into(),
                    values: vec![40.into(), 250.into()],
                },
                Variable {
                    name: "arm".into(),
                    values: vec!["both".into(), "neither".into()],
                },
            ],
            ..Matrix::default()
        }
    }

    fn read(text: &str) -> Result<Condition, Problem> {
        let source = Arc::new(Source::new("w.toml", text));
        let data = Data::Scalar(toml::Value::String(text.to_owned()));
        let located = Located {
            data,
            span: Span::new(&source, 0..text.len()),
        };
        Condition::read(&located, &matrix(), &Constants::default())
    }

    fn holds(text: &str) -> Result<bool, Problem> {
        read(text)
            .unwrap()
            .holds(&matrix(), &Binding([Some(1), Some(0)].into()))
    }

    #[test]
    fn conditions_are_decided_by_the_values_of_the_matrix() {
        for (text, expected) in [
            ("labels == 250", true),
            ("labels == 250.0 and arm == 'both'", true),
            ("labels<100 or not arm in ['neither', \"x\"]", true),
            ("not (labels >= 250 and arm != 'neither')", false),
            ("arm in ['neither']", false),
            ("labels > 100 and labels <= 250", true),
            ("true", true),
            ("arm ~ 'ot' and not arm ~ 'x'", true),
            ("labels = 250", true),
        ] {
            assert_eq!(holds(text).unwrap(), expected, "{text}");
        }
        assert_eq!(read("arm == 'both'").unwrap().variables, [1]);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, told) in [
            ("label == 40", "unknown variable `label`"),
            ("labels ==", "column 10 of it: expected a value, found the end"),
            ("(labels == 40", "or `)`, found the end"),
            ("labels == 40 arm", "or the end, found `arm`"),
            ("arm == 'both", "a string with a closing quote"),
            ("arm == 250", "the string \"both\" is compared with the number 250"),
            (
                "labels in [40, '250']",
                "the number 40 is compared with the string \"250\"",
            ),
            ("labels < true", "compared with the boolean true"),
            ("arm < 3", "they have no order"),
            ("arm in [both]", "a list holds"),
        ] {
            assert!(read(text).unwrap_err().to_string().contains(told), "{text}");
        }
        for (text, told) in [
            ("arm < 'x'", "have no order"),
            ("labels", "is not a boolean"),
            ("arm in 3", "needs a list"),
            ("labels and true", "is not a boolean"),
        ] {
            assert!(holds(text).unwrap_err().to_string().contains(told), "{text}");
        }
    }

    #[test]
    fn integers_beyond_the_digits_of_a_float_are_told_apart() {
        for (text, expected) in [
            ("9007199254740993 == 9007199254740992", false),
            ("9007199254740993 in [9007199254740992, 9007199254740992.0]", false),
            ("9007199254740993 > 9007199254740992.0", true),
        ] {
            assert_eq!(holds(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_a_long_chain_is_none() {
        for deep in ["(", "not ", "not (", "labels == ("] {
            let told = read(&deep.repeat(100_000)).unwrap_err().to_string();
            assert!(told.contains("nested at most 64 deep") && told.len() < 300, "{told}");
        }
        assert!(holds(&vec!["labels == 250"; 100_000].join(" and ")).unwrap());
    }
}
