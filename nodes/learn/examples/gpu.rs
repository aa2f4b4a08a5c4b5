//! Every kernel against the CPU's on the first GPU, and how fast the ones of a training step are.

use flow_learn::device::cuda::driver::gpus;
use flow_learn::device::cuda::kernels::Precision;
use flow_learn::measure::{GpuBench, KernelSpeed, resnet_shapes};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpus = gpus()?;
    println!("{gpus:#?}");
    for precision in [Precision::Tf32, Precision::Fp32] {
        let bench = GpuBench::open(&gpus[0], precision)?;
        let found = bench.compare(3)?;
        let mut worst = std::collections::BTreeMap::<&str, (f32, f32)>::new();
        for c in &found {
            let entry = worst.entry(c.kernel).or_insert((0.0, c.bound));
            if c.error >= entry.0 {
                *entry = (c.error, c.bound);
            }
            if !c.passes() {
                println!("FAILS: {} ({}): {:.1e} > {:.1e}, repeated {}", c.kernel, c.case, c.error, c.bound, c.repeated);
            }
        }
        println!("{precision:?}: {} comparisons, {} fail", found.len(), found.iter().filter(|c| !c.passes()).count());
        for (kernel, (error, bound)) in worst {
            println!("  {kernel:28} {error:.1e} of {bound:.0e}");
        }
        let print = |s: &KernelSpeed| println!("  {:60} {:8.3} ms {:8.1} {}", s.kernel, s.ms, s.rate, s.unit);
        let mut total = [0.0; 3];
        for (shape, times) in resnet_shapes() {
            for (pass, speed) in bench.convolution(&shape)?.iter().enumerate() {
                print(speed);
                total[pass] += speed.ms * times as f64;
            }
        }
        println!("  ResNet-18's convolutions: {:.2} + {:.2} + {:.2} ms", total[0], total[1], total[2]);
        if precision == Precision::Tf32 {
            for (rows, channels) in [(512 * 1024, 64), (512 * 64, 256), (512 * 16, 512)] {
                bench.memory_bound(rows, channels)?.iter().for_each(print);
            }
            print(&bench.nt_xent(1024, 64)?);
        }
    }
    Ok(())
}
