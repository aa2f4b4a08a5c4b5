//! `flow report`: a run as one page. Everything in it was written down by the run, or is in the cache; nothing is computed again.

mod bars;
mod chart;
mod compare;
mod content;
mod datasets;
mod drawing;
mod forest;
mod map;
mod markdown;
mod matrix;
mod numbers;
pub(crate) mod page;
mod paint;
mod panel;
mod save;
mod schedule;
mod section;
mod workflow;

use std::path::{Path, PathBuf};

use flow_engine::Runs;
use serde::Serialize;

use self::compare::Comparison;
use self::content::Content;
use crate::cli::{Cli, ReportArgs, ReportFormat};
use crate::exit::{Exit, Failure};
use crate::handle;
use crate::output::{print, print_json, say, write_file};

pub(crate) fn report(cli: &Cli, args: &ReportArgs) -> Result<Exit, Failure> {
    let runs = Runs::open(&cli.runs);
    if let [first, others @ ..] = args.compare.as_slice() {
        let first = handle::run(&runs, first)?;
        let others: Vec<_> = others
            .iter()
            .map(|other| handle::run(&runs, other))
            .collect::<Result<_, _>>()?;
        let comparison = Comparison::of(&cli.cache, &runs, &first, &others);
        let beside = first.dir.join("compare.html");
        return put(
            args,
            &comparison,
            beside,
            || page::of_comparison(&comparison),
            || markdown::of_comparison(&comparison),
        );
    }
    let run = handle::run_or_newest(&runs, args.run.as_deref())?;
    let content = Content::of(&cli.cache, &runs, &run);
    for (file, why) in &content.damaged {
        say(&format!("{file} of run {} cannot be shown: {why}", run.id));
    }
    if let Some(figure) = &args.figure {
        return save::figure(&content, figure, args.output.as_deref());
    }
    let beside = run.dir.join("report.html");
    put(
        args,
        &content,
        beside,
        || page::html(&content),
        || markdown::text(&content),
    )
}

/// The page of a run, for a browser.
pub(crate) fn html(cache: &Path, runs: &Runs, run: &flow_engine::Run) -> String {
    page::html(&Content::of(cache, runs, run))
}

/// Writes or prints it as it is wanted; a page is opened if that is wanted.
fn put(
    args: &ReportArgs,
    json: &impl Serialize,
    beside: PathBuf,
    html: impl FnOnce() -> String,
    markdown: impl FnOnce() -> String,
) -> Result<Exit, Failure> {
    if let (None, ReportFormat::Json) = (&args.output, args.format) {
        print_json(json)?;
        return Ok(Exit::Ok);
    }
    let text = match args.format {
        ReportFormat::Html => html(),
        ReportFormat::Md => markdown(),
        ReportFormat::Json => {
            serde_json::to_string_pretty(json).map_err(|error| Failure::cannot("write the report as JSON", &error))?
        }
    };
    let file = match (&args.output, args.format) {
        (Some(file), _) => file.clone(),
        (None, ReportFormat::Html) => beside,
        (None, ReportFormat::Md | ReportFormat::Json) => {
            print(&text);
            return Ok(Exit::Ok);
        }
    };
    write(&file, text.as_bytes())?;
    if args.open {
        open(&file)?;
    }
    Ok(Exit::Ok)
}

/// Opens a file or an address as the desktop does.
pub(crate) fn open(what: impl AsRef<std::ffi::OsStr>) -> Result<(), Failure> {
    let what = what.as_ref();
    open::that_detached(what).map_err(|error| Failure::cannot(&format!("open {} in a browser", what.display()), &error))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_file(file, bytes)?;
    say(&format!("wrote {}", file.display()));
    Ok(())
}
