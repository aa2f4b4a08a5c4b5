//! Loops on explicit vectors of the width that the CPU has. No operation is fused and sums have an order of their own, so the
//! bits do not depend on that width.

use std::ops::{Add, Mul, Sub};
use std::sync::OnceLock;

use pulp::{Simd, bytemuck};

/// This CPU, looked at once.
fn arch() -> pulp::Arch {
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
