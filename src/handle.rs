//! What a word on the command line stands for. One way for every command: entries of the cache by tag, by the name of a node with
//! or without bindings, by key, or as run and node (`RUN:NODE`); runs by the beginning or end of their id. Of several the newest is
//! taken, and that is said.

use std::collections::BTreeSet;

use flow_cache::{Record, Store, name};
use flow_engine::workflow::suggest;
use flow_engine::{NodeOutcome, Run, Runs, RunsError};

use crate::exit::{Exit, Failure};
use crate::output::say;

/// Entries or runs that are named where a word stands for several.
const SHOWN: usize = 6;

/// Letters of a run's id that are not taken for anything else.
const RUN_LETTERS: usize = 6;

/// Where words are looked up.
pub(crate) struct Handles<'a> {
    pub(crate) store: &'a Store,
    pub(crate) runs: &'a Runs,
}

impl Handles<'_> {
    /// The entry that a word stands for; of several the newest.
    pub(crate) fn entry(&self, word: &str) -> Result<Record, Failure> {
        let mut found = self.all(word)?;
        let label = |record: &Record| format!("{} ({})", record.node, record.key.short());
        say_several(word, "entries", found.iter().map(label));
        Ok(found.swap_remove(0))
    }

    /// The entries that words stand for, where several may be given: of a run, all that it used. One word may be a query.
    pub(crate) fn entries(&self, words: &[String]) -> Result<Vec<Record>, Failure> {
        if let [query] = words
            && name::Name::parse(query).is_none()
            && query.contains([' ', '=', '<', '>', '~'])
        {
            return Ok(self.store.query(query, &flow_nodes::registry().kinds())?);
        }
        let mut entries = Vec::new();
        for word in words {
            match self.store.find(word)?.is_empty() {
                true if !word.contains(':') => entries.extend(self.of_run(word)?),
                _ => entries.push(self.entry(word)?),
            }
        }
        Ok(entries)
    }

    /// Everything that a word stands for, newest first: at least one.
    fn all(&self, word: &str) -> Result<Vec<Record>, Failure> {
        let found = self.store.find(word)?;
        if !found.is_empty() {
            return Ok(found);
        }
        match word.split_once(':') {
            Some((id, node)) => self.of_node(&run(self.runs, id)?, node),
            None => self.of_run(word),
        }
    }

    /// What a run used for a node.
    fn of_node(&self, run: &Run, node: &str) -> Result<Vec<Record>, Failure> {
        let nodes = nodes(run);
        let named = name::select(node, nodes.iter().collect(), |node: &&NodeOutcome| {
            vec![node.name.as_str()]
        });
        if named.is_empty() {
            let known = nodes.iter().map(|node| node.name.as_str());
            return Err(Failure::usage(
                format!("run {} has no node `{node}`", run.id),
                suggest(node, "nodes of the run", known),
            ));
        }
        let found = self.records(&named)?;
        match found.is_empty() {
            true => Err(Failure::failed(format!(
                "run {} has no artifact of `{node}` in the cache",
                run.id
            ))),
            false => Ok(found),
        }
    }

    /// What a run used, if the word is a run's.
    fn of_run(&self, word: &str) -> Result<Vec<Record>, Failure> {
        let runs = match self.runs.matching(word) {
            Ok(runs) if word.len() >= RUN_LETTERS => runs,
            _ => return Err(self.no_entry(word)),
        };
        let nodes = nodes(newest(word, &runs)?);
        let found = self.records(&nodes.iter().collect::<Vec<_>>())?;
        if found.is_empty() {
            return Err(Failure::failed(format!(
                "no artifact that run {word} used is in the cache"
            )));
        }
        Ok(found)
    }

    /// The records of nodes, newest first, each once.
    fn records(&self, nodes: &[&NodeOutcome]) -> Result<Vec<Record>, Failure> {
        let keys: BTreeSet<_> = nodes.iter().filter_map(|node| node.key).collect();
        let mut records = Vec::new();
        for key in keys {
            records.extend(self.store.record(&key)?);
        }
        records.sort_by_key(|record| std::cmp::Reverse((record.finished_unix_ms, record.key)));
        Ok(records)
    }

    /// A word that stands for nothing, with what may be meant: of a node that is known its instances, or else the names of nodes.
    fn no_entry(&self, word: &str) -> Failure {
        let known = || -> Result<(BTreeSet<String>, BTreeSet<String>), flow_cache::CacheError> {
            let mut instances: BTreeSet<String> = self.store.records()?.into_iter().map(|r| r.node).collect();
            instances.extend(self.store.other_names()?.into_values().flatten());
            Ok((instances, self.store.marks()?.tags.into_keys().collect()))
        };
        let (instances, tags) = match known() {
            Ok(known) => known,
            Err(error) => return error.into(),
        };
        let base = |text: &str| name::Name::parse(text).map(|name| name.base().to_owned());
        let of_node = instances.iter().filter(|instance| base(instance) == base(word));
        let mut names: BTreeSet<String> = of_node.cloned().collect();
        if names.is_empty() {
            names = instances.iter().filter_map(|instance| base(instance)).collect();
            names.extend(tags);
        }
        let nearest = suggest(word, "names", names.iter().map(String::as_str));
        let help = format!(
            "{nearest}; an entry is asked for by a node's name (with bindings: `fit[seed=0]`), a tag, the beginning of a key (four \
             digits or more) or `RUN:NODE`"
        );
        Failure::usage(format!("no entry `{word}`"), help)
    }
}

