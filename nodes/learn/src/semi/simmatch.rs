//! SimMatch (Zheng et al. 2022, 2203.06915): a guess must agree with the labelled images that look alike, and their likeness is learnt too.
//!
//! A memory holds the projection `z` (of length one) of each labelled image. Of a weak view: `p`, its class probabilities aligned to even classes
//! (a queue of mean guesses), and `q = softmax(z . memory / t)`, its likeness to the labelled images. Likeness is corrected by classes, `q' =
//! norm(q_j p(class of j))`, classes by likeness, `p' = a p + (1 - a) sum_{j of c} q_j` (eq. 7 to 10). Of the strong view: `L_u = 1[max p' >= tau]
//! CE(p', p_strong)` and `L_in = CE(q', q_strong)`; `L = L_l + w L_u + w_in L_in`. Until every labelled image is in the memory, `L_in` is left
//! out and `p' = p`, as in the published code's first epoch. In the paper `t` = .1, `a` = .9, `tau` = .95.
//!
//! Trap: with one label of a class, likeness to it is likeness to one image.

use super::batch::{Guesses, SemiBatch, SemiOutcome, SemiSetup, passes};
use super::rows::{even_out, follow, mean_row};
use super::student::{LABELLED, SECOND, Seen, Student, WEAK};
use super::{SemiMethod, Settings, common, semi_settings};
use crate::layers::{Carried, FeatureMap, Layer, Linear, Relu, Sequential, tensors};
use crate::losses::{likeness, probabilities, soft_cross_entropy, value_and_grads, value_of, weighted_sum};
use crate::metrics::{argmax, normalised};
use crate::settings::{BELOW_ONE, SHARE, TEMPERATURE, WIDTH};
use crate::train::TrainError;

semi_settings! {
    /// Hyper-parameters; defaults are the paper's.
    pub struct SimmatchSettings {
        /// Probability from which on a guess counts (`tau`).
        threshold: f32 = 0.95, in SHARE;
        /// What sharpens likeness (`t`).
        temperature: f32 = 0.1, in TEMPERATURE;
        /// How much of a guess is the classifier's and not the memory's (`a`).
        own_share: f32 = 0.9, in SHARE;
        /// What the loss of likeness counts (`w_in`).
        likeness: f32 = 1.0, in 0.0..;
        /// Values of a projection.
        projection: usize = 128, in WIDTH;
        /// How slowly a labelled image's memory follows its projection.
        momentum: f32 = 0.7, in BELOW_ONE;
        /// Steps whose mean guesses are aligned to even classes.
        aligned: usize = 256, in WIDTH;
    } common {
        ratio: 7,
        weight: 1.0,
        ramp: 0.0,
        ema: 0.999,
    }
}

impl Settings for SimmatchSettings {
    common!();

    fn name(&self) -> &'static str {
        "simmatch"
    }

    fn advice(&self) -> &'static str {
        "raise `semi.threshold` or lower `semi.weight`"
    }

    fn build(&self, setup: &SemiSetup<'_>) -> Box<dyn SemiMethod> {
        let mut stream = setup.stream.child("projector");
        let widths = [setup.features, setup.features, self.projection];
        let linear = |i: usize, stream: &mut crate::rng::Stream| Linear::new(widths[i], widths[i + 1], true, stream);
        let (first, second) = (linear(0, &mut stream), linear(1, &mut stream));
        Box::new(Simmatch {
            settings: self.clone(),
            projector: Sequential::default().with("0", first).with("1", Relu).with("2", second),
            memory: Carried::zeros(&[setup.labelled, self.projection]),
            memory_classes: Carried::new(&[setup.labelled], vec![EMPTY; setup.labelled]),
            queue: Carried::zeros(&[self.aligned, setup.classes]),
            oldest: Carried::zeros(&[1]),
        })
    }
}

/// The class of a labelled image that is not in the memory yet.
const EMPTY: f32 = -1.0;

struct Simmatch {
    settings: SimmatchSettings,
    projector: Sequential,
    /// `[labelled][projection]`.
    memory: Carried,
    /// `[labelled]`.
    memory_classes: Carried,
    /// Mean guesses of the last steps, `[aligned][classes]`.
    queue: Carried,
    /// The row that is replaced next.
    oldest: Carried,
}

impl Simmatch {
    /// Guesses scaled so that the classes are even over the last steps.
    fn aligned(&mut self, mut guesses: Vec<f32>, classes: usize) -> Vec<f32> {
        let at = self.oldest[0] as usize;
        self.queue[at * classes..][..classes].copy_from_slice(&mean_row(&guesses, classes));
        self.oldest[0] = ((at + 1) % self.settings.aligned) as f32;
        let shares = mean_row(&self.queue, classes);
        even_out(&mut guesses, &shares);
        guesses
    }

