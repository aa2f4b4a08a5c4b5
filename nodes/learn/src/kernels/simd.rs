//! Loops on explicit vectors of the width that the CPU has. No operation is fused and sums have an order of their own, so the
//! bits do not depend on that width.

use std::ops::{Add, Div, Mul, Sub};
use std::sync::OnceLock;

use pulp::{Simd, bytemuck};

/// This CPU, looked at once.
pub(super) fn arch() -> pulp::Arch {
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    *ARCH.get_or_init(pulp::Arch::new)
}

/// Work on explicit vectors.
pub(crate) trait Vectorised {
    /// Does it. Must be `#[inline(always)]`, as all that it calls.
    fn run<S: Simd>(self, simd: S);
}

/// Runs `work` with the widest vectors that the CPU has.
pub(crate) fn with_lanes(work: impl Vectorised) {
    struct Dispatch<W>(W);
    impl<W: Vectorised> pulp::WithSimd for Dispatch<W> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            self.0.run(simd);
        }
    }
    arch().dispatch(Dispatch(work));
}

/// The most values that any CPU's vector has; all widths divide it.
pub(crate) const MOST_LANES: usize = 16;

/// A vector of values with the usual operators. No operation is fused, so the bits are those of any other width.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<S: Simd> {
    simd: S,
    value: S::f32s,
}

impl<S: Simd> Lanes<S> {
    /// Values of a vector.
    pub(crate) const COUNT: usize = S::F32_LANES;

    #[inline(always)]
    pub(crate) fn splat(simd: S, value: f32) -> Self {
        Self {
            simd,
            value: simd.splat_f32s(value),
        }
    }

    /// The first values.
    #[inline(always)]
    pub(crate) fn load(simd: S, from: &[f32]) -> Self {
        Self {
            simd,
            value: bytemuck::pod_read_unaligned(bytemuck::cast_slice(&from[..S::F32_LANES])),
        }
    }

    /// The first `count` values, at most a vector's.
    #[inline(always)]
    pub(crate) fn load_some(simd: S, from: &[f32], count: usize) -> Self {
        if count == S::F32_LANES {
            Self::load(simd, from)
        } else {
            Self {
                simd,
                value: simd.partial_load_f32s(&from[..count]),
            }
        }
    }

    /// Overwrites the first `count` values, at most a vector's.
    #[inline(always)]
    pub(crate) fn store_some(self, to: &mut [f32], count: usize) {
        if count == S::F32_LANES {
            self.store(to);
        } else {
            self.simd.partial_store_f32s(&mut to[..count], self.value);
        }
    }

    /// These values, but zero where `gate` is not above zero. What is no number stays so, lest a diverged training looks sound.
    #[inline(always)]
    pub(crate) fn unless_negative(self, gate: Self) -> Self {
        let (simd, zero) = (self.simd, self.simd.splat_f32s(0.0));
        let closed = simd.less_than_or_equal_f32s(gate.value, zero);
        Self {
            simd,
            value: simd.select_f32s(closed, zero, self.value),
        }
    }

    /// The larger of each pair.
    #[inline(always)]
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            simd: self.simd,
            value: self.simd.max_f32s(self.value, other.value),
        }
    }

    /// The largest value.
    #[inline(always)]
    pub(crate) fn largest(self) -> f32 {
        self.simd.reduce_max_f32s(self.value)
    }

    /// `negative` where this is below zero, `other` elsewhere.
    #[inline(always)]
    pub(crate) fn by_sign(self, negative: Self, other: Self) -> Self {
        let simd = self.simd;
        let below = simd.less_than_f32s(self.value, simd.splat_f32s(0.0));
        Self {
            simd,
            value: simd.select_f32s(below, negative.value, other.value),
        }
    }

    /// The polynomial with these coefficients, the highest power's first (Horner).
    #[inline(always)]
    pub(crate) fn polynomial<const N: usize>(self, coefficients: [f32; N]) -> Self {
        let mut sum = Self::splat(self.simd, coefficients[0]);
        for coefficient in &coefficients[1..] {
            sum = sum * self + Self::splat(self.simd, *coefficient);
        }
        sum
    }

    /// `exp(x)` of values that are at most zero, to two units in the last place; below -87 it is zero (Cephes' expf: a polynomial on
    /// the fraction of `x / ln 2`, the whole part goes into the exponent).
    #[inline(always)]
    pub(crate) fn exp_of_negative(self) -> Self {
        const LEAST: f32 = -87.0;
        // Adding it leaves the nearest whole number in the low bits of the sum.
        const ROUND: f32 = 12_582_912.0;
        let simd = self.simd;
        let round = Self::splat(simd, ROUND);
        let shifted = std::f32::consts::LOG2_E * self + round;
        let whole = shifted - round;
        let x = self - 0.693_359_4 * whole - -2.121_944_4e-4 * whole;
        let polynomial = x.polynomial([
            1.987_569_1e-4,
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            0.5,
        ]);
        let fraction = polynomial * x * x + x + Self::splat(simd, 1.0);
        let bits = simd.transmute_u32s_f32s(shifted.value);
        let exponent = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
        let power = simd.transmute_f32s_u32s(simd.add_u32s(exponent, simd.splat_u32s(1.0f32.to_bits())));
        let tiny = simd.less_than_f32s(self.value, simd.splat_f32s(LEAST));
        Self {
            simd,
            value: simd.select_f32s(tiny, simd.splat_f32s(0.0), simd.mul_f32s(fraction.value, power)),
        }
    }

    /// Overwrites the first values.
    #[inline(always)]
    pub(crate) fn store(self, to: &mut [f32]) {
        to[..S::F32_LANES].copy_from_slice(bytemuck::cast_slice(std::slice::from_ref(&self.value)));
    }
}

