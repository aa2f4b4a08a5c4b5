//! Runs a loop compiled for the widest vectors that the CPU has. The bits do not depend on which: the loops below it
//! use no fused multiply-add and fix the order of their sums themselves.

use std::ops::{Add, Mul, Sub};
use std::sync::OnceLock;

use pulp::{Simd, bytemuck};

/// Runs `work` in a function compiled for this CPU's vectors. `work` must be `#[inline(always)]` all the way down to profit.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    arch().dispatch(work)
}

/// This CPU, looked at once.
fn arch() -> pulp::Arch {
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    *ARCH.get_or_init(pulp::Arch::new)
}

/// Work on explicit vectors, for where the compiler would not find them by itself.
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
