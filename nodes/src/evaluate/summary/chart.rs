//! A dot chart as SVG: one row for each arm, one panel for each metric, error bars, and controls as lines across all rows.

use std::fmt::Write;

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chart {
    /// The arms' titles, from the top.
    pub(super) rows: Vec<String>,
    /// The controls' titles.
    pub(super) controls: Vec<String>,
    /// From the left.
    pub(super) panels: Vec<Panel>,
}

/// One metric of all arms, on its own scale.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) unit: &'static str,
    /// Whether the scale begins at 0; otherwise a little below the least value.
    pub(super) from_zero: bool,
    /// Mean and half the error bar, for each row.
    pub(super) points: Vec<Option<(f64, f64)>>,
    pub(super) lines: Vec<Line>,
}

/// What a control reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    /// Its place among the controls.
    pub(super) control: usize,
    pub(super) value: f64,
}

const ROW: f64 = 22.0;
const PANEL: f64 = 190.0;
const GAP: f64 = 22.0;
const TOP: f64 = 74.0;
const BOTTOM: f64 = 34.0;
/// A character of the rows' titles.
const LETTER: f64 = 6.8;
/// Colours of controls that colour-blind people can distinguish (Okabe & Ito 2008).
const CONTROLS: [&str; 4] = ["#777777", "#e69f00", "#d55e00", "#cc79a7"];
const DOT: &str = "#0072b2";

impl Chart {
    /// The drawing as text.
    pub(super) fn svg(&self) -> String {
        let longest = self.rows.iter().map(|row| row.chars().count()).max().unwrap_or(0);
        let left = 24.0 + LETTER * longest as f64;
        let plot = ROW * self.rows.len() as f64;
        let width = left + (PANEL + GAP) * self.panels.len() as f64;
        let height = TOP + plot + BOTTOM;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        self.draw_legend(left, &mut svg);
        for (i, row) in self.rows.iter().enumerate() {
            let y = middle(i);
            if i % 2 == 0 {
                rectangle(4.0, y - ROW / 2.0, width - 8.0, ROW, "#f4f6f8", &mut svg);
            }
            label(left - 10.0, y + 4.0, "end", "#222", row, &mut svg);
        }
        for (i, panel) in self.panels.iter().enumerate() {
            panel.draw(left + (PANEL + GAP) * i as f64, plot, &mut svg);
        }
        svg += "</svg>\n";
        svg
    }

    fn draw_legend(&self, left: f64, svg: &mut String) {
        let mut x = left;
        dot(x + 6.0, 20.0, DOT, svg);
        label(
            x + 18.0,
            24.0,
            "start",
            "#222",
            "mean over seeds, with standard deviation",
            svg,
        );
        x += 18.0 + LETTER * 42.0;
        for (i, control) in self.controls.iter().enumerate() {
            line([x, 20.0], [x + 24.0, 20.0], CONTROLS[i % CONTROLS.len()], true, svg);
            label(x + 30.0, 24.0, "start", "#222", control, svg);
            x += 52.0 + LETTER * control.chars().count() as f64;
        }
    }
}

impl Panel {
    /// The ends of the scale, both on a tick, and the distance of ticks.
    fn scale(&self) -> (f64, f64, f64) {
        let of_points = self
            .points
            .iter()
            .flatten()
            .flat_map(|(mean, half)| [mean - half, mean + half]);
        let all = of_points.chain(self.lines.iter().map(|line| line.value));
        let (least, most) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), v| (l.min(v), m.max(v)));
        let least = if self.from_zero || !least.is_finite() {
            0.0
        } else {
            least
        };
        let most = if most > least { most } else { least + 1.0 };
        let rough = (most - least) / 3.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|m| m * power)
            .into_iter()
            .find(|s| *s >= rough);
        let step = step.unwrap_or(10.0 * power);
        ((least / step).floor() * step, (most / step).ceil() * step, step)
    }

    fn draw(&self, left: f64, plot: f64, svg: &mut String) {
        let (from, to, step) = self.scale();
        let x = |value: f64| left + 6.0 + (value - from) / (to - from) * (PANEL - 12.0);
        let title = format!("{} ({})", self.title, self.unit);
        label(left + PANEL / 2.0, TOP - 26.0, "middle", "#222", &title, svg);
        let ticks = ((to - from) / step).round() as usize;
        for tick in 0..=ticks {
            let value = from + step * tick as f64;
            line([x(value), TOP], [x(value), TOP + plot], "#dddddd", false, svg);
            let text = format!("{value:.0$}", usize::from(step < 1.0));
            label(x(value), TOP + plot + 16.0, "middle", "#555", &text, svg);
        }
        for Line { control, value } in &self.lines {
            let colour = CONTROLS[control % CONTROLS.len()];
            line([x(*value), TOP - 6.0], [x(*value), TOP + plot], colour, true, svg);
        }
        for (i, point) in self.points.iter().enumerate() {
            let y = middle(i);
            match point {
                Some((mean, half)) => {
                    line([x(mean - half), y], [x(mean + half), y], DOT, false, svg);
                    dot(x(*mean), y, DOT, svg);
                }
                None => label(left + PANEL / 2.0, y + 4.0, "middle", "#999", "no result", svg),
            }
        }
    }
}

/// The height of a row's middle.
fn middle(row: usize) -> f64 {
    TOP + ROW * (row as f64 + 0.5)
}

fn dot(x: f64, y: f64, colour: &str, svg: &mut String) {
    add(
        svg,
        format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"),
    );
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, colour: &str, svg: &mut String) {
    let place = format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"");
    add(svg, format_args!("<rect {place} fill=\"{colour}\"/>"));
}

fn line([x1, y1]: [f64; 2], [x2, y2]: [f64; 2], colour: &str, dashed: bool, svg: &mut String) {
    let style = if dashed {
        "stroke-width=\"1.6\" stroke-dasharray=\"5 3\""
    } else {
        "stroke-width=\"1.2\""
    };
    let place = format!("x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"");
    add(svg, format_args!("<line {place} stroke=\"{colour}\" {style}/>"));
}

fn label(x: f64, y: f64, anchor: &str, colour: &str, text: &str, svg: &mut String) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let place = format!("x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"");
    add(svg, format_args!("<text {place} fill=\"{colour}\">{text}</text>"));
}

fn add(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").expect("BUG: text can always be written to");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(points: &[Option<(f64, f64)>], lines: Vec<Line>) -> Panel {
        Panel {
            title: "kNN, 100 labels".into(),
            unit: "%",
            from_zero: false,
            points: points.to_vec(),
            lines,
        }
    }

    #[test]
    fn the_scale_holds_every_bar_and_line_between_ticks() {
        let line = Line {
            control: 0,
            value: 20.5,
        };
        let (from, to, step) = panel(&[Some((61.0, 2.5)), None], vec![line]).scale();
        assert_eq!((from, to, step), (20.0, 80.0, 20.0));
        assert_eq!(panel(&[None], vec![]).scale().0, 0.0);
    }

    #[test]
    fn a_failed_row_is_said_and_titles_are_no_markup() {
        let chart = Chart {
            rows: vec!["a<b".into(), "c".into()],
            controls: vec!["scratch & more".into()],
            panels: vec![panel(&[Some((50.0, 1.0)), None], vec![])],
        };
        let svg = chart.svg();
        assert!(svg.contains("a&lt;b") && svg.contains("scratch &amp; more"), "{svg}");
        assert_eq!(svg.matches("no result").count(), 1);
        assert_eq!(svg.matches("<circle").count(), 2, "the legend's and one arm's");
    }
}
