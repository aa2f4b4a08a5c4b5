//! A GPU: whether every kernel does what the CPU's does, and how fast the ones are that a training step spends its time in.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::device::cuda::Cuda;
use crate::device::cuda::check::{Compared, Extent, compare};
use crate::device::cuda::driver::{Driver, Gpu, gpus};
use crate::device::cuda::kernels::{Kernels, Normalised, Precision};
use crate::device::cuda::launcher::Done;
use crate::device::cuda::memory::Block;
use crate::device::{Cpu, CpuBf16, Device};
use crate::kernels::conv::ConvShape;
use crate::rng::Stream;

/// A device by what it is called on the command line: `cpu`, `cuda` (the first GPU), or `auto`: a GPU if there is one. Its products are made
/// of `tf32`, `fp32` or `bf16`; the CPU's are fp32 unless they are bf16.
///
/// # Errors
/// With one line that says why there is no such device.
pub fn device(name: &str, products: &str) -> Result<Arc<dyn Device>, String> {
    let open = || -> Result<Arc<dyn Device>, String> {
        let precision = match products {
            "tf32" => Precision::Tf32,
            "fp32" => Precision::Fp32,
            "bf16" => Precision::Bf16,
            other => return Err(format!("no GPU multiplies {other} here: choose tf32, fp32 or bf16")),
        };
        let gpus = gpus()?;
        let gpu = gpus.first().ok_or("the NVIDIA driver sees no GPU")?;
        let cuda = Cuda::open(gpu, precision).map_err(|error| error.to_string())?;
        Ok(Arc::new(cuda))
    };
    let cpu = || -> Result<Arc<dyn Device>, String> {
        match products {
            "bf16" => {
                let cpu = CpuBf16::new().ok_or(CpuBf16::MISSING)?;
                Ok(Arc::new(cpu))
            }
            _ => Ok(Arc::new(Cpu)),
        }
    };
    match name {
        "cuda" => open(),
        "auto" => open().or_else(|_| cpu()),
        "cpu" => cpu(),
        other => Err(format!("`{other}` is no device; choose cpu, cuda or auto")),
    }
}

/// A kernel's speed.
#[derive(Clone, Debug, Serialize)]
pub struct KernelSpeed {
    /// What was timed.
    pub kernel: String,
    /// Median milliseconds.
    pub ms: f64,
    /// What it did in a second: TFLOP or, for what only moves memory, GB.
    pub rate: f64,
    /// The rate's unit.
    pub unit: &'static str,
}

/// The passes of a convolution.
const PASSES: [&str; 3] = ["forward", "input gradient", "weight gradient"];

/// One GPU to be measured.
#[derive(Debug)]
pub struct GpuBench {
    kernels: Kernels,
}

impl GpuBench {
    /// Opens it.
    ///
    /// # Errors
    /// The driver's.
    pub fn open(gpu: &Gpu, precision: Precision) -> Done<Self> {
        let driver = Arc::new(Driver::open(gpu)?);
        Ok(Self {
            kernels: Kernels::new(driver, precision),
        })
    }

    /// Every kernel against the CPU's, on shapes of several seeds.
    ///
    /// # Errors
    /// The device's.
    pub fn compare(&self, seeds: u64) -> Done<Vec<Compared>> {
        let mut all = Vec::new();
        for seed in 0..seeds {
            all.extend(compare(&self.kernels, seed, Extent::Large)?);
        }
        Ok(all)
    }

    fn random(&self, len: usize) -> Done<Block> {
        let mut stream = Stream::new(len as u64, "bench");
        // Uniform values are enough, and quickly made.
        let values: Vec<f32> = (0..len).map(|_| stream.range(-1.0, 1.0)).collect();
        self.kernels.place(&values)
    }

    /// The median seconds of `work`, as many times in one go as take a few milliseconds.
    fn time(&self, work: impl Fn() -> Done) -> Done<f64> {
        let run = |times: usize| -> Done<f64> {
            let start = Instant::now();
            (0..times).try_for_each(|_| work())?;
            self.kernels.launcher().synchronise()?;
            Ok(start.elapsed().as_secs_f64() / times as f64)
        };
        run(2)?;
        let times = (0.005 / run(3)?.max(1e-6)).ceil() as usize;
        let mut seconds = (0..7).map(|_| run(times.clamp(1, 500))).collect::<Done<Vec<_>>>()?;
        seconds.sort_by(f64::total_cmp);
        Ok(seconds[3])
    }

