//! The procedural colour data set: see [`flow_learn::data::Scenes`].

use flow_engine::node::{Host, NodeError, ParamError};
use flow_learn::data::{Annotations, Images, SCENE_CLASSES, Scenes};

use super::colour::{Colour, black_and_white};
use super::{Labelled, Loaded, MOST_EXAMPLES, Source, SourceSettings, SourceShape, check_count};
use crate::artifacts::Annotated;
use crate::failure::{at, at_with, failure};
use crate::pictures::Pool;

/// Textured shapes on cluttered backgrounds, made from a seed; in colour, or as black-and-white photographs of the same.
pub(super) const SCENES: Source = Source {
    name: "scenes",
    takes: &["train", "test", "side", "style", "colour"],
    files: &[],
    in_memory: false,
    check,
    shape: |settings, _| {
        let side = side(settings);
        let annotated = Annotated {
            masks: true,
            boxes: true,
        };
        Ok(Some(SourceShape {
            annotated,
            ..SourceShape::images([side, side, 3], &SCENE_CLASSES, counts(settings))
        }))
    },
    load: |settings, _, host| {
        let [train, test] = counts(settings);
        // One row of scenes: the first are for training, the rest for testing.
        let (all, annotations) = made(settings, train + test, host)?;
        let parts = [(0, train), (train, train + test)].map(|(from, to)| (from as u32..to as u32).collect::<Vec<_>>());
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

/// Bytes of images that are made before they are put away.
const AT_ONCE: usize = 32 << 20;

/// The first `n` scenes, and what is in them.
fn made(settings: &SourceSettings, n: usize, host: &dyn Host) -> Result<(Images, Annotations), NodeError> {
    let side = side(settings);
    let scenes = Scenes {
        n,
        side,
        seed: settings.seed,
        style: settings.style.unwrap_or_default(),
    };
    let (mut pixels, mut masks) = (Pool::new(host), Pool::new(host));
    let (mut labels, mut objects) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let at_once = (AT_ONCE / (3 * side * side)).max(1);
    for from in (0..n).step_by(at_once) {
        let (some, annotations) = scenes.some(from..n.min(from + at_once));
        let some = match settings.colour {
            Some(_) => black_and_white(&some),
            None => some,
        };
        pixels.put(&some.pixels())?;
        labels.extend(some.labels);
        if let Some(some) = &annotations.masks {
            masks.put(&some.pixels())?;
        }
        objects.extend(annotations.objects.into_iter().flatten());
    }
    let images = |channels, pool: Pool<'_>| {
        Images::partly_labelled(side, side, channels, pool.pixels()?.0, labels.clone()).map_err(failure)
    };
    let annotations = Annotations {
        masks: Some(images(1, masks)?),
        soft: None,
        objects: Some(objects),
    };
    Ok((images(3, pixels)?, annotations))
}

fn check(settings: &SourceSettings) -> Result<(), ParamError> {
    check_count("train", settings.train, 1..=MOST_EXAMPLES / 2, "images")?;
    check_count("test", settings.test, 1..=MOST_EXAMPLES / 2, "images")?;
    check_count("side", settings.side, 16..=1024, "pixels")?;
    if let Some((key, message)) = settings.style.and_then(|style| style.fault()) {
        return Err(at(format!("style.{key}"), message));
    }
    if settings.colour == Some(Colour::Dyed) {
        let help =
            "`style = { typical = 0.8 }` gives shapes the hue of their class, `colour = \"gray\"` removes the colour";
        return Err(at_with("colour", "scenes already have colours", help));
    }
    Ok(())
}

fn side(settings: &SourceSettings) -> usize {
    settings.side.unwrap_or(32)
}

fn counts(settings: &SourceSettings) -> [usize; 2] {
    [settings.train.unwrap_or(4_000), settings.test.unwrap_or(1_000)]
}

#[cfg(test)]
mod tests {
    use flow_learn::data::SceneStyle;

    use super::*;
    use crate::quiet::Quiet;

    fn loaded(settings: SourceSettings) -> [Images; 2] {
        let settings = SourceSettings {
            train: Some(20),
            test: Some(10),
            side: Some(16),
            ..settings
        };
        match (SCENES.load)(&settings, &[], &Quiet).expect("scenes are made") {
            Loaded::Images(images) => [images.train, images.test],
            _ => panic!("scenes are images"),
        }
    }

    #[test]
    fn gray_scenes_show_what_those_in_colour_show() {
        let in_colour = loaded(SourceSettings::default());
        let gray = loaded(SourceSettings {
            colour: Some(Colour::Gray),
            ..Default::default()
        });
        for (gray, in_colour) in gray.iter().zip(&in_colour) {
            assert_eq!(gray.pixels(), black_and_white(in_colour).pixels());
            assert_eq!(gray.labels, in_colour.labels);
            assert_ne!(gray.pixels(), in_colour.pixels());
        }
    }

    #[test]
    fn sizes_and_counts_out_of_range_are_refused_at_their_keys() {
        let refused = |change: fn(&mut SourceSettings)| {
            let mut settings = SourceSettings::default();
            change(&mut settings);
            check(&settings).err().map(|e| e.key).unwrap_or_default()
        };
        assert_eq!(refused(|_| {}), "");
        assert_eq!(refused(|s| s.train = Some(0)), "train");
        assert_eq!(refused(|s| s.train = Some(usize::MAX)), "train");
        assert_eq!(refused(|s| s.test = Some(0)), "test");
        assert_eq!(refused(|s| s.side = Some(15)), "side");
        assert_eq!(refused(|s| s.side = Some(1 << 40)), "side");
    }

    #[test]
    fn the_style_reaches_training_and_test_images() {
        let wild = loaded(SourceSettings::default());
        let calm = loaded(SourceSettings {
            style: Some(SceneStyle::CALM),
            ..Default::default()
        });
        for (wild, calm) in wild.iter().zip(&calm) {
            assert_ne!(wild.pixels(), calm.pixels());
        }
    }
}
