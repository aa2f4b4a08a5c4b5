//! A whole network on an emulated CUDA device: what layers, buffers and optimisers do there is what they do on the host.

use std::sync::Arc;

use flow_emulator::{Asked, Emulator};
use flow_learn::device::cuda::{Cuda, Precision};
use flow_learn::device::{Cpu, Device, DeviceError, LossValue, Running};
use flow_learn::layers::Buffer;
use flow_learn::losses::{LossError, VicregWeights};
use flow_learn::measure::{StepSpec, Task, TrainStep};

fn emulated(emulator: Emulator) -> Cuda {
    Cuda::on(Arc::new(emulator), "emulated", Precision::Fp32)
}

/// Some operations one after the other, of which each needs what the one before left on the device.
fn chain(device: &dyn Device) -> Vec<f32> {
    let values = |n: usize| -> Vec<f32> { (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect() };
    let (mut x, y) = (Buffer::from(values(600)), Buffer::from(values(600)));
    device.add_relu(&mut x, &y);
    let [mut mean, mut inverse, mut of_means, mut of_variances] = [0.0, 0.0, 0.3, 1.0].map(|v| vec![v; 6].into());
    let running = Running {
        mean: &mut of_means,
        variance: &mut of_variances,
        share: 0.1,
    };
    device.batch_statistics(&x, 1e-5, &mut mean, &mut inverse, running);
    device.inverse_std(&of_variances, 1e-5, &mut of_means);
    // A clone is a copy of its own from here on.
    let kept = x.clone();
    device.relu_backward(&mut x, &y);
    device.add(&mut x, &kept);
    // The host looks, and changes a value: the device must see it.
    x[0] = 3.0;
    device.leaky_relu(0.1, &mut x);
    device.average(&mut x, &y, 0.9);
    [x, kept, mean, inverse, of_means, of_variances]
        .map(|buffer: Buffer| buffer.to_vec())
        .concat()
}

#[test]
fn operations_one_after_the_other_give_what_the_host_gives() {
    let (device, host) = (chain(&emulated(Emulator::default())), chain(&Cpu));
    for (i, (device, host)) in device.iter().zip(&host).enumerate() {
        assert!(
            (device - host).abs() <= 1e-5 * host.abs().max(1.0),
            "value {i}: {device} found, {host} expected"
        );
    }
}

/// Values and gradients of all losses that have kernels, one behind the other.
fn losses(device: &dyn Device) -> Vec<f32> {
    let values = |n: usize, k: usize| -> Vec<f32> { (0..n).map(|i| ((i * k % 101) as f32 - 50.0) / 40.0).collect() };
    let (z, logits) = (Buffer::from(values(8 * 6, 37)), Buffer::from(values(8 * 3, 53)));
    let targets: Vec<f32> = (0..24).map(|i| if i % 3 == i / 3 % 3 { 1.0 } else { 0.0 }).collect();
    let all = [
        device.nt_xent(6, &z, 0.2),
        device.info_nce(6, &z, [&values(8 * 6, 41), &values(10 * 6, 43)], 0.2),
        device.cross_entropy(3, &logits, &targets),
    ];
    let flat = all.map(|found: Result<(LossValue, Buffer), LossError>| {
        let (loss, gradient) = found.expect("sizes that fit");
        [&[loss.get()], &gradient[..]].concat()
    });
    let (a, b) = (Buffer::from(values(10 * 6, 37)), Buffer::from(values(10 * 6, 41)));
    let weights = VicregWeights {
        invariance: 25.0,
        variance: 25.0,
        covariance: 1.0,
    };
    let of_views = [
        device.barlow_twins(6, [&a, &b], 0.01),
        device.vicreg(6, [&a, &b], weights),
    ];
    let of_views = of_views.map(|found| {
        let (loss, [a, b]) = found.expect("sizes that fit");
        [&[loss.get()], &a[..], &b[..]].concat()
    });
    [flat.concat(), of_views.concat()].concat()
}

#[test]
fn losses_on_the_device_are_the_hosts() {
    let device = emulated(Emulator::default());
    for (i, (found, expected)) in losses(&device).iter().zip(losses(&Cpu)).enumerate() {
        assert!(
            (found - expected).abs() <= 2e-5 * expected.abs().max(1.0),
            "value {i}: {found} found, {expected} expected"
        );
    }
    // One projection has nothing to contrast with, and nothing to vary.
    let refused = |device: &dyn Device| {
        let one = &Buffer::from(vec![0.0; 6]);
        [
            device.nt_xent(6, one, 0.2).map(|(loss, _)| loss.get()),
            device.barlow_twins(6, [one, one], 0.01).map(|(loss, _)| loss.get()),
            device
                .barlow_twins(6, [one, &Buffer::from(vec![0.0; 12])], 0.01)
                .map(|(loss, _)| loss.get()),
        ]
    };
    assert!(refused(&device).iter().all(Result::is_err));
    assert_eq!(refused(&device), refused(&Cpu));
}

#[test]
fn a_training_on_the_emulated_gpu_follows_the_cpus_and_gives_the_same_bits_again() {
    for task in [Task::Supervised, Task::Simclr] {
        let spec = StepSpec {
            backbone: "conv3".to_owned(),
            image: "1x8x8".parse().expect("a size"),
            batch: 4,
            task,
        };
        let losses = |device: Arc<dyn Device>| -> Vec<f32> {
            let mut step = TrainStep::new(&spec).expect("it can be built").on(device);
            (0..3).map(|_| step.step().expect("it trains")).collect()
        };
        let found = losses(Arc::new(emulated(Emulator::default())));
        assert_eq!(found, losses(Arc::new(emulated(Emulator::default()))));
        for (found, expected) in found.iter().zip(losses(Arc::new(Cpu))) {
            assert!(
                (found - expected).abs() <= 1e-3 * expected,
                "{found} found, {expected} expected"
            );
        }
    }
}

/// What the third step of a small network is asked of a device.
fn third_step(backbone: &str, task: Task) -> Asked {
    let spec = StepSpec {
        backbone: backbone.to_owned(),
        image: "1x8x8".parse().expect("a size"),
        batch: 4,
        task,
    };
    let emulator = Arc::new(Emulator::default());
    let device = Cuda::on(emulator.clone(), "emulated", Precision::Tf32);
    let mut step = TrainStep::new(&spec).expect("it can be built").on(Arc::new(device));
    for _ in 0..2 {
        step.step().expect("it trains");
    }
    emulator.take_asked();
    step.step().expect("it trains");
    emulator.take_asked()
}

#[test]
fn a_step_is_few_launches_and_its_loss_the_only_thing_that_is_waited_for() {
    let asked = |launches, uploads| Asked {
        launches,
        uploads,
        downloads: 0,
        begun: 1,
    };
    assert_eq!(third_step("conv4", Task::Supervised), asked(63, 3));
    assert_eq!(third_step("conv4", Task::Simclr), asked(81, 2));
}

#[test]
fn an_average_that_keeps_nothing_is_a_copy_to_the_last_bit() {
    let device = emulated(Emulator::default());
    let (mut to, from) = (
        Buffer::from(vec![1e8, f32::NAN, 3.0]),
        Buffer::from(vec![0.1, 0.2, 0.3]),
    );
    device.average(&mut to, &from, 0.0);
    assert_eq!(to[..], from[..]);
}

#[test]
fn the_first_failure_is_kept_and_what_comes_after_is_no_number() {
    let device = emulated(Emulator::with_memory(8 << 10));
    assert_eq!(device.check(), Ok(()));
    let mut large = Buffer::from(vec![1.0; 1 << 20]);
    device.relu(&mut large);
    let expected = DeviceError::Memory { wanted: 4, held: 0 };
    assert_eq!(device.check(), Err(expected.clone()));
    assert!(
        large.iter().all(|v| v.is_nan()),
        "values that were never computed look like values"
    );
    // What would fit is not done any more either.
    let mut small = Buffer::from(vec![1.0; 4]);
    device.relu(&mut small);
    assert_eq!(device.check(), Err(expected));
}

#[test]
fn identity_tells_architecture_and_precision() {
    let device = Cuda::on(Arc::new(Emulator::default()), "sm_90", Precision::Tf32);
    assert_eq!(device.identity(), "cuda sm_90 tf32 k2");
}
