//! Tries settings of a method before they go into `trials.rs`, with the seeds that the table leaves out.
//!
//! `TRY=file SEEDS=1 cargo test --release -p flow-nodes --test learns tried -- --ignored --nocapture`, where each line of the file
//! changes some of a trial in JSON: `{"trial": "pirl", "lr": 0.003, "method": {"method": "pirl", "negatives": 1024}}`.

use flow_learn::backbones::BackboneSettings;
use flow_learn::methods::MethodSettings;
use flow_learn::optim::OptimizerConfig;
use serde::Deserialize;

use super::data::Data;
use super::trial::{Judged, Trial};
use super::trials;

/// What a line changes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// The method's name.
    trial: String,
    method: Option<MethodSettings>,
    data: Option<Data>,
    views: Option<String>,
    images: Option<usize>,
    labelled: Option<usize>,
    backbone: Option<BackboneSettings>,
    optimizer: Option<OptimizerConfig>,
    lr: Option<f32>,
    warmup: Option<usize>,
    batch: Option<usize>,
    epochs: Option<usize>,
}

impl Change {
    fn applied(self) -> Trial {
        let found = trials::all()
            .into_iter()
            .find(|t| t.method.settings().name() == self.trial);
        let trial = found.unwrap_or_else(|| panic!("no trial is called `{}`", self.trial));
        Trial {
            method: self.method.unwrap_or(trial.method),
            data: self.data.unwrap_or(trial.data),
            views: self.views.map_or(trial.views, |name| name.leak()),
            images: self.images.unwrap_or(trial.images),
            labelled: self.labelled.unwrap_or(trial.labelled),
            backbone: self.backbone.unwrap_or(trial.backbone),
            optimizer: self.optimizer.unwrap_or(trial.optimizer),
            lr: self.lr.unwrap_or(trial.lr),
            warmup: self.warmup.unwrap_or(trial.warmup),
            batch: self.batch.unwrap_or(trial.batch),
            epochs: self.epochs.unwrap_or(trial.epochs),
            ..trial
        }
    }
}

#[test]
#[ignore = "a tool for who chooses settings: TRY names a file"]
fn settings_of_a_file_are_tried() {
    let file = std::env::var("TRY").expect("TRY names a file of JSON lines");
    let lines = std::fs::read_to_string(&file).expect("the file of TRY can be read");
    let seeds = super::seeds_or(1);
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let change: Change = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        let trial = change.applied();
        for seed in 0..seeds {
            let (learnt, raw) = (trial.run(seed), trial.raw(seed));
            let percent = |Judged { probe, knn }: Judged| format!("{:.1}/{:.1}", 100.0 * probe, 100.0 * knn);
            let [trained, random, raw] = [learnt.trained, learnt.random, raw].map(percent);
            println!(
                "{trained} random {random} raw {raw} in {:.0} s, seed {seed}: {line}",
                learnt.seconds
            );
        }
    }
}
