//! What is wrong with a workflow, for the person who wrote it: one [`Problem`] each, all of them collected in [`Diagnostics`].

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use flow_cache::nearest;
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use super::span::{Location, Span};

/// One thing that is wrong, where, and what to do.
///
/// Renders through miette; [`Problem::location`] gives file, line and column to programs.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Problem(Box<Details>);

#[derive(Clone, Debug)]
struct Details {
    code: &'static str,
    message: String,
    help: Option<String>,
    /// Places with what is printed below them; all of one text.
    labels: Vec<(Span, String)>,
    text: Option<NamedSource<Arc<str>>>,
    /// Places in other texts, each shown by itself.
    elsewhere: Vec<Problem>,
    /// How many more instances have the same problem.
    repeats: usize,
}

impl Problem {
    /// A problem at `span`; `label` is printed below the text that it points at.
    pub(crate) fn at(code: &'static str, span: &Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        let mut problem = Self::nowhere(code, message);
        problem.0.text = Some(NamedSource::new(
            span.source.name.as_ref(),
            Arc::clone(&span.source.text),
        ));
        problem.0.labels.push((span.clone(), label.into()));
        problem
    }

    /// A problem with no place in any text, e.g. a file that cannot be read.
    pub(crate) fn nowhere(code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Details {
            code,
            message,
            help: None,
            labels: Vec::new(),
            text: None,
            elsewhere: Vec::new(),
            repeats: 0,
        }))
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.0.help = help.or(self.0.help);
        self
    }

    /// Points at a second place; one in another text is shown below, by itself.
    pub(crate) fn also(mut self, span: &Span, label: impl Into<String>) -> Self {
        if self
            .0
            .labels
            .first()
            .is_none_or(|(first, _)| Arc::ptr_eq(&first.source, &span.source))
        {
            self.0.labels.push((span.clone(), label.into()));
        } else {
            let label = label.into();
            self.0.elsewhere.push(Self::at(self.0.code, span, label.clone(), label));
        }
        self
    }

    /// A stable name of this sort of problem, e.g. `workflow::unknown_key`.
    pub fn code_name(&self) -> &'static str {
        self.0.code
    }

    /// Where it is, unless it has no place.
    pub fn location(&self) -> Option<Location> {
        self.0.labels.first().map(|(span, _)| span.location())
    }

    /// What to do about it.
    pub fn help_text(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    fn is_same(&self, other: &Problem) -> bool {
        let same_place = match (self.0.labels.first(), other.0.labels.first()) {
            (Some((a, _)), Some((b, _))) => a.same(b),
            (None, None) => true,
            _ => false,
        };
        same_place && self.0.code == other.0.code && self.0.message == other.0.message
    }
}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.0.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let again = match self.0.repeats {
            0 => None,
            1 => Some("the same error in 1 more instance".to_owned()),
            more => Some(format!("the same error in {more} more instances")),
        };
        match (&self.0.help, again) {
            (Some(help), Some(again)) => Some(Box::new(format!("{help} ({again})"))),
            (Some(help), None) => Some(Box::new(help)),
            (None, Some(again)) => Some(Box::new(again)),
            (None, None) => None,
        }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.text.as_ref().map(|s| s as &dyn SourceCode)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let some = !self.0.elsewhere.is_empty();
        some.then(|| Box::new(self.0.elsewhere.iter().map(|p| p as &dyn Diagnostic)) as Box<dyn Iterator<Item = _>>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let labels = self.0.labels.iter().map(|(span, label)| {
            let text = (!label.is_empty()).then(|| label.clone());
            LabeledSpan::new(text, span.range.start, span.range.len())
        });
        Some(Box::new(labels))
    }
}

/// Everything that is wrong with a workflow; never empty when returned as an error.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    pub(super) problems: Vec<Problem>,
    included: Vec<PathBuf>,
}

impl Diagnostics {
    /// The problems, in the order found.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The files that the workflow includes, as far as that is known: those that cannot be read too.
    pub fn included(&self) -> &[PathBuf] {
        &self.included
    }

    pub(crate) fn with_included(mut self, included: Vec<PathBuf>) -> Self {
        self.included = included;
        self
    }

    /// Adds a problem; one that is there already (from another instance of the same node) is only counted.
    pub(crate) fn push(&mut self, problem: Problem) {
        match self.problems.iter_mut().find(|known| known.is_same(&problem)) {
            Some(known) => known.0.repeats += 1 + problem.0.repeats,
            None => self.problems.push(problem),
        }
    }

    pub(crate) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// `value`, unless anything is wrong.
    pub(crate) fn ok<T>(self, value: T) -> Result<T, Diagnostics> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Problem> for Diagnostics {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            included: Vec::new(),
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [one] => write!(f, "{one}"),
            many => write!(f, "{} problems in the workflow", many.len()),
        }
    }
}

impl std::error::Error for Diagnostics {}

impl Diagnostic for Diagnostics {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|p| p as &dyn Diagnostic)))
    }
}

/// What to do about an unknown name: the nearest known one, and all of them if they are few.
pub fn suggest<'a>(name: &str, what: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let listed = match known.len() {
        0 => format!("there are no {what}"),
        1..=24 => format!(
            "{what}: {}",
            known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
        ),
        n => format!("there are {n} {what}"),
    };
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {listed}"),
        None => listed,
    }
}
