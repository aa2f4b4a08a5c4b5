//! How a node gets on: how far it is, how long it still takes, and the way that its loss went.

use std::time::Instant;

use flow_engine::events::Metric;

use crate::output::duration;

/// Heights of a sparkline, from the lowest.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Letters of a sparkline.
const LETTERS: usize = 8;
/// Values that are kept of a loss: when there are as many, every two become one.
const KEPT: usize = 128;

/// What a node's progress said so far.
pub(super) struct Course {
    began: Instant,
    /// The step that it was at when it began: a node that resumes does not begin at 0.
    first: u64,
    losses: Vec<f64>,
    /// Values that one of `losses` stands for, and those that are still to become one.
    each: usize,
    open: Vec<f64>,
}

impl Course {
    pub(super) fn from(first: u64) -> Self {
        Self {
            began: Instant::now(),
            first,
            losses: Vec::new(),
            each: 1,
            open: Vec::new(),
        }
    }

    /// `42 %  3 min 5 s left  loss 0.512 █▆▅▃▃▂▂▁  1234 images/s`: what matters most comes first, a narrow terminal cuts the rest off.
    pub(super) fn words(&mut self, step: u64, total: u64, metrics: &[Metric]) -> String {
        let mut words = vec![format!("{:>2.0} %", 100.0 * step as f64 / total.max(1) as f64)];
        words.extend(
            self.left(step, total, self.began.elapsed().as_secs_f64())
                .map(|seconds| format!("{} left", duration(seconds))),
        );
        for metric in metrics {
            let value = match metric.value {
                Some(value) if value.fract() == 0.0 || value.abs() >= 100.0 => format!("{value:.0}"),
                Some(value) => format!("{value:.3}"),
                None => "?".to_owned(),
            };
            match (metric.name.as_str(), metric.value) {
                ("loss", Some(loss)) => {
                    self.hear(loss);
                    words.insert(2.min(words.len()), format!("loss {value} {}", sparkline(&self.losses)));
                }
                ("images/s", _) => words.push(format!("{value} images/s")),
                (name, _) => words.push(format!("{name} {value}")),
            }
        }
        words.join("  ")
    }

    /// Seconds that the rest takes at the pace since this run began it; none before a step.
    fn left(&self, step: u64, total: u64, elapsed: f64) -> Option<f64> {
        let done = step.checked_sub(self.first).filter(|done| *done > 0)?;
        Some(elapsed / done as f64 * total.saturating_sub(step) as f64)
    }

    fn hear(&mut self, loss: f64) {
        self.open.push(loss);
        if self.open.len() >= self.each {
            self.losses.push(mean(&self.open));
            self.open.clear();
        }
        if self.losses.len() >= KEPT {
            self.losses = self.losses.chunks(2).map(mean).collect();
            self.each *= 2;
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Values in their order as heights between the least and the most of them; what is no number is a gap.
fn sparkline(values: &[f64]) -> String {
    let letters = values.len().min(LETTERS);
    let parts: Vec<f64> = (0..letters)
        .map(|i| mean(&values[i * values.len() / letters..(i + 1) * values.len() / letters]))
        .collect();
    let known = parts.iter().copied().filter(|value| value.is_finite());
    let (low, high) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let height = |value: &f64| match value.is_finite() {
        true if high > low => HEIGHTS[((value - low) / (high - low) * 7.0).round() as usize],
        true => HEIGHTS[3],
        false => ' ',
    };
    parts.iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, value: f64) -> Metric {
        Metric {
            name: name.into(),
            value: Some(value),
        }
    }

    #[test]
    fn a_sparkline_falls_as_the_loss_does_however_many_values_there_were() {
        let mut course = Course::from(0);
        (0..10_000).for_each(|step| course.hear(1.0 / (1.0 + f64::from(step) / 1000.0)));
        assert!(course.losses.len() < KEPT);
        let line = sparkline(&course.losses);
        assert_eq!(
            (line.chars().count(), line.chars().next(), line.chars().last()),
            (LETTERS, Some('█'), Some('▁'))
        );
        let heights: Vec<char> = line.chars().collect();
        assert!(heights.windows(2).all(|pair| pair[0] >= pair[1]), "{line}");
        assert_eq!(sparkline(&[1.0, f64::NAN, 1.0]), "▄ ▄");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn what_is_left_is_counted_from_where_a_resumed_node_went_on() {
        // Half was done before: 10 steps in 5 seconds, and 40 are left.
        assert_eq!(Course::from(50).left(60, 100, 5.0), Some(20.0));
        assert_eq!(Course::from(50).left(50, 100, 5.0), None);
    }

    #[test]
    fn a_line_of_progress_says_first_what_matters_most() {
        let mut course = Course::from(0);
        let metrics = [metric("epoch", 3.0), metric("loss", 0.5), metric("images/s", 1234.5)];
        let words = course.words(42, 100, &metrics);
        assert!(words.starts_with("42 %  "), "{words}");
        let place = |of: &str| words.find(of).unwrap_or_else(|| panic!("no {of} in {words}"));
        assert!(
            place("left") < place("loss 0.500")
                && place("loss") < place("epoch 3")
                && place("epoch") < place("1234 images/s"),
            "{words}"
        );
    }
}
