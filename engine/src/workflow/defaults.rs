//! `[defaults]`: parameters that hold where a node does not say otherwise, for one kind (`[defaults.finetune]`) or for
//! every kind that takes them (`[defaults] seed = 3`). A kind's own come before those for all. A kind of which the
//! parameters depend on one another has its own only.

use std::collections::BTreeMap;

use super::diagnose::{Diagnostics, Problem, suggest};
use super::entries::table_of;
use super::node_table::{NodeTable, POLICY_KEYS, RESERVED};
use super::params::{explained, unknown_kind};
use super::tree::{Entry, find};
use crate::registry::Registry;

/// Checks `[defaults]` and puts them into the nodes' parameters.
pub(crate) fn apply(defaults: &[Entry], nodes: &mut [NodeTable], registry: &Registry, diagnostics: &mut Diagnostics) {
    if defaults.is_empty() {
        return;
    }
    let keys: BTreeMap<&str, Option<Vec<String>>> =
        registry.kinds().into_iter().map(|k| (k, registry.keys(k))).collect();
    let (of_kinds, of_all): (Vec<&Entry>, Vec<&Entry>) =
        defaults.iter().partition(|entry| keys.contains_key(entry.key.as_str()));
    let of_kinds: BTreeMap<&str, Vec<&Entry>> = of_kinds
        .into_iter()
        .map(|entry| {
            (
                entry.key.as_str(),
                of_kind(entry, keys[entry.key.as_str()].as_deref(), diagnostics),
            )
        })
        .collect();
    let of_all: Vec<&Entry> = of_all.into_iter().filter(|e| is_known(e, &keys, diagnostics)).collect();
    for node in nodes {
        let given: Vec<&str> = node.params.iter().map(|entry| entry.key.as_str()).collect();
        let keys = registry.keys_of_form(&node.kind, &given);
        let takes = |entry: &&&Entry, unknown: bool| {
            POLICY_KEYS.contains(&entry.key.as_str()) || keys.as_ref().map_or(unknown, |keys| keys.contains(&entry.key))
        };
        let own = of_kinds.get(node.kind.as_str()).into_iter().flatten();
        let own = own.filter(|entry| takes(entry, true));
        let common = of_all.iter().filter(|entry| takes(entry, false));
        for entry in own.chain(common) {
            if find(&node.params, &entry.key).is_none() {
                node.params.push((*entry).clone());
            }
        }
    }
}

/// The defaults of one kind that it knows.
fn of_kind<'a>(kind: &'a Entry, keys: Option<&[String]>, diagnostics: &mut Diagnostics) -> Vec<&'a Entry> {
    let Some(params) = table_of(&kind.value, &format!("defaults.{}", kind.key), diagnostics) else {
        return Vec::new();
    };
    let mut known = Vec::new();
    for param in params {
        if RESERVED.contains(&param.key.as_str()) {
            diagnostics.push(reserved(param));
        } else if POLICY_KEYS.contains(&param.key.as_str()) {
            known.push(param);
        } else if let Some(keys) = keys.filter(|keys| !keys.contains(&param.key)) {
            let message = format!("unknown key `{}`", param.key);
            let label = format!("not a key of {}", kind.key);
            let help = explained(&kind.key, None, &param.key, keys.iter().map(String::as_str));
            diagnostics.push(Problem::at("workflow::unknown_key", &param.key_span, message, label).help(help));
        } else {
            known.push(param);
        }
    }
    known
}

/// Whether any kind takes that parameter.
fn is_known(entry: &Entry, keys: &BTreeMap<&str, Option<Vec<String>>>, diagnostics: &mut Diagnostics) -> bool {
    if RESERVED.contains(&entry.key.as_str()) {
        diagnostics.push(reserved(entry));
        return false;
    }
    let mut all: Vec<&str> = keys.values().flatten().flatten().map(String::as_str).collect();
    all.sort_unstable();
    all.dedup();
    if all.contains(&entry.key.as_str()) || POLICY_KEYS.contains(&entry.key.as_str()) {
        return true;
    }
    let names = keys.keys().copied();
    diagnostics.push(if entry.value.table().is_some() {
        let known: Vec<&str> = names.collect();
        unknown_kind(&entry.key, &entry.key_span, &known)
    } else {
        let message = format!("no node kind has a parameter `{}`", entry.key);
        let known = all.into_iter().chain(names);
        Problem::at("workflow::unknown_key", &entry.key_span, message, "no such parameter").help(suggest(
            &entry.key,
            "parameters",
            known,
        ))
    });
    false
}

fn reserved(param: &Entry) -> Problem {
    let message = format!("`{}` has no default", param.key);
    Problem::at("workflow::unknown_key", &param.key_span, message, "not here").help("write it in the node's own table")
}
