//! Lines with bands, dots and dashed levels.

use flow_engine::figure::{Line, Lines, Point};
use maud::{Markup, html};

use super::drawing::{Axis, Drawing, Key, colour, level, level_line, mark, marked_line, path, place, short, tip};

const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 48.0;

/// Pixels between lines at one budget, so that their intervals and runs can be told apart.
const BESIDE: f64 = 5.0;

/// Where values are drawn.
struct Scale {
    x: Axis,
    y: Axis,
    lines: usize,
}

impl Scale {
    fn x_of(&self, index: usize, point: &Point) -> f64 {
        self.x.at(point.x) + BESIDE * (index as f64 - 0.5 * (self.lines as f64 - 1.0))
    }
}

pub(super) fn keys(figure: &Lines) -> Vec<Key> {
    let all = figure.lines.iter().chain(&figure.levels).enumerate();
    let sample = |i: usize| match i.checked_sub(figure.lines.len()) {
        None => marked_line(i),
        Some(level) => level_line(level),
    };
    all.map(|(i, line)| Key::of_series(&line.name, sample(i), i)).collect()
}

pub(super) fn draw(figure: &Lines, width: f64) -> Drawing {
    let height = (0.53 * width).max(300.0);
    let all = || figure.lines.iter().chain(&figure.levels);
    let points = || all().flat_map(|line| &line.points);
    let values = points().flat_map(|p| [p.value.low, p.value.high].into_iter().chain(p.runs.iter().copied()));
    let scale = Scale {
        x: Axis::over(points().map(|p| p.x), 0.06, (LEFT, width - RIGHT), figure.log_x),
        y: Axis::over(values, 0.05, (height - BOTTOM, TOP), false),
        lines: figure.lines.len(),
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
        @for (i, line) in figure.levels.iter().enumerate() { (held_against(&scale, i, line, right)) }
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
    let at = |p: &Point, value: f64| (scale.x_of(index, p), scale.y.at(value));
    let upper = line.points.iter().map(|p| at(p, p.value.high));
    let lower = line.points.iter().rev().map(|p| at(p, p.value.low));
    // Many bands over each other are mud: the whiskers tell their ends.
    let many = scale.lines > 3;
    html! { polygon.band.many[many] data-series=(index) style=(colour(index)) points=(path(upper.chain(lower))) {} }
}

fn arm(scale: &Scale, index: usize, line: &Line) -> Markup {
    html! {
        g data-series=(index) style=(colour(index)) {
            @for point in &line.points {
                @let x = place(scale.x_of(index, point));
                // One budget alone has no band.
                line.whisker x1=(x) x2=(x) y1=(place(scale.y.at(point.value.low))) y2=(place(scale.y.at(point.value.high))) {}
                @for run in &point.runs { circle.draw cx=(x) cy=(place(scale.y.at(*run))) r="3" {} }
            }
            polyline.line points=(path(line.points.iter().map(|p| (scale.x_of(index, p), scale.y.at(p.value.mean))))) {}
            @for point in &line.points {
                @let value = point.value;
                g {
                    (tip(&format!("{} at {}: {:.1} ({:.1} to {:.1})", line.name, short(point.x), value.mean, value.low, value.high)))
                    (mark(index, scale.x_of(index, point), scale.y.at(value.mean)))
                }
            }
        }
    }
}

fn held_against(scale: &Scale, index: usize, line: &Line, right: f64) -> Markup {
    // What has one value only is held against all budgets.
    let points: Vec<(f64, f64)> = match line.points.as_slice() {
        [one] => [LEFT, right].map(|x| (x, scale.y.at(one.value.mean))).to_vec(),
        all => all
            .iter()
            .map(|p| (scale.x.at(p.x), scale.y.at(p.value.mean)))
            .collect(),
    };
    html! {
        g data-series=(scale.lines + index) { (level(index, &path(points.into_iter()), &tip(&in_words(line)))) }
    }
}

/// The numbers behind a line, for eyes that do not see it.
fn in_words(line: &Line) -> String {
    let points = line
        .points
        .iter()
        .map(|point| format!("{:.1} at {}", point.value.mean, point.x));
    format!("{}: {}", line.name, points.collect::<Vec<_>>().join(", "))
}
