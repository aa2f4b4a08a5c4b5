//! Steps of optimisers on the host, and what a device is given for them.

use rayon::prelude::*;

use crate::layers::Buffer;

/// Values that a thread updates at a time, at least.
const PIECE: usize = 16 * 1024;

/// A tensor that SGD or LARS moves. All of its buffers have the same length.
#[derive(Debug)]
pub struct Update<'a> {
    /// The values, to be updated.
    pub value: &'a mut Buffer,
    /// Their gradient, zero afterwards.
    pub grad: &'a mut Buffer,
    /// The velocity, to be updated.
    pub velocity: &'a mut Buffer,
    /// Learning rate.
    pub lr: f32,
    /// Weight decay.
    pub decay: f32,
    /// Whether LARS adapts its rate.
    pub adapted: bool,
}

/// A tensor that Adam moves. All of its buffers have the same length.
#[derive(Debug)]
pub struct AdamUpdate<'a> {
    /// The values, to be updated.
    pub value: &'a mut Buffer,
    /// Their gradient, zero afterwards.
    pub grad: &'a mut Buffer,
    /// First and second moment, to be updated.
    pub moments: [&'a mut Buffer; 2],
    /// Learning rate divided by the first correction.
    pub rate: f32,
    /// The root of the second correction.
    pub correction: f32,
    /// Decay that is added to the gradient.
    pub penalty: f32,
    /// What is kept of the values: 1 without decoupled decay.
    pub kept: f32,
}

/// `g += decay w; v = momentum v + g; w -= lr v`, with Nesterov `w -= lr (g + momentum v)`.
pub(super) fn sgd(w: &mut [f32], g: &mut [f32], v: &mut [f32], [lr, decay, momentum]: [f32; 3], nesterov: bool) {
    let values = w.par_iter_mut().zip(g).zip(v);
    values.with_min_len(PIECE).for_each(|((w, g), v)| {
        let g = std::mem::take(g) + decay * *w;
        *v = momentum * *v + g;
        *w -= lr * if nesterov { g + momentum * *v } else { *v };
    });
}

/// Adam's step; `constants` are the betas, epsilon, rate, correction, penalty and what is kept.
pub(super) fn adam(w: &mut [f32], g: &mut [f32], [m, v]: [&mut [f32]; 2], constants: [f32; 7]) {
    let [b1, b2, eps, rate, correction, penalty, kept] = constants;
    let values = w.par_iter_mut().zip(g).zip(m).zip(v);
    values.with_min_len(PIECE).for_each(|(((w, g), m), v)| {
        let g = std::mem::take(g) + penalty * *w;
        *w *= kept;
        *m = b1 * *m + (1.0 - b1) * g;
        *v = b2 * *v + (1.0 - b2) * g * g;
        *w -= rate * *m / (v.sqrt() / correction + eps);
    });
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// LARS's step; `constants` are learning rate, decay, momentum and eta.
pub(super) fn lars(w: &mut [f32], g: &mut [f32], v: &mut [f32], constants: [f32; 4], adapted: bool) {
    let [lr, decay, momentum, eta] = constants;
    let weights = norm(w.iter().copied());
    let gradient = norm(g.iter().zip(&*w).map(|(g, w)| *g + decay * w));
    let trust = match adapted && weights > 0.0 && gradient > 0.0 {
        true => (f64::from(eta) * weights / gradient) as f32,
        false => 1.0,
    };
    let values = w.par_iter_mut().zip(g).zip(v);
    values.with_min_len(PIECE).for_each(|((w, g), v)| {
        *v = momentum * *v + lr * trust * (std::mem::take(g) + decay * *w);
        *w -= *v;
    });
}
