//! What arms are compared by: a figure of classifiers, or that of a task that tells where things are.

use flow_engine::node::{NodeError, ParamError};
use flow_learn::stats::Metric;
use flow_learn::tasks::TASKS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::judge::classifier;
use crate::artifacts::{LocatedScore, Scores};
use crate::failure::{at_with, failure};

/// The name of a figure: `accuracy`, `balanced_accuracy` or `macro_f1` of classifiers, or the task's own, as `mean_iou` and `ap`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected the name of a metric")]
pub(super) enum Compared {
    /// Of classifiers.
    Classes(Metric),
    /// Of a task.
    Places(String),
}

impl Default for Compared {
    fn default() -> Self {
        Self::Classes(Metric::default())
    }
}

impl Compared {
    /// Whether scores of a task are compared by it.
    ///
    /// # Errors
    /// At `metric`, with what they are compared by.
    pub(super) fn check(&self, task: Option<&str>) -> Result<(), ParamError> {
        let wanted = match task.and_then(flow_learn::tasks::named) {
            Some(task) => vec![task.figure().0],
            None => vec!["accuracy", "balanced_accuracy", "macro_f1"],
        };
        let of_classes = matches!(self, Self::Classes(_)) && task.is_none();
        // Nothing said is the task's own.
        if *self == Self::default()
            || of_classes
            || matches!(self, Self::Places(name) if wanted.contains(&name.as_str()) && task.is_some())
        {
            return Ok(());
        }
        let names = wanted
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!(
            "these scores are of the task `{}`, compared by {names}",
            task.unwrap_or("classify")
        );
        Err(at_with(
            "metric",
            message,
            format!("write `metric = \"{}\"`", wanted[0]),
        ))
    }

    /// The same, or the task's own figure where nothing is said.
    pub(super) fn of(&self, scores: &Scores) -> Self {
        match &scores.located {
            Some(score) if *self == Self::default() => Self::Places(score.figure.clone()),
            _ => self.clone(),
        }
    }

    /// In words.
    pub(super) fn title(&self) -> &str {
        match self {
            Self::Classes(metric) => metric.title(),
            Self::Places(name) => {
                let figures = TASKS.iter().map(|task| task.figure());
                figures
                    .into_iter()
                    .find(|(known, _)| known == name)
                    .map_or(name.as_str(), |(_, title)| title)
            }
        }
    }

    /// What is shown of each class.
    pub(super) fn of_class(&self) -> String {
        match self {
            Self::Classes(_) => "right of each class, %".to_owned(),
            Self::Places(_) => format!("{} of each class, %", self.title()),
        }
    }

    /// What is reached without looking at an image; none of a task's figures.
    pub(super) fn by_guessing(&self, scores: &Scores) -> Option<f64> {
        match self {
            Self::Classes(metric) => Some(metric.by_guessing(&scores.truth(), scores.class_names.len())),
            Self::Places(_) => None,
        }
    }

    /// What each image contributes.
    ///
    /// # Errors
    /// If the scores are of something else.
    pub(super) fn contributions(&self, scores: &Scores) -> Result<Vec<f64>, NodeError> {
        match self {
            Self::Classes(metric) => {
                let predicted = classifier(scores)?.predicted();
                Ok(metric.contributions(&scores.truth(), &predicted, scores.class_names.len()))
            }
            Self::Places(name) => Ok(located(scores, name)?.contributions.clone()),
        }
    }
}

/// The score of a network that tells where things are.
///
/// # Errors
/// If there is none, or of another figure.
pub(super) fn located<'a>(scores: &'a Scores, figure: &str) -> Result<&'a LocatedScore, NodeError> {
    let score = scores.located.as_ref().filter(|score| score.figure == figure);
    score.ok_or_else(|| failure(format!("scores found that have no `{figure}`")))
}
