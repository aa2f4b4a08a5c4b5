//! The machine: threads to measure on, its peak, memory taken.

use super::median_seconds;
use crate::kernels::conv::{self, ConvShape};

/// GFLOP/s of a product of two square fp32 matrices of `side` rows, in the calling thread pool; the layers' shares of the peak
/// are taken against it.
pub fn peak_gflops(side: usize) -> f64 {
    let shape = ConvShape::matrix(side, side, side);
    let value = |i: usize| ((i * 7919) % 1024) as f32 / 1024.0 - 0.5;
    let a: Vec<f32> = (0..side * side).map(value).collect();
    let b: Vec<f32> = (0..side * side).map(|i| value(i + 31)).collect();
    let mut c = vec![0.0f32; side * side];
    let seconds = median_seconds(2, 9, || conv::forward(&shape, &a, &b, None, &mut c));
    2.0 * (side as f64).powi(3) / seconds / 1e9
}

/// Does `work` on a pool of `threads` threads.
///
/// # Errors
/// If the system does not give so many.
pub fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> Result<R, rayon::ThreadPoolBuildError> {
    Ok(rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?
        .install(work))
}

/// The most memory that this process ever held, in MiB; none where the system does not tell.
pub fn peak_rss_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}
