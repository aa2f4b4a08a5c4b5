//! CUDA devices: the kernels of `cuda/*.cu` behind a [`Launcher`].

pub mod check;
mod cubins;
mod device;
pub mod driver;
pub mod kernels;
pub mod launcher;
pub mod memory;
mod placed;

pub use device::{Cuda, identity};
pub use kernels::{Kernels, Precision};
pub use launcher::{DeviceError, Launcher};
