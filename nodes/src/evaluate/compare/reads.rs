//! How often the test images were looked at, and how many of them are elsewhere too. It is counted anew for each report, from the records of the cache:
//! no artifact has it.

use std::collections::{BTreeMap, BTreeSet};

use flow_cache::{ActionKey, Digest};
use flow_engine::node::{InputCost, Lineage, NodeError};
use serde_json::Value;

use super::verdict::Verdict;
use crate::artifacts::SplitName;

/// In words; `None` where there is nothing to say.
pub(super) fn words(
    verdict: &Verdict,
    lineage: &Lineage<'_>,
    inputs: &[InputCost],
) -> Result<Option<String>, NodeError> {
    let said: Vec<String> = times(verdict, lineage)?.into_iter().chain(leaks(inputs)).collect();
    Ok((!said.is_empty()).then(|| said.join(" ")))
}

/// Images that are in two splits, where data sets looked for them.
fn leaks(inputs: &[InputCost]) -> Option<String> {
    let mut seen = BTreeSet::new();
    let records = inputs.iter().flat_map(|input| &input.records);
    let (mut exact, mut near, mut dropped) = (0.0, 0.0, 0.0);
    for record in records.filter(|record| record.kind == "dataset" && seen.insert(record.key)) {
        let metric = |name: &str| record.metrics.get(name).copied().unwrap_or(0.0);
        exact += metric("leaks_exact");
        near += metric("leaks_near");
        dropped += metric("leaks_dropped");
    }
    let then = match dropped > 0.0 {
        true => format!("{dropped:.0} were left out of what is trained on"),
        false => "`on_leak = \"drop\"` leaves them out of what is trained on, and figures may be lower then".to_owned(),
    };
    (exact + near > 0.0)
        .then(|| format!("{exact:.0} pair(s) of equal and {near:.0} of nearly equal images are in two splits: {then}."))
}

/// How often; `None` for a split that choices may be made by.
fn times(verdict: &Verdict, lineage: &Lineage<'_>) -> Result<Option<String>, NodeError> {
    if verdict.split != SplitName::Test {
        return Ok(None);
    }
    let mut of_these: BTreeMap<ActionKey, bool> = BTreeMap::new();
    let (mut times, mut workflows) = (0, BTreeSet::new());
    for record in lineage.records_of_kind("evaluate")? {
        if record.components.get("param.split") != Some(&Value::from("test")) {
            continue;
        }
        let mut looked = false;
        for input in &record.inputs {
            looked |= match of_these.get(input) {
                Some(known) => *known,
                None => {
                    let known = has(lineage, input, &verdict.judged_on)?;
                    of_these.insert(*input, known);
                    known
                }
            };
        }
        if looked {
            times += 1;
            workflows.insert(record.workflow);
        }
    }
    Ok(Some(format!(
        "These test {} were judged on {times} time(s), by {} workflow(s) of this cache: each run reads them once for each network; choose settings on \
         validation {0}.",
        verdict.noun,
        workflows.len()
    )))
}

/// Whether one of the files of an artifact has this digest.
fn has(lineage: &Lineage<'_>, key: &ActionKey, digest: &Digest) -> Result<bool, NodeError> {
    let record = lineage.record(key)?;
    Ok(record.is_some_and(|record| record.outputs.values().any(|file| file.digest == *digest)))
}
