//! `flow predict` and `flow embed`: a trained network of the cache on images that no workflow knows.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use flow_cache::{Record, Store};
use flow_engine::Runs;
use flow_engine::node::NodeError;
use flow_nodes::pictures::{Fault, expand, first_few};
use flow_nodes::predict::table::{Column, Csv, Format, Sink, Table};
use flow_nodes::predict::{self, BadFile, Batch, PredictError, Predictor, Ranking};

use super::look_into_store;
use crate::cli::{Cli, devices};
use crate::exit::{Exit, Failure};
use crate::handle::Handles;
use crate::output::{partial_of, print, print_exact, say};

/// The word for the classifier of the highest validation accuracy.
const BEST: &str = "best";

#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// A classifier: a finetune node's name, with bindings or without, a tag, the beginning of a key (four digits or more), RUN:NODE, or a
    /// query, of which the first entry counts. `best` is the classifier with the highest accuracy on validation images, among all of the cache
    /// that share those of the newest one; `RUN:best` among those of a run. Test images are never looked at.
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    images: ImagesArgs,
    /// The file to write, by its ending CSV, JSON lines (.jsonl), Parquet or NumPy (.npz) [default: CSV on stdout].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The probabilities of all classes as well.
    #[arg(long)]
    probabilities: bool,
    /// Only the images to label next, the first one first: `uncertain` by the margin between the two most probable classes, `diverse` by how
    /// far their features are from the labelled images' and each other's (k-centre; all features are held in memory).
    #[arg(long, value_name = "BY", requires = "count")]
    rank: Option<Rank>,
    /// How many.
    #[arg(short = 'n', long, value_name = "N", requires = "rank", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct EmbedArgs {
    /// A network: as for `flow predict`, or a pretrain node.
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    images: ImagesArgs,
    /// The file to write, by its ending NumPy (.npz, arrays `path` and `features`), Parquet, JSON lines (.jsonl) or CSV.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
