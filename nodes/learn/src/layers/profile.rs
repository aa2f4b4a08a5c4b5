//! What each layer of a pass took, for `flow bench`.

use serde::Serialize;

/// One layer's part of a pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// The layer in words, e.g. `conv 3x3 64 -> 128 /2 at 28x28`.
    pub layer: String,
    /// `forward`, `weight gradient`, `input gradient` or `backward`.
    pub part: &'static str,
    /// Floating-point operations of the plain definition (a multiply-add is two); 0 where memory decides.
    pub flops: f64,
    /// Wall time.
    pub seconds: f64,
}
