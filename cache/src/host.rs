//! The name of this machine, for records and locks.

/// The host name, or `unknown-host`.
pub(crate) fn host_name() -> String {
    gethostname::gethostname()
        .into_string()
        .unwrap_or_else(|_| "unknown-host".into())
}
