//! Which build of this program runs: an engine and its workers must be the same, and records say which one made them.

use std::sync::LazyLock;

use flow_cache::{Digest, Stamp};

static BUILD: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    let program = std::env::current_exe().ok();
    // The link leads to the file that was started, even if another lies in its place by now.
    let own = if cfg!(target_os = "linux") {
        Stamp::of(crate::leash::THIS_PROGRAM.as_ref())
    } else {
        program.and_then(|program| Stamp::of(&program))
    };
    let number = own.map(|stamp| Digest::of(format!("{} {:?}", stamp.size(), stamp.modified()).as_bytes()).short());
    number.map_or_else(|| version.to_owned(), |number| format!("{version}+{number}"))
});

/// `0.1.0+1a2b3c4d5e6f`: the version, and digits that tell one build's file from another's by its size and time.
pub fn id() -> &'static str {
    &BUILD
}
