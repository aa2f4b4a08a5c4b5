//! `flow bench`: how fast this machine learns, in numbers to compare with other programs.

use std::process::Command;
use std::sync::Arc;

use clap::{Args, Subcommand};
use flow_nodes::measure::{self, Shape, StepSpec, Task, TrainStep};
use serde_json::{Value, json};

use super::bench_gpu;
use crate::exit::{Exit, Failure};
use crate::output::{print, print_json_lines, print_table};

/// Side of the square matrices whose product is taken for the machine's peak. Not a power of two, whose rows fall into the same
/// cache sets.
const PEAK_SIDE: usize = 1040;

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Time one training step: forward, backward, optimiser.
    TrainStep(TrainStepArgs),
    /// Time augmentation, on one core.
    Augment(AugmentArgs),
    /// Train on views that are made concurrently with the step, and show for what share of the time the step waited for them.
    Prefetch(PrefetchArgs),
    /// How a training step's time and memory grow with batch, image size and threads.
    Scale(ScaleArgs),
    /// Compare every kernel on this machine's GPU with the CPU's, and time them.
    Gpu(bench_gpu::GpuArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TrainStepArgs {
    /// conv3, conv4, resnet18, vit, ..
    #[arg(long, default_value = "conv4")]
    backbone: String,
    /// Images in a step; SimCLR takes two views of each.
    #[arg(long, default_value_t = 128, value_parser = at_least_two)]
    batch: usize,
    /// Channels, height and width.
    #[arg(long, value_name = "CxHxW", default_value = "3x32x32", value_parser = parse_shape)]
    image: Shape,
    /// CPU threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// What is learnt.
    #[arg(long, default_value = "supervised", value_parser = parse_task)]
    task: Task,
    /// Steps that are timed, after three that are not.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,
    #[command(flatten)]
    place: PlaceArgs,
    /// Every layer's time, and its share of what the machine can do.
    #[arg(long)]
    layers: bool,
    /// As one JSON line.
    #[arg(long)]
    json: bool,
}

/// Where a step runs.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Where the step runs: cpu, cuda (the first GPU), or auto for a GPU if there is one.
    #[arg(long, default_value = "cpu", value_parser = ["cpu", "cuda", "auto"])]
    device: String,
    /// What products are made of: tf32, fp32 or bf16 on a GPU, fp32 or bf16 on the CPU, which takes tf32 for fp32.
    #[arg(long, default_value = "tf32", value_parser = ["tf32", "fp32", "bf16"])]
    precision: String,
}

impl PlaceArgs {
    fn device(&self) -> Result<Arc<dyn measure::Device>, Failure> {
        measure::device(&self.device, &self.precision).map_err(Failure::failed)
    }
}

#[derive(Debug, Args)]
pub(crate) struct AugmentArgs {
    /// A shipped recipe.
    #[arg(long, default_value = "simclr")]
    recipe: String,
    /// Channels, height and width.
    #[arg(long, value_name = "CxHxW", default_value = "3x32x32", value_parser = parse_shape)]
    image: Shape,
    /// Images in a batch.
    #[arg(long, default_value_t = 256, value_parser = at_least_two)]
    batch: usize,
    /// As one JSON line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PrefetchArgs {
    /// conv3, conv4, resnet18, vit, ..
    #[arg(long, default_value = "conv4")]
    backbone: String,
    /// Images in a step, of which SimCLR takes two views each.
    #[arg(long, default_value_t = 256, value_parser = at_least_two)]
    batch: usize,
    /// Channels, height and width.
    #[arg(long, value_name = "CxHxW", default_value = "3x32x32", value_parser = parse_shape)]
    image: Shape,
    /// A shipped recipe.
    #[arg(long, default_value = "simclr")]
    recipe: String,
    /// CPU threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Steps that are taken.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(2..))]
    steps: u16,
    #[command(flatten)]
    place: PlaceArgs,
    /// As one JSON line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// conv3, conv4, resnet18, vit, ..
    #[arg(long, default_value = "conv4")]
    backbone: String,
    /// What is learnt.
    #[arg(long, default_value = "supervised", value_parser = parse_task)]
    task: Task,
    /// Steps that are timed for each measurement.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,
    /// As JSON lines.
    #[arg(long)]
    json: bool,
}

