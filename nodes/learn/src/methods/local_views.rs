//! Multi-crop (Caron et al. 2020, 2006.09882, section 3.2): small views of small parts of an image, cheap to look at, which predict what the whole
//! views were assigned to and are assigned to nothing themselves.
//!
//! With two whole views and `N` local ones, every view but the one that a target comes from predicts it:
//! `L = 1/2 sum_{i in {a, b}} 1/(N + 1) sum_{v != i} CE(q_i, softmax(s_v / t))`. Cross-entropy is linear in its targets, so this is
//! `(L_whole + N L_local) / (N + 1)`: `L_whole` the loss of the two whole views, `L_local` that of the local views' rows against `(q_a + q_b) / 2`.
//! DINO (2104.14294, eq. 3) has the same sum.

use super::batch::Batch;
use super::heads::{backward, forward, gradient, matrix};
use super::outcome::MethodError;
use super::prototypes::Prototypes;
use crate::backbones::Encoder;
use crate::layers::{Pass, Sequential};
use crate::losses::{cosine_scores, swapped, value_and_grads};

/// The share of the loss that the two whole views have: one without local views.
pub(super) fn whole_share(batch: &Batch<'_>) -> f32 {
    1.0 / (batch.augmenter.local_views().map_or(0, |local| local.count) as f32 + 1.0)
}

/// A head that gives scores: an MLP and prototypes.
pub(super) struct ScoringHead<'a> {
    pub(super) mlp: &'a mut Sequential,
    pub(super) prototypes: &'a mut Prototypes,
    pub(super) temperature: f32,
}

