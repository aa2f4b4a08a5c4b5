//! How often the test images were looked at. It is counted anew for each report, from the records of the cache: no artifact has it.

use std::collections::{BTreeMap, BTreeSet};

use flow_cache::{ActionKey, Digest};
use flow_engine::node::{Lineage, NodeError};
use serde_json::Value;

use super::verdict::Verdict;
use crate::artifacts::SplitName;

/// In words; `None` for a split that choices may be made by.
pub(super) fn words(verdict: &Verdict, lineage: &Lineage<'_>) -> Result<Option<String>, NodeError> {
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
