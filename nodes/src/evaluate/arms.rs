//! Which arm, label budget and draw each score belongs to, by the names of the matrix variables: known before anything runs.

use std::collections::{BTreeMap, BTreeSet};

use flow_engine::node::ParamError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::at_with;

/// One name, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected the name of a matrix variable, or a list of such names"
)]
pub(super) enum Names {
    One(String),
    Many(Vec<String>),
}

impl Names {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Many(many) => many.iter().any(|one| one == name),
        }
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(name) => f.write_str(name),
            Self::Many(names) => f.write_str(&names.join(" and ")),
        }
    }
}

/// Which matrix variables mean what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axes<'a> {
    pub(super) arm: &'a str,
    pub(super) budget: &'a str,
    pub(super) repeat: &'a Names,
}

/// Where a score stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The value of the budget variable; empty if it does not vary by one.
    pub(super) budget: String,
    /// The value of the arm variable, or the node's name.
    pub(super) arm: String,
    /// The values of the variables that repeat.
    pub(super) draw: String,
}

/// A matrix value as text.
pub(super) fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

impl Axes<'_> {
    /// The arm that an input belongs to.
    pub(super) fn arm_of(&self, node: &str, bindings: &BTreeMap<String, Value>) -> String {
        bindings
            .get(self.arm)
            .map_or_else(|| node.to_owned(), |value| text(Some(value)))
    }

    /// The budget of an input.
    pub(super) fn budget_of(&self, bindings: &BTreeMap<String, Value>) -> String {
        text(bindings.get(self.budget))
    }

    /// Where an input stands.
    ///
    /// # Errors
    /// At `over`, if it varies by something that is neither arm nor budget nor repeats: it would be averaged as if it were a seed.
    pub(super) fn place(&self, node: &str, bindings: &BTreeMap<String, Value>) -> Result<Place, ParamError> {
        let others = bindings
            .iter()
            .filter(|(name, _)| *name != self.arm && *name != self.budget);
        let mut draw = Vec::new();
        for (name, value) in others {
            if !self.repeat.contains(name) {
                let message = format!(
                    "`{node}` varies by `{name}`, which is neither `arm` ({}) nor `budget` ({}) nor `repeat` ({})",
                    self.arm, self.budget, self.repeat
                );
                let help = format!(
                    "remove `{name}` from `over` for a verdict at each of its values, or name it as one of these"
                );
                return Err(at_with("over", message, help));
            }
            draw.push(format!("{name} {}", text(Some(value))));
        }
        Ok(Place {
            budget: self.budget_of(bindings),
            arm: self.arm_of(node, bindings),
            draw: draw.join(", "),
        })
    }
}

/// Values by name, in the order in which the names came.
type ByName<V> = Vec<(String, V)>;

/// Scores of every arm at every budget, in the order given; those of a budget's arms are of the same draws, in the same order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Paired<T> {
    pub(super) budgets: ByName<ByName<Vec<T>>>,
    /// The least and the most draws at a budget.
    pub(super) draws: (usize, usize),
}

/// Pairs scores by draw.
///
/// # Errors
/// At `port`, if two scores stand at the same place, or an arm has not the draws of the others.
pub(super) fn pair<T>(port: &str, scores: impl IntoIterator<Item = (Place, T)>) -> Result<Paired<T>, ParamError> {
    let mut table: ByName<ByName<BTreeMap<String, T>>> = Vec::new();
    for (Place { budget, arm, draw }, score) in scores {
        let arms = entry(&mut table, &budget);
        let draws = entry(arms, &arm);
        if draws.insert(draw.clone(), score).is_some() {
            let at = [budget, draw].join(" ");
            let message = format!("arm `{arm}` has two scores at {}", at.trim());
            return Err(at_with(
                port,
                message,
                "give each its own name by the arm variable, or leave one of them out",
            ));
        }
    }
    let (mut budgets, mut least, mut most) = (Vec::new(), usize::MAX, 0);
    for (budget, arms) in table {
        let draws_of = |(_, draws): &(String, BTreeMap<String, T>)| draws.keys().cloned().collect::<BTreeSet<_>>();
        let all: BTreeSet<String> = arms.iter().flat_map(draws_of).collect();
        for (arm, draws) in &arms {
            if let Some(missing) = all.iter().find(|draw| !draws.contains_key(*draw)) {
                let missing = if missing.is_empty() {
                    "the one without a draw"
                } else {
                    missing
                };
                let message = format!(
                    "arm `{arm}` has no score at {missing}, other arms have: what is not paired is not compared"
                );
                return Err(at_with(port, message, "judge every arm with the same draws"));
            }
        }
        (least, most) = (least.min(all.len()), most.max(all.len()));
        let in_order = arms
            .into_iter()
            .map(|(arm, draws)| (arm, draws.into_values().collect()))
            .collect();
        budgets.push((budget, in_order));
    }
    Ok(Paired {
        budgets,
        draws: (least.min(most), most),
    })
}

/// The value of a key, made where there is none: in the order of first use.
fn entry<'t, V: Default>(table: &'t mut Vec<(String, V)>, key: &str) -> &'t mut V {
    let place = table.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
        table.push((key.to_owned(), V::default()));
        table.len() - 1
    });
    &mut table[place].1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(repeat: &Names, bindings: Value) -> Result<Place, String> {
        let bindings: BTreeMap<String, Value> = serde_json::from_value(bindings).expect("a table");
        let axes = Axes {
            arm: "arm",
            budget: "labels",
            repeat,
        };
        axes.place("score", &bindings).map_err(|e| e.message)
    }

    #[test]
    fn a_variable_that_is_no_arm_budget_or_draw_is_not_averaged_as_a_seed() {
        let seed = Names::One("seed".into());
        let refused = place(&seed, json!({"arm": "a", "labels": 40, "seed": 0, "lr": 0.1})).expect_err("lr is no seed");
        assert!(refused.contains("`lr`"), "{refused}");
        let both = Names::Many(vec!["seed".into(), "draw".into()]);
        let placed = place(&both, json!({"arm": "a", "labels": 40, "seed": 0, "draw": 2})).expect("all are named");
        assert_eq!(
            (placed.arm.as_str(), placed.budget.as_str(), placed.draw.as_str()),
            ("a", "40", "draw 2, seed 0")
        );
    }

    fn at(arm: &str, draw: &str) -> (Place, String) {
        let place = Place {
            budget: "40".into(),
            arm: arm.into(),
            draw: draw.into(),
        };
        (place, format!("{arm}{draw}"))
    }

    #[test]
    fn arms_are_paired_by_the_names_of_their_draws_whatever_the_order() {
        let paired = pair("compare", [at("a", "1"), at("a", "0"), at("b", "0"), at("b", "1")]).expect("paired");
        let expected = [("a", ["a0", "a1"]), ("b", ["b0", "b1"])];
        let expected = expected.map(|(arm, scores)| (arm.to_owned(), scores.map(str::to_owned).to_vec()));
        assert_eq!(paired.budgets, [("40".to_owned(), expected.to_vec())]);
        assert_eq!(paired.draws, (2, 2));
    }

    #[test]
    fn draws_that_are_left_over_or_there_twice_are_refused() {
        let other_seed = pair("compare", [at("a", "0"), at("b", "1")]).expect_err("they have no seed in common");
        assert!(other_seed.message.contains("has no score at"), "{}", other_seed.message);
        let twice = pair("compare", [at("a", "0"), at("a", "0")]).expect_err("two scores of one arm");
        assert!(twice.message.contains("two scores"), "{}", twice.message);
    }
}
