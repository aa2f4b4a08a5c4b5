//! Optimisers, against their definitions on the host.

use super::{Check, Done, EXACT, Start};
use crate::device::Cpu;
use crate::device::cuda::kernels::{AdamTensor, Update};
use crate::layers::Buffer;
use crate::optim::{OptimizerConfig, ParamMut};

/// Settings of a test: name, JSON.
const SETTINGS: [(&str, &str); 5] = [
    ("sgd", r#"{"name": "sgd", "momentum": 0.9, "weight_decay": 0.01}"#),
    ("sgd, Nesterov", r#"{"name": "sgd", "momentum": 0.8, "nesterov": true}"#),
    ("adam", r#"{"name": "adam", "weight_decay": 0.02}"#),
    ("adamw", r#"{"name": "adamw", "weight_decay": 0.02}"#),
    ("lars", r#"{"name": "lars", "momentum": 0.9, "weight_decay": 0.01}"#),
];
const LR: f32 = 0.1;

impl Check<'_> {
    /// One step from fresh state, of tensors of which some are longer than a block.
    pub(super) fn optimisers(&mut self) -> Done {
        let lens = [self.between(1, 50), self.between(4000, 9000), 1, self.between(1, 5000)];
        let (values, grads) = (lens.map(|len| self.values(len)), lens.map(|len| self.values(len)));
        for (name, settings) in SETTINGS {
            let config: OptimizerConfig = serde_json::from_str(settings).expect("BUG: settings of a test");
            let (mut moved, mut gradients) = (values.clone().map(Buffer::from), grads.clone().map(Buffer::from));
            let names = ["a", "b", "c", "d"];
            let tensors = moved.iter_mut().zip(&mut gradients).zip(names).enumerate();
            let mut parameters: Vec<ParamMut<'_>> = tensors
                .map(|(i, ((value, grad), name))| ParamMut {
                    name,
                    value,
                    grad,
                    lr: LR,
                    decay: i % 2 == 0,
                })
                .collect();
            config.build().step(&Cpu, &mut parameters);
            let expected: Vec<Vec<f32>> = moved.iter().chain(&gradients).map(|buffer| buffer.to_vec()).collect();
            self.step((name, &config), &values, &grads, &expected)?;
        }
        Ok(())
    }

    fn step(
        &mut self,
        (name, config): (&'static str, &OptimizerConfig),
        values: &[Vec<f32>; 4],
        grads: &[Vec<f32>; 4],
        expected: &[Vec<f32>],
    ) -> Done {
        let starts: Vec<Start<'_>> = values.iter().chain(grads).map(|v| Start::Values(v)).collect();
        let expected: Vec<&[f32]> = expected.iter().map(Vec::as_slice).collect();
        let case = format!("{:?} values", values.each_ref().map(Vec::len));
        self.case((name, case), EXACT, (&[], &starts), &expected, &|k, _, changed| {
            let (values, grads) = changed.split_at(4);
            let zeros = |_| {
                values
                    .iter()
                    .map(|v| k.place(&vec![0.0; v.len()]))
                    .collect::<Done<Vec<_>>>()
            };
            let (first, second) = (zeros(0)?, zeros(1)?);
            let decayed = |i: usize, decay: f32| if i.is_multiple_of(2) { decay } else { 0.0 };
            let simple = |decay: f32| -> Vec<Update<'_>> {
                let update = |i: usize| Update {
                    value: &values[i],
                    grad: &grads[i],
                    velocity: &first[i],
                    lr: LR,
                    decay: decayed(i, decay),
                    adapted: i.is_multiple_of(2),
                };
                (0..4).map(update).collect()
            };
            let adam = |betas: [f32; 2], penalty: f32, shrink: f32| -> Vec<AdamTensor<'_>> {
                let tensor = |i: usize| AdamTensor {
                    value: &values[i],
                    grad: &grads[i],
                    moments: [&first[i], &second[i]],
                    rate: (f64::from(LR) / (1.0 - f64::from(betas[0]))) as f32,
                    correction: (1.0 - f64::from(betas[1])).sqrt() as f32,
                    penalty: decayed(i, penalty),
                    kept: 1.0 - LR * decayed(i, shrink),
                };
                (0..4).map(tensor).collect()
            };
            match config {
                OptimizerConfig::Sgd(c) => k.sgd(&simple(c.weight_decay), c.momentum, c.nesterov),
                OptimizerConfig::Lars(c) => k.lars(&simple(c.weight_decay), c.momentum, c.eta),
                OptimizerConfig::Adam(c) => k.adam(&adam(c.betas, c.weight_decay, 0.0), c.betas, c.eps),
                OptimizerConfig::AdamW(c) => k.adam(&adam(c.betas, 0.0, c.weight_decay), c.betas, c.eps),
            }
        })
    }
}
