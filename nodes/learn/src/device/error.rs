//! Why a device did not do something.

/// The first failure of a device. What was asked for afterwards was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// There is no memory left.
    #[error("the GPU has no memory left: {wanted} MB more were wanted, {held} MB were in use by this node")]
    Memory {
        /// What was asked for, in megabytes.
        wanted: usize,
        /// What this device has allocated, in megabytes.
        held: usize,
    },
    /// The driver's own error.
    #[error("the GPU's driver failed while it was asked to {what}: {code}")]
    Driver {
        /// What it was asked for.
        what: String,
        /// Its error's name and number.
        code: String,
    },
}
