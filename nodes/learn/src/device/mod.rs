//! Where kernels run.

pub mod cuda;
