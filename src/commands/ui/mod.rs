//! `flow ui`: runs as live pages, for one person on this machine. It reads run directories and the cache, so that it shows runs that it did not
//! start, after a crash, and several at once.

mod answers;
mod events;
mod pages;
mod server;
mod site;

pub(crate) use self::server::{Served, until};
use super::report;
use super::run::Signals;
use crate::cli::{Cli, UiArgs};
use crate::exit::{Exit, Failure};
use crate::output::{print, say};

pub(crate) fn ui(cli: &Cli, args: &UiArgs) -> Result<Exit, Failure> {
    let signals = Signals::listen(None)?;
    let served = Served::start(cli, args.port)?;
    print(&format!("{}\n", served.address));
    if !cli.quiet {
        say("Ctrl-C ends it; whoever has this address can see these runs, and stop them");
    }
    if args.open {
        report::open(&served.address)?;
    }
    until(&signals.stop);
    Ok(Exit::Ok)
}
