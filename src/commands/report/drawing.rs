//! What all drawings have in common: a size, words for those who do not see it, and a way to a page or a file. Drawn by hand: what plotting crates
//! write has its colours and sizes fixed, and here both follow the page's theme and width.

use maud::{Markup, PreEscaped, html};

/// Colours of lines, `--c0` and on, and as many marks, by which they are told apart as well.
const LINES: usize = 7;
/// How lines are dashed.
const DASHES: [&str; 5] = ["", "6 3", "2 3", "8 3 2 3", "12 4"];

/// Node kinds that most workflows have: each has its colour, wherever it is drawn.
const KINDS: [&str; LINES] = [
    "dataset",
    "augment",
    "pretext",
    "pretrain",
    "finetune",
    "pseudo-label",
    "evaluate",
];

/// Widths that charts are drawn in: on a screen, and on a phone.
pub(super) const WIDE: f64 = 760.0;
pub(super) const NARROW: f64 = 380.0;

/// Name, on light ground, on dark ground. Those of lines can be told apart by people who see few colours (after Okabe & Ito 2008), and have a contrast
/// of 4.5 or more with their ground.
const COLOURS: [(&str, &str, &str); 12] = [
    ("page", "#fbfbfa", "#131518"),
    ("card", "#ffffff", "#1b1e23"),
    ("ink", "#1c1e21", "#e8eaed"),
    ("quiet", "#5d6470", "#a0a7b3"),
    ("rule", "#e3e5e8", "#32363d"),
    ("c0", "#0072b2", "#56b4e9"),
    ("c1", "#c45100", "#ff9248"),
    ("c2", "#00805d", "#35c79a"),
    ("c3", "#a8488a", "#e08cc4"),
    ("c4", "#8a6500", "#e6b93c"),
    ("c5", "#b3261e", "#ff8a80"),
    ("c6", "#555b66", "#b4bac5"),
];

/// Of charts, on the page and in files.
const STYLE: &str = include_str!("chart.css");

/// The colours as variables that follow the theme, and the charts' style.
pub(super) fn style() -> String {
    let variable = |(name, light, dark): &(&str, &str, &str)| format!("--{name}:light-dark({light},{dark});");
    format!(":root{{{}}}\n{STYLE}", COLOURS.iter().map(variable).collect::<String>())
}

/// Something drawn.
pub(super) struct Drawing {
    pub(super) width: f64,
    pub(super) height: f64,
    /// What it shows, in words.
    pub(super) alt: String,
    pub(super) body: Markup,
}

/// A line of a legend.
pub(super) struct Key {
    pub(super) name: String,
    pub(super) sample: Markup,
    /// Which of the drawing's series it is of, where the others can be dimmed.
    pub(super) series: Option<usize>,
}

impl Key {
    pub(super) fn new(name: &str, sample: Markup) -> Self {
        Self {
            name: name.to_owned(),
            sample,
            series: None,
        }
    }

    pub(super) fn of_series(name: &str, sample: Markup, series: usize) -> Self {
        Self {
            series: Some(series),
            ..Self::new(name, sample)
        }
    }
}

impl Drawing {
    pub(super) fn on_page(&self) -> Markup {
        html! {
            svg viewBox=(format!("0 0 {:.0} {:.0}", self.width, self.height)) role="img" aria-label=(self.alt) { (self.body) }
        }
    }
}

