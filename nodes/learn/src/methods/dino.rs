//! DINO (Caron et al. 2021, 2104.14294): self-distillation with no labels, here with two views of full size.
//!
//! The student's distribution of one view matches the momentum teacher's of the other (eq. 2, 3), averaged over both directions:
//! `L = -sum_k softmax((t - c) / t_t)_k log softmax(s / t_s)_k`. The centre `c` follows the mean of the teacher's outputs (eq. 4), which keeps
//! one output from winning always; the teacher's low temperature keeps all from being equal.
//!
//! The head is an MLP, a bottleneck of length one and a weight-normalised layer (appendix C): outputs are cosines to prototypes. These stay as
//! they are in the first epoch. The teacher is the better network: it is what is used afterwards.

use super::batch::{Batch, MethodConstraints, Setup};
use super::heads::{Norms, backward, forward, gradient, matrix, mlp, swapped_halves, two_views};
use super::local_views::{self, ScoringHead};
use super::momentum::{Momentum, rising};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::prototypes::Prototypes;
use super::{Method, Settings};
use crate::backbones::Encoder;
use crate::layers::{Carried, Pass, Sequential, tensors};
use crate::losses::{DinoTemperatures, cosine_scores, dino, dino_targets, value_and_grads};
use crate::settings::{ROUNDS, SEVERAL, SHARE, TEMPERATURE, WIDTH, settings};

settings! {
    /// Hyper-parameters; the paper has 65,536 outputs, a hidden width of 2048 and a bottleneck of 256.
    pub struct DinoSettings {
        /// Temperature `t_t` of the teacher; .04 in the paper.
        teacher_temperature: f32 = 0.04, in TEMPERATURE;
        /// Temperature `t_s` of the student; .1 in the paper.
        student_temperature: f32 = 0.1, in TEMPERATURE;
        /// Momentum of the teacher at the start; rises to 1. The paper has .996, short trainings need less.
        momentum: f32 = 0.99, in SHARE;
        /// Momentum of the centre; .9 in the paper.
        centre_momentum: f32 = 0.9, in SHARE;
        /// Epochs in which the prototypes do not move; 1 in the paper.
        freeze_epochs: usize = 1, in ROUNDS;
        /// Outputs of the head.
        prototypes: usize = 256, in SEVERAL;
        /// Width of the head's hidden layers.
        hidden: usize = 256, in WIDTH;
        /// Dimensions of the bottleneck.
        bottleneck: usize = 64, in WIDTH;
    }
}

impl Settings for DinoSettings {
    fn name(&self) -> &'static str {
        "dino"
    }

    fn views(&self) -> f64 {
        2.0 + 2.0 / 3.0
    }

    fn takes_local_views(&self) -> bool {
        true
    }

    fn advice(&self) -> &'static str {
        "lower `lr`, raise `freeze_epochs`, or lower `teacher_temperature` if the certainty is low"
    }

    fn check(&self, _constraints: &MethodConstraints) -> Result<(), MethodError> {
        if self.teacher_temperature >= self.student_temperature {
            let message = format!(
                "{} found, expected less than `student_temperature`, which is {}: a teacher that is not sharper teaches nothing",
                self.teacher_temperature, self.student_temperature
            );
            return Err(MethodError::setting("teacher_temperature", message));
        }
        Ok(())
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let widths = [setup.encoder.dim, self.hidden, self.hidden, self.bottleneck];
        let head = |setup: &Setup<'_>| Head {
            mlp: mlp(&widths, Norms::Hidden, &mut setup.stream.child("head")),
            prototypes: Prototypes::new(self.prototypes, self.bottleneck, &mut setup.stream.child("prototypes")),
        };
        let (student, teacher) = (head(setup), head(setup));
        Ok(Box::new(Dino {
            settings: self.clone(),
            head: student,
            teacher: Momentum::new(setup, teacher),
            centre: Carried::zeros(&[self.prototypes]),
        }))
    }
}

struct Head {
    mlp: Sequential,
    prototypes: Prototypes,
}

tensors!(Head: mlp, prototypes);

struct Dino {
    settings: DinoSettings,
    head: Head,
    teacher: Momentum<Head>,
    /// `[prototypes]`.
    centre: Carried,
}

impl Method for Dino {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let DinoSettings {
            teacher_temperature,
            student_temperature,
            momentum,
            centre_momentum,
            freeze_epochs,
            prototypes,
            ..
        } = self.settings;
        self.head.prototypes.frozen = batch.epoch < freeze_epochs;
        self.teacher
            .follow(encoder, &mut self.head, rising(momentum, batch.progress), pass);

        let views = two_views(batch, encoder, pass);
        let Momentum { encoder: teacher, head } = &mut self.teacher;
        let embedded = forward(&mut [teacher, &mut head.mlp], views.clone(), &mut pass.no_grad());
        let taught = head.prototypes.scores(&embedded.data);
        let targets = dino_targets(&taught, &self.centre, teacher_temperature);

        let z = forward(&mut [encoder, &mut self.head.mlp], views, pass);
        let metrics = vec![
            Metric::spread(&z.data, z.shape.len()),
            Metric::certainty(&targets, prototypes).at_least(0.005),
            Metric::cluster_entropy(&targets, prototypes).at_least(0.1),
        ];
        let temperatures = DinoTemperatures {
            teacher: teacher_temperature,
            student: student_temperature,
        };
        // Each view of the student meets the teacher's of the other.
        let other = swapped_halves(&taught);
        let (loss, [dz, dc]) = value_and_grads([matrix(&z), self.head.prototypes.matrix()], |[z, c]| {
            Ok(dino(cosine_scores(z, c)?, &other, &self.centre, temperatures)? * local_views::whole_share(batch))
        })?;
        self.head.prototypes.add_gradient(&dc);
        backward(&mut [encoder, &mut self.head.mlp], gradient(z.n, dz), pass);
        let head = ScoringHead {
            mlp: &mut self.head.mlp,
            prototypes: &mut self.head.prototypes,
            temperature: student_temperature,
        };
        let loss = loss + local_views::learn(encoder, head, batch, &targets, pass)?;
        self.follow_centre(&taught, centre_momentum);
        Ok(StepOutcome { loss, metrics })
    }

    fn into_encoder(self: Box<Self>, _student: Encoder) -> Encoder {
        self.teacher.encoder
    }
}

impl Dino {
    /// `c = m c + (1 - m) mean(t)` (eq. 4).
    fn follow_centre(&mut self, taught: &[f32], momentum: f32) {
        let n = (taught.len() / self.centre.len()).max(1) as f32;
        let mut mean = vec![0.0f32; self.centre.len()];
        for row in taught.chunks_exact(self.centre.len()) {
            mean.iter_mut().zip(row).for_each(|(m, t)| *m += t / n);
        }
        for (centre, mean) in self.centre.iter_mut().zip(mean) {
            *centre = momentum * *centre + (1.0 - momentum) * mean;
        }
    }
}

tensors!(Dino: head, teacher, centre);
