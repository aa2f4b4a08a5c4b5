//! Streams of server-sent events: what is new in a run's event log, and whether the list of runs has changed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use flow_engine::Run;
use flow_engine::run_list::RunList;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::ReceiverStream;

use super::answers::{Answer, answer, words};

/// Streams that are open at the same time: each is a thread, and lasts as long as its page is open.
const AT_ONCE: usize = 64;
/// How often a log is looked at.
const LOOKS: Duration = Duration::from_millis(250);
/// So that a page that has gone away is noticed.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Lines that are sent together.
const TOGETHER: usize = 400;

/// Places for streams.
pub(super) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Streams {
    /// An answer that goes on until `write` ends, or fails, as it does when the page has gone away.
    pub(super) fn open(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Answer {
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            return words(503, "too many pages are open");
        };
        let (sender, receiver) = channel(1);
        std::thread::spawn(move || {
            let mut out = BufWriter::new(Page { sender, _place: place });
            // A browser that has gone away is no error; what cannot be read is asked for again by the page.
            let _ = write(&mut out);
        });
        answer(
            200,
            "text/event-stream",
            Body::from_stream(ReceiverStream::new(receiver)),
        )
    }
}

/// A page that is open: what is written to it is sent.
struct Page {
    sender: Sender<io::Result<Bytes>>,
    _place: OwnedSemaphorePermit,
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.sender.blocking_send(Ok(Bytes::copy_from_slice(bytes))) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.sender.is_closed() {
            true => Err(ErrorKind::BrokenPipe.into()),
            false => Ok(()),
        }
    }
}

/// The lines of an event log as they come, many of them as one JSON list; each message's id is the place after it, from which a page that was cut off
/// goes on. After the end of the run comes `over`.
pub(super) fn log(out: &mut dyn Write, run: &Run, mut at: u64) -> io::Result<()> {
    let mut beat = Instant::now();
    loop {
        // Asked before it is read: what was written until then is read.
        let over = !run.is_under_way();
        let mut log = BufReader::new(File::open(run.events())?);
        log.seek(SeekFrom::Start(at))?;
        loop {
            let lines = whole_lines(&mut log, &mut at)?;
            if lines.is_empty() {
                break;
            }
            write!(out, "id: {at}\ndata: [{}]\n\n", lines.join(","))?;
            beat = Instant::now();
        }
        if over {
            write!(out, "event: over\ndata: {at}\n\n")?;
            return out.flush();
        }
        if beat.elapsed() > HEARTBEAT {
            write!(out, ": \n\n")?;
            beat = Instant::now();
        }
        out.flush()?;
        std::thread::sleep(LOOKS);
    }
}

/// The next lines that are whole, so many at most.
fn whole_lines(log: &mut impl BufRead, at: &mut u64) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    while lines.len() < TOGETHER {
        let mut line = Vec::new();
        let read = log.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            break;
        }
        *at += read as u64;
        // A line that is none would spoil all that are sent with it.
        let line = String::from_utf8_lossy(&line).into_owned();
        if serde_json::from_str::<serde::de::IgnoredAny>(&line).is_ok() {
            lines.push(line);
        }
    }
    Ok(lines)
}

/// A message whenever a run begins or ends.
pub(super) fn changes(out: &mut dyn Write, list: &RunList) -> io::Result<()> {
    let (mut known, mut beat) = (None, Instant::now());
    loop {
        let rows = list.rows().unwrap_or_default();
        let state = rows.first().map(|row| {
            (
                rows.len(),
                row.id.clone(),
                rows.iter().filter(|row| row.status == "running").count(),
            )
        });
        if known.as_ref() != Some(&state) {
            write!(out, "data: {}\n\n", rows.len())?;
            known = Some(state);
        } else if beat.elapsed() > HEARTBEAT {
            write!(out, ": \n\n")?;
            beat = Instant::now();
        }
        out.flush()?;
        std::thread::sleep(4 * LOOKS);
    }
}
