//! The sizes of a stack of transformer blocks, as declared: what is left out is filled in, and what does not fit is told at its key.

use super::{BackboneError, BackboneSettings};
use crate::layers::TransformerShape;

/// A stack's own sizes.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub(super) dim: usize,
    pub(super) depth: usize,
}

/// Heads of each attention where none are declared.
const HEADS: usize = 4;
/// The MLP's hidden width as a multiple of `dim` where none is declared.
pub(super) const MLP_RATIO: f32 = 4.0;

/// The declared sizes.
///
/// # Errors
/// If they do not fit each other.
pub(super) fn sizes(settings: &BackboneSettings, defaults: Defaults) -> Result<TransformerShape, BackboneError> {
    let refuse = |key, message: String| Err(BackboneError::Setting { key, message });
    let dim = settings.dim.unwrap_or(defaults.dim);
    let depth = settings.depth.unwrap_or(defaults.depth);
    let heads = settings.heads.unwrap_or(HEADS);
    let mlp_ratio = settings.mlp_ratio.unwrap_or(MLP_RATIO);
    for (key, value) in [("dim", dim), ("depth", depth), ("heads", heads)] {
        if value == 0 {
            return refuse(key, "0 found, expected at least 1".into());
        }
    }
    if !dim.is_multiple_of(heads) {
        return refuse(
            "heads",
            format!("{heads} found, expected a divisor of `dim`, which is {dim}"),
        );
    }
    let hidden = (dim as f32 * mlp_ratio) as usize;
    if !(mlp_ratio.is_finite() && hidden >= 1) {
        let message = format!("{mlp_ratio} found, expected a number that makes at least one of `dim` = {dim}");
        return refuse("mlp_ratio", message);
    }
    Ok(TransformerShape {
        dim,
        depth,
        heads,
        hidden,
    })
}
