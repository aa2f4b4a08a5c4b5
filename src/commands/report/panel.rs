//! Small charts: curves or marks over a number.

use flow_engine::figure::{Curve, Panel, Panels};
use maud::{Markup, html};

use super::drawing::{
    Axis, Drawing, Key, NARROW, colour, dash, dashed_line, mark, marked_line, path, place, short, tip,
};

const HEIGHT: f64 = 230.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 42.0;

/// What curves have in common, in the order in which it comes: each is drawn alike in all panels.
fn alike(panels: &Panels) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for curve in panels.panels.iter().flat_map(|panel| &panel.curves) {
        if !curve.like.is_empty() && !all.contains(&curve.like.as_str()) {
            all.push(&curve.like);
        }
    }
    all
}

pub(super) fn keys(panels: &Panels) -> Vec<Key> {
    keys_of(panels, |_| true)
}

/// Of what is in one group.
pub(super) fn keys_of_group(panels: &Panels, group: &str) -> Vec<Key> {
    keys_of(panels, |panel| panel.group == group)
}

fn keys_of(panels: &Panels, shown: impl Fn(&Panel) -> bool) -> Vec<Key> {
    let marked = panels.panels.iter().any(|panel| panel.marks);
    let curves = || {
        panels
            .panels
            .iter()
            .filter(|panel| shown(panel))
            .flat_map(|panel| &panel.curves)
    };
    let all = alike(panels).into_iter().enumerate();
    all.filter(|(_, name)| curves().any(|curve| curve.like == **name))
        .map(|(i, name)| {
            let sample = if marked { marked_line(i) } else { dashed_line(i) };
            Key::of_series(&name.replace('=', " "), sample, i)
        })
        .collect()
}

pub(super) fn draw(panels: &Panels) -> Vec<Drawing> {
    let alike = alike(panels);
    panels.panels.iter().map(|panel| one(panel, &alike)).collect()
}

fn one(panel: &Panel, alike: &[&str]) -> Drawing {
    let points = || panel.curves.iter().flat_map(|curve| &curve.points);
    let room = if panel.marks { 0.08 } else { 0.03 };
    let x = Axis::over(points().map(|p| p.0), room, (LEFT, NARROW - RIGHT), panel.log_x);
    let along = points().filter(|_| panel.diagonal).map(|p| p.0);
    let y = Axis::over(points().map(|p| p.1).chain(along), room, (HEIGHT - BOTTOM, TOP), false);
    let (bottom, right) = (HEIGHT - BOTTOM, NARROW - RIGHT);
    let body = html! {
        text.strong x="6" y="15" { (panel.title) }
        @if panel.y != panel.title {
            text.tick transform=(format!("translate(11 {}) rotate(-90)", place(f64::midpoint(TOP, bottom)))) text-anchor="middle" { (panel.y) }
        }
        @for tick in y.ticks() {
            line.grid x1=(LEFT) x2=(right) y1=(place(y.at(tick))) y2=(place(y.at(tick))) {}
            text.tick x=(LEFT - 6.0) y=(place(y.at(tick) + 4.0)) text-anchor="end" { (y.written(tick)) }
        }
        @for tick in budgets(panel).unwrap_or_else(|| x.ticks()) {
            line.axis x1=(place(x.at(tick))) x2=(place(x.at(tick))) y1=(bottom) y2=(bottom + 4.0) {}
            text.tick x=(place(x.at(tick))) y=(bottom + 17.0) text-anchor="middle" { (short(tick)) }
        }
        line.axis x1=(LEFT) x2=(right) y1=(bottom) y2=(bottom) {}
        text.tick x=(f64::midpoint(LEFT, right)) y=(HEIGHT - 7.0) text-anchor="middle" {
            (panel.x) @if panel.log_x { " (logarithmic)" }
        }
        @if panel.diagonal { (diagonal(&x, &y)) }
        @for curve in &panel.curves { (drawn(curve, panel, alike, &x, &y)) }
    };
    let group = if panel.group.is_empty() {
        String::new()
    } else {
        format!("{}, ", panel.group)
    };
    Drawing {
        width: NARROW,
        height: HEIGHT,
        alt: format!(
            "{group}{}: {} over {}. {}",
            panel.title,
            panel.y,
            panel.x,
            in_words(panel)
        ),
        body,
    }
}

/// Where marks stand over few whole numbers, these: what was tried says more than round values.
fn budgets(panel: &Panel) -> Option<Vec<f64>> {
    const FEW: usize = 5;
    let mut all: Vec<f64> = panel
        .curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|point| point.0)
        .collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    (panel.marks && panel.log_x && all.len() <= FEW && all.iter().all(|x| x.fract() == 0.0)).then_some(all)
}

fn diagonal(x: &Axis, y: &Axis) -> Markup {
    let (low, high) = (x.low.max(y.low), x.high.min(y.high));
    html! { line.axis stroke-dasharray="4 4" x1=(place(x.at(low))) y1=(place(y.at(low))) x2=(place(x.at(high))) y2=(place(y.at(high))) {} }
}

fn drawn(curve: &Curve, panel: &Panel, alike: &[&str], x: &Axis, y: &Axis) -> Markup {
    let index = alike.iter().position(|like| *like == curve.like);
    let points = || curve.points.iter().map(|(a, b)| (x.at(*a), y.at(*b)));
    // What is like no other, beside others, is there to be held against.
    let aside = index.is_none() && panel.curves.len() > 1;
    let i = if aside { 6 } else { index.unwrap_or(0) };
    html! {
        g data-series=[index] style=(colour(i)) {
            @if aside {
                polyline.line.dashed points=(path(points())) { (tip(&curve.name)) }
            } @else if panel.marks {
                @if curve.points.len() > 1 { polyline.line points=(path(points())) { (tip(&curve.name)) } }
                @for (a, b) in &curve.points {
                    g { (tip(&format!("{}: {} at {}", curve.name, short(*b), short(*a)))) (mark(i, x.at(*a), y.at(*b))) }
                }
            } @else {
                polyline.thin stroke-dasharray=(dash(i)) points=(path(points())) { (tip(&curve.name)) }
            }
        }
    }
}

fn in_words(panel: &Panel) -> String {
    const SAID: usize = 8;
    let said = |curve: &Curve| {
        let (Some(first), Some(last)) = (curve.points.first(), curve.points.last()) else {
            return curve.name.clone();
        };
        match curve.points.len() {
            1 => format!("{}: {} at {}", curve.name, short(last.1), short(last.0)),
            _ => format!("{} from {} to {}", curve.name, short(first.1), short(last.1)),
        }
    };
    let mut words: Vec<String> = panel.curves.iter().take(SAID).map(said).collect();
    if panel.curves.len() > SAID {
        words.push(format!("and {} more", panel.curves.len() - SAID));
    }
    words.join("; ")
}
