//! `flow cache pin`, `tag` and `marks`: what is never collected, and names for entries.

use flow_cache::{ActionKey, Record, Store};

use crate::exit::{Exit, Failure};
use crate::output::{count, print_json, print_table, say};

/// Pins entries with a note, or unpins them.
pub(super) fn pin(store: &Store, entries: &[Record], note: Option<&String>) -> Result<Exit, Failure> {
    let mut changed = 0;
    for record in entries {
        match note {
            Some(note) => {
                store.pin(&record.key, note)?;
                changed += 1;
            }
            None => changed += usize::from(store.unpin(&record.key)?),
        }
    }
    say(&format!(
        "{} {}",
        count(changed, "entry", "entries"),
        if note.is_some() { "pinned" } else { "unpinned" }
    ));
    Ok(Exit::Ok)
}

/// Gives an entry a name.
pub(super) fn tag(store: &Store, name: &str, record: &Record) -> Result<Exit, Failure> {
    store.tag(name, &record.key)?;
    say(&format!("`{name}` is {} ({})", record.key.short(), record.node));
    Ok(Exit::Ok)
}

/// Takes a name away.
pub(super) fn untag(store: &Store, name: &str) -> Result<Exit, Failure> {
    if store.untag(name)? {
        say(&format!("`{name}` removed"));
        return Ok(Exit::Ok);
    }
    Err(Failure::usage(
        format!("no tag `{name}`"),
        "`flow cache marks` lists them",
    ))
}

/// Lists pins and tags.
pub(super) fn list(store: &Store, json: bool) -> Result<Exit, Failure> {
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
