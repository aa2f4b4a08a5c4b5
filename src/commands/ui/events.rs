//! Streams of server-sent events: what is new in a run's event log, and whether the list of runs has changed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use flow_engine::Run;
use flow_engine::run_list::RunList;
use tiny_http::Request;

use super::headers;

/// How often a log is looked at.
const LOOKS: Duration = Duration::from_millis(250);
/// So that a page that has gone away is noticed.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Lines that are sent together.
const TOGETHER: usize = 400;

fn begin(request: Request) -> io::Result<Box<dyn Write + Send + 'static>> {
    let mut out = request.into_writer();
    write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\n")?;
    for header in headers("text/event-stream") {
        write!(out, "{}: {}\r\n", header.field, header.value)?;
    }
    write!(out, "\r\n")?;
    out.flush()?;
    Ok(out)
}

/// The lines of an event log as they come, many of them as one JSON list; each message's id is the place after it, from which a page that was cut off
/// goes on. After the end of the run comes `over`.
pub(super) fn stream(request: Request, run: &Run) -> io::Result<()> {
    let last = request
        .headers()
        .iter()
        .find(|header| header.field.equiv("Last-Event-ID"));
    let mut at: u64 = last.and_then(|header| header.value.as_str().parse().ok()).unwrap_or(0);
    let mut out = begin(request)?;
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
pub(super) fn changes(request: Request, list: &RunList) -> io::Result<()> {
    let mut out = begin(request)?;
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
