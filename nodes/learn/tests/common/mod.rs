//! What tests of trainings share.

use std::sync::Arc;

use flow_learn::device::{Cpu, Device, Mock};

/// Where the trainings of tests run: on the CPU, or with `FLOW_TEST_DEVICE=mock` on a device that computes as the CPU does, in memory
/// of its own.
pub(crate) fn device() -> Arc<dyn Device> {
    match std::env::var("FLOW_TEST_DEVICE").as_deref() {
        Ok("mock") => Arc::new(Mock::default()),
        _ => Arc::new(Cpu),
    }
}
