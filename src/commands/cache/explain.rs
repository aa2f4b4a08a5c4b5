//! Why an entry is not another one, and what it comes from and leads to.

use std::collections::HashMap;

use flow_cache::{ActionKey, Change, Record, Store};
use serde_json::{Value, json};

use super::number;
use crate::exit::{Exit, Failure};
use crate::output::{print, print_json, print_table, say, when};

/// Digits of a digest that are shown.
const DIGEST_SHOWN: usize = 12;

/// `flow cache why NODE`: what made the entry a miss when it ran, seen from the earlier entry that is most like it.
pub(super) fn why(store: &Store, record: &Record, json: bool) -> Result<Exit, Failure> {
    match store.nearest(record)? {
        Some(nearest) => diff(&nearest, record, json),
        None if json => {
            print_json(&json!({ "version": 1, "from": null, "to": record.key, "changes": [], "reason": "new" }))?;
            Ok(Exit::Ok)
        }
        None => {
            print(&format!(
                "{} {} ran because it was new: no {} node had run before\n",
                record.key.short(),
                record.node,
                record.kind
            ));
            Ok(Exit::Ok)
        }
    }
}

/// `flow cache diff A B`: components and metrics that differ, from A to B.
pub(super) fn diff(from: &Record, to: &Record, json: bool) -> Result<Exit, Failure> {
    let changes = from.components.diff(&to.components);
    if json {
        let change = |c: &Change| json!({ "name": c.name, "old": c.old, "new": c.new });
        let metrics: serde_json::Map<String, Value> = metrics(from, to)
            .map(|(name, a, b)| (name.clone(), json!([a, b])))
            .collect();
        print_json(&json!({
            "version": 1, "from": from.key, "to": to.key, "changes": changes.iter().map(change).collect::<Vec<_>>(), "metrics": metrics,
        }))?;
        return Ok(Exit::Ok);
    }
    let entry = |r: &Record| format!("{} {} of {}", r.key.short(), r.node, when(r.finished_unix_ms));
    print(&format!("from {}\nto   {}\n\n", entry(from), entry(to)));
    if changes.is_empty() {
        print("no difference in anything that the key depends on\n");
    } else {
        let row = |c: &Change| {
            vec![
                c.name.clone(),
                shown(c.old.as_ref()),
                "->".to_owned(),
                shown(c.new.as_ref()),
            ]
        };
        print_table(&["changed", "", "", ""], changes.iter().map(row).collect());
    }
    let metric = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
    let rows: Vec<Vec<String>> = metrics(from, to)
        .filter(|(_, a, b)| a != b)
        .map(|(name, a, b)| {
            let delta = a.zip(b).map_or_else(String::new, |(a, b)| format!("{:+.4}", b - a));
            vec![name.clone(), metric(a), metric(b), delta]
        })
        .collect();
    if !rows.is_empty() {
        print("\n");
        print_table(&["metric", "from", "to", "difference"], rows);
    }
    Ok(Exit::Ok)
}

/// Every metric of either record, by name.
fn metrics<'a>(from: &'a Record, to: &'a Record) -> impl Iterator<Item = (&'a String, Option<f64>, Option<f64>)> {
    let mut names: Vec<&String> = from.metrics.keys().chain(to.metrics.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| (name, from.metrics.get(name).copied(), to.metrics.get(name).copied()))
}

/// A component's value; of a digest, its beginning.
fn shown(value: Option<&Value>) -> String {
    match value {
        None => "not set".to_owned(),
        Some(Value::String(text)) if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            text[..DIGEST_SHOWN].to_owned()
        }
        Some(value) => value.to_string(),
    }
}

/// `flow cache tree ENTRY`: what it was made from, or with `down` what was made from it.
pub(super) fn tree(store: &Store, root: &Record, down: bool, json: bool) -> Result<Exit, Failure> {
    let records: HashMap<ActionKey, Record> = store.records()?.into_iter().map(|r| (r.key, r)).collect();
    let mut next: HashMap<ActionKey, Vec<ActionKey>> = HashMap::new();
    for record in records.values() {
        for input in &record.inputs {
            let (from, to) = if down {
                (*input, record.key)
            } else {
                (record.key, *input)
            };
            next.entry(from).or_default().push(to);
        }
    }
    let name = |key: &ActionKey| records.get(key).map_or("", |r| r.node.as_str());
    for keys in next.values_mut() {
        keys.sort_by(|a, b| (name(a), a.to_string()).cmp(&(name(b), b.to_string())));
        keys.dedup();
    }
    // Depth first; an entry that several others depend on is opened up once.
    let mut lines: Vec<(usize, ActionKey, bool)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut open = vec![(0, root.key)];
    while let Some((depth, key)) = open.pop() {
        let first = seen.insert(key);
        lines.push((depth, key, first));
        if first {
            open.extend(next.get(&key).into_iter().flatten().rev().map(|k| (depth + 1, *k)));
        }
    }
    if json {
        let line =
            |(depth, key, _): &(usize, ActionKey, bool)| json!({ "depth": depth, "key": key, "node": name(key) });
        print_json(&json!({ "version": 1, "down": down, "entries": lines.iter().map(line).collect::<Vec<_>>() }))?;
        return Ok(Exit::Ok);
    }
    for (depth, key, first) in &lines {
        let what = records.get(key).map_or_else(
            || "no longer in the cache".to_owned(),
            |r| format!("{} ({})", r.node, r.kind),
        );
        let again = if *first || !next.contains_key(key) {
            ""
        } else {
            "  as above"
        };
        print(&format!("{}{} {what}{again}\n", "  ".repeat(*depth), key.short()));
    }
    if lines.len() == 1 {
        say(if down {
            "nothing depends on it"
        } else {
            "it depends on nothing else in the cache"
        });
    }
    Ok(Exit::Ok)
}
