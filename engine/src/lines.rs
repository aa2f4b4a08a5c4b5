//! What another process prints, a line at a time, in bounded memory: it is read in chunks, long lines are cut, and whoever keeps the pipe
//! open after the process has ended is not waited for.

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often it is looked whether the process has ended while it prints nothing.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of a line that are kept; the rest is counted.
pub const MAX_LINE: usize = 64 << 10;
/// Bytes that are still taken after the process has ended: what a pipe can hold.
const AFTER_END: usize = 1 << 20;
const CHUNK: usize = 64 << 10;

/// Gives each line of `from` to `take`, at most `longest` bytes of it, until the other end is closed; or, once `over` is raised, until
/// nothing more lies in the pipe. Says whether the other end was closed.
pub fn follow(from: impl Read + AsFd, longest: usize, over: &AtomicBool, mut take: impl FnMut(String)) -> bool {
    follow_each(from, longest, over, |line, _| take(line))
}

/// The same; `take` is told whether the line is whole, or was broken off where the other end was closed.
pub(crate) fn follow_each(
    mut from: impl Read + AsFd,
    longest: usize,
    over: &AtomicBool,
    mut take: impl FnMut(String, bool),
) -> bool {
    let mut line = Line::new(longest);
    let mut chunk = vec![0; CHUNK];
    let mut left = AFTER_END;
    let closed = loop {
        // Asked before the pipe is looked into: what was printed before the end is there by then.
        let is_over = over.load(Ordering::SeqCst);
        match is_readable(&from) {
            Ok(true) => match from.read(&mut chunk) {
                Ok(0) | Err(_) => break true,
                Ok(count) => {
                    line.add(&chunk[..count], &mut take);
                    left -= if is_over { count.min(left) } else { 0 };
                }
            },
            Ok(false) if is_over => break false,
            Ok(false) => {}
            Err(_) => break true,
        }
        if left == 0 {
            break false;
        }
    };
    line.finish(&mut take);
    closed
}

fn is_readable(from: &impl AsFd) -> rustix::io::Result<bool> {
    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(LOOK.subsec_nanos()),
    };
    match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&limit)) {
        Err(rustix::io::Errno::INTR) => Ok(false),
        found => Ok(found? > 0),
    }
}

/// The line that is being read.
struct Line {
    longest: usize,
    kept: Vec<u8>,
    cut: u64,
}

impl Line {
    fn new(longest: usize) -> Self {
        Self {
            longest,
            kept: Vec::new(),
            cut: 0,
        }
    }

    fn add(&mut self, mut bytes: &[u8], take: &mut impl FnMut(String, bool)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end]);
            self.end(true, take);
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
    }

    fn extend(&mut self, bytes: &[u8]) {
        let (kept, cut) = bytes.split_at(bytes.len().min(self.longest - self.kept.len()));
        self.kept.extend_from_slice(kept);
        self.cut += cut.len() as u64;
    }

    fn end(&mut self, is_whole: bool, take: &mut impl FnMut(String, bool)) {
        let mut text = String::from_utf8_lossy(&self.kept).trim_end().to_owned();
        if self.cut > 0 {
            text += &format!(" .. ({} more bytes of this line were left out)", self.cut);
        }
        self.kept.clear();
        self.cut = 0;
        take(text, is_whole);
    }

    fn finish(mut self, take: &mut impl FnMut(String, bool)) {
        if !self.kept.is_empty() || self.cut > 0 {
            self.end(false, take);
        }
    }
}

/// The last lines that were printed, for an error.
#[derive(Debug, Default)]
pub struct LastLines(VecDeque<String>);

impl LastLines {
    const LINES: usize = 12;
    const CHARACTERS: usize = 1000;

    /// One more.
    pub fn push(&mut self, line: &str) {
        if self.0.len() == Self::LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.chars().take(Self::CHARACTERS).collect());
    }

    /// As the help of an error, if anything was printed.
    pub fn in_words(&self) -> Option<String> {
        let lines: Vec<&str> = self.0.iter().map(String::as_str).collect();
        (!lines.is_empty()).then(|| format!("its last output:\n{}", lines.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(longest: usize, chunks: &[&[u8]]) -> Vec<String> {
        let (mut line, mut all) = (Line::new(longest), Vec::new());
        let mut take = |text, _| all.push(text);
        chunks.iter().for_each(|chunk| line.add(chunk, &mut take));
        line.finish(&mut take);
        all
    }

    #[test]
    fn a_line_is_whole_however_it_arrives_and_a_long_one_is_cut_with_a_note() {
        assert_eq!(lines(9, &[b"on", b"e\ntw", b"o\r\n\nend"]), ["one", "two", "", "end"]);
        let cut = lines(4, &[b"123", b"45", b"6\nab\n"]);
        insta::assert_snapshot!(cut.join("\n"));
    }

    #[test]
    fn whoever_keeps_the_pipe_open_after_the_end_is_not_waited_for() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, b"said before\n").unwrap();
        let mut said = Vec::new();
        let closed = follow(reader, MAX_LINE, &AtomicBool::new(true), |line| said.push(line));
        assert_eq!((closed, said), (false, vec!["said before".to_owned()]));
        drop(writer);
    }
}
