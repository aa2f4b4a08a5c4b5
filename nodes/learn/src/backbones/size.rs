//! How large a network would be, from its description alone: nothing is allocated before this was asked.

use super::{BackboneSettings, SettingError};
use crate::layers::{MapShape, TransformerShape};

/// The most parameters that a network may have: 4 GiB of weights, and as much again for gradients and for each of an optimiser's moments.
const MOST_PARAMETERS: u128 = 1 << 30;

/// A network of more parameters, 256 MiB of weights, is not made only to be looked at.
pub(super) const SKETCHED: u128 = 1 << 26;

/// Weights of stages of these widths on `channels` channels, at least: each has a 3x3 convolution from the one before it.
pub(super) fn of_stages(channels: usize, widths: &[usize]) -> u128 {
    let from = std::iter::once(&channels).chain(widths);
    let weights = from.zip(widths).map(|(from, to)| 9 * *from as u128 * *to as u128);
    weights.sum()
}

/// Weights of `depth` transformer blocks, at least, behind an embedding of `embedded` vectors: attention has four matrices, the MLP two.
pub(super) fn of_blocks(dim: usize, depth: usize, hidden: usize, embedded: usize) -> u128 {
    let (dim, hidden) = (dim as u128, hidden as u128);
    depth as u128 * (4 * dim * dim + 2 * dim * hidden) + embedded as u128 * dim
}

/// Values that a step holds of each image, at least: what each stage gives, half as high and wide as the one before it. `less` is how many times
/// the image is halved before.
pub(super) fn held_by_stages(input: MapShape, less: usize, widths: &[usize]) -> u128 {
    let given = widths.iter().enumerate().map(|(stage, width)| {
        let side = |side: usize| (side >> (stage + less).min(usize::BITS as usize - 1)).max(1) as u128;
        side(input.h) * side(input.w) * *width as u128
    });
    given.sum()
}

/// The same of transformer blocks: tokens, hidden values and attention of each.
pub(super) fn held_by_blocks(shape: &TransformerShape, tokens: usize) -> u128 {
    let (tokens, heads) = (tokens as u128, shape.heads as u128);
    shape.depth as u128 * tokens * (4 * shape.dim as u128 + shape.hidden as u128 + heads * tokens)
}

/// Whether a network of so many parameters can be made.
///
/// # Errors
/// Names the setting `key` that makes it large, with the estimate.
pub(super) fn check(settings: &BackboneSettings, key: &str, parameters: u128) -> Result<(), SettingError> {
    if parameters <= MOST_PARAMETERS {
        return Ok(());
    }
    let gib = |parameters: u128| 4 * parameters / (1 << 30);
    let message = format!(
        "`{}` would have at least {parameters} parameters, {} GiB of weights; expected at most {MOST_PARAMETERS} ({} GiB)",
        settings.name,
        gib(parameters),
        gib(MOST_PARAMETERS)
    );
    Err(SettingError::new(key, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Modality, NetworkInput};
    use crate::rng::Stream;

    #[test]
    fn a_network_too_large_for_memory_is_refused_before_it_is_made() {
        let image = NetworkInput::from(MapShape { h: 32, w: 32, c: 3 });
        let text = NetworkInput {
            shape: MapShape { h: 32, w: 1, c: 2 },
            modality: Modality::Texts {
                vocabulary: 1 << 16,
                fingerprint: 0,
            },
        };
        for huge in [60_000, 1_000_000_000, 1_000_000_000_000_000_000] {
            for (name, stages) in [
                ("conv3", 3),
                ("conv4", 4),
                ("resnet18", 4),
                ("resnet34", 4),
                ("resnet50", 4),
            ] {
                let settings = BackboneSettings {
                    widths: vec![huge; stages],
                    ..BackboneSettings::named(name)
                };
                let error = settings.build(image, &Stream::new(0, "size")).err().expect("too large");
                assert!(error.to_string().contains("widths"), "{error}");
            }
            for (name, input) in [("vit", image), ("transformer", text)] {
                let wide = BackboneSettings {
                    dim: Some(huge),
                    ..BackboneSettings::named(name)
                };
                let deep = BackboneSettings {
                    depth: Some(huge),
                    ..BackboneSettings::named(name)
                };
                for settings in [wide, deep] {
                    let error = settings.build(input, &Stream::new(0, "size")).err().expect("too large");
                    assert!(
                        ["dim", "depth", "mlp_ratio"]
                            .iter()
                            .any(|key| error.to_string().contains(key)),
                        "{error}"
                    );
                }
            }
        }
    }
}
