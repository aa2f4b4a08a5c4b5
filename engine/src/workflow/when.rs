//! `when = "labels <= 100 and arm != 'both'"`: for which values of the matrix a node exists.
//!
//! Names are matrix variables, `[variables]` and `env.NAME`; a node is expanded by the matrix variables that its condition
//! names. Operators: `==` `!=` `<` `<=` `>` `>=`, `in [1, 2]`, `not`, `and`, `or`, parentheses. Text stands in single or double
//! quotes. Numbers compare by value; other types are equal or not, and in no order.

use std::cmp::Ordering;

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
    Literal(toml::Value),
    Variable(usize),
    Compare(Box<Expr>, Op, Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

const OPERATORS: [(&str, Op); 6] = [
    ("==", Op::Equal),
    ("!=", Op::NotEqual),
    ("<=", Op::LessOrEqual),
    (">=", Op::GreaterOrEqual),
    ("<", Op::Less),
    (">", Op::Greater),
];

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Value(toml::Value),
    Op(Op),
    Open,
    Close,
    ListOpen,
    ListClose,
    Comma,
}

impl Condition {
    /// Reads a condition.
    pub(crate) fn read(written: &Located, matrix: &Matrix, constants: &Constants) -> Result<Self, Problem> {
        let wrong = |why: String| {
            Problem::at(
                "workflow::when",
                &written.span,
                format!("this condition cannot be read: {why}"),
                "here",
            )
            .help("write e.g. when = \"labels <= 100 and arm != 'both'\"")
        };
        let text = written
            .str()
            .ok_or_else(|| wrong(format!("it is {}", written.describe())))?;
        let mut parser = Parser {
            tokens: tokens(text).map_err(wrong)?,
            next: 0,
            matrix,
            constants,
            span: &written.span,
            variables: Vec::new(),
        };
        let expr = parser.any_of()?;
        if let Some(more) = parser.tokens.get(parser.next) {
            return Err(wrong(format!("{} is left over", shown(more))));
        }
        let mut variables = parser.variables;
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
        let value = value(&self.expr, matrix, binding);
        match value {
            Ok(toml::Value::Boolean(holds)) => Ok(holds),
            Ok(other) => Err(self.problem(format!("it gives {other}, which is neither true nor false"))),
            Err(why) => Err(self.problem(why)),
        }
    }

