//! Prefetching: the next step's views are made while the present step runs, so that training does not wait for augmentation.

use std::time::{Duration, Instant};

/// How long training went on, and for how much of it a step waited for views.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WaitTimes {
    /// Time in which nothing but views was made.
    pub waited: Duration,
    /// Time of all steps.
    pub total: Duration,
}

impl WaitTimes {
    /// The share of time in which a step waited, in `[0, 1]`.
    pub fn share(&self) -> f64 {
        self.waited.as_secs_f64() / self.total.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Does a step, and at the same time `prepare`, which another thread of the pool takes up at once if there is one; notes how long
    /// `prepare` took after the step had ended.
    pub(crate) fn overlap<A: Send, B: Send>(
        &mut self,
        step: impl FnOnce() -> A + Send,
        prepare: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        let start = Instant::now();
        let stepped = || (step(), Instant::now());
        let ((stepped, end), prepared) = rayon::join(stepped, prepare);
        self.waited += end.elapsed();
        self.total += start.elapsed();
        (stepped, prepared)
    }
}
