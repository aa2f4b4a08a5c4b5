//! What ran when: a row for each node at work at the same time.

use flow_engine::figure::{Schedule, Span};
use maud::html;

use super::drawing::{Axis, Drawing, Key, cut, filled_box, kind_colour, place, short, tip};
use crate::output::duration;

const ROW: f64 = 22.0;
const LEFT: f64 = 8.0;

/// The kinds, in the order in which they come.
fn kinds(schedule: &Schedule) -> Vec<&str> {
    let mut kinds: Vec<&str> = Vec::new();
    for span in &schedule.spans {
        if !kinds.contains(&span.kind.as_str()) {
            kinds.push(&span.kind);
        }
    }
    kinds
}

pub(super) fn keys(schedule: &Schedule) -> Vec<Key> {
    let sample = |kind| html! { g style=(kind_colour(kind)) { (filled_box()) } };
    kinds(schedule)
        .into_iter()
        .map(|kind| Key::new(kind, sample(kind)))
        .collect()
}

pub(super) fn draw(schedule: &Schedule, width: f64) -> Drawing {
    let rows = schedule.spans.iter().map(|span| span.row + 1).max().unwrap_or(0);
    let bottom = rows as f64 * ROW + 4.0;
    let (unit, seconds) = match schedule.seconds {
        s if s < 300.0 => ("s", 1.0),
        s if s < 18_000.0 => ("min", 60.0),
        _ => ("h", 3600.0),
    };
    let x = Axis::over(
        [0.0, schedule.seconds / seconds].into_iter(),
        0.0,
        (LEFT, width - 10.0),
        false,
    );
    let at = |s: f64| x.at(s / seconds);
    let busy: f64 = schedule.spans.iter().map(|span| span.end_s - span.start_s).sum();
    let longest = schedule
        .spans
        .iter()
        .max_by(|a, b| (a.end_s - a.start_s).total_cmp(&(b.end_s - b.start_s)));
    let longest = longest.map_or_else(String::new, |span| {
        format!(
            "; the longest was {}, {}",
            span.node,
            duration(span.end_s - span.start_s)
        )
    });
    let body = html! {
        @for tick in x.ticks() {
            line.grid x1=(place(x.at(tick))) x2=(place(x.at(tick))) y1="0" y2=(bottom) {}
            text.tick x=(place(x.at(tick))) y=(bottom + 15.0) text-anchor="middle" { (short(tick)) " " (unit) }
        }
        @for span in &schedule.spans {
            @let (from, to) = (at(span.start_s), at(span.end_s));
            @let long = (to - from).max(0.8);
            g style=(kind_colour(&span.kind)) {
                (tip(&words(span)))
                rect.fill.failed[span.ended == "failed"] x=(place(from)) y=(place(span.row as f64 * ROW + 2.0)) width=(place(long)) height=(ROW - 3.0) rx="2" {}
                @if long > 70.0 {
                    text.on x=(place(from + 5.0)) y=(place(span.row as f64 * ROW + 15.0)) { (cut(&span.node, (long / 6.6) as usize)) }
                }
            }
        }
    };
    Drawing {
        width,
        height: bottom + 22.0,
        alt: format!(
            "{}: {} nodes at work in {}, at most {rows} at once on {} CPU threads, {} of work{longest}",
            schedule.title,
            schedule.spans.len(),
            duration(schedule.seconds),
            schedule.threads,
            duration(busy)
        ),
        body,
    }
}

fn words(span: &Span) -> String {
    format!(
        "{} ({}): {} from {}, {}",
        span.node,
        span.kind,
        duration(span.end_s - span.start_s),
        duration(span.start_s),
        span.ended
    )
}
