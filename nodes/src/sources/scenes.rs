//! The procedural colour data set: see [`flow_learn::data::Scenes`].

use flow_learn::data::{SCENE_CLASSES, Scenes};

use super::colour::black_and_white;
use super::{Labelled, Loaded, Source, SourceSettings, SourceShape};

/// Textured shapes on cluttered backgrounds, made from a seed; in colour, or as black-and-white photographs of the same.
pub(super) const SCENES: Source = Source {
    name: "scenes",
    takes: &["train", "test", "side", "style", "colour"],
    files: &[],
    shape: |settings| {
        let side = side(settings);
        Some(SourceShape::images([side, side, 3], &SCENE_CLASSES, counts(settings)))
    },
    load: |settings, _| {
        let [train, test] = counts(settings);
        // One row of scenes: the first are for training, the rest for testing.
        let (all, annotations) = Scenes {
            n: train + test,
            side: side(settings),
            seed: settings.seed,
            style: settings.style.unwrap_or_default(),
        }
        .images();
        let parts = [(0, train), (train, train + test)].map(|(from, to)| (from as u32..to as u32).collect::<Vec<_>>());
        let all = match settings.colour {
            Some(_) => black_and_white(&all),
            None => all,
        };
        let [train, test] = [&parts[0], &parts[1]].map(|part| all.select(part));
        let annotations = Some([&parts[0], &parts[1]].map(|part| annotations.select(part)));
        let class_names = SCENE_CLASSES.map(str::to_owned).to_vec();
        Ok(Loaded::Images(Box::new(Labelled {
            train,
            test,
            class_names,
            annotations,
        })))
    },
};

fn side(settings: &SourceSettings) -> usize {
    settings.side.unwrap_or(32)
}

fn counts(settings: &SourceSettings) -> [usize; 2] {
    [settings.train.unwrap_or(4_000), settings.test.unwrap_or(1_000)]
}
