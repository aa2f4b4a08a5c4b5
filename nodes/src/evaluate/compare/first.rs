//! What a reader must know before anything else.

use std::collections::BTreeSet;

use super::account::UNEQUAL;
use super::cells::{cell_name, percent, signed};
use super::evidence::Evidence;
use super::verdict::{ArmVerdict, CellVerdict, DRAWS_OF_FEW, FEW_LABELS, FEWEST_DRAWS, Verdict};

/// The share of its own labelled images that a baseline must get right, so that nothing is said of it. With 1,000 labels of `fashion-mnist-sample` a
/// network that is trained out gets 90 % right (with strong views) to 93 %; one that had a fifth of those steps 82 %, and 3 points less of the test images.
const LEARNT: f64 = 0.85;

/// The answer in a few words, for lists of runs: who is best at each budget, of those that are significantly better than the baseline.
pub(super) fn headline(verdict: &Verdict, evidence: &Evidence<'_>) -> String {
    let node = evidence.node;
    let baseline = node.title(&verdict.baseline);
    let best = |cell: &CellVerdict| {
        let better = cell.arms.iter().filter(|arm| {
            arm.baseline
                .is_some_and(|against| against.significant && against.difference.mean > 0.0)
        });
        let best = better.max_by(|a, b| a.figure.mean.total_cmp(&b.figure.mean));
        best.and_then(|arm| {
            let doubt = match evidence.uncredited(&cell.cell, &arm.arm) {
                true => " (without credit to its pre-training)",
                false => "",
            };
            let gain = signed(arm.baseline?.difference.mean);
            Some(format!("{} {gain}{doubt}", node.title(&arm.arm)))
        })
    };
    let found: Vec<(String, Option<String>)> = verdict
        .cells
        .iter()
        .map(|cell| (cell_name(node, &cell.cell), best(cell)))
        .collect();
    if found.iter().all(|(_, best)| best.is_none()) {
        return format!("no arm significantly above {baseline}");
    }
    let words = found
        .into_iter()
        .map(|(cell, best)| format!("{cell}: {}", best.as_deref().unwrap_or("none")));
    format!("above {baseline}: {}", words.collect::<Vec<_>>().join("; "))
}

/// One sentence each, the gravest first.
pub(super) fn words(verdict: &Verdict, evidence: &Evidence<'_>) -> Vec<String> {
    let mut said: Vec<String> = unequal(verdict, evidence).into_iter().collect();
    said.extend(not_learnt(verdict, evidence));
    said.extend(verdict.cells.iter().filter_map(|cell| below_control(cell, evidence)));
    said.extend(too_few(verdict, evidence));
    said
}

/// The same for a terminal: of arms that a control reaches only the names.
pub(super) fn short(verdict: &Verdict, evidence: &Evidence<'_>) -> Vec<String> {
    let mut said: Vec<String> = unequal(verdict, evidence).into_iter().collect();
    said.extend(not_learnt(verdict, evidence));
    for cell in &verdict.cells {
        let above = |arm: &&ArmVerdict| {
            arm.control
                .is_none_or(|against| against.significant && against.difference.mean > 0.0)
        };
        let (Some(control), below) = (cell.best_control(), cell.arms.iter().filter(|arm| !above(arm))) else {
            continue;
        };
        let below: Vec<&str> = below.map(|arm| evidence.node.title(&arm.arm)).collect();
        let who = match below.len() {
            0 => continue,
            all if all == cell.arms.len() => "no arm is detectably above it".to_owned(),
            _ => format!("not detectably above it: {}", below.join("; ")),
        };
        let (name, reached) = (evidence.node.title(&control.name), percent(control.figure.mean));
        said.push(format!(
            "{}: {name} reaches {reached} % without training; {who}.",
            cell_name(evidence.node, &cell.cell)
        ));
    }
    said.extend(too_few(verdict, evidence));
    said
}

