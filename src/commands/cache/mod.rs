//! `flow cache`: entries of the artifact cache.

mod archive;
mod explain;
mod gc;
mod marks;
mod network;

use std::io::IsTerminal;

use flow_cache::{GcOptions, Record, Sharing, Store};
use flow_engine::Runs;

use super::look_into_store;
use crate::cli::{CacheCommand, Cli, ExportTo};
use crate::exit::{Exit, Failure};
use crate::handle::Handles;
use crate::output::{bytes, count, duration, print, print_exact, print_json, print_json_lines, print_table, say, when};

/// Metrics shown in a list, if there are any.
const SHOWN_METRICS: usize = 3;

pub(crate) fn cache(cli: &Cli, command: &CacheCommand) -> Result<Exit, Failure> {
    let store = match command {
        // An empty cache can be filled from an archive.
        CacheCommand::Import(_) => super::open_store(cli)?,
        CacheCommand::Init { shared } => return init(cli, *shared),
        _ => look_into_store(cli)?,
    };
    let runs = Runs::open(&cli.runs);
    let handles = Handles {
        store: &store,
        runs: &runs,
    };
    match command {
        CacheCommand::Ls { json } => list(&store.records()?, *json),
        CacheCommand::Query {
            query,
            json,
            path: false,
        } => list(&selected(&store, query)?, *json),
        CacheCommand::Query { query, .. } => paths(&store, &selected(&store, query)?),
        CacheCommand::Show { entry, json } => show(&handles.entry(entry)?, *json),
        CacheCommand::Diff { a, b, json } => explain::diff(&handles.entry(a)?, &handles.entry(b)?, *json),
        CacheCommand::Why { entry, json } => explain::why(&store, &handles.entry(entry)?, *json),
        CacheCommand::Tree { entry, down, json } => explain::tree(&store, &handles.entry(entry)?, *down, *json),
        CacheCommand::Export {
            entries,
            to: to @ (ExportTo::Torch | ExportTo::Onnx),
            output,
            with_preprocessing,
            ..
        } => match (entries.as_slice(), to) {
            ([entry], ExportTo::Onnx) => network::to_onnx(&store, &handles.entry(entry)?, *with_preprocessing, output),
            ([entry], _) => network::to_torch(&store, &handles.entry(entry)?, output),
            _ => Err(Failure::usage(
                "one network makes a file",
                "name one entry with `--to torch` or `--to onnx`",
            )),
        },
        CacheCommand::Export {
            entries,
            with_inputs,
            output,
            ..
        } => archive::export(&store, handles.entries(entries)?, *with_inputs, output),
        CacheCommand::Import(args) => archive::import(&store, args),
        CacheCommand::Gc {
            max_size,
            older_than,
            keep_run,
            keep_runs,
            litter_older_than,
            delete,
            json,
        } => {
            let keep = gc::used_by(&runs, keep_run, *keep_runs)?;
            let options = GcOptions {
                max_bytes: *max_size,
                older_than_s: *older_than,
                keep,
                litter_older_than_s: litter_older_than.or(Some(gc::LITTER_S)),
                delete: *delete,
            };
            gc::must_say_what(&options, *litter_older_than)?;
            gc::collect(&store, &options, *json)
        }
        CacheCommand::Pin { entries, note } => marks::pin(&store, &handles.entries(entries)?, Some(note)),
        CacheCommand::Unpin { entries } => marks::pin(&store, &handles.entries(entries)?, None),
        CacheCommand::Tag { name, entry } => marks::tag(&store, name, &handles.entry(entry)?),
        CacheCommand::Untag { name } => marks::untag(&store, name),
        CacheCommand::Marks { json } => marks::list(&store, *json),
        CacheCommand::Init { shared } => init(cli, *shared),
        CacheCommand::Verify { repair, json } => verify(&store, *repair, *json),
        CacheCommand::Rebuild => {
            let records = store.rebuild_index()?;
            say(&format!("index rebuilt: {}", count(records, "entry", "entries")));
            Ok(Exit::Ok)
        }
    }
}

/// Makes a cache, or changes whose it is.
fn init(cli: &Cli, shared: bool) -> Result<Exit, Failure> {
    let sharing = if shared { Sharing::Group } else { Sharing::Private };
    let store = Store::init(&cli.cache, sharing)?;
    let whose = if shared { "its group" } else { "its owner only" };
    say(&format!(
        "the cache in {} may be used by {whose}",
        store.root().display()
    ));
    #[cfg(unix)]
    for folder in std::path::absolute(store.root())
        .unwrap_or_default()
        .ancestors()
        .skip(1)
        .filter(|_| shared)
    {
        let mode = std::fs::metadata(folder).map(|data| std::os::unix::fs::PermissionsExt::mode(&data.permissions()));
        if mode.is_ok_and(|mode| mode & 0o011 == 0) {
            say(&format!(
                "only its owner can enter {}: let the group in with `chmod g+x`",
                folder.display()
            ));
        }
    }
    Ok(Exit::Ok)
}

