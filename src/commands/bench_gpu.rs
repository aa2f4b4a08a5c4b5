//! `flow bench gpu`: whether every kernel does on this machine's GPU what the CPU's does, and how fast they are.

use std::collections::BTreeMap;

use clap::Args;
use flow_nodes::measure::{Compared, GpuBench, KernelSpeed, Precision, gpus, resnet_shapes};

use super::doctor::described;
use crate::exit::Failure;
use crate::output::{print, print_table};

#[derive(Debug, Args)]
pub(crate) struct GpuArgs {
    /// Which GPU, of those that CUDA_VISIBLE_DEVICES lets through, from 0.
    #[arg(long, default_value_t = 0)]
    number: usize,
    /// How many random shapes of each kernel are compared with the CPU's.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    shapes: u64,
}

pub(crate) fn gpu(args: &GpuArgs) -> Result<(), Failure> {
    let all = gpus().map_err(Failure::failed)?;
    let gpu = all.get(args.number).ok_or_else(|| no_such(args.number, all.len()))?;
    print(&format!("{}\n\n", described(gpu)));
    let failed = |error: flow_nodes::measure::DeviceError| Failure::failed(error.to_string());
    let mut wrong = 0;
    for precision in [Precision::Tf32, Precision::Fp32, Precision::Bf16] {
        let bench = GpuBench::open(gpu, precision).map_err(failed)?;
        wrong += show_compared(precision, &bench.compare(args.shapes).map_err(failed)?);
        show_speeds(&bench.speeds(&resnet_shapes()).map_err(failed)?);
    }
    match wrong {
        0 => Ok(()),
        _ => Err(differing(wrong)),
    }
}

fn no_such(number: usize, all: usize) -> Failure {
    let message = format!("GPU {number} was asked for, the driver sees {all}");
    Failure::usage(message, "choose another `--number`")
}

fn differing(wrong: usize) -> Failure {
    Failure::failed(format!("{wrong} kernels differ from the CPU's, or from themselves"))
}

/// A row for each kernel, with its worst shape; returns how many comparisons failed.
fn show_compared(precision: Precision, found: &[Compared]) -> usize {
    print(&head(precision));
    print_table(&["kernel", "error", "at most", "", "worst shape"], worst_of(found));
    print("\n");
    found.iter().filter(|c| !c.passes()).count()
}

fn head(precision: Precision) -> String {
    format!("{precision:?}, relative to the CPU's results:\n")
}

fn worst_of(found: &[Compared]) -> Vec<Vec<String>> {
    let mut worst = BTreeMap::<&str, &Compared>::new();
    for compared in found {
        let kept = worst.entry(compared.kernel).or_insert(compared);
        if (kept.passes(), compared.error) > (compared.passes(), kept.error) {
            *kept = compared;
        }
    }
    let row = |c: &&Compared| {
        let verdict = match (c.passes(), c.repeated) {
            (true, _) => "",
            (false, true) => "DIFFERS",
            (false, false) => "OTHER BITS AGAIN",
        };
        vec![
            c.kernel.to_owned(),
            format!("{:.1e}", c.error),
            format!("{:.0e}", c.bound),
            verdict.to_owned(),
            c.case.clone(),
        ]
    };
    worst.values().map(row).collect()
}

fn show_speeds(speeds: &[KernelSpeed]) {
    let row = |s: &KernelSpeed| {
        vec![
            s.kernel.clone(),
            format!("{:.3}", s.ms),
            format!("{:.0} {}", s.rate, s.unit),
        ]
    };
    print_table(&["kernel", "ms", "rate"], speeds.iter().map(row).collect());
    print("\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_differ_are_told_by_how() {
        let compared = |error, repeated| Compared {
            kernel: if repeated { "tile" } else { "softmax" },
            case: "64x32".to_owned(),
            error,
            bound: 1e-5,
            repeated,
        };
        let rows = worst_of(&[compared(1e-2, true), compared(1e-7, false)]);
        let rows: Vec<String> = rows.iter().map(|row| row.join("  ")).collect();
        let failures = [no_such(3, 1), differing(2)].map(|failure| match failure {
            Failure::Other { message, help, .. } => format!("{message}\n  help: {}", help.unwrap_or_default()),
            Failure::Workflow(_) => String::new(),
        });
        insta::assert_snapshot!(format!(
            "{}{}\n{}",
            head(Precision::Tf32),
            rows.join("\n"),
            failures.join("\n")
        ));
    }
}
