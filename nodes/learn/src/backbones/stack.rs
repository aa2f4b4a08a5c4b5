//! The sizes of a stack of transformer blocks, as declared: what is left out is filled in, and what does not fit is reported at its key.

use super::{BackboneError, BackboneSettings};
use crate::layers::TransformerShape;
use crate::settings::{ABOVE_ZERO, SettingError, WIDTH, check};

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
    let refuse = |key, message: String| Err(SettingError::new(key, message).into());
    let dim = settings.dim.unwrap_or(defaults.dim);
    let depth = settings.depth.unwrap_or(defaults.depth);
    let heads = settings.heads.unwrap_or(HEADS);
    let mlp_ratio = settings.mlp_ratio.unwrap_or(MLP_RATIO);
    check("dim", &dim, WIDTH)?;
    check("depth", &depth, 1..=1000)?;
    check("heads", &heads, WIDTH)?;
    check("mlp_ratio", &mlp_ratio, ABOVE_ZERO)?;
    if !dim.is_multiple_of(heads) {
        return refuse(
            "heads",
            format!("{heads} found, expected a divisor of `dim`, which is {dim}"),
        );
    }
    let hidden = (dim as f32 * mlp_ratio) as usize;
    if !WIDTH.contains(&hidden) {
        let message = format!(
            "{mlp_ratio} found, which makes {hidden} hidden values of `dim` = {dim}, expected 1 to {}",
            WIDTH.end()
        );
        return refuse("mlp_ratio", message);
    }
    Ok(TransformerShape {
        dim,
        depth,
        heads,
        hidden,
    })
}
