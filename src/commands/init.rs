//! `flow init`: a workflow that fits a folder of images, or an example.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use flow_nodes::measure::{Shape, StepSpec, Task, TrainStep, median_seconds};
use flow_nodes::pictures::{Inspection, Layout, Reading};
use flow_nodes::sources::{self, Source, inspect};

use super::data::summary;
use crate::exit::{Exit, Failure};
use crate::output::{count as number, print, print_table, say};

/// Images in a batch of a training; pre-training takes fewer where there are fewer.
const BATCH: usize = 64;

/// Draws of the labels, each with a seed of its own.
const SEEDS: usize = 3;

/// Share of the time that is left for reading, judging and what else there is.
const SPARE: f64 = 0.25;

/// Workflows that come with flow and need no other file.
const TEMPLATES: &[(&str, &str, &str)] = &[(
    "simclr_vs_selftrain",
    "pre-training, self-training, both or neither, on embedded images: the example",
    include_str!("../../workflows/simclr_vs_selftrain.toml"),
)];

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// A directory of images, or a file or directory of many in one format, as `flow data inspect` reads it; the embedded example if left out.
    path: Option<PathBuf>,
    /// The workflow file to write; it must not be there yet.
    #[arg(short, long, value_name = "FILE", default_value = "flow.toml")]
    output: PathBuf,
    /// Height and width that images are learnt from at [default: by their sizes, 32 to 96].
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(8..=1024))]
    side: Option<u16>,
    /// How long a run may take on this machine, as far as its measured speed tells.
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    minutes: f64,
    /// What is asked [default: compare, or pretrain where no image has a label].
    #[arg(long, value_name = "WHAT")]
    task: Option<Asked>,
    /// The pre-training method.
    #[arg(long, value_name = "NAME", default_value = "simclr")]
    method: String,
    /// An example instead of a workflow for PATH.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["path", "list"])]
    template: Option<String>,
    /// List the examples.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Asked {
    /// Whether pre-training helps, with so few labels.
    Compare,
    /// A classifier, trained from scratch.
    Classify,
    /// An encoder, from images alone.
    Pretrain,
}

pub(crate) fn init(args: &InitArgs) -> Result<Exit, Failure> {
    if args.list {
        let row = |(name, what, _): &(&str, &str, &str)| vec![(*name).to_owned(), (*what).to_owned()];
        print_table(&["template", "what it is"], TEMPLATES.iter().map(row).collect());
        return Ok(Exit::Ok);
    }
    if args.output.exists() {
        let message = format!("{} already exists", args.output.display());
        return Err(Failure::usage(
            message,
            "name another file with `--output`, or remove it",
        ));
    }
    let mut estimate = None;
    let text = match &args.path {
        Some(path) => {
            let (text, minutes) = fitted(path, args)?;
            estimate = Some(minutes);
            text
        }
        None => {
            let text = template(args.template.as_deref().unwrap_or(TEMPLATES[0].0))?;
            // The schema lies beside the shipped file only.
            text.trim_start_matches("#:schema flow.schema.json\n").to_owned()
        }
    };
    let written = std::fs::write(&args.output, text);
    written.map_err(|e| Failure::failed(format!("cannot write {}: {e}", args.output.display())))?;
    let name = args.output.display();
    say(&format!(
        "wrote {name}; `flow plan {name}` shows what it does, `flow run {name}` does it"
    ));
    if let Some(minutes) = estimate {
        let why = if minutes > 1.1 * args.minutes {
            format!(
                ": less is not worth while for what it compares, in spite of `--minutes {}`",
                args.minutes
            )
        } else {
            String::new()
        };
        say(&format!("a run takes about {minutes:.1} minutes on this machine{why}"));
    }
    Ok(Exit::Ok)
}

fn template(name: &str) -> Result<&'static str, Failure> {
    let found = TEMPLATES.iter().find(|(known, ..)| *known == name);
    found.map(|(.., text)| *text).ok_or_else(|| {
        Failure::usage(
            format!("there is no template `{name}`"),
            "`flow init --list` lists them",
        )
    })
}

/// What is written for a directory.
struct Design {
    source: &'static Source,
    side: usize,
    channels: usize,
    asked: Asked,
    /// Test images to hold out, if the directory has no test split.
    test: Option<usize>,
    /// Validation images to hold out, if the folder has no validation split and has enough.
    validation: Option<usize>,
    /// Label budgets.
    budgets: Vec<usize>,
    /// Images to pre-train on.
    pool: usize,
    /// Epochs of pre-training.
    epochs: usize,
    /// Steps of a training.
    steps: usize,
    /// Images forward and backward of each arm of a comparison.
    budget: usize,
    /// Seconds of a run, estimated.
    seconds: f64,
}

