//! Confusion matrices: each row adds up to 100 %.

use flow_engine::figure::{Matrices, Matrix};
use maud::html;

use super::drawing::{Drawing, NARROW, colour, cut, place, tip};

/// Room for the last name, which leans out.
const RIGHT: f64 = 40.0;

/// From so many classes on, cells are too small for numbers and names.
const WRITTEN: usize = 16;

pub(super) fn draw(all: &Matrices) -> Vec<Drawing> {
    all.matrices.iter().map(|matrix| one(matrix, &all.classes)).collect()
}

/// The share of each prediction among the images of one class.
pub(super) fn share(row: &[u64], predicted: usize) -> f64 {
    row[predicted] as f64 / row.iter().sum::<u64>().max(1) as f64
}

fn one(matrix: &Matrix, classes: &[String]) -> Drawing {
    let written = classes.len() <= WRITTEN;
    let (left, top) = if written { (84.0, 100.0) } else { (14.0, 40.0) };
    let cell = (NARROW - left - RIGHT) / classes.len().max(1) as f64;
    let shares: Vec<Vec<f64>> = matrix
        .counts
        .iter()
        .map(|row| (0..row.len()).map(|p| share(row, p)).collect())
        .collect();
    let mut mistakes: Vec<(f64, usize, usize)> = Vec::new();
    for (t, row) in shares.iter().enumerate() {
        mistakes.extend(
            row.iter()
                .enumerate()
                .filter(|(p, _)| *p != t)
                .map(|(p, share)| (*share, t, p)),
        );
    }
    mistakes.sort_by(|a, b| b.0.total_cmp(&a.0));
    let worst = mistakes
        .iter()
        .take(3)
        .map(|(share, t, p)| format!("{:.0} % of {} taken for {}", 100.0 * share, classes[*t], classes[*p]));
    let right = shares
        .iter()
        .enumerate()
        .map(|(t, row)| format!("{} {:.0} %", classes[t], 100.0 * row[t]));
    let alt = format!(
        "Confusion matrix, {}, {}. Right: {}. Most frequent mistakes: {}",
        matrix.name,
        matrix.group,
        right.collect::<Vec<_>>().join(", "),
        worst.collect::<Vec<_>>().join(", ")
    );
    let at = |i: usize| i as f64 * cell;
    let body = html! {
        text.strong x="6" y="16" { (matrix.name) }
        g.matrix data-classes=(classes.len()) data-cell=(place(cell)) data-left=(left) data-top=(top) {
            @if written {
                @for (i, name) in classes.iter().enumerate() {
                    g data-row=(i) transform=(format!("translate({} {})", left - 6.0, place(top + at(i)))) {
                        text.small text-anchor="end" y=(place(0.5 * cell + 4.0)) { (cut(name, 13)) }
                    }
                    g data-column=(i) transform=(format!("translate({} {})", place(left + at(i)), top - 6.0)) {
                        text.small transform=(format!("translate({} 0) rotate(-60)", place(0.5 * cell + 3.0))) { (cut(name, 13)) }
                    }
                }
            }
            @for (t, row) in shares.iter().enumerate() {
                @for (p, share) in row.iter().enumerate() {
                    g data-t=(t) data-p=(p) transform=(format!("translate({} {})", place(left + at(p)), place(top + at(t)))) style=(colour(usize::from(t != p))) {
                        rect.fill width=(place(cell - 1.0)) height=(place(cell - 1.0)) fill-opacity=(format!("{:.2}", 0.05 + 0.95 * share)) {
                            (tip(&format!("{:.1} % of {} taken for {} ({})", 100.0 * share, classes[t], classes[p], matrix.counts[t][p])))
                        }
                        // Dark on a half-filled cell, of either theme; in the ground's colour on a full one.
                        @if written && (100.0 * share).round() > 0.0 {
                            text.small.over[*share > 0.65].on[*share > 0.85] x=(place(0.5 * cell)) y=(place(0.5 * cell + 4.0)) text-anchor="middle" { ((100.0 * share).round()) }
                        }
                    }
                }
            }
        }
    };
    Drawing {
        width: NARROW,
        height: top + cell * classes.len() as f64 + 8.0,
        alt,
        body,
    }
}
