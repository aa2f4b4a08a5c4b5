//! How fast this machine learns: one training step taken apart, augmentation, and the machine's own peak.
//!
//! The metrics are for comparing with other programs on the same work in the same session; nothing here trains for a result.

mod augment;
mod gpu;
mod machine;
mod prefetch;
mod train_step;

pub use augment::{ViewTimes, view_times};
pub use gpu::{GpuBench, KernelSpeed, device, resnet_shapes};
pub use machine::{on_threads, peak_gflops, peak_rss_mib};
pub use prefetch::{PrefetchTimes, prefetch_times};
pub use train_step::{Shape, StepSpec, StepTimes, Task, TrainStep};

pub use crate::augment::Recipe;
pub use crate::device::Device;
pub use crate::device::cuda::DeviceError;
pub use crate::device::cuda::check::Compared;
pub use crate::device::cuda::driver::{Gpu, TOO_OLD, gpus};
pub use crate::device::cuda::kernels::Precision;
pub use crate::layers::Timing;
pub use crate::train::TrainError;

use std::time::Instant;

/// The median of `repeats` timings of `work` in seconds, after `warm_up` untimed ones.
pub fn median_seconds(warm_up: usize, repeats: usize, mut work: impl FnMut()) -> f64 {
    (0..warm_up).for_each(|_| work());
    let mut seconds: Vec<f64> = (0..repeats.max(1))
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
