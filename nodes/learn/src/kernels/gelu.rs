//! GELU (Hendrycks & Gimpel 2016, 1606.08415), exact: `y = x Phi(x)`, with the derivative from the same exponential.
//!
//! `Phi(-|x|) = p(t) exp(-x^2 / 2) / 2` with `t = 1 / (1 + 0.3275911 |x| / sqrt 2)` (Abramowitz & Stegun 7.1.26); its error, below 1e-7,
//! is that of a rounding near 1.

use pulp::Simd;
use rayon::prelude::*;

use super::simd::{Lanes, Vectorised, with_lanes};

/// Values of a piece.
const PIECE: usize = 16 * 1024;

/// `y = gelu(x)`, and `x` is overwritten with the derivative at `x`.
pub fn forward_with_derivative(x: &mut [f32], y: &mut [f32]) {
    x.par_chunks_mut(PIECE)
        .zip(y.par_chunks_mut(PIECE))
        .for_each(|(x, y)| with_lanes(Gelu { x, y: Some(y) }));
}

/// `x = gelu(x)`.
pub fn forward(x: &mut [f32]) {
    x.par_chunks_mut(PIECE).for_each(|x| with_lanes(Gelu { x, y: None }));
}

/// `dy *= derivative`.
pub fn backward(dy: &mut [f32], derivative: &[f32]) {
    dy.par_chunks_mut(PIECE)
        .zip(derivative.par_chunks(PIECE))
        .for_each(|(dy, derivative)| with_lanes(Multiply { dy, derivative }));
}

/// Without a place for the output, it takes the input's.
struct Gelu<'a> {
    x: &'a mut [f32],
    y: Option<&'a mut [f32]>,
}

impl Vectorised for Gelu<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = Lanes::<S>::COUNT;
        match self.y {
            Some(y) => {
                for (x, y) in self.x.chunks_mut(lanes).zip(y.chunks_mut(lanes)) {
                    let (value, derivative) = gelu(simd, Lanes::load_some(simd, x, x.len()));
                    value.store_some(y, x.len());
                    derivative.store_some(x, x.len());
                }
            }
            None => {
                for x in self.x.chunks_mut(lanes) {
                    let (value, _) = gelu(simd, Lanes::load_some(simd, x, x.len()));
                    value.store_some(x, x.len());
                }
            }
        }
    }
}

/// `x Phi(x)` and `Phi(x) + x phi(x)`.
#[inline(always)]
fn gelu<S: Simd>(simd: S, x: Lanes<S>) -> (Lanes<S>, Lanes<S>) {
    /// `1 / sqrt(2 pi)`.
    const DENSITY: f32 = 0.398_942_3;
    let one = Lanes::splat(simd, 1.0);
    let size = x.by_sign(-1.0 * x, x);
    let t = one / (one + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * size);
    let bell = (-0.5 * (x * x)).exp_of_negative();
    let series = t * t.polynomial([1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6]);
    let tail = 0.5 * (series * bell);
    let cumulative = x.by_sign(tail, one - tail);
    (x * cumulative, cumulative + DENSITY * (x * bell))
}

struct Multiply<'a> {
    dy: &'a mut [f32],
    derivative: &'a [f32],
}

impl Vectorised for Multiply<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = Lanes::<S>::COUNT;
        for (dy, d) in self.dy.chunks_mut(lanes).zip(self.derivative.chunks(lanes)) {
            let product = Lanes::load_some(simd, dy, dy.len()) * Lanes::load_some(simd, d, dy.len());
            product.store_some(dy, dy.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Phi` by Simpson's rule in f64.
    fn cumulative(x: f64) -> f64 {
        let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
        let step = x / 400.0;
        let inner: f64 = (1..400)
            .map(|i| density(f64::from(i) * step) * if i % 2 == 1 { 4.0 } else { 2.0 })
            .sum();
        0.5 + (density(0.0) + inner + density(x)) * step / 3.0
    }

    #[test]
    fn value_and_derivative_are_those_of_the_exact_form() {
        let x: Vec<f32> = (-700..=700).map(|i| 0.01 * i as f32).collect();
        let (mut derivative, mut y, mut alone) = (x.clone(), vec![0.0; x.len()], x.clone());
        forward_with_derivative(&mut derivative, &mut y);
        forward(&mut alone);
        assert_eq!(y, alone);
        for (i, x) in x.iter().map(|x| f64::from(*x)).enumerate() {
            let phi = cumulative(x);
            assert!(
                (f64::from(y[i]) - x * phi).abs() < 4e-7 * (1.0 + x.abs()),
                "gelu({x}) = {}",
                y[i]
            );
            let slope = phi + x * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
            assert!(
                (f64::from(derivative[i]) - slope).abs() < 5e-7,
                "gelu'({x}) = {}",
                derivative[i]
            );
        }
    }

    #[test]
    fn what_is_no_number_stays_so() {
        let mut x = vec![f32::NAN; 20];
        forward(&mut x);
        assert!(x.iter().all(|v| v.is_nan()));
    }
}
