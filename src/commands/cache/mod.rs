//! `flow cache`: entries of the artifact cache.

mod archive;
mod explain;
mod gc;
mod marks;
mod network;

use flow_cache::{GcOptions, Record, Store};
use flow_engine::Runs;

use super::look_into_store;
use crate::cli::{CacheCommand, Cli, ExportTo};
use crate::exit::{Exit, Failure};
use crate::handle::Handles;
use crate::output::{bytes, duration, print, print_json, print_json_lines, print_table, say, when};

/// Figures shown in a list, if there are any.
const SHOWN_METRICS: usize = 3;

pub(crate) fn cache(cli: &Cli, command: &CacheCommand) -> Result<Exit, Failure> {
    let store = match command {
        // An empty cache can be filled from an archive.
        CacheCommand::Import { .. } => super::open_store(cli)?,
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
        CacheCommand::Import { archive } => archive::import(&store, archive),
        CacheCommand::Gc {
            max_size,
            older_than,
            keep_run,
            keep_runs,
            delete,
            json,
        } => {
            let keep = gc::used_by(&runs, keep_run, *keep_runs)?;
            let options = GcOptions {
                max_bytes: *max_size,
                older_than_s: *older_than,
                keep,
                delete: *delete,
            };
            gc::collect(&store, &options, *json)
        }
        CacheCommand::Pin { entries, note } => marks::pin(&store, &handles.entries(entries)?, Some(note)),
        CacheCommand::Unpin { entries } => marks::pin(&store, &handles.entries(entries)?, None),
        CacheCommand::Tag { name, entry } => marks::tag(&store, name, &handles.entry(entry)?),
        CacheCommand::Untag { name } => marks::untag(&store, name),
        CacheCommand::Marks { json } => marks::list(&store, *json),
        CacheCommand::Verify { repair, json } => verify(&store, *repair, *json),
        CacheCommand::Rebuild => {
            let records = store.rebuild_index()?;
            say(&format!("index rebuilt: {records} entries"));
            Ok(Exit::Ok)
        }
    }
}

/// The entries that a query selects.
fn selected(store: &Store, query: &str) -> Result<Vec<Record>, Failure> {
    Ok(store.query(query, &flow_nodes::registry().kinds())?)
}

fn size(record: &Record) -> u64 {
    record.outputs.values().map(|file| file.bytes).sum()
}

fn list(records: &[Record], json: bool) -> Result<Exit, Failure> {
    if json {
        print_json_lines(records)?;
        return Ok(Exit::Ok);
    }
    let rows = records.iter().map(|record| {
        let figure = |(name, value): (&String, &f64)| format!("{name} {}", number(*value));
        let metrics: Vec<String> = record.metrics.iter().take(SHOWN_METRICS).map(figure).collect();
        vec![
            record.key.short(),
            record.node.clone(),
            record.kind.clone(),
            when(record.finished_unix_ms),
            duration(record.cost.wall_s),
            bytes(size(record)),
            metrics.join("  "),
        ]
    });
    print_table(
        &["key", "node", "kind", "finished", "took", "size", "metrics"],
        rows.collect(),
    );
    Ok(Exit::Ok)
}

/// A figure with four digits behind the point, or none if it is whole.
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
                print(&format!("{}\n", path.display()));
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
                "{} on {} thread(s) of {}",
                duration(record.cost.wall_s),
                record.cost.threads,
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
    let report = store.verify()?;
    if repair {
        let mut aside: Vec<_> = report.corrupt.iter().chain(&report.missing).collect();
        aside.dedup_by_key(|fault| fault.key);
        for fault in aside {
            store.discard(&fault.key, &fault.why)?;
        }
    }
    let exit = if repair || report.is_sound() {
        Exit::Ok
    } else {
        Exit::Corrupt
    };
    if json {
        print_json(&report)?;
        return Ok(exit);
    }
    for (what, faults) in [("corrupt", &report.corrupt), ("missing", &report.missing)] {
        for fault in faults {
            let output = fault.output.as_deref().unwrap_or("record");
            print(&format!("{what} {} {output}: {}\n", fault.key.short(), fault.why));
        }
    }
    say(&format!(
        "{} entries sound, {} corrupt, {} with something missing; {} hashed",
        report.ok.len(),
        report.corrupt.len(),
        report.missing.len(),
        bytes(report.bytes)
    ));
    if !report.is_sound() {
        say(if repair {
            "what was damaged is set aside, in the cache's quarantine folder; the next run that needs it makes it anew"
        } else {
            "the next run that needs a damaged entry makes it anew; `--repair` sets it aside now"
        });
    }
    Ok(exit)
}
