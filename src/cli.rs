//! The command line's words.

use std::path::PathBuf;

use crate::output::Colour;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use flow_cache::ArchiveLimits;

/// A declarative experiment engine for vision models with few labels.
#[derive(Debug, Parser)]
#[command(
    name = "flow",
    version,
    about,
    max_term_width = 110,
    after_help = "Exit codes: 0 done, 1 a node failed, 2 usage, 3 invalid workflow, 4 corrupt cache, 5 locked, 130/143 stopped by a signal."
)]
pub(crate) struct Cli {
    /// Directory of the artifact cache.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "FLOW_CACHE",
        default_value = ".flow/cache"
    )]
    pub(crate) cache: PathBuf,
    /// Directory of the runs.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "FLOW_RUNS",
        default_value = ".flow/runs"
    )]
    pub(crate) runs: PathBuf,
    /// Nothing but results and errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// More: the nodes' notes, and once more for the engine's log (FLOW_LOG sets it finer).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to use colours; NO_COLOR is respected.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Colour,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a workflow: what is cached is taken from the cache, the rest is computed.
    Run(RunArgs),
    /// Say what a run would do, and why.
    Plan(PlanArgs),
    /// Run a workflow again whenever it, or a file that it reads, changes.
    Watch(WatchArgs),
    /// Inspect the artifact cache.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Inspect earlier runs.
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Show what a run found as one page with figures, which needs no other file.
    Report(ReportArgs),
    /// Show runs as live pages in a browser on this machine: what is under way, logs, losses, reports.
    Ui(UiArgs),
    /// Write a workflow that fits a directory of images, or an example.
    Init(crate::commands::init::InitArgs),
    /// Look at images before there is a workflow.
    #[command(subcommand)]
    Data(DataCommand),
    /// Classify images with a trained classifier of the cache: a line for each with label and confidence.
    Predict(crate::commands::predict::PredictArgs),
    /// Write the features that a trained network of the cache gives images.
    Embed(crate::commands::predict::EmbedArgs),
    /// Draw a workflow.
    Graph(GraphArgs),
    /// List the node kinds, or what one of them takes: each parameter with type, default, range and meaning.
    Kinds(KindsArgs),
    /// Print the JSON Schema (draft 07) of workflow files, for editors.
    Schema,
    /// Check this machine, and the numerics against reference values.
    Doctor(DoctorArgs),
    /// Time training and augmentation on this machine.
    #[command(subcommand)]
    Bench(crate::commands::bench::BenchCommand),
    /// Internal: runs one node in its own process.
    #[command(name = WORKER, hide = true)]
    Worker,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The command that `flow run` starts for nodes in separate processes.
pub(crate) const WORKER: &str = "__worker";

/// What this program is called with to be a keeper, see [`flow_engine::leash`]. Its life begins before any command line is read.
pub(crate) const KEEPER: &str = "__keeper";

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// List every image of a directory with its size, mean colour, class and split, and say what is wrong with it; then classes, sizes,
    /// duplicates and suspected leaks. Exit code 0 whatever it finds, 1 if there is no image or the directory's table is wrong, 2 if there is no such
    /// path.
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A directory as `source = "folder"` reads it, or one image file.
    pub(crate) path: PathBuf,
    /// The table of labels, below the directory [default: labels.csv or labels.tsv, if there is one].
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// The directory of images without a label, below the directory [default: unlabelled, if there is one].
    #[arg(long, value_name = "DIR")]
    pub(crate) unlabelled: Option<PathBuf>,
    /// The most pixels of an image that is decoded.
    #[arg(long, value_name = "N", default_value_t = flow_nodes::pictures::MAX_PIXELS)]
    pub(crate) max_pixels: u64,
    /// Write each image, with the boxes and masks that are told of it drawn over it, into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) draw: Option<PathBuf>,
    /// A JSON line for each file: path, width, height, channels, mean, label, split, problem.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which workflow.
#[derive(Debug, Args)]
pub(crate) struct WorkflowArgs {
    /// The workflow file.
    #[arg(value_name = "FILE.toml")]
    pub(crate) file: PathBuf,
    /// Override a value, e.g. `--set nodes.simclr.epochs=5`.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// Where nodes train, embed and evaluate that do not say it themselves; as `--set defaults.device=DEVICE`.
    #[arg(long, value_name = "DEVICE", env = "FLOW_DEVICE", value_parser = devices())]
    pub(crate) device: Option<String>,
}

/// The words for devices; `mock` is for tests.
pub(crate) fn devices() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new([
        PossibleValue::new("cpu").help("The CPU"),
        PossibleValue::new("cuda").help("An NVIDIA GPU"),
        PossibleValue::new("auto").help("A GPU where there is one that can be used, or else the CPU"),
        PossibleValue::new("mock").hide(true),
    ])
}

/// Which part of it.
#[derive(Debug, Args)]
pub(crate) struct PartArgs {
    /// Only this node and what it depends on; `NODE[labels=40]` is its instances with these values; may be given several times.
    #[arg(long, value_name = "NODE")]
    pub(crate) only: Vec<String>,
    /// Run this node, named as for `--only`, even if it is cached: it fails if something else comes out; may be given several times.
    #[arg(long, value_name = "NODE")]
    pub(crate) force: Vec<String>,
}