    fn problem(&self, why: String) -> Problem {
        Problem::at(
            "workflow::when",
            &self.span,
            format!("this condition cannot be decided: {why}"),
            "here",
        )
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(word) => format!("`{word}`"),
        Token::Value(value) => format!("`{value}`"),
        Token::Op(Op::In) => "`in`".to_owned(),
        Token::Op(op) => {
            let known = OPERATORS.iter().find(|(_, known)| known == op);
            format!("`{}`", known.map_or("", |(text, _)| text))
        }
        Token::Open => "`(`".to_owned(),
        Token::Close => "`)`".to_owned(),
        Token::ListOpen => "`[`".to_owned(),
        Token::ListClose => "`]`".to_owned(),
        Token::Comma => "`,`".to_owned(),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '[' => (Token::ListOpen, 1),
            ']' => (Token::ListClose, 1),
            ',' => (Token::Comma, 1),
            '\'' | '"' => {
                let end = rest[1..].find(first).ok_or_else(|| format!("{first} is not closed"))?;
                (Token::Value(rest[1..=end].to_owned().into()), end + 2)
            }
            _ => match OPERATORS.iter().find(|(operator, _)| rest.starts_with(operator)) {
                Some((operator, op)) => (Token::Op(*op), operator.len()),
                None => {
                    let plain = |c: char| c.is_alphanumeric() || "._-+".contains(c);
                    let end = rest.find(|c| !plain(c)).unwrap_or(rest.len());
                    if end == 0 {
                        return Err(format!("`{first}` means nothing here"));
                    }
                    (word(&rest[..end]), end)
                }
            },
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn word(word: &str) -> Token {
    if let Ok(integer) = word.parse::<i64>() {
        return Token::Value(integer.into());
    }
    let like_a_number = word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    match (word, word.parse::<f64>()) {
        (_, Ok(number)) if like_a_number && number.is_finite() => Token::Value(number.into()),
        ("true", _) => Token::Value(true.into()),
        ("false", _) => Token::Value(false.into()),
        ("in", _) => Token::Op(Op::In),
        _ => Token::Word(word.to_owned()),
    }
}

struct Parser<'a> {
    tokens: Vec<Token>,
    next: usize,
    matrix: &'a Matrix,
    constants: &'a Constants,
    span: &'a Span,
    variables: Vec<usize>,
}

impl Parser<'_> {
    fn problem(&self, why: impl std::fmt::Display) -> Problem {
        Problem::at(
            "workflow::when",
            self.span,
            format!("this condition cannot be read: {why}"),
            "here",
        )
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.next) == Some(token);
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.take(&Token::Word(word.to_owned()))
    }

    fn any_of(&mut self) -> Result<Expr, Problem> {
        let mut left = self.all_of()?;
        while self.take_word("or") {
            left = Expr::Or(Box::new(left), Box::new(self.all_of()?));
        }
        Ok(left)
    }

    fn all_of(&mut self) -> Result<Expr, Problem> {
        let mut left = self.not()?;
        while self.take_word("and") {
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr, Problem> {
        if self.take_word("not") {
            return Ok(Expr::Not(Box::new(self.not()?)));
        }
        let left = self.operand()?;
        let Some(Token::Op(op)) = self.tokens.get(self.next).cloned() else {
            return Ok(left);
        };
        self.next += 1;
        Ok(Expr::Compare(Box::new(left), op, Box::new(self.operand()?)))
    }

    fn operand(&mut self) -> Result<Expr, Problem> {
        let Some(token) = self.tokens.get(self.next).cloned() else {
            return Err(self.problem("it ends too early"));
        };
        self.next += 1;
        match token {
            Token::Value(value) => Ok(Expr::Literal(value)),
            Token::Word(name) => self.name(&name),
            Token::Open => {
                let inner = self.any_of()?;
                if self.take(&Token::Close) {
                    Ok(inner)
                } else {
                    Err(self.problem("`(` is not closed"))
                }
            }
            Token::ListOpen => self.list(),
            other => Err(self.problem(format!("{} stands where a value should", shown(&other)))),
        }
    }

    fn list(&mut self) -> Result<Expr, Problem> {
        let mut items = Vec::new();
        while !self.take(&Token::ListClose) {
            match self.tokens.get(self.next).cloned() {
                Some(Token::Value(value)) => items.push(value),
                _ => return Err(self.problem("a list holds numbers, texts, true and false, between `[` and `]`")),
            }
            self.next += 1;
            self.take(&Token::Comma);
        }
        Ok(Expr::Literal(toml::Value::Array(items)))
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

fn plain(value: &Located) -> Option<toml::Value> {
    match &value.data {
        Data::Scalar(value) => Some(value.clone()),
        Data::Array(items) => items
            .iter()
            .map(plain)
            .collect::<Option<Vec<_>>>()
            .map(toml::Value::Array),
        Data::Table(_) => None,
    }
}

fn value(expr: &Expr, matrix: &Matrix, binding: &Binding) -> Result<toml::Value, String> {
    let truth = |expr: &Expr| match value(expr, matrix, binding)? {
        toml::Value::Boolean(truth) => Ok(truth),
        other => Err(format!("{other} is neither true nor false")),
    };
    Ok(match expr {
        Expr::Literal(value) => value.clone(),
        Expr::Variable(index) => {
            let place = binding.0[*index].ok_or("BUG: a variable of it is free")?;
            matrix.variables[*index].values[place as usize].clone()
        }
        Expr::Not(inner) => (!truth(inner)?).into(),
        Expr::And(left, right) => (truth(left)? && truth(right)?).into(),
        Expr::Or(left, right) => (truth(left)? || truth(right)?).into(),
        Expr::Compare(left, op, right) => {
            let (left, right) = (value(left, matrix, binding)?, value(right, matrix, binding)?);
            compare(&left, *op, &right)?.into()
        }
    })
}

fn compare(left: &toml::Value, op: Op, right: &toml::Value) -> Result<bool, String> {
    match op {
        Op::Equal => return Ok(equal(left, right)),
        Op::NotEqual => return Ok(!equal(left, right)),
        Op::In => {
            let list = right
                .as_array()
                .ok_or_else(|| format!("`in` needs a list, found {right}"))?;
            return Ok(list.iter().any(|item| equal(left, item)));
        }
        _ => {}
    }
    let ordering = match (number(left), number(right)) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => None,
    };
    let ordering = ordering.ok_or_else(|| format!("{left} and {right} have no order"))?;
    Ok(match op {
        Op::Less => ordering == Ordering::Less,
        Op::LessOrEqual => ordering != Ordering::Greater,
        Op::Greater => ordering == Ordering::Greater,
        _ => ordering != Ordering::Less,
    })
}

fn equal(left: &toml::Value, right: &toml::Value) -> bool {
    match (number(left), number(right)) {
        (Some(a), Some(b)) => a == b,
        _ => left == right,
    }
}

fn number(value: &toml::Value) -> Option<f64> {
    value
        .as_float()
        .or_else(|| value.as_integer().map(|integer| integer as f64))
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
            ("arm == 250", false),
        ] {
            assert_eq!(holds(text).unwrap(), expected, "{text}");
        }
        assert_eq!(read("arm == 'both'").unwrap().variables, [1]);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, told) in [
            ("label == 40", "unknown variable `label`"),
            ("labels ==", "ends too early"),
            ("(labels == 40", "`(` is not closed"),
            ("labels == 40 arm", "`arm` is left over"),
            ("arm == 'both", "' is not closed"),
            ("labels = 40", "`=` means nothing here"),
            ("arm in [both]", "a list holds"),
        ] {
            assert!(read(text).unwrap_err().to_string().contains(told), "{text}");
        }
        for (text, told) in [
            ("arm < 3", "have no order"),
            ("labels", "neither true nor false"),
            ("arm in 3", "needs a list"),
            ("labels and true", "neither true nor false"),
        ] {
            assert!(holds(text).unwrap_err().to_string().contains(told), "{text}");
        }
    }
}
