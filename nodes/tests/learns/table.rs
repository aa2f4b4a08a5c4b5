//! The table of what every method learns, with margins against noise.

use std::fmt::Write;

use super::trial::{Judged, Learnt, Trial};

/// A mean difference counts from so many standard errors of the paired differences on.
const ERRORS: f64 = 2.0;

/// All seeds of a trial, each with what raw pixels offer.
pub(crate) struct Row<'a> {
    pub trial: &'a Trial,
    pub seeds: Vec<(Learnt, Judged)>,
}

/// Takes one of the three accuracies that are compared.
type Judging = fn(&(Learnt, Judged)) -> &Judged;
const TRAINED: Judging = |(learnt, _)| &learnt.trained;
const CONTROLS: [Judging; 2] = [|(learnt, _)| &learnt.random, |(_, raw)| raw];

/// Mean and standard deviation (of a sample).
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0).max(1.0)).sqrt())
}

/// One protocol against one control: the paired differences of the seeds.
struct Margin {
    mean: f64,
    error: f64,
    least: f64,
}

impl Margin {
    fn of(differences: &[f64]) -> Self {
        let (mean, deviation) = mean_and_deviation(differences);
        Self {
            mean,
            error: deviation / (differences.len() as f64).sqrt(),
            least: differences.iter().copied().fold(f64::INFINITY, f64::min),
        }
    }

    /// Larger than the noise: every seed is above, and the mean by more than [`ERRORS`] standard errors.
    fn is_clear(&self) -> bool {
        self.least > 0.0 && self.mean > ERRORS * self.error
    }
}

type Protocol = fn(&Judged) -> f64;
const PROTOCOLS: [Protocol; 2] = [|j| j.probe, |j| j.knn];

impl Row<'_> {
    /// Both protocols against both controls.
    fn margins(&self) -> Vec<Margin> {
        let pairs = PROTOCOLS.iter().flat_map(|p| CONTROLS.iter().map(move |c| (p, c)));
        pairs
            .map(|(protocol, control)| {
                let difference = |seed: &(Learnt, Judged)| protocol(TRAINED(seed)) - protocol(control(seed));
                Margin::of(&self.seeds.iter().map(difference).collect::<Vec<f64>>())
            })
            .collect()
    }

    /// Whether probe and neighbours are above both controls by more than the noise.
    pub(crate) fn learns(&self) -> bool {
        self.margins().iter().all(Margin::is_clear)
    }

    /// A line of the table; accuracies in percent.
    fn line(&self) -> String {
        let mut line = format!("| {} | {} |", self.trial.method.settings().name(), self.trial.data);
        for protocol in PROTOCOLS {
            for judged in [TRAINED, CONTROLS[0], CONTROLS[1]] {
                let values: Vec<f64> = self.seeds.iter().map(|seed| 100.0 * protocol(judged(seed))).collect();
                let (mean, deviation) = mean_and_deviation(&values);
                let _ = write!(line, " {mean:.1} ± {deviation:.1} |");
            }
        }
        let margins = self.margins();
        let tightest = margins
            .iter()
            .min_by(|a, b| (a.mean - ERRORS * a.error).total_cmp(&(b.mean - ERRORS * b.error)))
            .expect("BUG: there are four margins");
        let seconds: f64 = self.seeds.iter().map(|(learnt, _)| learnt.seconds).sum::<f64>() / self.seeds.len() as f64;
        let learns = if self.learns() { "yes" } else { "no" };
        let (mean, error) = (100.0 * tightest.mean, 100.0 * tightest.error);
        let _ = write!(line, " {mean:+.1} / {error:.1} | {seconds:.0} | {learns} |");
        line
    }
}

/// The whole table as Markdown.
pub(crate) fn markdown(rows: &[Row<'_>]) -> String {
    let seeds = rows.first().map_or(0, |row| row.seeds.len());
    let mut text = format!(
        "## What every method learns\n\n\
         `just learns`: each method pre-trains a small conv3 (MAE a small vit, masked tokens a small transformer) and is judged, frozen, by a linear probe and\n\
         by weighted nearest neighbours with 1,000 labels, against the same network with its first weights and against raw pixels (of texts a bag of words). {seeds} seeds, each with training and labelled images of\n\
         its own, and none of them one of the two (0, 1) that settings were chosen with; accuracies in percent, mean ± standard deviation. *Margin* is\n\
         the smallest of the four mean differences (two protocols, two controls), and the standard error of its paired differences. A method *learns*\n\
         if in all four every seed is above and the mean difference is above {ERRORS} standard errors. Scenes are shapes at any place, of which raw pixels\n\
         tell little; those with typical hues are judged in black and white. Garments on noise are those of Fashion-MNIST with black pixels of any\n\
         brightness.\n\n\
         | method | data | probe | random | raw | kNN | random | raw | margin / error | s | learns |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for row in rows {
        text.push_str(&row.line());
        text.push('\n');
    }
    text
}