/// How to run.
#[derive(Debug, Args)]
pub(crate) struct HowArgs {
    /// CPU threads for all nodes together [default: RAYON_NUM_THREADS, or all cores].
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
    /// GPUs for all nodes together, or `none` [default: CUDA_VISIBLE_DEVICES, or all].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) gpus: Option<Vec<String>>,
    /// Memory for all nodes together, e.g. 16GB [default: what the machine has].
    #[arg(long, value_name = "SIZE", value_parser = flow_cache::query::parse_size)]
    pub(crate) memory: Option<u64>,
    /// After a failure, still run what does not depend on the failed node.
    #[arg(long)]
    pub(crate) keep_going: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) workflow: WorkflowArgs,
    #[command(flatten)]
    pub(crate) part: PartArgs,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    /// Events as JSON lines on stdout instead of the report.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the schedule as a Chrome trace, for ui.perfetto.dev.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Show it in a browser meanwhile, as `flow ui` does, and afterwards until Ctrl-C.
    #[arg(long, conflicts_with = "json")]
    pub(crate) ui: bool,
    /// Say what would be done, as `flow plan` does, and do nothing.
    #[arg(long, conflicts_with_all = ["ui", "trace"])]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UiArgs {
    /// The port on 127.0.0.1 [default: one that is free].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) port: u16,
    /// Open a browser.
    #[arg(long)]
    pub(crate) open: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) workflow: WorkflowArgs,
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// A line for each instance instead of one for all that do the same.
    #[arg(long)]
    pub(crate) all: bool,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) workflow: WorkflowArgs,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    /// Poll the files instead of waiting for file system events: for network disks.
    #[arg(long)]
    pub(crate) poll: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    pub(crate) workflow: WorkflowArgs,
    /// The language of the drawing.
    #[arg(long, value_enum, default_value = "dot")]
    pub(crate) format: GraphFormat,
    /// Every instance of the matrix instead of one box for each node.
    #[arg(long)]
    pub(crate) expanded: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
}