/// Forward and backward pass of the local views: their part of the loss, whose gradients are added. `targets` are those of the first and then the
/// second whole views, `[2 batch][prototypes]`. Nothing, and no pass, where there are no local views.
pub(super) fn learn(
    encoder: &mut Encoder,
    head: ScoringHead<'_>,
    batch: &Batch<'_>,
    targets: &[f32],
    pass: &mut Pass,
) -> Result<f32, MethodError> {
    let Some(views) = batch.local_views(encoder, pass) else {
        return Ok(0.0);
    };
    let ScoringHead {
        mlp,
        prototypes,
        temperature,
    } = head;
    let share = 1.0 - whole_share(batch);
    let (first, second) = targets.split_at(targets.len() / 2);
    let mean: Vec<f32> = first.iter().zip(second).map(|(a, b)| 0.5 * (a + b)).collect();
    let z = forward(&mut [encoder, mlp], views, pass);
    let targets = mean.repeat(z.n / batch.len().max(1));
    let (loss, [dz, dc]) = value_and_grads([matrix(&z), prototypes.matrix()], |[z, c]| {
        Ok(swapped(cosine_scores(z, c)?, &targets, temperature)? * share)
    })?;
    prototypes.add_gradient(&dc);
    backward(&mut [encoder, mlp], gradient(z.n, dz), pass);
    Ok(loss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::{Augmenter, Op, Recipe};
    use crate::backbones::BackboneSettings;
    use crate::data::{Samples, Scenes};
    use crate::layers::{Mode, Tensors};
    use crate::methods::Views;
    use crate::methods::heads::{Norms, mlp};
    use crate::rng::Stream;

    const LOCAL: usize = 3;
    const PROTOTYPES: usize = 5;
    const TEMPERATURE: f32 = 0.2;

    struct Trial {
        images: Samples,
        augmenter: Augmenter,
        encoder: Encoder,
        mlp: Sequential,
        prototypes: Prototypes,
        targets: Vec<f32>,
    }

    impl Trial {
        fn new() -> Self {
            let scenes = Scenes {
                n: 6,
                side: 16,
                seed: 1,
                style: Default::default(),
            };
            let recipe = Recipe {
                ops: vec![Op::MultiCrop {
                    count: LOCAL,
                    size: 0.5,
                    scale: [0.1, 0.4],
                }],
            };
            let augmenter = Augmenter::new(&recipe, &[0.5; 3], &[0.25; 3], 16, 16).expect("valid");
            let mut stream = Stream::new(3, "trial");
            let backbone = BackboneSettings {
                widths: vec![4, 8, 8],
                ..BackboneSettings::named("conv3")
            };
            let encoder = backbone.build(augmenter.input(), &stream).expect("it fits");
            let raw: Vec<f32> = (0..12 * PROTOTYPES).map(|_| stream.range(0.1, 1.0)).collect();
            let rows = raw.chunks_exact(PROTOTYPES);
            Self {
                images: scenes.images().0.into(),
                augmenter,
                mlp: mlp(&[encoder.dim, 7, 6], Norms::Hidden, &mut stream),
                prototypes: Prototypes::new(PROTOTYPES, 6, &mut stream),
                encoder,
                targets: rows
                    .flat_map(|row| row.iter().map(|v| v / row.iter().sum::<f32>()))
                    .collect(),
            }
        }

        fn with<T>(&mut self, run: impl FnOnce(&mut Self, &Batch<'_>, &mut Pass) -> T) -> T {
            let (images, augmenter) = (self.images.clone(), self.augmenter.clone());
            let batch = Batch {
                images: &images,
                indices: &[0, 1, 2, 3, 4, 5],
                augmenter: &augmenter,
                stream: Stream::new(4, "views"),
                epoch: 0,
                progress: 0.0,
                views: Views::default(),
            };
            let mut pass = Pass::recording(Mode::Train, &self.encoder.buffers());
            run(self, &batch, &mut pass)
        }

        fn loss(&mut self) -> f32 {
            self.with(|trial, batch, pass| {
                let head = ScoringHead {
                    mlp: &mut trial.mlp,
                    prototypes: &mut trial.prototypes,
                    temperature: TEMPERATURE,
                };
                learn(&mut trial.encoder, head, batch, &trial.targets, pass).expect("valid")
            })
        }

        fn entries<T>(&mut self, of: impl FnOnce(&mut dyn Tensors) -> T, part: usize) -> T {
            match part {
                0 => of(&mut self.encoder),
                1 => of(&mut self.mlp),
                _ => of(&mut self.prototypes),
            }
        }
    }

    #[test]
    fn each_local_view_predicts_the_targets_of_both_whole_views() {
        let mut trial = Trial::new();
        let loss = f64::from(trial.loss());
        let z = trial.with(|trial, batch, pass| {
            let views = batch.local_views(&trial.encoder, pass).expect("asked for");
            forward(&mut [&mut trial.encoder, &mut trial.mlp], views, pass)
        });
        let scores = trial.prototypes.scores(&z.data);
        let mut sum = 0.0f64;
        for (row, scores) in scores.chunks_exact(PROTOTYPES).enumerate() {
            let logits: Vec<f64> = scores.iter().map(|s| f64::from(*s) / f64::from(TEMPERATURE)).collect();
            let normaliser = logits.iter().map(|l| l.exp()).sum::<f64>().ln();
            for whole in 0..2 {
                let targets = &trial.targets[(whole * 6 + row % 6) * PROTOTYPES..][..PROTOTYPES];
                let pairs = targets.iter().zip(&logits);
                sum -= pairs.map(|(q, l)| f64::from(*q) * (l - normaliser)).sum::<f64>();
            }
        }
        // The mean over six images, two targets, and the N + 1 views other than the one that a target comes from.
        let expected = sum / 6.0 / 2.0 / (LOCAL as f64 + 1.0);
        assert!((loss - expected).abs() < 1e-5, "{loss} {expected}");
    }

    /// The gradients of a network's parameters, in their order.
    fn gradients(tensors: &mut dyn Tensors) -> Vec<Vec<f32>> {
        let mut entries = Vec::new();
        tensors.entries("", &mut entries);
        let of = |entry: &crate::layers::Entry<'_>| entry.grad.as_ref().map(|grad| grad.to_vec());
        entries.iter().filter_map(of).collect()
    }

    /// Moves a network's parameters so far along the gradients.
    fn go(tensors: &mut dyn Tensors, along: &[Vec<f32>], by: f32) {
        let mut entries = Vec::new();
        tensors.entries("", &mut entries);
        let parameters = entries.iter_mut().filter(|entry| entry.grad.is_some());
        for (entry, along) in parameters.zip(along) {
            entry.value.iter_mut().zip(along).for_each(|(v, a)| *v += by * a);
        }
    }

    #[test]
    fn their_gradient_is_the_loss_s_slope() {
        let mut trial = Trial::new();
        trial.loss();
        let all: Vec<Vec<Vec<f32>>> = (0..3).map(|part| trial.entries(gradients, part)).collect();
        for (part, along) in all.iter().enumerate() {
            // The slope along a gradient is its length.
            let length = along.iter().flatten().map(|g| g * g).sum::<f32>().sqrt();
            let step = 2e-3 / length;
            let mut loss_after = |by: f32| {
                trial.entries(|tensors| go(tensors, along, by), part);
                trial.loss()
            };
            let (above, below) = (loss_after(step), loss_after(-2.0 * step));
            loss_after(step);
            let slope = (above - below) / (2.0 * step * length);
            assert!((slope - length).abs() < 0.03 * length, "part {part}: {slope} {length}");
        }
    }
}
