//! Learning code: kernels, layers, backbones, methods, self-training, image operations, metrics.
//!
//! Numerics only: nothing here knows workflows, TOML, files, logging or the cache. Kernels take slices and shapes, layers take
//! feature maps, methods take layers. Everything is deterministic in its seed and independent of the number of threads.

pub mod augment;
pub mod backbones;
pub mod calibration;
pub mod clustering;
pub mod data;
pub mod device;
pub mod image;
pub mod inside;
pub mod kernels;
pub mod layers;
pub mod losses;
pub mod measure;
pub mod methods;
pub mod metrics;
pub mod optim;
pub mod probe;
pub mod pseudo;
pub mod rng;
pub mod selection;
pub mod semi;
pub mod settings;
pub mod state;
pub mod stats;
pub mod svm;
pub mod tasks;
pub mod text;
pub mod train;
