//! A child process in its own process group: its lines become the node's notes, and it ends with the node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flow_engine::node::{Host, NodeError};
use rustix::process::{Pid, Signal, kill_process_group};

/// Variables that every program sees as they are: where programs are, and where the user's own files.
pub(super) const BASE: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
];

/// Lines of its output that an error shows.
const LAST_LINES: usize = 12;
/// How often a request to stop and the time limit are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Time to end after being asked to, before it is made to.
const GRACE: Duration = Duration::from_secs(5);

/// What to run.
pub(super) struct Spec<'a> {
    pub(super) arguments: &'a [String],
    pub(super) folder: &'a Path,
    /// For its temporary files.
    pub(super) scratch: &'a Path,
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) pass_env: &'a std::collections::BTreeSet<String>,
}

/// Runs it to the end and gives what it printed on stdout.
///
/// # Errors
/// If it cannot be started, fails, is asked to stop or takes too long; no process of its group is left then.
pub(super) fn run(spec: &Spec<'_>, host: &dyn Host) -> Result<Vec<u8>, NodeError> {
    let program = &spec.arguments[0];
    let mut command = Command::new(found(program, spec));
    command
        .arg0(program)
        .args(&spec.arguments[1..])
        .current_dir(spec.folder)
        .env_clear();
    for name in BASE.iter().copied().chain(spec.pass_env.iter().map(String::as_str)) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("TMPDIR", spec.scratch).envs(spec.env).process_group(0);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        NodeError::failed(format!("cannot start `{program}`: {error}")).with_help(
            "is it installed and in PATH? A program of your own must be among `code`, and named as `./program`",
        )
    })?;
    let _running = Running::now(&child);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let last: Mutex<VecDeque<String>> = Mutex::default();
    let (ended, said) = std::thread::scope(|scope| {
        let listen = |from: Option<Box<dyn Read + Send>>| {
            let last = &last;
            scope.spawn(move || follow(from, host, last))
        };
        let stdout = listen(out.map(|o| Box::new(o) as Box<dyn Read + Send>));
        let stderr = listen(err.map(|e| Box::new(e) as Box<dyn Read + Send>));
        let ended = wait(&mut child, host);
        // What the program started and left running would hold the pipes open, and outlive the node.
        signal(&child, Signal::KILL);
        let said = stdout.join().unwrap_or_default();
        let _ = stderr.join();
        (ended, said)
    });
    let status = match ended? {
        Ended::Itself(status) => status,
        Ended::Stopped => return Err(NodeError::Stopped),
    };
    if status.success() {
        return Ok(said);
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(9)) => "was killed (signal 9): probably out of memory".to_owned(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    };
    Err(with_last(
        NodeError::failed(format!("`{program}` {how}")),
        &last,
        "it printed no output",
    ))
}

/// The program's file. Looked up here and not by the system, which would have to copy this whole process to do so in another environment.
fn found(program: &str, spec: &Spec<'_>) -> PathBuf {
    let path = spec
        .env
        .get("PATH")
        .map(OsString::from)
        .or_else(|| std::env::var_os("PATH"));
    let is_path = program.contains('/');
    let found = (!is_path).then(|| which::which_in(program, path, spec.folder));
    // What is not found is left to the system to say.
    found.and_then(Result::ok).unwrap_or_else(|| program.into())
}

/// The groups of the programs that run now.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn running() -> MutexGuard<'static, BTreeSet<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of them, as long as it is waited for.
struct Running(Option<i32>);

impl Running {
    fn now(child: &Child) -> Self {
        let group = i32::try_from(child.id()).ok();
        running().extend(group);
        Self(group)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            running().remove(&group);
        }
    }
}

/// Ends all programs that nodes run now, with all that they started: for a process that is about to end without waiting for them.
pub fn kill_programs() {
    for group in running().iter().copied().filter_map(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// How a program came to its end.
enum Ended {
    Itself(ExitStatus),
    Stopped,
}

fn wait(child: &mut Child, host: &dyn Host) -> Result<Ended, NodeError> {
    let lost = |e| NodeError::failed(format!("cannot wait for the program: {e}"));
    loop {
        if let Some(status) = child.try_wait().map_err(lost)? {
            return Ok(Ended::Itself(status));
        }
        if host.stop_requested() {
            signal(child, Signal::TERM);
            let asked = Instant::now();
            while child.try_wait().map_err(lost)?.is_none() && asked.elapsed() < GRACE {
                pause(child);
            }
            signal(child, Signal::KILL);
            child.wait().map_err(lost)?;
            return Ok(Ended::Stopped);
        }
        pause(child);
    }
}

/// Waits until the program has ended, at most [`LOOK`].
#[cfg(target_os = "linux")]
fn pause(child: &Child) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{PidfdFlags, pidfd_open};

    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(LOOK.subsec_nanos()),
    };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let waited = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let waited = waited.map(|ended| poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&limit)));
    if !matches!(waited, Some(Ok(_))) {
        std::thread::sleep(LOOK / 4);
    }
}

/// Waits a little for the program to end.
#[cfg(not(target_os = "linux"))]
fn pause(_child: &Child) {
    std::thread::sleep(LOOK / 4);
}

/// To the whole group; that it has ended already is no error.
fn signal(child: &Child, signal: Signal) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}

/// Takes all that comes, and makes each line a note.
fn follow(from: Option<Box<dyn Read + Send>>, host: &dyn Host, last: &Mutex<VecDeque<String>>) -> Vec<u8> {
    let Some(from) = from else { return Vec::new() };
    let (mut reader, mut all) = (BufReader::new(from), Vec::new());
    loop {
        let start = all.len();
        match reader.read_until(b'\n', &mut all) {
            Ok(0) | Err(_) => return all,
            Ok(_) => {
                let line = String::from_utf8_lossy(&all[start..]).trim_end().to_owned();
                host.note(&line);
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.len() == LAST_LINES {
                    last.pop_front();
                }
                last.push_back(line);
            }
        }
    }
}

fn with_last(error: NodeError, last: &Mutex<VecDeque<String>>, otherwise: &str) -> NodeError {
    let last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_empty() {
        return error.with_help(otherwise);
    }
    let lines: Vec<&str> = last.iter().map(String::as_str).collect();
    error.with_help(format!("last lines of its output:\n{}", lines.join("\n")))
}
