//! This machine, process and clock, as they are written down.

use std::any::Any;
use std::time::{SystemTime, UNIX_EPOCH};

/// The host name, or `unknown-host`.
pub(crate) fn host_name() -> String {
    gethostname::gethostname()
        .into_string()
        .unwrap_or_else(|_| "unknown-host".into())
}

/// Milliseconds since 1970 (UTC).
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The most memory that this process has held so far, in bytes; `None` where the system does not tell.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What a caught panic said.
pub fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied())
        .unwrap_or("no panic message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        let told = |panic: fn()| panic_text(std::panic::catch_unwind(panic).unwrap_err().as_ref()).to_owned();
        assert_eq!(told(|| panic!("a plain one")), "a plain one");
        assert_eq!(told(|| panic!("one of {}", 2)), "one of 2");
        assert_eq!(told(|| std::panic::panic_any(7)), "no panic message");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_holds_some_memory() {
        assert!(peak_memory_bytes().unwrap() > 1 << 16);
    }
}