/// The entries that a query selects.
fn selected(store: &Store, query: &str) -> Result<Vec<Record>, Failure> {
    let found = store.query(query, &flow_nodes::registry().kinds())?;
    if found.is_empty() {
        for (name, nearest) in store.unknown_params(query)? {
            let nearest = nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
            say(&format!("note: no entry has a parameter `{name}`{nearest}"));
        }
    }
    Ok(found)
}

fn list(records: &[Record], json: bool) -> Result<Exit, Failure> {
    if json {
        print_json_lines(records)?;
        return Ok(Exit::Ok);
    }
    let rows = records.iter().map(|record| {
        let metric = |(name, value): (&String, &f64)| format!("{name} {}", number(*value));
        let metrics: Vec<String> = record.metrics.iter().take(SHOWN_METRICS).map(metric).collect();
        vec![
            record.key.short(),
            record.node.clone(),
            record.kind.clone(),
            when(record.finished_unix_ms),
            duration(record.cost.wall_s),
            bytes(record.size()),
            metrics.join("  "),
        ]
    });
    print_table(
        &["key", "node", "kind", "finished", "took", "size", "metrics"],
        rows.collect(),
    );
    Ok(Exit::Ok)
}

/// A metric with four digits behind the point, or none if it is whole.
fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.4}")
    }
}

fn paths(store: &Store, records: &[Record]) -> Result<Exit, Failure> {
    for record in records {
        if let Some(artifact) = store.peek(&record.key)? {
            for path in artifact.names().filter_map(|name| artifact.path(name)) {
                // A program takes the path as it is.
                match std::io::stdout().is_terminal() {
                    true => print(&format!("{}\n", path.display())),
                    false => print_exact(&format!("{}\n", path.display())),
                }
            }
        }
    }
    Ok(Exit::Ok)
}

fn show(record: &Record, json: bool) -> Result<Exit, Failure> {
    if json {
        print_json(record)?;
        return Ok(Exit::Ok);
    }
    let mut rows = vec![
        vec!["key".into(), record.key.to_string()],
        vec![
            "node".into(),
            format!("{} ({}) of {}", record.node, record.kind, record.workflow),
        ],
        vec!["finished".into(), when(record.finished_unix_ms)],
        vec![
            "took".into(),
            format!(
                "{} on {} of {}",
                duration(record.cost.wall_s),
                count(record.cost.threads as usize, "thread", "threads"),
                record.host
            ),
        ],
        vec!["made by".into(), format!("flow {}", record.flow_version)],
    ];
    rows.extend(
        record
            .components
            .iter()
            .map(|(name, value)| vec![name.to_string(), value.to_string()]),
    );
    rows.extend(
        record
            .metrics
            .iter()
            .map(|(name, value)| vec![format!("metrics.{name}"), value.to_string()]),
    );
    for (name, file) in &record.outputs {
        rows.push(vec![
            format!("output {name}"),
            format!("{} {}", file.digest, bytes(file.bytes)),
        ]);
    }
    print_table(&["", ""], rows);
    Ok(Exit::Ok)
}

fn verify(store: &Store, repair: bool, json: bool) -> Result<Exit, Failure> {
    let report = if repair { store.repair() } else { store.verify() }?;
    let exit = if repair || report.is_sound() {
        Exit::Ok
    } else {
        Exit::Corrupt
    };
    if json {
        print_json(&report)?;
        return Ok(exit);
    }
    let faults = [
        ("corrupt", &report.corrupt),
        ("missing", &report.missing),
        ("unreadable", &report.unreadable),
    ];
    for (what, faults) in faults {
        for fault in faults {
            let output = fault.output.as_deref().unwrap_or("record");
            print(&format!("{what} {} {output}: {}\n", fault.key.short(), fault.why));
        }
    }
    say(&format!(
        "{} valid, {} corrupt, {} with something missing; {} hashed",
        count(report.ok.len(), "entry", "entries"),
        report.corrupt.len(),
        report.missing.len(),
        bytes(report.bytes)
    ));
    if !report.unreadable.is_empty() {
        say(&format!(
            "{} cannot be read, and were left alone: another version of flow wrote them, or this user may not read them",
            report.unreadable.len()
        ));
    }
    if !report.is_sound() {
        say(if repair {
            "what was damaged is set aside, in the cache's quarantine directory; the next run that needs it recomputes it"
        } else {
            "the next run that needs a damaged entry recomputes it; `--repair` sets it aside now"
        });
    }
    Ok(exit)
}
