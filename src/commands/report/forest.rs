//! A forest plot as SVG.

use flow_engine::figure::Intervals;
use maud::{Markup, html};

use super::chart::{place, short, ticks};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 210.0;
const RIGHT: f64 = 200.0;
const ROW: f64 = 30.0;

pub(super) fn draw(plot: &Intervals) -> Markup {
    let ends = plot.rows.iter().flat_map(|row| [row.value.low, row.value.high]);
    let (low, high) = ends.fold((0.0f64, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
    let room = ((high - low) * 0.05).max(0.1);
    let (low, high) = (low - room, high + room);
    let x = |value: f64| place(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT));
    let bottom = ROW * plot.rows.len() as f64 + 6.0;
    let alt = plot.rows.iter().map(|row| {
        let value = row.value;
        format!(
            "{} {:+.1} ({:+.1} to {:+.1})",
            row.name, value.mean, value.low, value.high
        )
    });
    let alt: Vec<String> = alt.collect();
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", bottom + 44.0)) role="img" aria-label=(format!("{}. {}", plot.title, alt.join("; "))) {
            @for tick in ticks((low, high)) {
                line.grid x1=(x(tick)) x2=(x(tick)) y1="2" y2=(bottom) {}
                text.tick x=(x(tick)) y=(bottom + 16.0) text-anchor="middle" { (short(tick)) }
            }
            line.axis x1=(x(0.0)) x2=(x(0.0)) y1="2" y2=(bottom) {}
            @for (i, row) in plot.rows.iter().enumerate() {
                @let y = ROW * (i as f64 + 0.5) + 3.0;
                text.label x=(LEFT - 12.0) y=(y + 4.0) text-anchor="end" { (row.name) }
                g style="color:var(--c0)" {
                    line.line x1=(x(row.value.low)) x2=(x(row.value.high)) y1=(y) y2=(y) {}
                    circle.mark cx=(x(row.value.mean)) cy=(y) r="5" {}
                }
                text.tick x=(WIDTH - RIGHT + 12.0) y=(y + 4.0) { (format!("{:+.1}", row.value.mean)) " · " (row.note) }
            }
            text.label x=(f64::midpoint(LEFT, WIDTH - RIGHT)) y=(bottom + 36.0) text-anchor="middle" { (plot.x) }
        }
    }
}