/// The run that a word stands for: of several the newest.
pub(crate) fn run(runs: &Runs, word: &str) -> Result<Run, Failure> {
    Ok(newest(word, &runs.matching(word)?)?.clone())
}

/// The run that a word stands for; the newest of all without one.
pub(crate) fn run_or_newest(runs: &Runs, word: Option<&str>) -> Result<Run, Failure> {
    let Some(word) = word else {
        let newest = runs.list()?.into_iter().next();
        return newest.ok_or_else(|| Failure::usage("no runs yet", "start one with `flow run FILE.toml`"));
    };
    run(runs, word)
}

fn newest<'a>(word: &str, runs: &'a [Run]) -> Result<&'a Run, Failure> {
    say_several(word, "runs", runs.iter().map(|run| run.id.clone()));
    runs.first()
        .ok_or_else(|| Failure::failed("BUG: no run is among those that were found"))
}

fn nodes(run: &Run) -> &[NodeOutcome] {
    run.summary.as_ref().map_or(&[], |summary| summary.nodes.as_slice())
}

/// Says which of several is taken: the first.
fn say_several(word: &str, what: &str, mut labels: impl ExactSizeIterator<Item = String>) {
    let count = labels.len();
    let Some(first) = labels.next().filter(|_| count > 1) else {
        return;
    };
    let others: Vec<String> = labels.by_ref().take(SHOWN).collect();
    let more = match labels.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    say(&format!(
        "`{word}` matches {count} {what}: using the newest, {first}, not {}{more}",
        others.join(", ")
    ));
}

impl From<RunsError> for Failure {
    fn from(error: RunsError) -> Self {
        let (exit, help) = match &error {
            RunsError::NotFound { id, known, .. } => {
                // The short id is last.
                let short = known.iter().map(|id| id.rsplit('-').next().unwrap_or(id));
                (Exit::Usage, Some(suggest(id, "runs", short)))
            }
            RunsError::Io { .. } => {
                let help = "`--runs DIR` puts run directories elsewhere";
                (Exit::Failed, Some(help.to_owned()))
            }
            RunsError::Damaged { .. } => (Exit::Failed, None),
        };
        Self::Other {
            exit,
            message: error.to_string(),
            help,
        }
    }
}
