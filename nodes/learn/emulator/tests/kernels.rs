//! Every CUDA kernel against the CPU's, without a GPU.

use std::sync::Arc;

use flow_emulator::Emulator;
use flow_learn::device::cuda::check::{Compared, Extent, compare};
use flow_learn::device::cuda::kernels::{Kernels, Precision};
use flow_learn::device::cuda::{DeviceError, Launcher};
use flow_learn::kernels::conv::ConvShape;

fn emulated(emulator: Emulator, precision: Precision) -> Kernels {
    Kernels::new(Arc::new(emulator), precision)
}

fn failures(found: &[Compared]) -> Vec<String> {
    let failed = found.iter().filter(|c| !c.passes());
    failed
        .map(|c| {
            format!(
                "{} ({}): error {:.1e}, at most {:.1e}; the same again: {}",
                c.kernel, c.case, c.error, c.bound, c.repeated
            )
        })
        .collect()
}

fn agrees(precision: Precision, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let kernels = emulated(Emulator::default(), precision);
        let kernels = if seed.is_multiple_of(2) {
            kernels.with_large_tiles()
        } else {
            kernels
        };
        let found = compare(&kernels, seed, Extent::Small).expect("the emulator runs every kernel");
        assert!(found.len() > 40, "only {} kernels were compared", found.len());
        let failures = failures(&found);
        assert!(failures.is_empty(), "seed {seed}:\n{}", failures.join("\n"));
    }
}

#[test]
fn every_kernel_agrees_with_the_cpu_in_f32() {
    agrees(Precision::Fp32, 0..6);
}

#[test]
fn every_kernel_agrees_with_the_cpu_in_tf32() {
    agrees(Precision::Tf32, 100..106);
}

#[test]
fn every_kernel_agrees_with_the_cpu_in_bf16() {
    agrees(Precision::Bf16, 200..206);
}

#[test]
fn a_forgotten_barrier_is_caught() {
    let kernels = emulated(Emulator::without_barriers(), Precision::Tf32).with_large_tiles();
    let found = compare(&kernels, 1, Extent::Small).expect("the emulator runs every kernel");
    for kernel in [
        "conv_forward",
        "conv_backward_weight",
        "attention",
        "batch_statistics",
        "lars",
        "grid_pool",
    ] {
        let caught = found.iter().any(|c| c.kernel == kernel && !c.passes());
        assert!(caught, "{kernel} passes without its barriers");
    }
}

#[test]
fn memory_that_is_given_back_is_used_again() {
    let kernels = emulated(Emulator::default(), Precision::Fp32);
    for _ in 0..10 {
        let blocks: Vec<_> = (0..3).map(|_| kernels.take(1000).expect("memory")).collect();
        drop(blocks);
    }
    assert_eq!(kernels.most_memory(), 3 * 4096);
}

#[test]
fn without_memory_the_error_says_how_much_was_wanted() {
    let kernels = emulated(Emulator::with_memory(8 << 20), Precision::Fp32);
    let _held = kernels.take(1 << 20).expect("4 MB of 8");
    // What lies in the pool unused is given back before anything fails.
    drop(kernels.take(700_000).expect("3 MB of 4"));
    let _other = kernels.take(900_000).expect("4 MB of 4");
    let error = kernels.take(1 << 20).expect_err("no memory is left");
    assert_eq!(error, DeviceError::Memory { wanted: 4, held: 8 });
    assert!(error.to_string().contains("4 MB more were wanted"), "{error}");
}

#[test]
fn an_unknown_kernel_is_an_error_that_names_it() {
    let error = Emulator::default()
        .launch("no_such", [1; 3], 0, &[])
        .expect_err("no such kernel");
    assert!(error.to_string().contains("`no_such`"), "{error}");
}

#[test]
fn the_tile_does_not_show_in_a_products_bits() {
    let shape = ConvShape {
        n: 2,
        h: 9,
        w: 7,
        c_in: 20,
        c_out: 128,
        kernel: 3,
        stride: 2,
        padding: 1,
        groups: 1,
    };
    let (x, y, weight) = shape.lengths();
    let values = |n: usize| -> Vec<f32> { (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.1).collect() };
    for precision in [Precision::Tf32, Precision::Bf16] {
        let product = |kernels: Kernels| {
            let [x, weight, dy] = [x, weight, y].map(|len| kernels.place(&values(len)).expect("memory"));
            let (y, dx) = (kernels.take(y).expect("memory"), kernels.take(x.len()).expect("memory"));
            kernels.conv_forward(&shape, &x, &weight, None, &y).expect("it runs");
            kernels.conv_backward_input(&shape, &dy, &weight, &dx).expect("it runs");
            [y, dx].map(|block| kernels.fetch(&block).expect("values"))
        };
        let small = product(emulated(Emulator::default(), precision));
        let large = product(emulated(Emulator::default(), precision).with_large_tiles());
        assert_eq!(small, large);
    }
}
