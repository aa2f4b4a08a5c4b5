//! `flow cache gc`: what stays and what goes.

use std::collections::BTreeSet;

use flow_cache::{ActionKey, GcOptions, Store};
use flow_engine::Runs;

use crate::exit::{Exit, Failure};
use crate::output::{bytes, duration, print_json, print_table, say};

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

/// Collects, or says what would go.
pub(super) fn collect(store: &Store, options: &GcOptions, json: bool) -> Result<Exit, Failure> {
    if options.max_bytes.is_none() && options.older_than_s.is_none() {
        let help = "give `--max-size 20GB`, `--older-than 30d` or both; without `--delete` nothing is changed";
        return Err(Failure::usage("it is not specified what to remove", help));
    }
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
        "{} entries and {} unreferenced blobs {verb}: {} freed, {} kept{then}",
        report.collected.len(),
        report.orphans,
        bytes(report.freed_bytes),
        bytes(report.kept_bytes)
    ));
    if report.over_bytes > 0 {
        say(&format!(
            "still {} over `--max-size`: {} entries are pinned, tagged, or used by runs that are kept or running",
            bytes(report.over_bytes),
            report.protected
        ));
    }
    Ok(Exit::Ok)
}