/// Where arms trained on different numbers of images, a difference may be one of budget, and not of method: why that is so, and where it is most so.
fn unequal(verdict: &Verdict, evidence: &Evidence<'_>) -> Option<String> {
    let node = evidence.node;
    let images = |cell: &CellVerdict, arm: &ArmVerdict| evidence.cost(&cell.cell, &arm.arm).allowed;
    let ends = |cell: &CellVerdict| -> Option<(f64, String)> {
        let known = || cell.arms.iter().filter_map(|arm| Some((images(cell, arm)?, arm)));
        let by_images = |a: &(f64, &ArmVerdict), b: &(f64, &ArmVerdict)| a.0.total_cmp(&b.0);
        let ((few, least), (many, most)) = (known().min_by(by_images)?, known().max_by(by_images)?);
        let words = format!(
            "at {} {} may train on {few:.0} images, forward and backward, and {} on {many:.0}",
            cell_name(node, &cell.cell),
            node.title(&least.arm),
            node.title(&most.arm)
        );
        (many > UNEQUAL * few).then(|| (many / few.max(1.0), words))
    };
    let worst = verdict.cells.iter().filter_map(ends).max_by(|a, b| a.0.total_cmp(&b.0));
    let why = node.unequal.as_ref().map(|why| why.trim_end_matches('.').to_owned());
    let unknown: BTreeSet<&str> = verdict
        .cells
        .iter()
        .flat_map(|cell| cell.arms.iter().filter(move |arm| images(cell, arm).is_none()))
        .map(|arm| node.title(&arm.arm))
        .collect();
    let names: Vec<&str> = unknown.into_iter().collect();
    let unknown = (!names.is_empty()).then(|| {
        format!(
            "how many images {} trained on is not known (`images_trained` among a program's `metrics` says it)",
            names.join(", ")
        )
    });
    let said: Vec<String> = why
        .into_iter()
        .chain(worst.map(|(_, words)| words))
        .chain(unknown)
        .collect();
    (!said.is_empty()).then(|| format!("Not on equal terms: {}.", said.join("; ")))
}

/// What has learnt nothing shows nothing: pretext tasks, then arms, then a baseline that has learnt too little of what it was shown.
fn not_learnt(verdict: &Verdict, evidence: &Evidence<'_>) -> Vec<String> {
    let of_pretext = |(name, reached, guessing): (String, f64, f64)| {
        format!(
            "The pretext task of `{name}` was not learnt: {} % of its answers are right, {} % by guessing.",
            percent(reached),
            percent(guessing)
        )
    };
    let pretexts = evidence.pretexts_at_chance().into_iter().map(of_pretext);
    let cells = || verdict.cells.iter();
    let guessing = cells().filter_map(|cell| no_better_than_guessing(verdict, cell, evidence));
    let short = cells().filter_map(|cell| trained_too_short(verdict, cell, evidence));
    pretexts.chain(guessing).chain(short).collect()
}

/// The arms that are no better than guessing at a budget.
fn at_chance<'a>(verdict: &Verdict, cell: &'a CellVerdict) -> Vec<&'a ArmVerdict> {
    let Some(guessing) = verdict.guessing else {
        return Vec::new();
    };
    // What guessing reaches on so many images, in 39 of 40 draws of them: how much runs differ among each other has no part in it.
    let most = guessing + 1.96 * (guessing * (1.0 - guessing) / verdict.images.max(1) as f64).sqrt();
    cell.arms.iter().filter(|arm| arm.figure.mean <= most).collect()
}

