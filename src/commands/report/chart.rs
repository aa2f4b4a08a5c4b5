//! Lines with bands, dots and dashed levels, as SVG. By hand: what a plotting crate writes has its colours and sizes fixed, and here both
//! follow the page's theme and width.

use flow_engine::figure::{Line, Lines};
use maud::{Markup, html};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 48.0;

/// Lines are told apart by these as well as by colour.
const MARKS: usize = 4;
/// Colours of the style sheet, `--c0` and on.
const COLOURS: usize = 7;

/// Where values are drawn.
struct Scale {
    x: (f64, f64),
    y: (f64, f64),
    log: bool,
}

impl Scale {
    fn of(figure: &Lines) -> Self {
        let points = || figure.lines.iter().chain(&figure.levels).flat_map(|line| &line.points);
        let ends = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
        };
        let along = |x: f64| if figure.log_x { x.log10() } else { x };
        let x = ends(&mut points().map(|point| along(point.x)));
        let y = ends(&mut points().flat_map(|p| [p.value.low, p.value.high].into_iter().chain(p.runs.iter().copied())));
        let room = |(low, high): (f64, f64), share: f64| {
            if !low.is_finite() || !high.is_finite() {
                return (0.0, 1.0);
            }
            let room = ((high - low) * share).max(if high > low { 0.0 } else { 0.5 });
            (low - room, high + room)
        };
        Self {
            x: room(x, 0.06),
            y: room(y, 0.05),
            log: figure.log_x,
        }
    }

    fn x(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        LEFT + (value - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (self.y.1 - value) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }
}

/// Round values from `low` to `high`, about five.
pub(super) fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let rough = ((high - low) / 5.0).max(f64::MIN_POSITIVE);
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|m| m * power);
    let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    (0..12)
        .map(|i| (first + i) as f64 * step)
        .take_while(|v| *v <= high)
        .collect()
}

/// A number as short as it is exact.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn draw(figure: &Lines) -> Markup {
    let scale = Scale::of(figure);
    let all = || figure.lines.iter().chain(&figure.levels);
    let alt: Vec<String> = all().map(in_words).collect();
    let mut at: Vec<f64> = all().flat_map(|line| &line.points).map(|point| point.x).collect();
    at.sort_by(f64::total_cmp);
    at.dedup();
    let bottom = HEIGHT - BOTTOM;
    html! {
        div.legend {
            @for (i, line) in figure.lines.iter().enumerate() { span { (key(i, false)) (line.name) } }
            @for (i, line) in figure.levels.iter().enumerate() { span { (key(figure.lines.len() + i, true)) (line.name) } }
        }
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(format!("{}. {}", figure.title, alt.join("; "))) {
            @for y in ticks(scale.y) {
                line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(place(scale.y(y))) y2=(place(scale.y(y))) {}
                text.tick x=(LEFT - 8.0) y=(place(scale.y(y) + 4.0)) text-anchor="end" { (short(y)) }
            }
            @for x in &at {
                line.axis x1=(place(scale.x(*x))) x2=(place(scale.x(*x))) y1=(bottom) y2=(bottom + 5.0) {}
                text.tick x=(place(scale.x(*x))) y=(bottom + 19.0) text-anchor="middle" { (short(*x)) }
            }
            line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(bottom) y2=(bottom) {}
            text.label x=(f64::midpoint(LEFT, WIDTH)) y=(HEIGHT - 8.0) text-anchor="middle" {
                (figure.x) @if figure.log_x { " (logarithmic)" }
            }
            text.label transform=(format!("translate(14 {}) rotate(-90)", f64::midpoint(TOP, bottom))) text-anchor="middle" { (figure.y) }
            @for (i, line) in figure.levels.iter().enumerate() { (level(&scale, figure.lines.len() + i, line)) }
            @for (i, line) in figure.lines.iter().enumerate() { (band(&scale, i, line)) }
            @for (i, line) in figure.lines.iter().enumerate() { (arm(&scale, i, line)) }
        }
    }
}

/// A coordinate, to a tenth of a pixel.
pub(super) fn place(value: f64) -> String {
    format!("{value:.1}")
}

fn colour(index: usize) -> String {
    format!("color:var(--c{})", index % COLOURS)
}

fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    points.map(|(x, y)| format!("{x:.1},{y:.1} ")).collect()
}

fn band(scale: &Scale, index: usize, line: &Line) -> Markup {
    let upper = line.points.iter().map(|p| (scale.x(p.x), scale.y(p.value.high)));
    let lower = line.points.iter().rev().map(|p| (scale.x(p.x), scale.y(p.value.low)));
    html! { polygon.band style=(colour(index)) points=(path(upper.chain(lower))) {} }
}

fn arm(scale: &Scale, index: usize, line: &Line) -> Markup {
    html! {
        g style=(colour(index)) {
            @for point in &line.points {
                // One budget alone has no band.
                line.whisker x1=(place(scale.x(point.x))) x2=(place(scale.x(point.x)))
                    y1=(place(scale.y(point.value.low))) y2=(place(scale.y(point.value.high))) {}
                @for run in &point.runs { circle.draw cx=(place(scale.x(point.x))) cy=(place(scale.y(*run))) r="3" {} }
            }
            polyline.line points=(path(line.points.iter().map(|p| (scale.x(p.x), scale.y(p.value.mean))))) {}
            @for point in &line.points { (mark(index, scale.x(point.x), scale.y(point.value.mean))) }
        }
    }
}

fn level(scale: &Scale, index: usize, line: &Line) -> Markup {
    // What has one value only is held against all budgets.
    let points: Vec<(f64, f64)> = match line.points.as_slice() {
        [one] => [LEFT, WIDTH - RIGHT].map(|x| (x, scale.y(one.value.mean))).to_vec(),
        all => all.iter().map(|p| (scale.x(p.x), scale.y(p.value.mean))).collect(),
    };
    html! { polyline.line.dashed style=(colour(index)) points=(path(points.into_iter())) {} }
}

fn mark(index: usize, x: f64, y: f64) -> Markup {
    let corners = |corners: &[(f64, f64)]| path(corners.iter().map(|(dx, dy)| (x + dx, y + dy)));
    html! {
        @match index % MARKS {
            0 => { circle.mark cx=(place(x)) cy=(place(y)) r="5" {} }
            1 => { polygon.mark points=(corners(&[(-4.6, -4.6), (4.6, -4.6), (4.6, 4.6), (-4.6, 4.6)])) {} }
            2 => { polygon.mark points=(corners(&[(0.0, -6.0), (5.6, 4.6), (-5.6, 4.6)])) {} }
            _ => { polygon.mark points=(corners(&[(0.0, -6.5), (6.5, 0.0), (0.0, 6.5), (-6.5, 0.0)])) {} }
        }
    }
}

fn key(index: usize, dashed: bool) -> Markup {
    html! {
        svg.key viewBox="0 0 30 14" aria-hidden="true" style=(colour(index)) {
            polyline.line.dashed[dashed] points="1,7 29,7" {}
            @if !dashed { (mark(index, 15.0, 7.0)) }
        }
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
