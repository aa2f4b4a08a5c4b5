//! What a training may spend: a number, a share of what an arm may spend in all, or what is left of that.

use flow_engine::node::{ParamError, Spending, Spent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::at_with;

/// Images that may go through the encoder forward and backward: `40_000`, or `{ of = "${budget}", share = 0.5 }`, or `{ of = "${budget}", rest = true }`,
/// so that all lengths of a workflow follow from one number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
pub(crate) struct Budget {
    /// What it is a part of, or all of.
    images: u64,
    /// Whether it is what is left of `images`; not any more once it is [`Budget::settled`].
    rest: bool,
    /// The share of it that is used.
    stop: f64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a number of images, or a part of one: `{ of = 200_000, share = 0.5 }`, `{ of = 200_000, rest = true }`"
)]
enum Written {
    /// So many images.
    Images(u64),
    /// A part of so many.
    Part(Part),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Part {
    /// The whole budget.
    of: u64,
    /// How much of it, above 0 and at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    /// Whether it is what is left after all that the node depends on: pre-training, teachers, passes over unlabelled images. In a loop of rounds each
    /// round has an even part of the rest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    rest: bool,
    /// Training stops after this share of it, in [0, 1], because it was found on validation images that more does not help: what is not used counts
    /// as spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<f64>,
}

impl TryFrom<Written> for Budget {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let part = match written {
            Written::Images(images) => {
                return Ok(Self {
                    images,
                    rest: false,
                    stop: 1.0,
                });
            }
            Written::Part(part) => part,
        };
        let Part { of, share, rest, stop } = part;
        if rest && share.is_some() {
            return Err("`share` and `rest` both say how much of it: leave one of them out".into());
        }
        let (share, stop) = (share.unwrap_or(1.0), stop.unwrap_or(1.0));
        if !(share > 0.0 && share <= 1.0) {
            return Err(format!("`share` is {share}, expected a number above 0 and at most 1"));
        }
        if !(0.0..=1.0).contains(&stop) {
            return Err(format!("`stop` is {stop}, expected a share of the budget, from 0 to 1"));
        }
        Ok(Self {
            images: (of as f64 * share).round() as u64,
            rest,
            stop,
        })
    }
}

impl From<Budget> for Written {
    fn from(Budget { images, rest, stop }: Budget) -> Self {
        if !rest && stop == 1.0 {
            return Self::Images(images);
        }
        Self::Part(Part {
            of: images,
            share: None,
            rest,
            stop: (stop < 1.0).then_some(stop),
        })
    }
}

impl Budget {
    /// Images that are spent.
    pub(crate) fn used(self) -> u64 {
        (self.images as f64 * self.stop).round() as u64
    }

    /// With what is left as a number; `None` if it is one already.
    ///
    /// # Errors
    /// At `budget`, if nothing is left, or if it is not known before something ran.
    pub(crate) fn settled(self, spent: &Spent<'_>) -> Result<Option<Self>, ParamError> {
        if !self.rest {
            return Ok(None);
        }
        let Some(before) = spent.before() else {
            let help = "give each node a share, `budget = { of = .., share = 0.5 }`";
            let message = "what is left is not known before what this node depends on has run";
            return Err(at_with("budget", message, help));
        };
        let left = (self.images as f64 - before.allowed) / f64::from(spent.rounds_left());
        if left < 1.0 {
            let message = format!(
                "nothing is left of {} images: what this node depends on spends {:.0}",
                self.images, before.allowed
            );
            return Err(at_with(
                "budget",
                message,
                "raise the budget, or give what comes before a smaller share of it",
            ));
        }
        Ok(Some(Self {
            images: left.round() as u64,
            rest: false,
            ..self
        }))
    }

    /// What a training costs that uses `used` of it: to half a step, what is allowed.
    pub(crate) fn spending(self, used: f64) -> Spending {
        if self.stop == 1.0 {
            return Spending::all(used);
        }
        Spending {
            allowed: self.images as f64,
            used,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Budget, String> {
        serde_json::from_str(text).map_err(|e| e.to_string())
    }

    fn written(budget: &str) -> String {
        serde_json::to_string(&read(budget).expect("a budget")).expect("JSON")
    }

    #[test]
    fn a_share_of_a_budget_is_the_number_that_it_comes_to() {
        assert_eq!(written("40000"), "40000");
        assert_eq!(
            written(r#"{"of": 40000, "share": 0.25}"#),
            "10000",
            "the key has the number"
        );
        assert_eq!(
            written(r#"{"of": 40000, "share": 0.25, "stop": 0.5}"#),
            r#"{"of":10000,"stop":0.5}"#
        );
        let stopped = read(r#"{"of": 40000, "share": 0.25, "stop": 0.5}"#).expect("a budget");
        assert_eq!(stopped.used(), 5000);
        assert_eq!(
            stopped.spending(5000.0).allowed,
            10_000.0,
            "what is not used counts as spent"
        );
        assert_eq!(written(r#"{"of": 40000, "rest": true}"#), r#"{"of":40000,"rest":true}"#);
    }

    #[test]
    fn what_is_no_budget_is_refused_with_what_was_expected() {
        let refused = |text: &str| read(text).expect_err("it is no budget");
        assert!(refused(r#"{"of": 40000, "share": 1.5}"#).contains("at most 1"));
        assert!(refused(r#"{"of": 40000, "stop": -1}"#).contains("from 0 to 1"));
        assert!(refused(r#"{"of": 40000, "share": 0.5, "rest": true}"#).contains("leave one of them out"));
        assert!(refused("\"all\"").contains("a part of one"));
    }
}
