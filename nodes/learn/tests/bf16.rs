//! Training with factors of bf16 is training: it comes to what fp32 comes to, and to the same bits on any number of threads.

use std::sync::Arc;

use flow_learn::device::CpuBf16;
use flow_learn::measure::{StepSpec, Task, TrainStep, on_threads};

/// The loss after some steps on the CPU: in fp32, or in bf16.
fn loss(backbone: &str, task: Task, bf16: Option<CpuBf16>, threads: usize) -> f32 {
    let spec = StepSpec {
        backbone: backbone.to_owned(),
        image: "3x16x16".parse().expect("a shape"),
        batch: 16,
        task,
    };
    let steps = move || {
        let step = TrainStep::new(&spec).expect("a step");
        let mut step = match bf16 {
            Some(device) => step.on(Arc::new(device)),
            None => step,
        };
        step.time(4).expect("it is taken").loss
    };
    on_threads(threads, steps).expect("a pool")
}

#[test]
fn steps_in_bf16_come_to_the_loss_of_fp32_within_two_hundredths_and_not_to_its_bits() {
    let Some(bf16) = CpuBf16::new() else { return };
    for backbone in ["conv4", "resnet18", "wrn-28-2", "vit"] {
        for task in [Task::Supervised, Task::Simclr] {
            let [single, half] = [None, Some(bf16)].map(|bf16| loss(backbone, task, bf16, 1));
            assert!(
                (single - half).abs() <= 0.02 * single.abs().max(1.0) && single != half,
                "{backbone}, {task:?}: {half} instead of {single}"
            );
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit_in_bf16() {
    let Some(bf16) = CpuBf16::new() else { return };
    for backbone in ["conv4", "vit"] {
        let [one, three] = [1, 3].map(|threads| loss(backbone, Task::Simclr, Some(bf16), threads).to_bits());
        assert_eq!(one, three, "{backbone}");
    }
}
