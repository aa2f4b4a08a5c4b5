//! Bars in groups.

use flow_engine::figure::Bars;
use maud::html;

use super::drawing::{Drawing, Key, WIDE, colour, cut, filled_box, place, short, ticks, tip};

const BAR: f64 = 13.0;

pub(super) fn keys(bars: &Bars) -> Vec<Key> {
    let sample = |i| html! { g style=(colour(i)) { (filled_box()) } };
    let key = |(i, name): (usize, &String)| Key::of_series(name, sample(i), i);
    bars.series.iter().enumerate().map(key).collect()
}

pub(super) fn draw(bars: &Bars, width: f64) -> Drawing {
    let longest = bars
        .rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    // Where there is no room beside the bars, names stand above them.
    let above = width < WIDE && longest > 13;
    let left = match (above, width >= WIDE) {
        (true, _) => 12.0,
        (_, true) => 170.0,
        _ => 104.0,
    };
    let name_height = if above { 18.0 } else { 0.0 };
    let right = width - 44.0;
    let most = bars
        .rows
        .iter()
        .flat_map(|(_, values)| values)
        .copied()
        .fold(f64::MIN_POSITIVE, f64::max);
    let length = |value: f64| value / most * (right - left);
    let row = bars.series.len() as f64 * BAR + 10.0 + name_height;
    let bottom = row * bars.rows.len() as f64;
    let words = bars.rows.iter().map(|(name, values)| {
        let values = bars
            .series
            .iter()
            .zip(values)
            .map(|(series, value)| format!("{series} {}", number(*value)));
        format!("{name}: {}", values.collect::<Vec<_>>().join(", "))
    });
    let body = html! {
        @for tick in ticks((0.0, most)) {
            line.grid x1=(place(left + length(tick))) x2=(place(left + length(tick))) y1="0" y2=(bottom) {}
            text.tick x=(place(left + length(tick))) y=(bottom + 16.0) text-anchor="middle" { (short(tick)) }
        }
        @for (r, (name, values)) in bars.rows.iter().enumerate() {
            @let top = row * r as f64 + 5.0 + name_height;
            @if above { text x=(left) y=(place(top - 6.0)) { (cut(name, 46)) } }
            @else {
                text x=(left - 8.0) y=(place(top + 0.5 * (row - 10.0) + 4.0)) text-anchor="end" { (cut(name, (left / 7.4) as usize)) }
            }
            @for (i, value) in values.iter().enumerate() {
                @let y = top + i as f64 * BAR;
                g style=(colour(i)) {
                    (tip(&format!("{name}, {}: {} {}", bars.series[i], number(*value), bars.x)))
                    rect.fill x=(left) y=(place(y)) width=(place(length(*value).max(1.0))) height=(BAR - 2.0) rx="2" {}
                }
                text.small x=(place(left + length(*value) + 5.0)) y=(place(y + BAR - 3.5)) { (number(*value)) }
            }
        }
        text.tick x=(f64::midpoint(left, right)) y=(bottom + 34.0) text-anchor="middle" { (bars.x) }
    };
    Drawing {
        width,
        height: bottom + 42.0,
        alt: format!("{}. {}", bars.title, words.collect::<Vec<_>>().join("; ")),
        body,
    }
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}
