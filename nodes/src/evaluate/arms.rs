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
    /// In the order written.
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }

    fn contains(&self, name: &str) -> bool {
        self.all().iter().any(|one| one == name)
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.all().join(" and "))
    }
}

/// Which matrix variables mean what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axes<'a> {
    pub(super) arm: &'a str,
    pub(super) budget: &'a str,
    /// That of the training budget, where arms are compared at several.
    pub(super) cost: Option<&'a str>,
    pub(super) repeat: &'a Names,
}

/// Arms are compared at the same label budget and, where it varies, the same training budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cell {
    /// The value of the label budget's variable; empty if there is none.
    pub(super) budget: String,
    /// The value of the training budget's variable; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) cost: String,
}

/// The values of the variables that repeat, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Draw(pub(super) BTreeMap<String, String>);

impl std::fmt::Display for Draw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = self.0.iter().map(|(name, value)| format!("{name} {value}")).collect();
        f.write_str(&words.join(", "))
    }
}

/// Where a score stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) cell: Cell,
    /// The value of the arm variable, or the node's name.
    pub(super) arm: String,
    pub(super) draw: Draw,
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

    /// The budgets of an input.
    pub(super) fn cell_of(&self, bindings: &BTreeMap<String, Value>) -> Cell {
        Cell {
            budget: text(bindings.get(self.budget)),
            cost: self.cost.map_or_else(String::new, |cost| text(bindings.get(cost))),
        }
    }

    fn names(&self, variable: &str) -> bool {
        let of_cell = [Some(self.arm), Some(self.budget), self.cost];
        of_cell.contains(&Some(variable)) || self.repeat.contains(variable)
    }

    /// Whether inputs vary by nothing but what is named: what else varies would be averaged as if it were a seed.
    ///
    /// # Errors
    /// At `over`.
    pub(super) fn check<'i>(
        &self,
        inputs: impl IntoIterator<Item = (&'i str, &'i BTreeMap<String, Value>)>,
    ) -> Result<(), ParamError> {
        let mut first: Option<&BTreeMap<String, Value>> = None;
        for (node, bindings) in inputs {
            let first = *first.get_or_insert(bindings);
            let all = first.keys().chain(bindings.keys());
            let varies = |name: &&String| !self.names(name) && first.get(*name) != bindings.get(*name);
            if let Some(name) = all.into_iter().find(varies) {
                let message = format!(
                    "`{node}` varies by `{name}`, which is neither `arm` ({}) nor `budget` ({}) nor `repeat` ({})",
                    self.arm, self.budget, self.repeat
                );
                let help = format!(
                    "remove `{name}` from `over` for a verdict at each of its values, or name it as one of these"
                );
                return Err(at_with("over", message, help));
            }
        }
        Ok(())
    }

    /// Where an input stands, by what is named.
    pub(super) fn place(&self, node: &str, bindings: &BTreeMap<String, Value>) -> Place {
        let of_draw = bindings.iter().filter(|(name, _)| self.repeat.contains(name));
        Place {
            cell: self.cell_of(bindings),
            arm: self.arm_of(node, bindings),
            draw: Draw(of_draw.map(|(name, value)| (name.clone(), text(Some(value)))).collect()),
        }
    }

    /// Whether what has such bindings stands for a cell and a draw: what does not vary by a variable stands for all of its values, and a variable that
    /// is not named here has one value for all.
    pub(super) fn stands_for(&self, bindings: &BTreeMap<String, Value>, cell: &Cell, draw: &Draw) -> bool {
        let fits = |(name, value): (&String, &Value)| {
            let value = text(Some(value));
            if name == self.budget {
                value == cell.budget
            } else if Some(name.as_str()) == self.cost {
                value == cell.cost
            } else {
                draw.0.get(name).is_none_or(|drawn| *drawn == value)
            }
        };
        bindings.iter().all(fits)
    }
}

/// Values by name, in the order in which the names came.
type ByName<V> = Vec<(String, V)>;

/// Scores of the arms in one cell, which are of the same draws, in the same order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Paired<T> {
    pub(super) cell: Cell,
    pub(super) draws: Vec<Draw>,
    pub(super) arms: ByName<Vec<T>>,
}

/// Pairs scores by draw, in the order of the cells.
///
/// # Errors
/// At `port`, if two scores stand at the same place, or an arm has not the draws of the others.
pub(super) fn pair<T>(port: &str, scores: impl IntoIterator<Item = (Place, T)>) -> Result<Vec<Paired<T>>, ParamError> {
    let mut table: Vec<(Cell, ByName<BTreeMap<Draw, T>>)> = Vec::new();
    for (Place { cell, arm, draw }, score) in scores {
        let arms = entry(&mut table, &cell);
        let draws = entry(arms, &arm);
        if draws.insert(draw.clone(), score).is_some() {
            let at = [cell.budget, cell.cost, draw.to_string()].join(" ");
            let message = format!("arm `{arm}` has two scores at {}", at.trim());
            return Err(at_with(
                port,
                message,
                "give each its own name by the arm variable, or leave one of them out",
            ));
        }
    }
    let mut paired = Vec::new();
    for (cell, arms) in table {
        let draws: BTreeSet<Draw> = arms.iter().flat_map(|(_, draws)| draws.keys().cloned()).collect();
        for (arm, of_arm) in &arms {
            if let Some(missing) = draws.iter().find(|draw| !of_arm.contains_key(*draw)) {
                let missing = if missing.0.is_empty() {
                    "no draw".to_owned()
                } else {
                    missing.to_string()
                };
                let message = format!(
                    "arm `{arm}` has no score for {missing}, but other arms have: only paired scores are compared"
                );
                return Err(at_with(port, message, "judge every arm with the same draws"));
            }
        }
        let in_order = arms
            .into_iter()
            .map(|(arm, draws)| (arm, draws.into_values().collect()))
            .collect();
        paired.push(Paired {
            cell,
            draws: draws.into_iter().collect(),
            arms: in_order,
        });
    }
    Ok(paired)
}