fn no_better_than_guessing(verdict: &Verdict, cell: &CellVerdict, evidence: &Evidence<'_>) -> Option<String> {
    let guessing = verdict.guessing?;
    let arms = at_chance(verdict, cell);
    let one = |arm: &&ArmVerdict| format!("{} ({})", evidence.node.title(&arm.arm), percent(arm.figure.mean));
    let listed = arms.iter().map(one).collect::<Vec<_>>().join(", ");
    let baseline = match arms.iter().any(|arm| arm.arm == verdict.baseline) {
        true => format!(
            "; a gain over {} shows little until it is trained longer or otherwise",
            evidence.node.title(&verdict.baseline)
        ),
        false => String::new(),
    };
    (!arms.is_empty()).then(|| {
        format!(
            "{}: no better than guessing, which reaches {} %: {listed}{baseline}.",
            cell_name(evidence.node, &cell.cell),
            percent(guessing)
        )
    })
}

/// A baseline that does not get right what it was trained on is not trained out, or cannot be: what others gain over it may be gone once it is.
fn trained_too_short(verdict: &Verdict, cell: &CellVerdict, evidence: &Evidence<'_>) -> Option<String> {
    let learnt = evidence.learnt(&cell.cell, &verdict.baseline)?;
    let known = at_chance(verdict, cell).iter().any(|arm| arm.arm == verdict.baseline);
    (!known && learnt < LEARNT).then(|| {
        let (place, name) = (cell_name(evidence.node, &cell.cell), evidence.node.title(&verdict.baseline));
        format!(
            "{place}: {name} gets only {} % of its own labelled images right when its training ends: it is trained too short, or cannot fit them, and a gain \
             over it may be gone once it does.",
            percent(learnt)
        )
    })
}

/// An arm that a control reaches without learning any features has shown nothing.
fn below_control(cell: &CellVerdict, evidence: &Evidence<'_>) -> Option<String> {
    let control = cell.best_control()?;
    let gain = |arm: &ArmVerdict| arm.control.map_or(0.0, |against| against.difference.mean);
    let listed = |arms: &[&ArmVerdict]| {
        let one = |arm: &&ArmVerdict| format!("{} ({})", evidence.node.title(&arm.arm), signed(gain(arm)));
        arms.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let below: Vec<&ArmVerdict> = cell.arms.iter().filter(|arm| gain(arm) <= 0.0).collect();
    let doubtful = |arm: &&ArmVerdict| gain(arm) > 0.0 && !arm.control.is_some_and(|against| against.significant);
    let doubtful: Vec<&ArmVerdict> = cell.arms.iter().filter(doubtful).collect();
    let mut parts = Vec::new();
    if !below.is_empty() {
        parts.push(format!("not above it: {}", listed(&below)));
    }
    if !doubtful.is_empty() {
        parts.push(format!("not detectably above it: {}", listed(&doubtful)));
    }
    (!parts.is_empty()).then(|| {
        format!(
            "{}: the best control, {}, reaches {} %; {}.",
            cell_name(evidence.node, &cell.cell),
            evidence.node.title(&control.name),
            percent(control.figure.mean),
            parts.join("; ")
        )
    })
}

fn too_few(verdict: &Verdict, evidence: &Evidence<'_>) -> Vec<String> {
    let at = |wanted: &dyn Fn(&CellVerdict) -> bool| -> Vec<String> {
        let cells = verdict.cells.iter().filter(|cell| wanted(cell));
        cells
            .map(|cell| format!("{} ({})", cell_name(evidence.node, &cell.cell), cell.draws))
            .collect()
    };
    let none = at(&|cell| cell.draws < FEWEST_DRAWS);
    let few = at(&|cell| {
        let of_few = cell.labels().is_some_and(|labels| labels <= FEW_LABELS);
        of_few && (FEWEST_DRAWS..DRAWS_OF_FEW).contains(&cell.draws)
    });
    let mut said = Vec::new();
    if !none.is_empty() {
        said.push(format!(
            "Fewer than {FEWEST_DRAWS} draws, so that no difference can be called significant: {}.",
            none.join(", ")
        ));
    }
    if !few.is_empty() {
        said.push(format!(
            "Fewer than {DRAWS_OF_FEW} draws, although with so few labels it matters which they are: {}.",
            few.join(", ")
        ));
    }
    said
}
