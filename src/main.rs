//! `flow`, the command line: parses arguments, draws progress, prints tables. Everything else is in the crates below.

mod cli;
mod commands;
mod exit;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    output::set_colour(cli.color);
    output::start_log(cli.verbose);
    match commands::dispatch(&cli) {
        Ok(code) => code.into(),
        Err(failure) => {
            output::print_failure(&failure);
            failure.exit().into()
        }
    }
}
