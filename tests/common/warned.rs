//! Warnings as text, for tests of what is said. The tests of several crates take this file in.
#![allow(dead_code, reason = "each uses its own part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was warned of meanwhile in this thread, a line each, without digests and without where the test's directory lies.
pub(crate) fn warned(dir: &Path, work: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .with_writer(move || writer.clone());
    tracing::subscriber::with_default(subscriber.finish(), work);
    let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    without_digests(&said.replace(&dir.display().to_string(), "[dir]"))
}

/// A text without digests, and beginnings of them.
pub(crate) fn without_digests(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let word = |word: &str| {
        let plain = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        match plain.len() >= 12 && plain.bytes().all(|b| b.is_ascii_hexdigit()) {
            true => format!("[digest]{}", &word[plain.len()..]),
            false => word.to_owned(),
        }
    };
    words.map(word).collect()
}