/// The value of a key, made where there is none: in the order of first use.
fn entry<'t, K: Clone + PartialEq, V: Default>(table: &'t mut Vec<(K, V)>, key: &K) -> &'t mut V {
    let place = table.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
        table.push((key.clone(), V::default()));
        table.len() - 1
    });
    &mut table[place].1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn axes(repeat: &Names) -> Axes<'_> {
        Axes {
            arm: "arm",
            budget: "labels",
            cost: None,
            repeat,
        }
    }

    fn bindings(of: Value) -> BTreeMap<String, Value> {
        serde_json::from_value(of).expect("a table")
    }

    #[test]
    fn a_variable_that_is_no_arm_budget_or_draw_is_not_averaged_as_a_seed() {
        let seed = Names::One("seed".into());
        let rates = [0.1, 0.2].map(|lr| bindings(json!({"arm": "a", "labels": 40, "seed": 0, "lr": lr})));
        let refused = axes(&seed).check(rates.iter().map(|rate| ("score", rate)));
        let refused = refused.expect_err("lr is no seed").message;
        assert!(refused.contains("`lr`"), "{refused}");
        let without = bindings(json!({"arm": "a", "labels": 40, "seed": 0}));
        let one = [&rates[0], &without].map(|rate| ("score", rate));
        assert!(axes(&seed).check(one).is_err(), "one of them has no value of it");
    }

    #[test]
    fn what_all_inputs_have_in_common_says_nothing_of_their_places() {
        let both = Names::Many(vec!["seed".into(), "draw".into()]);
        let of = |seed: i32| bindings(json!({"arm": "a", "labels": 40, "seed": seed, "draw": 2, "task": "detect"}));
        let inputs = [of(0), of(1)];
        axes(&both)
            .check(inputs.iter().map(|input| ("score", input)))
            .expect("they have one task");
        let placed = axes(&both).place("score", &inputs[0]);
        assert_eq!(
            (placed.arm, placed.cell.budget, placed.draw.to_string()),
            ("a".to_owned(), "40".to_owned(), "draw 2, seed 0".to_owned())
        );
    }

    fn at(arm: &str, draw: &str) -> (Place, String) {
        let place = Place {
            cell: Cell {
                budget: "40".into(),
                cost: String::new(),
            },
            arm: arm.into(),
            draw: Draw(BTreeMap::from([("seed".to_owned(), draw.to_owned())])),
        };
        (place, format!("{arm}{draw}"))
    }

    #[test]
    fn arms_are_paired_by_the_names_of_their_draws_whatever_the_order() {
        let paired = pair("compare", [at("a", "1"), at("a", "0"), at("b", "0"), at("b", "1")]).expect("paired");
        let expected = [("a", ["a0", "a1"]), ("b", ["b0", "b1"])];
        let expected = expected.map(|(arm, scores)| (arm.to_owned(), scores.map(str::to_owned).to_vec()));
        let [cell] = paired.as_slice() else {
            panic!("one cell: {paired:?}")
        };
        assert_eq!((cell.cell.budget.as_str(), &cell.arms), ("40", &expected.to_vec()));
        assert_eq!(cell.draws.len(), 2);
    }

    #[test]
    fn draws_that_are_left_over_or_there_twice_are_refused() {
        let other_seed = pair("compare", [at("a", "0"), at("b", "1")]).expect_err("they have no seed in common");
        assert!(
            other_seed.message.contains("has no score for"),
            "{}",
            other_seed.message
        );
        let twice = pair("compare", [at("a", "0"), at("a", "0")]).expect_err("two scores of one arm");
        assert!(twice.message.contains("two scores"), "{}", twice.message);
    }

    #[test]
    fn what_does_not_vary_by_a_variable_stands_for_all_of_its_values() {
        let seed = Names::Many(vec!["draw".into(), "seed".into()]);
        let axes = Axes {
            arm: "arm",
            budget: "labels",
            cost: None,
            repeat: &seed,
        };
        let cell = Cell {
            budget: "40".into(),
            cost: String::new(),
        };
        let draw = Draw(BTreeMap::from([
            ("draw".into(), "2".into()),
            ("seed".into(), "0".into()),
        ]));
        let stands = |bindings: Value| {
            let bindings = serde_json::from_value(bindings).expect("a table");
            axes.stands_for(&bindings, &cell, &draw)
        };
        assert!(stands(json!({})) && stands(json!({"labels": 40, "draw": 2})) && stands(json!({"seed": 0})));
        assert!(!stands(json!({"labels": 100, "draw": 2})) && !stands(json!({"draw": 1})));
    }
}
