//! `flow cache gc`, `pin`, `tag` and what belongs to them: what stays and what goes.

use std::collections::BTreeSet;
use std::path::Path;

use flow_cache::{ActionKey, GcOptions, Record, Store};
use flow_engine::Runs;

use super::one;
use crate::exit::{Exit, Failure};
use crate::output::{bytes, duration, print_json, print_table, say};

/// The keys that some runs used: those that are named, and the newest.
pub(super) fn used_by(runs: &Path, named: &[String], newest: usize) -> Result<BTreeSet<ActionKey>, Failure> {
    let runs = Runs::open(runs);
    let mut kept = Vec::new();
    for id in named {
        kept.push(runs.show(id)?);
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
        return Err(Failure::usage("say what may stay", help));
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
        ("went", "")
    } else {
        ("would go", "; `--delete` does it")
    };
    say(&format!(
        "{} entries {verb} and {} blobs that nothing refers to: {} freed, {} stay{then}",
        report.collected.len(),
        report.orphans,
        bytes(report.freed_bytes),
        bytes(report.kept_bytes)
    ));
    if report.over_bytes > 0 {
        say(&format!(
            "{} more than asked for: {} entries are pinned, tagged, or used by runs that are kept or under way",
            bytes(report.over_bytes),
            report.protected
        ));
    }
    Ok(Exit::Ok)
}

/// The entries that words stand for; one word may be a query.
fn entries(store: &Store, words: &[String]) -> Result<Vec<Record>, Failure> {
    if let [query] = words
        && query.contains([' ', '=', '<', '>', '~'])
    {
        return super::selected(store, query);
    }
    words.iter().map(|word| one(store, word)).collect()
}

/// Pins entries with a note, or unpins them.
pub(super) fn pin(store: &Store, words: &[String], note: Option<&String>) -> Result<Exit, Failure> {
    let mut changed = 0;
    for record in entries(store, words)? {
        match note {
            Some(note) => {
                store.pin(&record.key, note)?;
                changed += 1;
            }
            None => changed += usize::from(store.unpin(&record.key)?),
        }
    }
    say(&format!(
        "{changed} entries {}",
        if note.is_some() { "pinned" } else { "unpinned" }
    ));
    Ok(Exit::Ok)
}

/// Gives an entry a name.
pub(super) fn tag(store: &Store, name: &str, entry: &str) -> Result<Exit, Failure> {
    let record = one(store, entry)?;
    store.tag(name, &record.key)?;
    say(&format!("`{name}` is {} ({})", record.key.short(), record.node));
    Ok(Exit::Ok)
}

/// Takes a name away.
pub(super) fn untag(store: &Store, name: &str) -> Result<Exit, Failure> {
    if store.untag(name)? {
        return Ok(Exit::Ok);
    }
    Err(Failure::usage(
        format!("no tag `{name}`"),
        "`flow cache marks` lists them",
    ))
}

/// Lists pins and tags.
pub(super) fn marks(store: &Store, json: bool) -> Result<Exit, Failure> {
    let marks = store.marks()?;
    if json {
        let pins: Vec<_> = marks
            .pins
            .iter()
            .map(|(key, note)| serde_json::json!({ "key": key, "note": note }))
            .collect();
        print_json(&serde_json::json!({ "pins": pins, "tags": marks.tags }))?;
        return Ok(Exit::Ok);
    }
    let name = |key: &ActionKey| Ok::<_, Failure>(store.record(key)?.map_or_else(String::new, |record| record.node));
    let mut rows = Vec::new();
    for (tag, key) in &marks.tags {
        rows.push(vec!["tag".to_owned(), tag.clone(), key.short(), name(key)?]);
    }
    for (key, note) in &marks.pins {
        rows.push(vec!["pin".to_owned(), note.clone(), key.short(), name(key)?]);
    }
    print_table(&["", "name or note", "key", "node"], rows);
    Ok(Exit::Ok)
}