fn parse_shape(text: &str) -> Result<Shape, String> {
    text.parse()
}

fn parse_task(text: &str) -> Result<Task, String> {
    serde_json::from_value(Value::from(text)).map_err(|_| "expected `supervised` or `simclr`".to_owned())
}

fn at_least_two(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|_| "expected a number".to_owned())?;
    if count < 2 {
        Err("expected at least 2: batch norm needs two values".to_owned())
    } else {
        Ok(count)
    }
}

pub(crate) fn bench(command: &BenchCommand) -> Result<Exit, Failure> {
    match command {
        BenchCommand::TrainStep(args) => train_step(args),
        BenchCommand::Augment(args) => augment(args),
        BenchCommand::Prefetch(args) => prefetch(args),
        BenchCommand::Scale(args) => scale(args),
        BenchCommand::Gpu(args) => bench_gpu::gpu(args),
    }?;
    Ok(Exit::Ok)
}

/// Does `work` on a pool of so many threads.
fn on_threads<R: Send>(threads: Option<u16>, work: impl FnOnce(usize) -> R + Send) -> Result<R, Failure> {
    let threads = threads.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    measure::on_threads(threads, || work(threads)).map_err(|error| Failure::cannot("start threads", &error))
}

fn train_step(args: &TrainStepArgs) -> Result<(), Failure> {
    let spec = StepSpec {
        backbone: args.backbone.clone(),
        image: args.image,
        batch: args.batch,
        task: args.task,
    };
    let refused = |e: measure::TrainError| Failure::usage(e.to_string(), "see `flow bench train-step --help`");
    let device = args.place.device()?;
    let identity = device.identity().to_owned();
    let used = Arc::clone(&device);
    let (threads, times, layers) = on_threads(args.threads, |threads| {
        let mut step = TrainStep::new(&spec).map_err(refused)?.on(device);
        let times = step.time(usize::from(args.steps)).map_err(refused)?;
        let peak_rss = measure::peak_rss_mib();
        let layers = if args.layers {
            Some((
                measure::peak_gflops(PEAK_SIDE),
                step.layers(usize::from(args.steps)).map_err(refused)?,
            ))
        } else {
            None
        };
        Ok::<_, Failure>((threads, (times, peak_rss), layers))
    })??;
    let ((times, peak_rss), device_memory) = (times, used.most_memory());
    if args.json {
        let layers = layers.map(|(peak, layers)| json!({ "peak_gflops": peak, "layers": layers }));
        return print_json_lines([json!({
            "backbone": args.backbone, "task": args.task, "mode": "flow", "products": args.place.precision, "threads": threads, "batch": args.batch,
            "image": args.image, "median_ms": round(times.median_ms), "images_per_s": round(times.images_per_s),
            "peak_rss_mib": peak_rss, "loss": times.loss, "device": identity, "device_mib": device_memory.map(|bytes| bytes >> 20), "detail": layers,
        })]);
    }
    print(&format!(
        "{:.1} ms a step, {:.0} images/s, {threads} threads{}\n",
        times.median_ms,
        times.images_per_s,
        peak_rss.map_or(String::new(), |mib| format!(", {mib} MiB at most")),
    ));
    if let Some((peak, layers)) = layers {
        print(&format!(
            "the machine's peak, by a product of {PEAK_SIDE}x{PEAK_SIDE} matrices: {peak:.0} GFLOP/s\n\n"
        ));
        let row = |t: &measure::Timing| {
            let rate = t.flops / t.seconds / 1e9;
            let of_peak = if t.flops > 0.0 {
                format!("{:.0} %", 100.0 * rate / peak)
            } else {
                String::new()
            };
            vec![
                t.layer.clone(),
                t.part.to_owned(),
                format!("{:.2}", t.seconds * 1e3),
                of_peak,
            ]
        };
        print_table(&["layer", "part", "ms", "of peak"], layers.iter().map(row).collect());
    }
    Ok(())
}

