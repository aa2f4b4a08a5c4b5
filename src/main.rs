//! `flow`, the command line: parses arguments, draws progress, prints tables. Everything else is in the crates below.

mod cli;
mod commands;
mod exit;
mod output;
mod progress;
mod trace;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;

use exit::{Exit, Failure};

/// A workflow of many nodes is many small pieces of memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    output::set_colour(cli.color);
    output::start_log(cli.verbose);
    // A panic is caught where it can be dealt with (a node, a damaged index) and told there in words; the default hook would
    // print it to the person as well.
    std::panic::set_hook(Box::new(|info| tracing::debug!("{info}")));
    match catch_unwind(AssertUnwindSafe(|| commands::dispatch(&cli))) {
        Ok(Ok(code)) => code.into(),
        Ok(Err(failure)) => {
            output::print_failure(&failure);
            failure.exit().into()
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text
                .or(panic.downcast_ref::<&str>().copied())
                .unwrap_or("it gave no words");
            output::print_failure(&Failure::Other {
                exit: Exit::Failed,
                message: format!("flow has a bug: {text}"),
                help: Some("nothing in the cache is lost; please report this with what `-vv` prints".to_owned()),
            });
            Exit::Failed.into()
        }
    }
}