impl<S: Simd> Add for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self {
            simd: self.simd,
            value: self.simd.add_f32s(self.value, other.value),
        }
    }
}

impl<S: Simd> Sub for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self {
            simd: self.simd,
            value: self.simd.sub_f32s(self.value, other.value),
        }
    }
}

impl<S: Simd> Mul for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self {
            simd: self.simd,
            value: self.simd.mul_f32s(self.value, other.value),
        }
    }
}

impl<S: Simd> Div for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self {
            simd: self.simd,
            value: self.simd.div_f32s(self.value, other.value),
        }
    }
}

impl<S: Simd> Mul<Lanes<S>> for f32 {
    type Output = Lanes<S>;
    #[inline(always)]
    fn mul(self, lanes: Lanes<S>) -> Lanes<S> {
        let simd = lanes.simd;
        Lanes {
            simd,
            value: simd.mul_f32s(simd.splat_f32s(self), lanes.value),
        }
    }
}

/// A sum along a row. Value `i` is added to partial sum `i % MOST_LANES`, and these in pairs, whatever the width.
#[derive(Clone, Copy)]
pub(crate) struct RowSum<S: Simd> {
    /// As many vectors as hold [`MOST_LANES`] values; the others are not used.
    partial: [Lanes<S>; MOST_LANES],
}

impl<S: Simd> RowSum<S> {
    #[inline(always)]
    pub(crate) fn new(simd: S) -> Self {
        Self {
            partial: [Lanes::splat(simd, 0.0); MOST_LANES],
        }
    }

    /// Adds `term(at, count)` of every vector of a row of `len` values; the lanes past `count` must be zero. `term` must be
    /// `#[inline(always)]`.
    #[inline(always)]
    pub(crate) fn add(&mut self, len: usize, mut term: impl FnMut(usize, usize) -> Lanes<S>) {
        let (lanes, whole) = (Lanes::<S>::COUNT, len - len % MOST_LANES);
        for start in (0..whole).step_by(MOST_LANES) {
            for slot in 0..MOST_LANES / lanes {
                self.partial[slot] = self.partial[slot] + term(start + slot * lanes, lanes);
            }
        }
        for slot in 0..MOST_LANES / lanes {
            let at = whole + slot * lanes;
            if at < len {
                self.partial[slot] = self.partial[slot] + term(at, lanes.min(len - at));
            }
        }
    }

    #[inline(always)]
    pub(crate) fn total(self) -> f32 {
        let mut sums = [0.0f32; MOST_LANES];
        for slot in 0..MOST_LANES / Lanes::<S>::COUNT {
            self.partial[slot].store(&mut sums[slot * Lanes::<S>::COUNT..]);
        }
        let mut count = MOST_LANES;
        while count > 1 {
            count /= 2;
            for i in 0..count {
                sums[i] += sums[i + count];
            }
        }
        sums[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp<'a>(&'a mut [f32]);

    impl Vectorised for Exp<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for x in self.0.chunks_mut(Lanes::<S>::COUNT) {
                Lanes::load_some(simd, x, x.len())
                    .exp_of_negative()
                    .store_some(x, x.len());
            }
        }
    }

    #[test]
    fn exponentials_are_right_to_the_last_places() {
        let x: Vec<f32> = (0..20_000).map(|i| -0.004_5 * i as f32).collect();
        let mut y = x.clone();
        with_lanes(Exp(&mut y));
        for (x, y) in x.iter().zip(&y).filter(|(x, _)| **x >= -87.0) {
            let expected = f64::from(*x).exp();
            assert!((f64::from(*y) - expected).abs() < 2.5e-7 * expected, "exp({x}) = {y}");
        }
        let mut ends = [0.0, -88.0, f32::NEG_INFINITY, f32::NAN];
        with_lanes(Exp(&mut ends));
        assert_eq!(ends[..3], [1.0, 0.0, 0.0]);
        assert!(ends[3].is_nan(), "what is no number stays so");
    }

    struct Sum<'a>(&'a [f32], &'a mut f32);

    impl Vectorised for Sum<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let mut sum = RowSum::new(simd);
            sum.add(
                self.0.len(),
                #[inline(always)]
                |at, count| Lanes::load_some(simd, &self.0[at..], count),
            );
            *self.1 = sum.total();
        }
    }

    #[test]
    fn a_row_is_summed_whole_whatever_its_length() {
        for len in 0..70 {
            let row: Vec<f32> = (1..=len).map(|i| i as f32).collect();
            let mut sum = f32::NAN;
            with_lanes(Sum(&row, &mut sum));
            assert_eq!(sum, (len * (len + 1) / 2) as f32);
        }
    }
}
