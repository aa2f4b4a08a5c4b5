//! What each arm may spend in all, before anything runs: arms that may not spend the same are not compared, unless it is said why.

use std::collections::{BTreeMap, BTreeSet};

use flow_engine::node::{InputSpent, ParamError, Spending, Spent};

use super::CompareNode;
use super::cells::{at_cell, cell_name};
use crate::evaluate::arms::{Cell, Place};
use crate::evaluate::table::table;
use crate::failure::at_with;

/// Arms of which one may spend so many times what another may are not on equal terms.
pub(super) const UNEQUAL: f64 = 1.02;

/// What one arm spends in one cell, mean over draws.
struct ArmAccount {
    cell: Cell,
    arm: String,
    /// By kind of node.
    parts: BTreeMap<&'static str, f64>,
    total: Option<Spending>,
}

/// Checks that the arms of each cell may spend the same, and puts the account into a table.
///
/// # Errors
/// At `compare`, where they may not and `unequal` is not given.
pub(super) fn account(node: &CompareNode, spent: &Spent<'_>) -> Result<Option<String>, ParamError> {
    let mut by_place: Vec<((Cell, String), Vec<InputSpent>)> = Vec::new();
    for input in spent.of("compare") {
        let Place { cell, arm, .. } = node.axes().place(&input.node, &input.bindings);
        let place = (cell, arm);
        match by_place.iter_mut().find(|(known, _)| *known == place) {
            Some((_, inputs)) => inputs.push(input),
            None => by_place.push((place, vec![input])),
        }
    }
    let arms: Vec<ArmAccount> = by_place
        .into_iter()
        .map(|((cell, arm), inputs)| of_arm(cell, arm, &inputs))
        .collect();
    if node.unequal.is_none() {
        check_equal(node, &arms)?;
    }
    Ok(Some(words(node, &arms)))
}

fn of_arm(cell: Cell, arm: String, inputs: &[InputSpent]) -> ArmAccount {
    let n = inputs.len().max(1) as f64;
    let mut parts: BTreeMap<&'static str, f64> = BTreeMap::new();
    for part in inputs.iter().flat_map(|input| &input.parts) {
        *parts.entry(part.kind).or_default() += part.spends.map_or(f64::NAN, |spends| spends.used / n);
    }
    let total: Option<Spending> = inputs.iter().map(InputSpent::total).sum();
    ArmAccount {
        cell,
        arm,
        parts,
        total: total.map(|Spending { allowed, used }| Spending {
            allowed: allowed / n,
            used: used / n,
        }),
    }
}

fn check_equal(node: &CompareNode, arms: &[ArmAccount]) -> Result<(), ParamError> {
    let cells: BTreeSet<&Cell> = arms.iter().map(|arm| &arm.cell).collect();
    for cell in cells {
        let known = || {
            arms.iter()
                .filter(|arm| arm.cell == *cell)
                .filter_map(|arm| Some((arm, arm.total?.allowed)))
        };
        let by_images = |a: &(&ArmAccount, f64), b: &(&ArmAccount, f64)| a.1.total_cmp(&b.1);
        let (Some((least, few)), Some((most, many))) = (known().min_by(by_images), known().max_by(by_images)) else {
            continue;
        };
        if many > UNEQUAL * few {
            let message = format!(
                "the arms are not on equal terms{}: `{}` may train on {many:.0} images, forward and backward, `{}` on {few:.0}",
                at_cell(node, cell),
                most.arm,
                least.arm
            );
            let help = "give all nodes parts of one budget, such as `budget = { of = \"${budget}\", rest = true }`, or write `unequal = \"why\"`";
            return Err(at_with("compare", message, help));
        }
    }
    Ok(())
}

fn words(node: &CompareNode, arms: &[ArmAccount]) -> String {
    let kinds: BTreeSet<&str> = arms.iter().flat_map(|arm| arm.parts.keys().copied()).collect();
    let less = |arm: &ArmAccount| arm.total.is_some_and(|total| total.used < total.allowed - 0.5);
    let stops = arms.iter().any(less);
    let mut head = vec!["images forward and backward".to_owned(), String::new()];
    head.extend(kinds.iter().map(ToString::to_string));
    head.push("in all".into());
    if stops {
        head.push("allowed".into());
    }
    let count = |images: Option<f64>| match images {
        Some(images) if images.is_finite() => format!("{images:.0}"),
        Some(_) => "unknown".into(),
        None => String::new(),
    };
    let figures = |arm: &ArmAccount| {
        let mut figures: Vec<String> = kinds.iter().map(|kind| count(arm.parts.get(kind).copied())).collect();
        figures.push(count(Some(arm.total.map_or(f64::NAN, |total| total.used))));
        if stops {
            figures.push(count(Some(arm.total.map_or(f64::NAN, |total| total.allowed))));
        }
        figures
    };
    // An arm that spends the same at several budgets is one row.
    let mut rows: Vec<(&str, Vec<&Cell>, Vec<String>)> = Vec::new();
    for arm in arms {
        let (name, figures) = (node.title(&arm.arm), figures(arm));
        match rows
            .iter_mut()
            .find(|(known, _, same)| *known == name && *same == figures)
        {
            Some((_, cells, _)) => cells.push(&arm.cell),
            None => rows.push((name, vec![&arm.cell], figures)),
        }
    }
    rows.sort_by_key(|(name, ..)| arms.iter().position(|arm| node.title(&arm.arm) == *name));
    let all: BTreeSet<&Cell> = arms.iter().map(|arm| &arm.cell).collect();
    let row = |(name, cells, figures): &(&str, Vec<&Cell>, Vec<String>)| {
        let at = if cells.len() == all.len() {
            "all".to_owned()
        } else {
            cells
                .iter()
                .map(|cell| cell_name(node, cell))
                .collect::<Vec<_>>()
                .join("; ")
        };
        [vec![(*name).to_owned(), at], figures.clone()].concat()
    };
    let mut text = table(&head, &rows.iter().map(row).collect::<Vec<_>>());
    if let Some(why) = &node.unequal {
        text += &format!("Not on equal terms: {why}\n");
    }
    text
}
