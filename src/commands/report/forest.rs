//! A forest plot. Where there is no room beside the intervals, names and numbers stand above them.

use flow_engine::figure::Intervals;
use maud::html;

use super::drawing::{Axis, Drawing, WIDE, colour, cut, place, short};

pub(super) fn draw(plot: &Intervals, width: f64) -> Drawing {
    let beside = width >= WIDE;
    let (left, right, row) = if beside {
        (210.0, 200.0, 30.0)
    } else {
        (14.0, 14.0, 48.0)
    };
    let ends = plot
        .rows
        .iter()
        .flat_map(|row| [row.value.low, row.value.high])
        .chain([0.0]);
    let axis = Axis::over(ends, 0.05, (left, width - right), false);
    let x = |value: f64| place(axis.at(value));
    let bottom = row * plot.rows.len() as f64 + 6.0;
    let numbers = |row: &flow_engine::figure::IntervalRow| format!("{:+.1} · {}", row.value.mean, row.note);
    let alt = plot.rows.iter().map(|row| {
        let value = row.value;
        format!(
            "{} {:+.1} ({:+.1} to {:+.1})",
            row.name, value.mean, value.low, value.high
        )
    });
    // Lines that would cross words are drawn beside the intervals alone.
    let spans: Vec<(f64, f64)> = match beside {
        true => vec![(2.0, bottom)],
        false => (1..=plot.rows.len())
            .map(|i| (row * i as f64 - 22.0, row * i as f64))
            .collect(),
    };
    let body = html! {
        @for (from, to) in &spans {
            @for tick in axis.ticks() { line.grid x1=(x(tick)) x2=(x(tick)) y1=(from) y2=(to) {} }
            line.axis x1=(x(0.0)) x2=(x(0.0)) y1=(from) y2=(to) {}
        }
        @for tick in axis.ticks() { text.tick x=(x(tick)) y=(bottom + 16.0) text-anchor="middle" { (short(tick)) } }
        @for (i, shown) in plot.rows.iter().enumerate() {
            @let top = row * i as f64 + 3.0;
            @let y = if beside { top + 0.5 * row } else { top + 0.72 * row };
            @if beside {
                text x=(left - 12.0) y=(y + 4.0) text-anchor="end" { (cut(&shown.name, 28)) }
                text.tick x=(width - right + 12.0) y=(y + 4.0) { (numbers(shown)) }
            } @else {
                text x=(left) y=(top + 17.0) { (cut(&shown.name, 28)) }
                text.tick x=(width - right) y=(top + 17.0) text-anchor="end" { (numbers(shown)) }
            }
            g style=(colour(0)) {
                line.line x1=(x(shown.value.low)) x2=(x(shown.value.high)) y1=(y) y2=(y) {}
                circle.mark cx=(x(shown.value.mean)) cy=(y) r="5" {}
            }
        }
        text x=(f64::midpoint(left, width - right)) y=(bottom + 36.0) text-anchor="middle" { (plot.x) }
    };
    Drawing {
        width,
        height: bottom + 44.0,
        alt: format!("{}. {}", plot.title, alt.collect::<Vec<_>>().join("; ")),
        body,
    }
}