/// The workflow for a directory, and how many minutes a run of it takes.
fn fitted(path: &Path, args: &InitArgs) -> Result<(String, f64), Failure> {
    let Some(source) = sources::of_path(path) else {
        let what = if path.exists() {
            "holds no images in a format that is read"
        } else {
            "does not exist"
        };
        let help = "give a directory of images, an npz, HDF5, Parquet or tar file, or a directory of such or of the files of MNIST, CIFAR or STL-10";
        return Err(Failure::usage(format!("{} {what}", path.display()), help));
    };
    let found = inspect(path, &Layout::default(), &Reading::default()).map_err(|fault| Failure::Other {
        exit: Exit::Failed,
        message: fault.message,
        help: Some(fault.help),
    })?;
    let told = summary(&found);
    print(told.trim_start());
    let design = Design::new(&found, source, args)?;
    Ok((design.workflow(path, args, &found, &told), design.minutes()))
}

impl Design {
    fn new(found: &Inspection, source: &'static Source, args: &InitArgs) -> Result<Self, Failure> {
        let asked = match args.task {
            Some(asked) => asked,
            None if found.class_names.is_empty() => Asked::Pretrain,
            None => Asked::Compare,
        };
        if asked != Asked::Pretrain && found.class_names.len() < 2 {
            let message = "a classifier needs images of at least two classes";
            return Err(Failure::usage(
                message,
                "put the images of each class into a directory of its own, or use `--task pretrain`",
            ));
        }
        let side = args.side.map_or_else(|| usual_side(found), usize::from);
        let channels = usual_channels(found);
        let split = |line: &&flow_nodes::pictures::FileLine| line.split.map(|split| split.to_string());
        let has_test = found.sound().any(|line| split(&line).as_deref() == Some("test"));
        let to_train = |line: &&flow_nodes::pictures::FileLine| split(line).is_none_or(|split| split == "train");
        let count = |name: &&String| {
            let of_class = found.sound().filter(to_train);
            of_class.filter(|line| line.label.as_ref() == Some(*name)).count()
        };
        let fewest = found.class_names.iter().min_by_key(count);
        let smallest = fewest.as_ref().map_or(usize::MAX, count);
        let classes = found.class_names.len();
        // A third of the smallest class at most, so that something is left to learn from.
        let test = (!has_test && classes > 1)
            .then(|| classes * (smallest / 3).min(found.sound().count() / 5 / classes).max(1));
        let left = smallest
            .min(1 << 24)
            .saturating_sub(test.map_or(0, |test| test / classes.max(1)));
        if asked != Asked::Pretrain && left == 0 {
            let name = fewest.map_or("", String::as_str);
            let images = number(smallest, "image", "images");
            let message = format!("class `{name}` has {images} to train on: too few to train and to judge on");
            return Err(Failure::usage(
                message,
                "two images of each class are the least that makes sense: add some, or leave the class out",
            ));
        }
        let has_validation = found.sound().any(|line| split(&line).as_deref() == Some("validation"));
        let of_class = (left / 6).min(100);
        let validation = (!has_validation && classes > 1 && of_class > 0).then_some(of_class * classes);
        let left = left - if has_validation { 0 } else { of_class };
        let mut budgets: Vec<usize> = [4, 10, 25, 100]
            .iter()
            .filter(|of_class| **of_class < left)
            .map(|n| n * classes)
            .collect();
        budgets.truncate(2);
        // A fifth is left over: images that are in two splits are dropped from what is trained on.
        budgets.push((left - left.div_ceil(5)).clamp(1, 100) * classes);
        budgets.sort_unstable();
        budgets.dedup();
        let pool = found
            .sound()
            .filter(to_train)
            .count()
            .saturating_sub(test.unwrap_or(0) + validation.unwrap_or(0))
            .max(1);
        let mut design = Self {
            source,
            side,
            channels,
            asked,
            test,
            validation,
            budgets,
            pool,
            epochs: 1,
            steps: 1,
            budget: 1,
            seconds: 0.0,
        };
        design.measure(args.minutes.max(0.1) * 60.0)?;
        Ok(design)
    }

