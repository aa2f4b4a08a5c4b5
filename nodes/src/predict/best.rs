//! Which classifier is `best`: that of the highest accuracy on validation images, never on test images.

use std::collections::BTreeMap;

use flow_cache::{Digest, Record, Store};
use flow_engine::node::NodeError;
use flow_learn::augment::Recipe;
use flow_learn::losses::probabilities;
use flow_learn::metrics::{accuracy, argmaxes};
use flow_learn::train::outputs;

use super::judged;
use super::origin::{data_record, input, network};
use crate::artifacts::{Dataset, SplitName, TrainedNetwork};
use crate::failure::{device_failure, failure};

/// The best of several classifiers.
#[derive(Clone, Debug)]
pub struct Best {
    /// Its entry.
    pub record: Record,
    /// Share of the validation images that it classifies right.
    pub accuracy: f64,
    /// Validation images.
    pub images: usize,
    /// Classifiers that were judged on them.
    pub judged: usize,
    /// Classifiers of other data, without validation images or without outputs in the cache, which were not.
    pub left_out: usize,
}

/// The best of `candidates` (finetune entries, newest first) on the validation images of the newest one that has such. Of equally
/// accurate ones it is the one whose probabilities fit better, then the newest.
///
/// # Errors
/// If none has validation images, or an artifact cannot be read.
pub fn best(store: &Store, candidates: &[Record]) -> Result<Best, NodeError> {
    let mut of_data: Vec<(&Record, Record, Digest)> = Vec::new();
    for record in candidates {
        if let Some(data) = data_record(store, record)?
            && let Some(file) = data.outputs.get("validation.images")
            && store.peek(&record.key).map_err(failure)?.is_some()
        {
            let digest = file.digest;
            of_data.push((record, data, digest));
        }
    }
    let Some(first) = of_data.first().map(|(.., digest)| *digest) else {
        return Err(failure(match candidates.len() {
            0 => "there is no classifier to choose from".to_owned(),
            n => format!("`best` chooses by validation images, and none of the {n} classifiers has such"),
        })
        .with_help(
            "hold some out with `validation = N` in the dataset node, or name an entry: `flow cache query \"kind = finetune\"`",
        ));
    };
    of_data.retain(|(.., digest)| *digest == first);
    // Read once for all that share them.
    let mut sets: BTreeMap<Digest, Dataset> = BTreeMap::new();
    let mut best: Option<(f64, f64, Best)> = None;
    for (record, data, _) in &of_data {
        let digest = data.digest();
        if let std::collections::btree_map::Entry::Vacant(e) = sets.entry(digest) {
            let Some(artifact) = store.peek(&data.key).map_err(failure)? else {
                continue;
            };
            e.insert(Dataset::read(&input(artifact), &[SplitName::Validation])?);
        }
        let Some((accuracy, loss, images)) = judge(store, record, &sets[&digest])? else {
            continue;
        };
        let judged = best.as_ref().map_or(0, |(.., best)| best.judged) + 1;
        let is_better = |(most, least, _): &(f64, f64, Best)| (accuracy, -loss) > (*most, -*least);
        if best.as_ref().is_none_or(is_better) {
            let record = (*record).clone();
            let found = Best {
                record,
                accuracy,
                images,
                judged,
                left_out: 0,
            };
            best = Some((accuracy, loss, found));
        } else if let Some((.., best)) = &mut best {
            best.judged = judged;
        }
    }
    let (.., found) = best.ok_or_else(|| {
        failure("the validation images are no longer in the cache").with_help("run the workflow again")
    })?;
    Ok(Best {
        left_out: candidates.len() - found.judged,
        ..found
    })
}

/// Accuracy and mean log loss on the validation images, and how many there are; none where the classes are others.
fn judge(store: &Store, record: &Record, data: &Dataset) -> Result<Option<(f64, f64, usize)>, NodeError> {
    let TrainedNetwork::Model(mut model) = network(store, record)? else {
        return Ok(None);
    };
    if model.head.class_names != data.class_names {
        return Ok(None);
    }
    let Some((images, truth)) = judged(data, SplitName::Validation) else {
        return Ok(None);
    };
    let augmenter = model
        .normalisation
        .augmenter(&Recipe::default(), model.classifier.encoder.takes())?;
    let all: Vec<u32> = (0..images.n() as u32).collect();
    let classes = data.classes();
    let found = outputs(&mut model.classifier, &images, &all, &augmenter).map_err(|e| device_failure(&e))?;
    let rows = probabilities(&found.logits, classes, 1.0);
    let predicted: Vec<usize> = argmaxes(&rows, classes).collect();
    let of_truth = rows.chunks_exact(classes).zip(&truth).map(|(row, class)| row[*class]);
    let loss = of_truth.map(|p| -f64::from(p.max(1e-12)).ln()).sum::<f64>() / truth.len() as f64;
    Ok(Some((accuracy(&truth, &predicted), loss, truth.len())))
}