#[derive(Debug, Args)]
pub(crate) struct KindsArgs {
    /// The kind, e.g. `finetune`.
    pub(crate) kind: Option<String>,
    /// Only this parameter, or what goes with this word, e.g. `simclr` of the kind `pretext`.
    #[arg(requires = "kind")]
    pub(crate) name: Option<String>,
    /// As JSON: the schemas.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Run every golden case of the JSON files in this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) reference: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List entries, newest first.
    Ls {
        /// As JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Show one entry: what it was made from, what it measured, what it cost.
    Show {
        /// A node's name, with bindings or without, a tag, the beginning of a key (four digits or more), or RUN:NODE.
        entry: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Find entries, e.g. `kind = evaluate and params.labels = 100 and params.backbone.name = resnet18 and cost.total_s < 300
    /// order by metrics.accuracy desc`.
    Query {
        /// The question. Fields: kind, node, workflow, key, inputs, params.*, metrics.*, cost.wall_s, cost.total_s (with all that it
        /// was made from), cost.threads, size, started, finished, age, tag, pinned, collected. Operators: = != < <= > >= ~ in [..],
        /// not, and, or. A parameter that an entry does not have itself is that of what it was made from.
        query: String,
        /// As JSON lines.
        #[arg(long)]
        json: bool,
        /// The outputs' files instead of a table.
        #[arg(long, conflicts_with = "json")]
        path: bool,
    },
    /// Show what differs between two entries: parameters, inputs, files, versions, metrics.
    Diff {
        /// As for `show`.
        a: String,
        /// Another.
        b: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Explain why an entry was computed: what differs from the nearest earlier entry.
    Why {
        /// As for `show`.
        entry: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what an entry was made from.
    Tree {
        /// As for `show`.
        entry: String,
        /// What was made from it instead.
        #[arg(long)]
        down: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write entries to a file: an archive for another cache, or weights for another program.
    Export {
        /// As for `show`, or a run for all that it used; for an archive there may be several.
        #[arg(required = true)]
        entries: Vec<String>,
        /// What the file is for.
        #[arg(long, default_value = "archive")]
        to: ExportTo,
        /// Everything that the entries were made from as well.
        #[arg(long)]
        with_inputs: bool,
        /// With `--to onnx`: images in [0, 1] go in, their normalisation is part of the network.
        #[arg(long)]
        with_preprocessing: bool,
        /// The file to write.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Import the entries of an archive; everything in it is verified first.
    Import(ImportArgs),
    /// Free disk space: the outputs that are cheapest to recompute are removed, their records stay. A dry run unless `--delete` is given.
    Gc {
        /// Bytes to keep, e.g. 20GB: what is cheapest to recompute per byte goes first.
        #[arg(long, value_name = "SIZE", value_parser = flow_cache::query::parse_size)]
        max_size: Option<u64>,
        /// Remove what was last used longer ago, e.g. 30d.
        #[arg(long, value_name = "SPAN", value_parser = flow_cache::query::parse_span)]
        older_than: Option<f64>,
        /// Keep what this run used: the beginning or end of its id. May be given several times.
        #[arg(long, value_name = "RUN")]
        keep_run: Vec<String>,
        /// Keep what the newest runs used.
        #[arg(long, value_name = "N", default_value_t = 1)]
        keep_runs: usize,
        /// What was set aside as damaged, and checkpoints that no run came back for, go when they are older [default: 30d].
        #[arg(long, value_name = "SPAN", value_parser = flow_cache::query::parse_span)]
        litter_older_than: Option<f64>,
        /// Remove them.
        #[arg(long)]
        delete: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Keep entries from being collected.
    Pin {
        /// As for `show`, or a run for all that it used; or one query.
        #[arg(required = true)]
        entries: Vec<String>,
        /// Why.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Let entries be collected again.
    Unpin {
        /// As for `show`, or a run for all that it used; or one query.
        #[arg(required = true)]
        entries: Vec<String>,
    },
    /// Give an entry a name, which stands for it wherever an entry is asked for; it is kept as if it were pinned.
    Tag {
        /// The name.
        name: String,
        /// As for `show`.
        entry: String,
    },
    /// Remove a tag.
    Untag {
        /// The name.
        name: String,
    },
    /// List pins and tags.
    Marks {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a cache, or say anew who may read and write it: its owner alone, unless `--shared` is given.
    Init {
        /// Its group may: directories and files are group-writable whatever a process' umask, as with git's core.sharedRepository.
        #[arg(long)]
        shared: bool,
    },
    /// Hash everything again and say what is damaged.
    Verify {
        /// Quarantine what is damaged at once, so that it is recomputed when it is needed next.
        #[arg(long)]
        repair: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Rebuild the index from the records.
    Rebuild,
}

/// What to import, and how much it may take of the machine: an archive may be anybody's.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The archive.
    pub(crate) archive: PathBuf,
    /// Files that it may hold.
    #[arg(long, value_name = "N", default_value_t = ArchiveLimits::DEFAULT.entries)]
    pub(crate) max_entries: u64,
    /// Bytes that it may unpack to.
    #[arg(long, value_name = "SIZE", default_value = "100GiB", value_parser = flow_cache::query::parse_size)]
    pub(crate) max_size: u64,
    /// Bytes that one record in it may have.
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = flow_cache::query::parse_size)]
    pub(crate) max_record_size: u64,
    /// Bytes that one of its bytes may unpack to on average, if it unpacks to more than 64 MiB.
    #[arg(long, value_name = "N", default_value_t = ArchiveLimits::DEFAULT.ratio)]
    pub(crate) max_ratio: u64,
}

/// What an entry is exported for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ExportTo {
    /// Another cache of flow.
    Archive,
    /// PyTorch: safetensors with torchvision's names.
    Torch,
    /// onnxruntime and others: the network with its weights.
    Onnx,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The beginning or end of a run's id: of several the newest, as if it is left out.
    pub(crate) run: Option<String>,
    /// What is written.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ReportFormat,
    /// Where to: by default HTML to `report.html` in the run's directory, the others to stdout.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Open the page in a browser.
    #[arg(long, conflicts_with = "figure")]
    pub(crate) open: bool,
    /// Two runs or more side by side: what changed in the workflow and in the results, each held against the first.
    #[arg(long, value_name = "RUN", num_args = 2.., conflicts_with_all = ["run", "figure"])]
    pub(crate) compare: Vec<String>,
    /// One figure alone, by its name or the beginning of it (`accuracy-over-labels`; a wrong one lists all): with `-o FILE.svg` or
    /// `FILE.png` a drawing, and its numbers as CSV beside it; else the numbers as CSV.
    #[arg(long, value_name = "NAME")]
    pub(crate) figure: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum ReportFormat {
    /// A page that needs no other file.
    #[default]
    Html,
    /// Markdown, for a README or a pull request.
    Md,
    /// JSON, for programs: with a version.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List runs, newest first: how each ended, overrides, and what came out.
    Ls {
        /// Only those for which this holds, e.g. `status = failed and age < 2d`. Fields: id, workflow, status, override, headline, started, age,
        /// took, nodes, ran, cached, failed, metrics.NAME; operators as in `flow cache query`.
        #[arg(long, value_name = "CONDITION", default_value = "", hide_default_value = true)]
        filter: String,
        /// As JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Show one run.
    Show {
        /// The beginning or end of its id: of several the newest, as if it is left out.
        run: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove the directories of old runs; what they made stays in the cache. Runs under way are never removed.
    Gc {
        /// So many of the newest stay, besides those under way.
        #[arg(long, value_name = "N")]
        keep: usize,
        /// Only say what would be removed.
        #[arg(long)]
        dry_run: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare two runs: status, parameters and metrics of each node.
    Compare {
        /// The beginning or end of a run's id.
        a: String,
        /// Another's.
        b: String,
        /// Nodes in which nothing differs, too.
        #[arg(long)]
        all: bool,
        /// As JSON lines.
        #[arg(long)]
        json: bool,
    },
}
