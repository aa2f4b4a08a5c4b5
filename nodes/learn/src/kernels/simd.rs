//! Runs a loop compiled for the widest vectors that the CPU has. The bits do not depend on which: the loops below it
//! use no fused multiply-add and fix the order of their sums themselves.

use std::sync::OnceLock;

/// Runs `work` in a function compiled for this CPU's vectors. `work` must be `#[inline(always)]` all the way down to profit.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    ARCH.get_or_init(pulp::Arch::new).dispatch(work)
}
