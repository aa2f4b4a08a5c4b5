//! Lines with bands, dots and dashed levels.

use flow_engine::figure::{Line, Lines};
use maud::{Markup, html};

use super::drawing::{Axis, Drawing, Key, colour, mark, marked_line, path, place, short, tip};

const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 48.0;

/// Where values are drawn.
struct Scale {
    x: Axis,
    y: Axis,
}

pub(super) fn keys(figure: &Lines) -> Vec<Key> {
    let all = figure.lines.iter().chain(&figure.levels).enumerate();
    let key = |(i, line): (usize, &Line)| Key {
        name: line.name.clone(),
        sample: marked_line(i, i >= figure.lines.len()),
    };
    all.map(key).collect()
}

pub(super) fn draw(figure: &Lines, width: f64) -> Drawing {
    let height = (0.53 * width).max(300.0);
    let all = || figure.lines.iter().chain(&figure.levels);
    let points = || all().flat_map(|line| &line.points);
    let values = points().flat_map(|p| [p.value.low, p.value.high].into_iter().chain(p.runs.iter().copied()));
    let scale = Scale {
        x: Axis::over(points().map(|p| p.x), 0.06, (LEFT, width - RIGHT), figure.log_x),
        y: Axis::over(values, 0.05, (height - BOTTOM, TOP), false),
    };
    let alt: Vec<String> = all().map(in_words).collect();
    let mut at: Vec<f64> = points().map(|point| point.x).collect();
    at.sort_by(f64::total_cmp);
    at.dedup();
    let (bottom, right) = (height - BOTTOM, width - RIGHT);
    let body = html! {
        @for y in scale.y.ticks() {
            line.grid x1=(LEFT) x2=(right) y1=(place(scale.y.at(y))) y2=(place(scale.y.at(y))) {}
            text.tick x=(LEFT - 8.0) y=(place(scale.y.at(y) + 4.0)) text-anchor="end" { (scale.y.written(y)) }
        }
        @for x in &at {
            line.axis x1=(place(scale.x.at(*x))) x2=(place(scale.x.at(*x))) y1=(bottom) y2=(bottom + 5.0) {}
            text.tick x=(place(scale.x.at(*x))) y=(bottom + 19.0) text-anchor="middle" { (short(*x)) }
        }
        line.axis x1=(LEFT) x2=(right) y1=(bottom) y2=(bottom) {}
        text x=(f64::midpoint(LEFT, width)) y=(height - 8.0) text-anchor="middle" {
            (figure.x) @if figure.log_x { " (logarithmic)" }
        }
        text transform=(format!("translate(14 {}) rotate(-90)", f64::midpoint(TOP, bottom))) text-anchor="middle" { (figure.y) }
        @for (i, line) in figure.levels.iter().enumerate() { (level(&scale, figure.lines.len() + i, line, right)) }
        @for (i, line) in figure.lines.iter().enumerate() { (band(&scale, i, line)) }
        @for (i, line) in figure.lines.iter().enumerate() { (arm(&scale, i, line)) }
    };
    Drawing {
        width,
        height,
        alt: format!("{}. {}", figure.title, alt.join("; ")),
        body,
    }
}

fn band(scale: &Scale, index: usize, line: &Line) -> Markup {
    let upper = line.points.iter().map(|p| (scale.x.at(p.x), scale.y.at(p.value.high)));
    let lower = line
        .points
        .iter()
        .rev()
        .map(|p| (scale.x.at(p.x), scale.y.at(p.value.low)));
    html! { polygon.band style=(colour(index)) points=(path(upper.chain(lower))) {} }
}

fn arm(scale: &Scale, index: usize, line: &Line) -> Markup {
    html! {
        g style=(colour(index)) {
            @for point in &line.points {
                @let x = place(scale.x.at(point.x));
                // One budget alone has no band.
                line.whisker x1=(x) x2=(x) y1=(place(scale.y.at(point.value.low))) y2=(place(scale.y.at(point.value.high))) {}
                @for run in &point.runs { circle.draw cx=(x) cy=(place(scale.y.at(*run))) r="3" {} }
            }
            polyline.line points=(path(line.points.iter().map(|p| (scale.x.at(p.x), scale.y.at(p.value.mean))))) {}
            @for point in &line.points {
                @let value = point.value;
                g {
                    (tip(&format!("{} at {}: {:.1} ({:.1} to {:.1})", line.name, short(point.x), value.mean, value.low, value.high)))
                    (mark(index, scale.x.at(point.x), scale.y.at(value.mean)))
                }
            }
        }
    }
}

fn level(scale: &Scale, index: usize, line: &Line, right: f64) -> Markup {
    // What has one value only is held against all budgets.
    let points: Vec<(f64, f64)> = match line.points.as_slice() {
        [one] => [LEFT, right].map(|x| (x, scale.y.at(one.value.mean))).to_vec(),
        all => all
            .iter()
            .map(|p| (scale.x.at(p.x), scale.y.at(p.value.mean)))
            .collect(),
    };
    html! { polyline.line.dashed style=(colour(index)) points=(path(points.into_iter())) { (tip(&in_words(line))) } }
}

/// The numbers behind a line, for eyes that do not see it.
fn in_words(line: &Line) -> String {
    let points = line
        .points
        .iter()
        .map(|point| format!("{:.1} at {}", point.value.mean, point.x));
    format!("{}: {}", line.name, points.collect::<Vec<_>>().join(", "))
}
