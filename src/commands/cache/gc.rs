//! `flow cache gc`: what stays and what goes.

use std::collections::BTreeSet;

use flow_cache::{ActionKey, GcOptions, Store};
use flow_engine::Runs;

use crate::exit::{Exit, Failure};
use crate::output::{bytes, count, duration, print_json, print_table, say};

/// Age in seconds from which on what was set aside, and checkpoints that nobody came back for, go: 30 days.
pub(super) const LITTER_S: f64 = 30.0 * 86_400.0;

/// The keys that some runs used: those that are named, and the newest.
pub(super) fn used_by(runs: &Runs, named: &[String], newest: usize) -> Result<BTreeSet<ActionKey>, Failure> {
    let mut kept = Vec::new();
    for id in named {
        // Where several may be meant, all of them are kept.
        kept.extend(runs.matching(id)?);
    }
    kept.extend(
        runs.list()?
            .into_iter()
            .filter(|run| run.summary.is_some())
            .take(newest),
    );
    let nodes = kept
        .into_iter()
        .filter_map(|run| run.summary)
        .flat_map(|summary| summary.nodes);
    Ok(nodes.filter_map(|node| node.key).collect())
}

/// Something must say what may go.
pub(super) fn must_say_what(options: &GcOptions, litter_older_than: Option<f64>) -> Result<(), Failure> {
    if options.max_bytes.is_none() && options.older_than_s.is_none() && litter_older_than.is_none() {
        let help = "give `--max-size 20GB`, `--older-than 30d` or `--litter-older-than 7d`; without `--delete` nothing is changed";
        return Err(Failure::usage("nothing says what may be removed", help));
    }
    Ok(())
}

/// Collects, or says what would go.
pub(super) fn collect(store: &Store, options: &GcOptions, json: bool) -> Result<Exit, Failure> {
    let report = store.gc(options)?;
    if json {
        print_json(&report)?;
        return Ok(Exit::Ok);
    }
    let rows = report.collected.iter().map(|entry| {
        vec![
            entry.key.short(),
            entry.node.clone(),
            entry.kind.clone(),
            bytes(entry.bytes),
            duration(entry.wall_s),
            format!("{} ago", duration(entry.age_s)),
        ]
    });
    print_table(&["key", "node", "kind", "size", "took", "last used"], rows.collect());
    let (verb, then) = if report.deleted {
        ("removed", "")
    } else {
        ("would be removed", "; `--delete` removes them")
    };
    say(&format!(
        "{} and {} {verb}: {} freed, {} kept{then}",
        count(report.collected.len(), "entry", "entries"),
        count(report.orphans, "unreferenced blob", "unreferenced blobs"),
        bytes(report.freed_bytes),
        bytes(report.kept_bytes)
    ));
    if report.litter > 0 {
        say(&format!(
            "{} {verb}: {}",
            count(report.litter, "damaged or abandoned file", "damaged or abandoned files"),
            bytes(report.litter_bytes)
        ));
    }
    if report.unreadable > 0 {
        say(&format!(
            "{} cannot be read, so every blob that may belong to one stays; `flow cache verify` names them",
            count(report.unreadable, "record", "records")
        ));
    }
    if report.over_bytes > 0 {
        say(&format!(
            "still {} over `--max-size`: {} pinned, tagged, or used by runs that are kept or running",
            bytes(report.over_bytes),
            count(report.protected, "entry is", "entries are")
        ));
    }
    Ok(Exit::Ok)
}
