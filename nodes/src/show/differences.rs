//! The same arms in two runs: what the later one has more, paired where the draws and the test images are the same.

use flow_cache::{ActionKey, Store};
use flow_engine::figure::{Figure, Interval, IntervalRow, Intervals, Judged, Table};
use flow_learn::stats::{Arm, Run, difference};

use super::input;
use crate::artifacts::Scores;

/// Two draws or more have a spread.
const FEWEST: usize = 2;

/// Accuracy in `b` less that in `a`, for each budget a forest plot, and a table of all.
pub(super) fn figures(store: &Store, a: &Judged, b: &Judged) -> Vec<Figure> {
    let mut rows = Vec::new();
    let mut plots = Vec::new();
    for cell in &a.cells {
        let mut intervals = Vec::new();
        let there = b.cells.iter().find(|other| other.name == cell.name);
        for (title, of_a) in &cell.arms {
            let of_b = there.and_then(|other| other.arms.iter().find(|(other, _)| other == title));
            let of_b = of_b.map_or(&[][..], |(_, scores)| scores);
            let pairs = pairs(store, of_a, of_b);
            let told = tell(&pairs);
            let accuracy = |scores: &[(String, ActionKey)]| {
                accuracy(store, scores).map_or_else(|| "-".to_owned(), |mean| format!("{mean:.1}"))
            };
            let (change, how) = match &told {
                None if of_b.is_empty() => ("-".to_owned(), "only in the first".to_owned()),
                None => (
                    "-".to_owned(),
                    "not paired: other draws or other test images".to_owned(),
                ),
                Some(value) if pairs.len() < FEWEST => {
                    (format!("{:+.1}", value.mean), "one draw: no interval".to_owned())
                }
                Some(value) => (
                    format!("{:+.1} [{:+.1}, {:+.1}]", value.mean, value.low, value.high),
                    format!("paired, {} draws", pairs.len()),
                ),
            };
            if let (Some(value), true) = (told, pairs.len() >= FEWEST) {
                intervals.push(IntervalRow {
                    name: title.clone(),
                    value,
                    note: format!("{} draws", pairs.len()),
                });
            }
            rows.push(vec![
                title.clone(),
                cell.name.clone(),
                accuracy(of_a),
                accuracy(of_b),
                change,
                how,
            ]);
        }
        if !intervals.is_empty() {
            plots.push(Figure::Intervals(Intervals {
                title: format!("What changed, {}", cell.name),
                x: "points more in the second run, with 95 % intervals".into(),
                rows: intervals,
            }));
        }
    }
    let head = ["arm", "at", "first, %", "second, %", "difference, points", "how"];
    let table = Figure::Table(Table {
        title: "Accuracy in both".into(),
        head: head.map(str::to_owned).to_vec(),
        rows,
    });
    std::iter::once(table).chain(plots).collect()
}

fn scores(store: &Store, key: &ActionKey) -> Option<Scores> {
    let artifact = store.peek(key).ok().flatten()?;
    Scores::read(&input(artifact))
        .ok()
        .filter(|scores| !scores.scores.is_empty())
}

/// In percent, the mean over all draws.
fn accuracy(store: &Store, of: &[(String, ActionKey)]) -> Option<f64> {
    let all: Vec<f64> = of
        .iter()
        .filter_map(|(_, key)| Some(scores(store, key)?.scores[0].accuracy))
        .collect();
    (!all.is_empty()).then(|| 100.0 * super::mean(&all))
}

/// Scores of the same draw on the same images.
fn pairs(store: &Store, a: &[(String, ActionKey)], b: &[(String, ActionKey)]) -> Vec<(String, Scores, Scores)> {
    let pair = |(draw, key): &(String, ActionKey)| {
        let (_, other) = b.iter().find(|(other, _)| other == draw)?;
        let (first, second) = (scores(store, key)?, scores(store, other)?);
        (first.judged_on == second.judged_on).then(|| (draw.clone(), first, second))
    };
    a.iter().filter_map(pair).collect()
}

/// In points.
fn tell(pairs: &[(String, Scores, Scores)]) -> Option<Interval> {
    let right = |scores: &Scores| -> Vec<f64> {
        let predicted = scores.scores[0].predicted();
        let same = predicted.iter().zip(scores.truth());
        same.map(|(predicted, truth)| f64::from(u8::from(*predicted == truth)))
            .collect()
    };
    let design: Vec<Run> = pairs
        .iter()
        .map(|(draw, ..)| Run {
            draw: draw.clone(),
            seed: String::new(),
        })
        .collect();
    let first = Arm {
        runs: pairs.iter().map(|(_, first, _)| right(first)).collect(),
    };
    let second = Arm {
        runs: pairs.iter().map(|(.., second)| right(second)).collect(),
    };
    if first.runs.first().is_none_or(Vec::is_empty) {
        return None;
    }
    let estimate = difference(&second, &first, &design);
    let (low, high) = if estimate.standard_error() > 0.0 {
        estimate.interval()
    } else {
        (estimate.mean, estimate.mean)
    };
    Some(Interval {
        mean: 100.0 * estimate.mean,
        low: 100.0 * low,
        high: 100.0 * high,
    })
}
