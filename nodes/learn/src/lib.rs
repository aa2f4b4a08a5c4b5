//! Learning code: kernels, layers, backbones, methods, self-training, image operations, metrics.
//!
//! Numerics only: nothing here knows workflows, TOML, files, logging or the cache. Kernels take slices and shapes, layers take
//! feature maps, methods take layers. Everything is deterministic in its seed and independent of the number of threads.

pub mod backbones;
pub mod kernels;
pub mod layers;
pub mod rng;
pub mod state;