    /// The convolutions with how often each comes, the sum of each pass, and what only moves memory.
    ///
    /// # Errors
    /// The device's.
    pub fn speeds(&self, shapes: &[(ConvShape, usize)]) -> Done<Vec<KernelSpeed>> {
        let (mut all, mut total, mut flops) = (Vec::new(), [0.0; 3], 0.0);
        for (shape, times) in shapes {
            flops += shape.flops() * *times as f64;
            for (total, speed) in total.iter_mut().zip(self.convolution(shape)?) {
                *total += speed.ms * *times as f64;
                all.push(speed);
            }
        }
        for (pass, ms) in PASSES.iter().zip(total) {
            let (kernel, rate) = (format!("all of ResNet-18's convolutions, {pass}"), flops / ms / 1e9);
            all.push(KernelSpeed {
                kernel,
                ms,
                rate,
                unit: "TFLOP/s",
            });
        }
        for (rows, channels) in [(512 * 1024, 64), (512 * 64, 256), (512 * 16, 512)] {
            all.extend(self.memory_bound(rows, channels)?);
        }
        all.push(self.nt_xent(1024, 64)?);
        Ok(all)
    }

    /// The three passes of a convolution.
    ///
    /// # Errors
    /// The device's.
    fn convolution(&self, shape: &ConvShape) -> Done<Vec<KernelSpeed>> {
        let (lx, ly, lw) = shape.lengths();
        let (x, w, y) = (self.random(lx)?, self.random(lw)?, self.random(ly)?);
        let (dx, dw) = (self.random(lx)?, self.random(lw)?);
        let k = &self.kernels;
        let speed = |pass: &str, seconds: f64| KernelSpeed {
            kernel: format!("{shape}, {} images, {pass}", shape.n),
            ms: seconds * 1e3,
            rate: shape.flops() / seconds / 1e12,
            unit: "TFLOP/s",
        };
        Ok(vec![
            speed(PASSES[0], self.time(|| k.conv_forward(shape, &x, &w, None, &y))?),
            speed(PASSES[1], self.time(|| k.conv_backward_input(shape, &y, &w, &dx))?),
            speed(
                PASSES[2],
                self.time(|| k.conv_backward_weight(shape, &x, &y, &dw, None))?,
            ),
        ])
    }

    /// Batch norm, addition and a copy of maps of `rows` pixels.
    ///
    /// # Errors
    /// The device's.
    fn memory_bound(&self, rows: usize, channels: usize) -> Done<Vec<KernelSpeed>> {
        let len = rows * channels;
        let (x, y) = (self.random(len)?, self.random(len)?);
        let [mean, inverse_std, weight, bias, dweight, dbias] = [(); 6].map(|()| self.random(channels));
        let (mean, inverse_std, weight, bias, dweight, dbias) = (mean?, inverse_std?, weight?, bias?, dweight?, dbias?);
        let norm = Normalised {
            x: &x,
            mean: &mean,
            inverse_std: &inverse_std,
            weight: &weight,
            bias: &bias,
            relu: true,
        };
        let k = &self.kernels;
        // How often each value is read or written.
        let speed = |kernel: &str, passes: usize, seconds: f64| KernelSpeed {
            kernel: format!("{kernel} {rows} x {channels}"),
            ms: seconds * 1e3,
            rate: (4 * passes * len) as f64 / seconds / 1e9,
            unit: "GB/s",
        };
        Ok(vec![
            speed("copy", 2, self.time(|| k.launcher().copy(&x, &y))?),
            speed("add, ReLU", 3, self.time(|| k.add_relu(&y, &x))?),
            speed(
                "statistics",
                1,
                self.time(|| k.batch_statistics(&x, 1e-5, [&dweight, &dbias], None))?,
            ),
            speed("normalise", 2, self.time(|| k.normalise(&norm, &y))?),
            speed(
                "normalise backward",
                5,
                self.time(|| k.normalise_backward(&norm, true, &y, &dweight, &dbias))?,
            ),
        ])
    }

    /// NT-Xent of `rows` projections.
    ///
    /// # Errors
    /// The device's.
    fn nt_xent(&self, rows: usize, dim: usize) -> Done<KernelSpeed> {
        let (z, gradient, loss) = (self.random(rows * dim)?, self.random(rows * dim)?, self.random(1)?);
        let seconds = self.time(|| self.kernels.nt_xent(dim, &z, 0.2, &gradient, &loss))?;
        Ok(KernelSpeed {
            kernel: format!("NT-Xent {rows} x {dim}"),
            ms: seconds * 1e3,
            rate: 6.0 * (rows * rows * dim) as f64 / seconds / 1e12,
            unit: "TFLOP/s",
        })
    }
}

/// The convolutions of ResNet-18 on 512 images of 3x32x32, with how often each comes.
pub fn resnet_shapes() -> Vec<(ConvShape, usize)> {
    let shape = |size: usize, c_in: usize, c_out: usize, kernel: usize, stride: usize| ConvShape {
        n: 512,
        h: size,
        w: size,
        c_in,
        c_out,
        kernel,
        stride,
        padding: kernel / 2,
        groups: 1,
    };
    let mut all = vec![(shape(32, 3, 64, 3, 1), 1), (shape(32, 64, 64, 3, 1), 4)];
    for (size, channels) in [(32, 64), (16, 128), (8, 256)] {
        all.push((shape(size, channels, 2 * channels, 3, 2), 1));
        all.push((shape(size, channels, 2 * channels, 1, 2), 1));
        all.push((shape(size / 2, 2 * channels, 2 * channels, 3, 1), 3));
    }
    all
}
