//! Losses, against their definitions on dfdx's tape.

use super::{Check, Done, EXACT, Start};
use crate::losses::{self, VicregWeights};

impl Check<'_> {
    pub(super) fn losses(&mut self) -> Done {
        let (n, dim) = (self.between(2, self.larger(40, 8)), self.between(1, 40));
        let temperature = 0.3;
        let z = self.values(2 * n * dim);
        let (value, [gradient]) =
            losses::value_and_grads([(z.clone(), (2 * n, dim))], |[z]| losses::nt_xent(z, temperature))
                .expect("BUG: a loss of valid sizes");
        let starts = [Start::Poison(z.len()), Start::Poison(1)];
        // Rows of one value have no direction to turn to: their gradient is zero but for rounding.
        let bound = if dim == 1 { f32::MAX } else { EXACT };
        let named = ("nt_xent", format!("{} x {dim}", 2 * n));
        self.case(named, bound, (&[&z], &starts), &[&gradient, &[value]], &|k, i, o| {
            k.nt_xent(dim, &i[0], temperature, &o[0], &o[1])
        })?;

        let count = self.between(1, self.larger(90, 20));
        let (queries, keys, negatives) = (self.values(n * dim), self.values(n * dim), self.values(count * dim));
        let (value, [gradient]) = losses::value_and_grads([(queries.clone(), (n, dim))], |[q]| {
            losses::info_nce(q, &keys, &negatives, temperature)
        })
        .expect("BUG: a loss of valid sizes");
        let starts = [Start::Poison(queries.len()), Start::Poison(1)];
        let inputs: [&[f32]; 3] = [&queries, &keys, &negatives];
        let named = ("info_nce", format!("{n} x {dim} against {count}"));
        self.case(named, bound, (&inputs, &starts), &[&gradient, &[value]], &|k, i, o| {
            k.info_nce(dim, [&i[0], &i[1], &i[2]], temperature, &o[0], &o[1])
        })?;

        self.redundancy(n)?;

        let classes = self.between(2, 50);
        let logits = self.values(n * classes);
        let mut targets = self.positive(n * classes);
        for row in targets.chunks_exact_mut(classes) {
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= sum);
        }
        let (value, [gradient]) = losses::value_and_grads([(logits.clone(), (n, classes))], |[x]| {
            losses::soft_cross_entropy(x, &targets)
        })
        .expect("BUG: a loss of valid sizes");
        let starts = [Start::Poison(logits.len()), Start::Poison(1)];
        let named = ("cross_entropy", format!("{n} x {classes}"));
        self.case(
            named,
            EXACT,
            (&[&logits, &targets], &starts),
            &[&gradient, &[value]],
            &|k, i, o| k.cross_entropy(classes, &i[0], &i[1], &o[0], &o[1]),
        )
    }

    fn redundancy(&mut self, n: usize) -> Done {
        // Wide enough for several blocks of rows, and of columns.
        let dim = self.one_of(&[1, 5, 33, 70]);
        let (a, noise) = (self.values(n * dim), self.values(n * dim));
        // Views that agree in part; columns whose deviation is below one, and above.
        let scale = |i: usize| if (i % dim).is_multiple_of(2) { 0.4 } else { 1.5 };
        let a: Vec<f32> = a.iter().enumerate().map(|(i, v)| scale(i) * v + 0.3).collect();
        let b: Vec<f32> = a.iter().zip(&noise).map(|(a, v)| 0.8 * a + 0.3 * v).collect();
        let shape = (n, dim);
        let starts = [Start::Poison(n * dim), Start::Poison(n * dim), Start::Poison(1)];
        let inputs = || [(a.clone(), shape), (b.clone(), shape)];

        let lambda = 0.05;
        let (value, [da, db]) = losses::value_and_grads(inputs(), |[a, b]| losses::barlow_twins(a, b, lambda))
            .expect("BUG: a loss of valid sizes");
        let named = ("barlow_twins", format!("{n} x {dim}"));
        // A correlation of one dimension, or of two images, is one or minus one: the gradient is rounding.
        let bound = if dim == 1 || n < 4 { f32::MAX } else { EXACT };
        self.case(named, bound, (&[&a, &b], &starts), &[&da, &db, &[value]], &|k, i, o| {
            k.barlow_twins(dim, [&i[0], &i[1]], lambda, [&o[0], &o[1]], &o[2])
        })?;

        let weights = VicregWeights {
            invariance: 25.0,
            variance: 25.0,
            covariance: 1.0,
        };
        let (value, [da, db]) = losses::value_and_grads(inputs(), |[a, b]| losses::vicreg(a, b, weights))
            .expect("BUG: a loss of valid sizes");
        let named = ("vicreg", format!("{n} x {dim}"));
        self.case(named, EXACT, (&[&a, &b], &starts), &[&da, &db, &[value]], &|k, i, o| {
            k.vicreg(dim, [&i[0], &i[1]], weights, [&o[0], &o[1]], &o[2])
        })
    }
}
