//! `flow`, the command line: parses arguments, draws progress, prints tables. Everything else is in the crates below.

mod cli;
mod commands;
mod exit;
mod handle;
mod output;
mod progress;
mod terminal;
mod trace;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use exit::{Exit, Failure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use tracing_subscriber::util::SubscriberInitExt;

/// A workflow of many nodes is many small pieces of memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before all else: even the arguments take memory.
    if let Some(why) = flow_engine::limits::too_little_memory() {
        eprintln!("error: {why}");
        return Exit::Failed.into();
    }
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == cli::KEEPER) {
        keep(arguments.next());
        return Exit::Ok.into();
    }
    output::exit_code(run()).into()
}

/// The life of a keeper, which no terminal ends.
fn keep(folder: Option<OsString>) {
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        // Without its handler it would end like what it watches over.
        let _ = signal_hook::flag::register(signal, Arc::default());
    }
    if let Some(folder) = folder {
        flow_engine::leash::keep(folder.as_ref());
    }
}

fn run() -> Exit {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error),
    };
    // A file that grows past `ulimit -f` is an error of the write then, with words, and does not kill us in silence. Programs that are
    // started get the system's own way back. Where it cannot be registered, it is as it was.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    if let Some(why) = flow_engine::limits::too_few_processes() {
        output::print_error(&why, None);
        return Exit::Failed;
    }
    if let Some(program) = commands::run::this_program() {
        flow_engine::leash::configure(program, cli::KEEPER);
    }
    output::set_colour(cli.color);
    // A worker's warnings are told by the run that it works for.
    if !matches!(cli.command, cli::Command::Worker) {
        output::log(cli.verbose).init();
    }
    // A panic is caught where it can be dealt with (a node, a damaged index) and reported there; the default hook would
    // print it to the person as well.
    std::panic::set_hook(Box::new(|info| tracing::debug!("{info}")));
    match catch_unwind(AssertUnwindSafe(|| commands::dispatch(&cli))) {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => {
            output::print_failure(&failure);
            failure.exit()
        }
        Err(panic) => {
            let failure = bug(flow_cache::panic_text(panic.as_ref()));
            output::print_failure(&failure);
            failure.exit()
        }
    }
}

fn bug(text: &str) -> Failure {
    Failure::Other {
        exit: Exit::Failed,
        message: format!("flow has a bug: {text}"),
        help: Some("nothing in the cache is lost; please report this with what `-vv` prints".to_owned()),
    }
}

/// What clap has to say instead of a command line: help and version are results, the rest is an error.
fn print_usage(error: &clap::Error) -> Exit {
    let text = error.render().ansi().to_string();
    if error.use_stderr() {
        output::say_styled(text.trim_end());
        Exit::Usage
    } else {
        output::print_exact(&text);
        Exit::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_called_a_bug_and_says_what_to_do() {
        let Failure::Other { message, help, .. } = bug("index out of bounds") else {
            panic!("it is of no workflow");
        };
        insta::assert_snapshot!(format!("{message}\n  help: {}", help.unwrap_or_default()));
    }
}
