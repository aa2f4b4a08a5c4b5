//! Sums and masks of whole feature maps, in pieces side by side.

use pulp::Simd;
use rayon::prelude::*;

use super::simd::{Lanes, Vectorised, with_lanes};

/// Values of a piece.
const PIECE: usize = 16 * 1024;

/// `to = relu(to)`.
pub fn relu(to: &mut [f32]) {
    to.par_chunks_mut(PIECE).for_each(|to| with_lanes(Relu { to }));
}

/// `to += other`.
pub fn add(to: &mut [f32], other: &[f32]) {
    to.par_chunks_mut(PIECE)
        .zip(other.par_chunks(PIECE))
        .for_each(|(to, other)| with_lanes(Add { to, other, relu: false }));
}

/// `to = relu(to + other)`.
pub fn add_relu(to: &mut [f32], other: &[f32]) {
    to.par_chunks_mut(PIECE)
        .zip(other.par_chunks(PIECE))
        .for_each(|(to, other)| with_lanes(Add { to, other, relu: true }));
}

/// The gradient behind ReLU: `dy` where its output `y` is above zero, zero elsewhere.
pub fn relu_backward(dy: &mut [f32], y: &[f32]) {
    dy.par_chunks_mut(PIECE)
        .zip(y.par_chunks(PIECE))
        .for_each(|(dy, y)| with_lanes(ReluBackward { dy, y }));
}

struct Relu<'a> {
    to: &'a mut [f32],
}

impl Vectorised for Relu<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for to in self.to.chunks_mut(Lanes::<S>::COUNT) {
            let y = Lanes::load_some(simd, to, to.len());
            y.unless_negative(y).store_some(to, to.len());
        }
    }
}

struct Add<'a> {
    to: &'a mut [f32],
    other: &'a [f32],
    relu: bool,
}

impl Vectorised for Add<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = Lanes::<S>::COUNT;
        for (to, other) in self.to.chunks_mut(lanes).zip(self.other.chunks(lanes)) {
            let y = Lanes::load_some(simd, to, to.len()) + Lanes::load_some(simd, other, to.len());
            let y = if self.relu { y.unless_negative(y) } else { y };
            y.store_some(to, to.len());
        }
    }
}

struct ReluBackward<'a> {
    dy: &'a mut [f32],
    y: &'a [f32],
}

impl Vectorised for ReluBackward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = Lanes::<S>::COUNT;
        for (dy, y) in self.dy.chunks_mut(lanes).zip(self.y.chunks(lanes)) {
            let d = Lanes::load_some(simd, dy, dy.len());
            d.unless_negative(Lanes::load_some(simd, y, dy.len()))
                .store_some(dy, dy.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_is_added_and_masked(n in 0usize..40_000, seed in any::<u32>()) {
            let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / (1 << 24) as f32 - 0.5;
            let (a, b): (Vec<f32>, Vec<f32>) = ((0..n).map(value).collect(), (0..n).map(|i| value(i + 7)).collect());
            let sums: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            let (mut added, mut rectified, mut masked, mut alone) = (a.clone(), a.clone(), a.clone(), a.clone());
            add(&mut added, &b);
            add_relu(&mut rectified, &b);
            relu_backward(&mut masked, &rectified);
            relu(&mut alone);
            prop_assert_eq!(&added, &sums);
            for i in 0..n {
                prop_assert_eq!(rectified[i], sums[i].max(0.0));
                prop_assert_eq!(masked[i], if sums[i] > 0.0 { a[i] } else { 0.0 });
                prop_assert_eq!(alone[i], a[i].max(0.0));
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_so() {
        let mut y = vec![f32::NAN; 20];
        relu(&mut y);
        assert!(y.iter().all(|v| v.is_nan()));
    }
}