fn augment(args: &AugmentArgs) -> Result<(), Failure> {
    let recipe = recipe(&args.recipe)?;
    let times = on_threads(Some(1), |_| measure::view_times(&recipe, args.image, args.batch, 21))?
        .map_err(|e| Failure::usage(e.to_string(), "choose another `--recipe` or `--image`"))?;
    if args.json {
        return print_json_lines([json!({
            "recipe": args.recipe, "image": args.image, "mode": "flow", "median_us": round(times.median_us),
            "views_per_s": round(times.views_per_s),
        })]);
    }
    print(&format!(
        "{:.1} us a view, {:.0} views/s on one core\n",
        times.median_us, times.views_per_s
    ));
    Ok(())
}

fn prefetch(args: &PrefetchArgs) -> Result<(), Failure> {
    let recipe = recipe(&args.recipe)?;
    let device = args.place.device()?;
    let identity = device.identity().to_owned();
    let times = on_threads(args.threads, |threads| {
        let steps = usize::from(args.steps);
        let times = measure::prefetch_times(device, &args.backbone, args.image, &recipe, args.batch, steps);
        times.map(|times| (threads, times))
    })?;
    let (threads, times) = times.map_err(|e| Failure::usage(e.to_string(), "see `flow bench prefetch --help`"))?;
    if args.json {
        return print_json_lines([json!({
            "backbone": args.backbone, "batch": args.batch, "image": args.image, "recipe": args.recipe, "threads": threads, "device": identity,
            "step_ms": round(times.step_ms), "waited_ms": round(times.waited_ms), "waited_percent": round(times.waited_percent),
        })]);
    }
    print(&format!(
        "{:.1} ms a step on {threads} threads, of which it waited {:.2} ms for its views: {:.2} %\n",
        times.step_ms, times.waited_ms, times.waited_percent
    ));
    Ok(())
}

fn recipe(name: &str) -> Result<measure::Recipe, Failure> {
    measure::Recipe::named(name).ok_or_else(|| {
        let known = measure::Recipe::names().join(", ");
        Failure::usage(format!("there is no recipe `{name}`"), format!("choose one of {known}"))
    })
}

/// What is varied, one thing at a time, around a batch of 128 images of 3x32x32 on all cores.
fn scale(args: &ScaleArgs) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut cases: Vec<(usize, String, usize)> = Vec::new();
    cases.extend([32, 64, 128, 256, 512].map(|batch| (batch, "3x32x32".to_owned(), cores)));
    cases.extend([16, 32, 64, 96].map(|side| (128, format!("3x{side}x{side}"), cores)));
    let thread_counts = std::iter::successors(Some(1), |t| Some(t * 2))
        .take_while(|t| *t < cores)
        .chain([cores]);
    cases.extend(thread_counts.map(|threads| (128, "3x32x32".to_owned(), threads)));
    cases.dedup();
    let program = std::env::current_exe().map_err(|error| Failure::cannot("find this program", &error))?;
    let mut rows = Vec::new();
    for (batch, image, threads) in cases {
        // A process for each measurement: peak memory is that of the whole process.
        let output = Command::new(&program)
            .args([
                "bench",
                "train-step",
                "--json",
                "--backbone",
                &args.backbone,
                "--image",
                &image,
            ])
            .args([
                "--task",
                &task_name(args.task),
                "--batch",
                &batch.to_string(),
                "--threads",
                &threads.to_string(),
            ])
            .args(["--steps", &args.steps.to_string()])
            .output()
            .map_err(|e| Failure::failed(format!("cannot start {}: {e}", program.display())))?;
        if !output.status.success() {
            return Err(Failure::failed(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
        let metrics: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| Failure::cannot("read the metrics of a step", &error))?;
        if args.json {
            print_json_lines([metrics])?;
        } else {
            let text = |key: &str| {
                metrics[key]
                    .as_f64()
                    .map_or_else(|| "-".to_owned(), |v| format!("{v:.0}"))
            };
            rows.push(vec![
                batch.to_string(),
                image,
                threads.to_string(),
                text("median_ms"),
                text("images_per_s"),
                text("peak_rss_mib"),
            ]);
        }
    }
    if !args.json {
        print_table(&["batch", "image", "threads", "ms", "images/s", "MiB"], rows);
    }
    Ok(())
}

fn task_name(task: Task) -> String {
    serde_json::to_value(task)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Two digits behind the point are more than the noise leaves.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