    /// Sets lengths by how fast this machine takes a step.
    fn measure(&mut self, seconds: f64) -> Result<(), Failure> {
        let [supervised, simclr] = [
            self.seconds_for_image(Task::Supervised)?,
            self.seconds_for_image(Task::Simclr)?,
        ];
        let useful = seconds * (1.0 - SPARE);
        if self.asked == Asked::Compare {
            // All labels and draws from scratch, as many fine-tuned for half as long, and a pre-training for each seed, which has the other half: two views
            // of each image.
            let trainings = (SEEDS * self.budgets.len()) as f64;
            let each = 1.5 * trainings * supervised + SEEDS as f64 * 0.25 * simclr;
            self.budget = ((useful / each.max(1e-9)) as usize).clamp(40 * BATCH, 600 * BATCH);
            self.seconds = each * self.budget as f64 / (1.0 - SPARE);
            return Ok(());
        }
        let (pretrainings, trainings) = match self.asked {
            Asked::Pretrain => (1, 0),
            Asked::Classify | Asked::Compare => (0, SEEDS * self.budgets.len()),
        };
        let step = (trainings * BATCH) as f64 * supervised;
        let epoch = (pretrainings * self.pool) as f64 * simclr;
        // A lower bound and an upper one: what is shorter teaches nothing, what is longer hardly more.
        let times = |cost: f64, least: usize, most: usize| ((useful / cost.max(1e-9)) as usize).clamp(least, most);
        self.steps = times(step, 20, 600);
        self.epochs = times(epoch, 2, 200);
        self.seconds = (step * self.steps as f64 + epoch * self.epochs as f64) / (1.0 - SPARE);
        Ok(())
    }

    fn seconds_for_image(&self, task: Task) -> Result<f64, Failure> {
        let image = format!("{}x{}x{}", self.channels, self.side, self.side);
        let image: Shape = image.parse().map_err(Failure::failed)?;
        let spec = StepSpec {
            backbone: "conv4".to_owned(),
            image,
            batch: 32,
            task,
        };
        let mut step = TrainStep::new(&spec).map_err(|e| Failure::failed(e.to_string()))?;
        let mut fault = None;
        let seconds = median_seconds(1, 3, || fault = step.step().err().or(fault.take()));
        match fault {
            Some(error) => Err(Failure::failed(error.to_string())),
            None => Ok(seconds / spec.batch as f64),
        }
    }

    fn workflow(&self, path: &Path, args: &InitArgs, found: &Inspection, told: &str) -> String {
        let comment: String = told.trim().lines().map(|line| format!("# {line}\n")).collect();
        let minutes = self.minutes();
        let name = workflow_name(path);
        let mut text = format!(
            "# Written by `flow init {}`, which found:\n{comment}#\n# About {minutes:.1} minutes on this machine, judging by how fast it takes a training step.\n\n",
            path.display()
        );
        text.push_str(&format!(
            "[workflow]\nname = {}\nquestion = {}\n",
            quoted(&name),
            quoted(self.question())
        ));
        if self.asked == Asked::Compare {
            let budget = self.budget;
            text.push_str(&format!(
                "\n[variables]\n# Images forward and backward that each arm may be trained on.\nbudget = {budget}\n"
            ));
        }
        if self.asked != Asked::Pretrain {
            let arms = if self.asked == Asked::Compare {
                "\"scratch\", \"pretrained\""
            } else {
                "\"scratch\""
            };
            text.push_str(&format!(
                "\n[matrix]\n# How many images may be used with their label.\nlabels = {:?}\n# Draws of these labels: the verdict needs several.\nseed = {:?}\narm = [{arms}]\n",
                self.budgets,
                (0..SEEDS).collect::<Vec<_>>(),
            ));
        }
        text.push_str(&self.images(path, args, found));
        if self.asked != Asked::Classify {
            text.push_str(&self.pretraining(&args.method));
        }
        if self.asked != Asked::Pretrain {
            text.push_str(&self.judging());
        }
        text
    }

    /// Of a run.
    fn minutes(&self) -> f64 {
        (self.seconds / 60.0).max(0.1)
    }