    /// `q'` and `p'` from the aligned guesses and the weak views' projections.
    fn corrected(&self, aligned: &[f32], z: &[f32], classes: usize) -> (Vec<f32>, Vec<f32>) {
        let (dim, labelled) = (self.settings.projection, self.memory_classes.len());
        let keys = self.memory.chunks_exact(dim);
        let dot = |z: &[f32], key: &[f32]| z.iter().zip(key).map(|(a, b)| a * b).sum::<f32>();
        let scores: Vec<f32> = z
            .chunks_exact(dim)
            .flat_map(|z| keys.clone().map(move |key| dot(z, key)))
            .collect();
        let mut alike = probabilities(&scores, labelled, self.settings.temperature);
        let own = self.settings.own_share;
        let mut corrected = Vec::with_capacity(aligned.len());
        for (alike, own_guess) in alike.chunks_exact_mut(labelled).zip(aligned.chunks_exact(classes)) {
            let mut by_class = vec![0.0f32; classes];
            for (q, class) in alike.iter_mut().zip(self.memory_classes.iter()) {
                by_class[*class as usize] += *q;
                *q *= own_guess[*class as usize];
            }
            let sum: f32 = alike.iter().sum();
            alike.iter_mut().for_each(|q| *q /= sum.max(f32::MIN_POSITIVE));
            corrected.extend(own_guess.iter().zip(&by_class).map(|(p, q)| own * p + (1.0 - own) * q));
        }
        (alike, corrected)
    }

    /// Projections of the labelled images go into the memory.
    fn remember(&mut self, z: &[f32], batch: &SemiBatch, classes: usize) {
        let (dim, momentum) = (self.settings.projection, self.settings.momentum);
        let rows = z.chunks_exact(dim).zip(batch.targets.chunks_exact(classes));
        for ((z, target), place) in rows.zip(&batch.labelled_places) {
            let place = *place as usize;
            let momentum = if self.memory_classes[place] == EMPTY {
                0.0
            } else {
                momentum
            };
            let key = &mut self.memory[place * dim..][..dim];
            follow(key, z, momentum);
            let unit = normalised(key, dim);
            key.copy_from_slice(&unit);
            self.memory_classes[place] = argmax(target) as f32;
        }
    }

    /// The projections of all views, before their length is made one.
    fn project(&mut self, seen: &mut Seen) -> FeatureMap {
        self.projector.forward(seen.features.clone(), &mut seen.pass)
    }
}

impl SemiMethod for Simmatch {
    fn step(&mut self, student: &mut Student<'_>, batch: &SemiBatch) -> Result<SemiOutcome, TrainError> {
        let SimmatchSettings {
            threshold,
            temperature,
            likeness: likeness_weight,
            projection,
            ..
        } = self.settings;
        let weight = self.settings.common().weight_at(batch.progress);
        let mut seen = student.look(&batch.views());
        let (classes, z) = (seen.classes, self.project(&mut seen));
        let unit = normalised(&z.data, projection);
        let aligned = self.aligned(seen.probabilities(WEAK), classes);
        let filled = self.memory_classes.iter().all(|class| *class != EMPTY);
        let (alike, guesses) = match filled {
            true => self.corrected(&aligned, seen.rows_of(&unit, WEAK), classes),
            false => (Vec::new(), aligned),
        };
        let guesses = Guesses::soft(&guesses, classes, |row, class| passes(row[class], threshold));
        let targets = guesses.weighted();
        let strong = (seen.rows_of(&z.data, SECOND).to_vec(), (batch.weak.n, projection));
        let mut unlabelled = 0.0;
        let inputs = [seen.input(LABELLED), seen.input(SECOND), strong];
        let (loss, [labelled, second, dz]) = value_and_grads(inputs, |[l, s, z]| {
            let consistency = soft_cross_entropy(s, &targets)?;
            unlabelled = value_of(&consistency);
            let both = weighted_sum(soft_cross_entropy(l, &batch.targets)?, consistency, weight)?;
            match filled {
                true => weighted_sum(both, likeness(z, &self.memory, &alike, temperature)?, likeness_weight),
                false => Ok(both),
            }
        })?;
        let gradient = seen.gradient(&[(LABELLED, labelled), (SECOND, second)]);
        let mut dprojections = vec![0.0; z.data.len()];
        let from = dprojections.len() - dz.len();
        dprojections[from..].copy_from_slice(&dz);
        let dprojections = FeatureMap::new(z.n, z.shape, dprojections);
        let dfeatures = self.projector.backward(dprojections, &mut seen.pass, true);
        self.remember(seen.rows_of(&unit, LABELLED), batch, classes);
        student.learn(seen, gradient, dfeatures.as_ref().map(|d| &d.data[..]));
        Ok(guesses.outcome(loss, unlabelled))
    }
}

tensors!(Simmatch: projector, memory, memory_classes, queue, oldest);