struct ImagesArgs {
    /// Image files, folders of them, patterns in quotes, tar (.gz, .zst) or zip archives. Images are read as the network's training images were.
    #[arg(value_name = "IMAGES", required = true)]
    images: Vec<PathBuf>,
    /// What happens to files that cannot be read: all others are looked at in any case, then they are listed, and it is a failure that leaves
    /// no file (`error`), or none (`skip`).
    #[arg(long, value_name = "WHAT", default_value = "error")]
    on_bad: OnBad,
    /// Where the network computes.
    #[arg(long, value_name = "DEVICE", env = "FLOW_DEVICE", default_value = "cpu", value_parser = devices())]
    device: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnBad {
    /// Exit code 1, and no file.
    Error,
    /// They are left out.
    Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rank {
    /// The smallest margin first.
    Uncertain,
    /// The least like what is labelled first.
    Diverse,
}

pub(crate) fn predict(cli: &Cli, args: &PredictArgs) -> Result<Exit, Failure> {
    let format = args.output.as_deref().map(format_of).transpose()?;
    let paths = expand(&args.images.images).map_err(usage)?;
    let mut predictor = open(cli, &args.node, &args.images.device)?;
    if predictor.class_names().is_empty() {
        let help = "`flow embed` writes its features; `flow cache query \"kind = finetune\"` lists classifiers";
        return Err(Failure::usage(
            format!("`{}` is an encoder, which has no classes", args.node),
            help,
        ));
    }
    match predictor.calibration() {
        Some(found) => note(
            cli,
            &format!(
                "confidences are calibrated: logits are divided by a temperature of {:.2}, from {} validation images",
                found.temperature, found.images
            ),
        ),
        None => note(
            cli,
            "confidences are not calibrated: the classifier's data has no validation images (`validation = N` in its dataset node)",
        ),
    }
    let mut to = Output::open(cli, args.output.as_deref(), format)?;
    let Some((rank, count)) = args.rank.zip(args.count) else {
        let bad = predictor.run(&paths, |predictor, batch| {
            let rows = predictions(predictor, texts(&batch.paths), &batch.logits, args.probabilities);
            to.write(&rows)
        });
        return to.finish(bad, args.images.on_bad);
    };
    let by = match rank {
        Rank::Uncertain => predict::Rank::Uncertain,
        Rank::Diverse => predict::Rank::Diverse,
    };
    let mut ranking = Ranking::new(by, count as usize);
    let bad = predictor.run(&paths, |predictor, batch| {
        ranking.look_at(predictor, batch);
        Ok(())
    });
    let chosen = ranking.chosen(&mut predictor).map_err(failed)?;
    if !chosen.is_empty() {
        let paths: Vec<PathBuf> = chosen.iter().map(|one| one.path.clone()).collect();
        let logits: Vec<f32> = chosen.iter().flat_map(|one| one.logits.iter().copied()).collect();
        let mut rows = predictions(&predictor, texts(&paths), &logits, args.probabilities);
        let name = if rank == Rank::Uncertain { "margin" } else { "distance" };
        rows.0
            .push((name, Column::Numbers(chosen.iter().map(|one| one.by).collect())));
        to.write(&rows).map_err(Failure::failed)?;
    }
    to.finish(bad, args.images.on_bad)
}

pub(crate) fn embed(cli: &Cli, args: &EmbedArgs) -> Result<Exit, Failure> {
    let format = format_of(&args.output)?;
    let paths = expand(&args.images.images).map_err(usage)?;
    let mut predictor = open(cli, &args.node, &args.images.device)?;
    let mut to = Output::open(cli, Some(&args.output), Some(format))?;
    let bad = predictor.run(&paths, |predictor, Batch { paths, features, .. }| {
        let dim = predictor.dim();
        let features = Column::Vectors { dim, values: features };
        to.write(&Table(vec![("path", texts(&paths)), ("features", features)]))
    });
    to.finish(bad, args.images.on_bad)
}

fn texts(paths: &[PathBuf]) -> Column {
    Column::Texts(paths.iter().map(|path| path.to_string_lossy().into_owned()).collect())
}

/// A row for each image: path, label, confidence, and the probabilities of all classes if they are asked for.
fn predictions(predictor: &Predictor, paths: Column, logits: &[f32], all: bool) -> Table {
    let names = predictor.class_names();
    let probabilities = predictor.probabilities(logits);
    let classes = predictor.classes(logits);
    let confidences = probabilities
        .chunks_exact(names.len())
        .zip(&classes)
        .map(|(row, class)| row[*class]);
    let labels = classes.iter().map(|class| names[*class].clone()).collect();
    let mut columns = vec![
        ("path", paths),
        ("label", Column::Texts(labels)),
        ("confidence", Column::Numbers(confidences.collect())),
    ];
    if all {
        let names = names.to_vec();
        let values = probabilities;
        columns.push(("probability", Column::Named { names, values }));
    }
    Table(columns)
}

/// The network that a word stands for.
fn open(cli: &Cli, word: &str, device: &str) -> Result<Predictor, Failure> {
    let device = flow_nodes::device::device(device).map_err(|error| match failed(error) {
        Failure::Other { message, help, .. } => Failure::Other {
            exit: Exit::Workflow,
            message,
            help,
        },
        invalid @ Failure::Workflow(_) => invalid,
    })?;
    let store = look_into_store(cli)?;
    let runs = Runs::open(&cli.runs);
    let handles = Handles {
        store: &store,
        runs: &runs,
    };
    let record = entry(cli, &store, &handles, word)?;
    let predictor = Predictor::open(&store, &record, device).map_err(failed)?;
    note(cli, &format!("{} ({})", record.node, record.key.short()));
    predictor.notes.iter().for_each(|line| note(cli, line));
    Ok(predictor)
}

/// What a quiet command does not say.
fn note(cli: &Cli, line: &str) {
    if !cli.quiet {
        say(line);
    }
}

fn entry(cli: &Cli, store: &Store, handles: &Handles<'_>, word: &str) -> Result<Record, Failure> {
    let is_classifier = |record: &Record| record.kind == "finetune";
    let candidates = match word.strip_suffix(BEST) {
        // A node or a tag of that name is what is meant.
        Some("") if store.find(BEST)?.is_empty() => store.records()?,
        Some(run) if run.ends_with(':') => handles.entries(&[run.trim_end_matches(':').to_owned()])?,
        _ => return named(cli, store, handles, word),
    };
    let candidates: Vec<Record> = candidates.into_iter().filter(is_classifier).collect();
    let found = predict::best(store, &candidates).map_err(failed)?;
    let left_out = match found.left_out {
        0 => String::new(),
        n => format!("; {n} others have no validation images, other ones, or no outputs in the cache any more"),
    };
    note(
        cli,
        &format!(
            "best of {} classifiers: {:.1} % of {} validation images right{left_out}",
            found.judged,
            100.0 * found.accuracy,
            found.images
        ),
    );
    Ok(found.record)
}

fn named(cli: &Cli, store: &Store, handles: &Handles<'_>, word: &str) -> Result<Record, Failure> {
    if !store.find(word)?.is_empty() || !word.contains([' ', '=', '<', '>', '~']) {
        return handles.entry(word);
    }
    let mut found = handles.entries(&[word.to_owned()])?;
    found.retain(|record| ["finetune", "pretrain"].contains(&record.kind.as_str()));
    match found.len() {
        0 => Err(Failure::usage(
            format!("the query finds no network: `{word}`"),
            "networks are made by the kinds finetune and pretrain: `flow cache query \"kind = finetune\"`",
        )),
        1 => Ok(found.swap_remove(0)),
        n => {
            note(cli, &format!("the query finds {n} networks: using the first"));
            Ok(found.swap_remove(0))
        }
    }
}

fn format_of(path: &Path) -> Result<Format, Failure> {
    Format::of(path).ok_or_else(|| {
        Failure::usage(
            format!("{} has no ending that says what to write", path.display()),
            "end it in .csv, .jsonl, .parquet or .npz",
        )
    })
}

fn usage(Fault { message, help }: Fault) -> Failure {
    Failure::usage(message, help)
}

fn failed(error: NodeError) -> Failure {
    match error {
        NodeError::Failed { message, help } => Failure::Other {
            exit: Exit::Failed,
            message,
            help,
        },
        other => Failure::failed(other.to_string()),
    }
}

/// Where rows go: a file, which is moved to its place when it is whole, or stdout.
struct Output<'a> {
    cli: &'a Cli,
    sink: Box<dyn Sink>,
    file: Option<(&'a Path, PathBuf)>,
    rows: usize,
}

impl<'a> Output<'a> {
    fn open(cli: &'a Cli, path: Option<&'a Path>, format: Option<Format>) -> Result<Self, Failure> {
        let (sink, file): (Box<dyn Sink>, _) = match path.zip(format) {
            Some((path, format)) => {
                let partial = partial_of(path);
                let opened = File::create(&partial).and_then(|file| format.sink(file));
                let sink = opened.map_err(|e| Failure::failed(format!("cannot write {}: {e}", partial.display())))?;
                (sink, Some((path, partial)))
            }
            None => (Box::new(Csv::new(Shown::default())), None),
        };
        Ok(Self {
            cli,
            sink,
            file,
            rows: 0,
        })
    }

    fn write(&mut self, rows: &Table) -> Result<(), String> {
        self.rows += rows.rows();
        let to = self
            .file
            .as_ref()
            .map_or("stdout".into(), |(path, _)| path.display().to_string());
        self.sink.write(rows).map_err(|e| format!("cannot write {to}: {e}"))
    }

    /// Lists what could not be read, and puts the file in its place if all is well.
    fn finish(mut self, bad: Result<Vec<BadFile>, PredictError>, on_bad: OnBad) -> Result<Exit, Failure> {
        let (cli, file) = (self.cli, self.file.take());
        let ended = self.end(bad, on_bad);
        let Some((path, partial)) = file else {
            return ended.map(|_| Exit::Ok);
        };
        let rows = ended.inspect_err(|_| {
            let _ = std::fs::remove_file(&partial);
        })?;
        std::fs::rename(&partial, path)
            .map_err(|e| Failure::failed(format!("cannot write {}: {e}", path.display())))?;
        note(cli, &format!("wrote {} ({rows} rows)", path.display()));
        Ok(Exit::Ok)
    }

    fn end(self, bad: Result<Vec<BadFile>, PredictError>, on_bad: OnBad) -> Result<usize, Failure> {
        let bad = bad.map_err(|error| match error {
            PredictError::Input(fault) => usage(fault),
            PredictError::Output(message) => Failure::failed(message),
        })?;
        let lines = bad.iter().map(|file| format!("{}: {}", file.path.display(), file.why));
        let message = format!("{} image files cannot be read:{}", bad.len(), first_few(lines));
        if self.rows == 0 && bad.is_empty() {
            let help = "JPEG, PNG, GIF, WebP, BMP and TIFF are read, by their content or ending";
            return Err(Failure::Other {
                exit: Exit::Failed,
                message: "there is no image in what was given".to_owned(),
                help: Some(help.to_owned()),
            });
        }
        if self.rows == 0 || (!bad.is_empty() && on_bad == OnBad::Error) {
            return Err(Failure::Other {
                exit: Exit::Failed,
                message,
                help: Some("remove or replace them, or go on without them: `--on-bad skip`".to_owned()),
            });
        }
        if !bad.is_empty() {
            say(&message);
        }
        let rows = self.rows;
        self.sink
            .finish()
            .map_err(|error| Failure::cannot("write the results", &error))?;
        Ok(rows)
    }
}

/// Stdout, by whole lines: names of files could command a terminal, and a program takes them as they are.
#[derive(Default)]
struct Shown {
    line: Vec<u8>,
}

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        let whole = self
            .line
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.line.drain(..whole).collect();
        let text = String::from_utf8_lossy(&lines);
        match io::stdout().is_terminal() {
            true => print(&text),
            false => print_exact(&text),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