    fn question(&self) -> &'static str {
        match self.asked {
            Asked::Compare => "Does pre-training on all images help, with so few labels?",
            Asked::Classify => "How well are the classes told apart, with so few labels?",
            Asked::Pretrain => "What do the images teach without labels?",
        }
    }

    fn images(&self, path: &Path, args: &InitArgs, found: &Inspection) -> String {
        let beside = args.output.parent().is_none_or(|parent| parent.as_os_str().is_empty());
        let path = if beside {
            path.to_owned()
        } else {
            std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
        };
        let mut text = format!(
            "\n[nodes.images]\nkind = \"dataset\"\nsource = \"{}\"\npath = {}\n",
            self.source.name,
            quoted(&path.to_string_lossy()),
        );
        let takes = |key: &str| self.source.takes.contains(&key);
        if takes("side") {
            text.push_str(&format!(
                "# Every image becomes this wide and high: the shorter side is scaled, then the middle is taken (`fit`).\nside = {}\n",
                self.side
            ));
        }
        match self.channels {
            3 => {}
            _ if !takes("channels") => {}
            1 => text.push_str("# All are gray.\nchannels = 1\n"),
            bands => text.push_str(&format!("# Bands of each image.\nchannels = {bands}\n")),
        }
        if let Some(test) = self.test.filter(|_| takes("test")) {
            text.push_str(&format!(
                "# Held out, in equal shares of the classes, to judge on.\ntest = {test}\n"
            ));
        }
        if let Some(validation) = self.validation {
            text.push_str(&format!(
                "# Held out likewise, to choose and calibrate a classifier on: `flow predict best`.\nvalidation = {validation}\n"
            ));
        }
        if found.sound().count() < found.files.len() && takes("on_bad") {
            text.push_str(
                "# Some files cannot be read: they are left out, and the record lists them.\non_bad = \"skip\"\n",
            );
        }
        if takes("on_leak") {
            text.push_str("# What is in two splits is left out of what is trained on (`warn` keeps it, `error` stops).\non_leak = \"drop\"\n");
        }
        text
    }

    fn pretraining(&self, method: &str) -> String {
        let recipe = match self.channels {
            1 => "simclr-gray",
            3 => "simclr",
            // What changes colours knows three channels.
            _ => "weak",
        };
        let seed = if self.asked == Asked::Pretrain {
            "0"
        } else {
            "\"${seed}\""
        };
        let batch = 128.min(self.pool * 9 / 10).max(2);
        let method = quoted(method);
        let length = if self.asked == Asked::Compare {
            "budget = { of = \"${budget}\", share = 0.5 }".to_owned()
        } else {
            format!("epochs = {}\nwarmup_epochs = 1", self.epochs)
        };
        format!(
            "\n# --- pre-training on all images to train on, without their labels\n\n[nodes.pretrain_views]\nkind = \"augment\"\nrecipe = \"{recipe}\"\n\n[nodes.task]\nkind = \"pretext\"\nmethod = {method}\n\n[nodes.encoder]\nkind = \"pretrain\"\ndata = \"images\"\nviews = \"pretrain_views\"\ntask = \"task\"\nbackbone = {{ name = \"conv4\" }}\noptimizer = {{ name = \"adam\" }}\nlr = 0.002\n{length}\nbatch = {batch}\nseed = {seed}\n"
        )
    }

    fn judging(&self) -> String {
        let compare = self.asked == Asked::Compare;
        let length = if compare {
            "# As much training for every arm, pre-training included.\nbudget = { of = \"${budget}\", rest = true }"
                .to_owned()
        } else {
            format!("steps = {}", self.steps)
        };
        let mut text = format!(
            "\n# --- training with few labels\n\n[nodes.labelled]\nkind = \"dataset\"\nfrom = \"images\"\nlabels = \"${{labels}}\"\nseed = \"${{seed}}\"\n\n[nodes.views]\nkind = \"augment\"\nrecipe = \"weak\"\n\n[defaults.finetune]\ndata = [\"labelled\"]\nviews = \"views\"\noptimizer = {{ name = \"adam\" }}\nlr = 0.002\nwarmup_steps = 10\n{length}\nbatch = {BATCH}\nseed = \"${{seed}}\"\n\n[nodes.scratch]\nkind = \"finetune\"\nbackbone = {{ name = \"conv4\" }}\n"
        );
        if compare {
            text.push_str("\n[nodes.pretrained]\nkind = \"finetune\"\ninit = \"encoder\"\n");
        }
        text.push_str("\n# --- judging\n\n[nodes.score]\nkind = \"evaluate\"\nmodel = \"${arm}\"\ndata = \"images\"\nsplit = \"test\"\n");
        text.push_str(if compare {
            "\n[nodes.verdict]\nkind = \"evaluate\"\ncompare = [\"score\"]\nover = [\"arm\", \"labels\", \"seed\"]\nbaseline = \"scratch\"\n"
        } else {
            "\n[nodes.table]\nkind = \"evaluate\"\nsummary = [\"score\"]\nover = [\"arm\", \"labels\", \"seed\"]\nbaseline = \"scratch\"\n"
        });
        text
    }
}

/// 1 if all images are gray, 3 if they are in colour, or how many bands they have.
fn usual_channels(found: &Inspection) -> usize {
    let channels = found.sound().filter_map(|line| line.channels);
    match channels.max().unwrap_or(3) {
        0..=2 => 1,
        // Four are colour and how transparent it is.
        3 | 4 => 3,
        bands => usize::from(bands),
    }
}

/// 32, 48, 64 or 96: the largest that most images have.
fn usual_side(found: &Inspection) -> usize {
    let mut shorter: Vec<u32> = found
        .sound()
        .filter_map(|line| Some(line.width?.min(line.height?)))
        .collect();
    shorter.sort_unstable();
    let middle = shorter.get(shorter.len() / 2).copied().unwrap_or(32) as usize;
    [96, 64, 48].into_iter().find(|side| *side <= middle).unwrap_or(32)
}

/// A text as TOML has it: what JSON escapes, TOML reads.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The directory's name as a workflow may have it.
fn workflow_name(path: &Path) -> String {
    let absolute = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = absolute
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .take(60)
        .collect();
    let name = name.trim_matches('_');
    if name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.to_owned()
    } else {
        format!("images_{name}")
    }
}