/// Drawings as an SVG file in light colours, as wide as two of the narrow ones.
pub(super) fn file(title: &str, keys: &[Key], drawings: &[Drawing]) -> String {
    const GAP: f64 = 20.0;
    let columns = if drawings.iter().all(|drawing| drawing.width <= 460.0) && drawings.len() > 1 {
        2
    } else {
        1
    };
    let width = drawings.iter().map(|drawing| drawing.width).fold(0.0, f64::max);
    let whole = columns as f64 * width + (columns + 1) as f64 * GAP;
    let mut y = 50.0;
    let (mut x, mut placed) = (GAP, Vec::new());
    for key in keys {
        let needs = 52.0 + 7.2 * key.name.chars().count() as f64;
        if x + needs > whole && x > GAP {
            (x, y) = (GAP, y + 22.0);
        }
        placed.push((x, y, key));
        x += needs;
    }
    y += if keys.is_empty() { 0.0 } else { 30.0 };
    let mut rows = Vec::new();
    for row in drawings.chunks(columns) {
        rows.push((y, row));
        y += row.iter().map(|drawing| drawing.height).fold(0.0, f64::max) + GAP;
    }
    let content = html! {
        rect width="100%" height="100%" fill="var(--card)" {}
        text.heading x=(GAP) y="32" { (title) }
        @for (x, y, key) in &placed {
            g transform=(format!("translate({x:.0} {:.0})", y - 7.0)) { (key.sample) text x="38" y="11" { (key.name) } }
        }
        @for (y, row) in &rows {
            @for (i, drawing) in row.iter().enumerate() {
                g transform=(format!("translate({:.0} {y:.0})", GAP + i as f64 * (width + GAP))) { (drawing.body) }
            }
        }
    };
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole:.0} {y:.0}\" width=\"{whole:.0}\" height=\"{y:.0}\" \
         font-family=\"Inter, Helvetica, Arial, sans-serif\"><title>{}</title><style>{STYLE}</style>{}</svg>\n",
        html! { (title) }.into_string(),
        content.into_string()
    );
    for (name, light, _) in COLOURS {
        text = text.replace(&format!("var(--{name})"), light);
    }
    text
}

/// A coordinate, to a tenth of a pixel.
pub(super) fn place(value: f64) -> String {
    format!("{value:.1}")
}

/// The colour of a line or a kind.
pub(super) fn colour(index: usize) -> String {
    format!("color:var(--c{})", index % LINES)
}

/// The colour of a node kind.
pub(super) fn kind_colour(kind: &str) -> String {
    colour(KINDS.iter().position(|known| *known == kind).unwrap_or(1))
}

/// How a line of no other mark is dashed.
pub(super) fn dash(index: usize) -> &'static str {
    DASHES[index % DASHES.len()]
}

pub(super) fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    points.map(|(x, y)| format!("{x:.1},{y:.1} ")).collect()
}

pub(super) fn mark(index: usize, x: f64, y: f64) -> Markup {
    let corners = |corners: &[(f64, f64)]| path(corners.iter().map(|(dx, dy)| (x + dx, y + dy)));
    html! {
        // The eighth line has the first one's colour and the second one's mark.
        @match (index + index / LINES) % LINES {
            0 => { circle.mark cx=(place(x)) cy=(place(y)) r="5" {} }
            1 => { polygon.mark points=(corners(&[(-4.6, -4.6), (4.6, -4.6), (4.6, 4.6), (-4.6, 4.6)])) {} }
            2 => { polygon.mark points=(corners(&[(0.0, -6.0), (5.6, 4.6), (-5.6, 4.6)])) {} }
            3 => { polygon.mark points=(corners(&[(0.0, -6.5), (6.5, 0.0), (0.0, 6.5), (-6.5, 0.0)])) {} }
            4 => { polygon.mark points=(corners(&[(-5.6, -4.6), (5.6, -4.6), (0.0, 6.0)])) {} }
            5 => { polygon.mark points=(corners(&[
                (-2.2, -6.0), (2.2, -6.0), (2.2, -2.2), (6.0, -2.2), (6.0, 2.2), (2.2, 2.2), (2.2, 6.0), (-2.2, 6.0), (-2.2, 2.2), (-6.0, 2.2), (-6.0, -2.2), (-2.2, -2.2),
            ])) {} }
            _ => { polygon.mark points=(corners(&[(-7.0, -3.4), (7.0, -3.4), (7.0, 3.4), (-7.0, 3.4)])) {} }
        }
    }
}

/// A small mark.
pub(super) fn marked_dot(index: usize, x: f64, y: f64) -> Markup {
    html! { g transform=(format!("translate({x:.1} {y:.1}) scale(.62)")) { (mark(index, 0.0, 0.0)) } }
}

