//! A node's log, bounded whatever the node says: its first lines and its last ones, with a note of how many are missing between them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use flow_cache::{Sharing, unix_ms};

use crate::secrets::Secrets;

/// Bytes of the beginning of a log that are kept, and as many of its end.
const HALF: usize = 5 << 20;
/// Bytes that the time before a line takes, with what holds the line together.
const EACH: usize = 32;

/// Bytes of lines that are shown as they come; after that so many a second. The log has all.
const SHOWN_AT_ONCE: f64 = 262_144.0;
const SHOWN_A_SECOND: f64 = 32_768.0;

/// The log of one attempt at a node. The end of it is written when this is dropped.
pub(crate) struct NodeLog {
    path: PathBuf,
    sharing: Sharing,
    secrets: Secrets,
    state: Mutex<State>,
}

struct State {
    file: Option<File>,
    /// Bytes that were written.
    written: usize,
    tail: VecDeque<(u64, String)>,
    tail_bytes: usize,
    left_out: u64,
    /// Bytes that may be shown.
    may_show: f64,
    since: Instant,
    not_shown: u64,
}

impl NodeLog {
    pub(crate) fn new(path: PathBuf, sharing: Sharing, secrets: Secrets) -> Self {
        let state = State {
            file: None,
            written: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            left_out: 0,
            may_show: SHOWN_AT_ONCE,
            since: Instant::now(),
            not_shown: 0,
        };
        Self {
            path,
            sharing,
            secrets,
            state: Mutex::new(state),
        }
    }

    /// Takes a line, and gives what is to be shown of it.
    pub(crate) fn note(&self, line: &str) -> Vec<String> {
        let line = self.secrets.hide(line);
        let mut state = self.state();
        if let Err(error) = self.take(&mut state, &line) {
            tracing::warn!(path = %self.path.display(), %error, "a node's log cannot be written");
        }
        state.show(&line)
    }

    fn take(&self, state: &mut State, line: &str) -> io::Result<()> {
        if state.file.is_none() && state.tail.is_empty() {
            let file = self.sharing.append(&self.path)?;
            // What earlier attempts said counts.
            state.written = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
            state.file = Some(file);
        }
        if state.written < HALF
            && let Some(file) = &mut state.file
        {
            state.written += line.len() + EACH;
            return file.write_all(stamped(unix_ms(), line).as_bytes());
        }
        state.tail_bytes += line.len() + EACH;
        state.tail.push_back((unix_ms(), line.to_owned()));
        while state.tail_bytes > HALF
            && let Some((_, oldest)) = state.tail.pop_front()
        {
            state.tail_bytes -= oldest.len() + EACH;
            state.left_out += 1;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NodeLog {
    fn drop(&mut self) {
        let mut state = self.state();
        let State {
            file, tail, left_out, ..
        } = &mut *state;
        let Some(file) = file.as_mut().filter(|_| !tail.is_empty()) else {
            return;
        };
        let mut text = String::new();
        if *left_out > 0 {
            let note = format!(
                "... {left_out} lines are left out here: a log keeps its first and its last {} MiB",
                HALF >> 20
            );
            text += &stamped(unix_ms(), &note);
        }
        tail.drain(..).for_each(|(at, line)| text += &stamped(at, &line));
        if let Err(error) = file.write_all(text.as_bytes()) {
            tracing::warn!(path = %self.path.display(), %error, "a node's log cannot be written");
        }
    }
}

impl State {
    fn show(&mut self, line: &str) -> Vec<String> {
        let earned = self.since.elapsed().as_secs_f64() * SHOWN_A_SECOND;
        self.since = Instant::now();
        self.may_show = (self.may_show + earned).min(SHOWN_AT_ONCE);
        let takes = (line.len() + EACH) as f64;
        if takes > self.may_show {
            self.not_shown += 1;
            return Vec::new();
        }
        self.may_show -= takes;
        let missed = std::mem::take(&mut self.not_shown);
        let missed = (missed > 0).then(|| format!("... {missed} lines are not shown here: see the node's log"));
        missed.into_iter().chain([line.to_owned()]).collect()
    }
}

/// A line of a log, with its time (UTC).
pub(crate) fn stamped(unix_ms: u64, line: &str) -> String {
    let at = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{}  {line}\n", at.unwrap_or_default().strftime("%FT%T.%3fZ"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::warned;

    #[test]
    fn a_log_keeps_its_beginning_and_its_end_and_says_how_much_is_missing_between() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n.log");
        let log = NodeLog::new(path.clone(), Sharing::default(), Secrets::default());
        let mut shown = 0;
        for number in 0..1_000_000 {
            shown += log.note(&number.to_string()).len();
        }
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() < 2 * HALF + 1000, "{} bytes", text.len());
        let lines: Vec<&str> = text.lines().map(|line| line.split_once("  ").unwrap().1).collect();
        assert_eq!((lines[0], *lines.last().unwrap()), ("0", "999999"));
        let note = lines
            .iter()
            .position(|line| line.starts_with("..."))
            .expect("a note of what is missing");
        let missing: usize = lines[note].split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(lines.len() - 1 + missing, 1_000_000);
        assert!((1..500_000).contains(&shown), "{shown} lines were shown");
    }

    #[test]
    fn what_a_log_lacks_is_said_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n.log");
        let log = NodeLog::new(path.clone(), Sharing::default(), Secrets::default());
        let mut shown = Vec::new();
        log.state().not_shown = 9;
        for line in ["the last line but one", "the last line"] {
            shown.extend(log.note(line));
        }
        log.state().left_out = 7;
        log.state().tail.push_back((0, "the last line".to_owned()));
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text
            .lines()
            .map(|line| line.split_once("  ").map_or(line, |(_, line)| line));
        let kept: Vec<&str> = lines.collect();
        let directory = NodeLog::new(folder.path().to_owned(), Sharing::default(), Secrets::default());
        let warned = warned(folder.path(), || drop(directory.note("lost")));
        insta::assert_snapshot!(format!("{}\n---\n{}\n---\n{warned}", shown.join("\n"), kept.join("\n")));
    }
}
