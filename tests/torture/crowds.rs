//! Several commands at once on one cache.

use std::time::Duration;

use rustix::process::Signal;

use crate::Tried;
use crate::site::{Dice, Site, Started, undisturbed};

/// Both end with all done.
fn all_done(run: Started) -> Result<(), String> {
    let ended = run.end()?.must_be(&[0])?;
    match ended.stderr.contains("not run") {
        true => Err(format!("it ended before all was done: {}", ended.stderr)),
        false => Ok(()),
    }
}

pub(crate) fn pair(dice: &mut Dice) -> Tried {
    let (site, salts) = (Site::new(), dice.salts(2));
    let run = Site::run_of(&salts, 1 + dice.roll(2));
    let runs = [site.start(&run), site.start(&run)];
    runs.into_iter().try_for_each(all_done)?;
    site.right()?;
    // All of the checks take as long as the pair: one in ten has them.
    match dice.roll(10) {
        0 => site.holds(&salts).map(|()| true),
        _ => Ok(site.published(&salts)? == salts.len() * crate::site::NODES),
    }
}

pub(crate) fn takeover(dice: &mut Dice) -> Tried {
    let (site, salts) = (Site::new(), dice.salts(2));
    let run = Site::run_of(&salts, 1 + dice.roll(2));
    let (killed, other) = (site.start(&run), site.start(&run));
    let struck = killed.kill(dice, Duration::from_millis(80));
    all_done(other)?;
    site.holds(&salts).map(|()| struck)
}

/// Two to six runs, with collections, verifications, rebuilds, imports and queries beside them. One in four is killed, one in four suspended for
/// a while; every other one ends well.
pub(crate) fn crowd(dice: &mut Dice) -> Tried {
    const BESIDE: [&[&str]; 9] = [
        &["cache", "gc", "--max-size", "0", "--keep-runs", "0", "--delete"],
        &["cache", "gc", "--max-size", "0", "--keep-runs", "0", "--delete"],
        &["cache", "verify", "--repair"],
        &["cache", "verify"],
        &["cache", "rebuild"],
        &["cache", "import", "all"],
        &["cache", "query", "kind = concat order by node"],
        &["cache", "ls"],
        &["runs", "gc", "--keep", "1"],
    ];
    let site = Site::new();
    let (_, archive) = undisturbed();
    std::fs::write(site.path("all"), archive).map_err(|error| error.to_string())?;
    site.run(&[7])?;
    let mut started = Vec::new();
    for _ in 0..2 + dice.roll(5) {
        started.push((site.start(&Site::run_of(&dice.salts(3), 1 + dice.roll(2))), true));
        for _ in 0..dice.roll(3) {
            started.push((site.start(*dice.pick(&BESIDE)), false));
        }
    }
    let mut left = Vec::new();
    for (command, is_run) in started {
        match dice.roll(4) {
            0 => drop(command.kill(dice, Duration::from_millis(30))),
            1 => {
                command.signal(Signal::STOP);
                std::thread::sleep(Duration::from_micros(dice.roll(30_000)));
                command.signal(Signal::CONT);
                left.push((command, is_run));
            }
            _ => left.push((command, is_run)),
        }
    }
    for (command, is_run) in left {
        match is_run {
            true => all_done(command)?,
            // A rebuild says so if another process has the index.
            false => drop(command.end()?.must_be(&[0, 5])?),
        }
    }
    site.no_orphans()?;
    let salts: Vec<u64> = (0..crate::site::SALTS).collect();
    site.run(&salts)?;
    // A rebuild moves the old index there.
    site.whole(&salts, &["quarantine"]).map(|()| true)
}