/// A sample of a line with its mark.
pub(super) fn marked_line(index: usize) -> Markup {
    html! {
        g style=(colour(index)) {
            polyline.line points="1,7 29,7" {}
            (mark(index, 15.0, 7.0))
        }
    }
}

/// A sample of a line that is told by its dashes.
pub(super) fn dashed_line(index: usize) -> Markup {
    html! { polyline.line style=(colour(index)) stroke-dasharray=(dash(index)) points="1,7 29,7" {} }
}

/// A sample of what lines are held against.
pub(super) fn level_line(index: usize) -> Markup {
    html! { (level(index, "1,7 29,7", &html! {})) }
}

/// What lines are held against: never solid, the first in gray.
pub(super) fn level(index: usize, points: &str, inside: &Markup) -> Markup {
    let dash = DASHES[1 + index % (DASHES.len() - 1)];
    html! { polyline.level style=(colour(LINES - 1 + index)) stroke-dasharray=(dash) points=(points) { (inside) } }
}

/// A sample of a filled box.
pub(super) fn filled_box() -> Markup {
    html! { rect.fill x="1" y="1" width="28" height="12" rx="2" {} }
}

pub(super) fn legend(keys: &[Key]) -> Markup {
    html! {
        @if keys.len() > 1 {
            div.legend {
                @for key in keys {
                    span data-series=[key.series] { svg.key viewBox="0 0 30 14" aria-hidden="true" { (key.sample) } (key.name) }
                }
            }
        }
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

/// A number as short as it is exact: with three digits that count.
pub(super) fn short(value: f64) -> String {
    let text = match value.abs() {
        v if v > 0.0 && v < 0.001 => return format!("{value:.1e}"),
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v < 0.1 => format!("{value:.4}"),
        _ => format!("{value:.3}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// What is shown of something under the pointer.
pub(super) fn tip(text: &str) -> Markup {
    html! { title { (text) } }
}

/// Text shortened to a number of letters.
pub(super) fn cut(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        None => text.to_owned(),
        Some(_) => text.chars().take(letters.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Markup that is known to be safe.
pub(super) fn raw(text: &str) -> PreEscaped<&str> {
    PreEscaped(text)
}

/// Where numbers lie between two edges.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Axis {
    /// An axis that holds all values, with room of a share of its length at both ends.
    pub(super) fn over(values: impl Iterator<Item = f64>, room: f64, (from, to): (f64, f64), log: bool) -> Self {
        let along = |value: f64| if log { value.log10() } else { value };
        let (low, high) = values
            .map(along)
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = match (low.is_finite(), high > low) {
            (false, _) => (0.0, 1.0),
            (true, false) => (
                low - 0.5 * low.abs().clamp(0.1, 1.0),
                high + 0.5 * high.abs().clamp(0.1, 1.0),
            ),
            (true, true) => (low - room * (high - low), high + room * (high - low)),
        };
        Self {
            low,
            high,
            from,
            to,
            log,
        }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// A value on it, with as many digits as tell its ticks apart.
    pub(super) fn written(&self, value: f64) -> String {
        let ticks = self.ticks();
        match ticks.as_slice() {
            [a, b, ..] if !self.log && b - a < 0.01 => {
                format!("{value:.digits$}", digits = (-(b - a).log10()).ceil() as usize)
            }
            _ => short(value),
        }
    }

    /// Round values on it.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if !self.log {
            return ticks((self.low, self.high));
        }
        let powers = self.low.floor() as i32..=self.high.ceil() as i32;
        let steps: &[f64] = if self.high - self.low > 2.5 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        let found: Vec<f64> = all
            .filter(|value| (self.low..=self.high).contains(&value.log10()))
            .collect();
        // An axis that is short in powers is as good as a straight one.
        match found.len() {
            0 | 1 => ticks((10f64.powf(self.low), 10f64.powf(self.high))),
            _ => found,
        }
    }
}
