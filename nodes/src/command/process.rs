//! A child process in its own process group: its lines become the node's notes, and it ends with the node.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use flow_engine::leash::{self, Group};
use flow_engine::lines::{self, LastLines};
use flow_engine::node::{Host, NodeError};
use rustix::process::Signal;

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

/// How often a request to stop and the time limit are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Time to end after being asked to, before it is made to.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of the end of a file that took what it printed, for an error.
const LAST_BYTES: u64 = 4096;

/// What to run.
pub(super) struct Spec<'a> {
    pub(super) arguments: &'a [String],
    /// The program's file, where the key has it.
    pub(super) program: Option<&'a Path>,
    pub(super) folder: &'a Path,
    /// For its temporary files.
    pub(super) scratch: &'a Path,
    /// Takes what it prints on stdout, which otherwise becomes notes.
    pub(super) stdout: Option<File>,
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) pass_env: &'a std::collections::BTreeSet<String>,
}

/// Runs it to the end.
///
/// # Errors
/// If it cannot be started, fails, is asked to stop or takes too long; no process of its group is left then.
pub(super) fn run(spec: &Spec<'_>, host: &dyn Host) -> Result<(), NodeError> {
    let name = &spec.arguments[0];
    let mut child = command(spec)?.spawn().map_err(|error| {
        NodeError::failed(format!("cannot start `{name}`: {error}")).with_help(
            "is it installed and in PATH? A program of your own must be among `code`, and named as `./program`",
        )
    })?;
    let group = Group::of(&child);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let last: Mutex<LastLines> = Mutex::default();
    let over = AtomicBool::new(false);
    let (ended, closed) = std::thread::scope(|scope| {
        let start = || std::thread::Builder::new();
        let heard = [
            start().spawn_scoped(scope, || out.is_none_or(|out| follow(out, host, &last, &over))),
            start().spawn_scoped(scope, || err.is_none_or(|err| follow(err, host, &last, &over))),
        ];
        let deaf = heard.iter().find_map(|heard| heard.as_ref().err());
        let deaf = deaf.map(|error| NodeError::cannot("start a thread", error));
        if deaf.is_some() {
            group.signal(Signal::KILL);
        }
        let ended = wait(&mut child, &group, host);
        let ended = deaf.map_or(ended, Err);
        // What the program started and left running would outlive the node.
        group.signal(Signal::KILL);
        over.store(true, Ordering::SeqCst);
        let closed = heard.map(|heard| heard.is_ok_and(|heard| heard.join().unwrap_or(false)));
        (ended, closed == [true, true])
    });
    if !closed {
        // It left its group, but did not let go of the pipes.
        leash::end_strays(spec.scratch);
    }
    let status = match ended? {
        Ended::Itself(status) => status,
        Ended::Stopped => return Err(NodeError::Stopped),
    };
    if status.success() {
        return Ok(());
    }
    let how = leash::how_it_ended(status);
    let mut last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(stdout) = &spec.stdout {
        last_of(stdout, &mut last);
    }
    let words = last.in_words().unwrap_or_else(|| "it printed nothing".to_owned());
    Err(NodeError::failed(format!("`{name}` {how}")).with_help(words))
}

fn command(spec: &Spec<'_>) -> Result<Command, NodeError> {
    let name = &spec.arguments[0];
    let mut command = Command::new(spec.program.map_or_else(|| found(name, spec), Path::to_owned));
    command
        .arg0(name)
        .args(&spec.arguments[1..])
        .current_dir(spec.folder)
        .env_clear();
    for name in BASE.iter().copied().chain(spec.pass_env.iter().map(String::as_str)) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("TMPDIR", spec.scratch).envs(spec.env).process_group(0);
    let stdout = match &spec.stdout {
        Some(file) => file.try_clone().map(Stdio::from),
        None => Ok(Stdio::piped()),
    };
    let stdout = stdout.map_err(|error| NodeError::cannot("open the file for its stdout", &error))?;
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    Ok(command)
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

/// How a program came to its end.
enum Ended {
    Itself(ExitStatus),
    Stopped,
}

fn wait(child: &mut Child, group: &Group, host: &dyn Host) -> Result<Ended, NodeError> {
    let lost = |error| NodeError::cannot("wait for the program", &error);
    loop {
        if let Some(status) = child.try_wait().map_err(lost)? {
            return Ok(Ended::Itself(status));
        }
        if host.stop_requested() {
            group.signal(Signal::TERM);
            let asked = Instant::now();
            while child.try_wait().map_err(lost)?.is_none() && asked.elapsed() < GRACE {
                leash::wait_a_little(child, LOOK);
            }
            group.signal(Signal::KILL);
            child.wait().map_err(lost)?;
            return Ok(Ended::Stopped);
        }
        leash::wait_a_little(child, LOOK);
    }
}

/// Makes each line a note. Whether all who could print have ended.
fn follow(from: impl Read + AsFd, host: &dyn Host, last: &Mutex<LastLines>, over: &AtomicBool) -> bool {
    lines::follow(from, lines::MAX_LINE, over, |line| {
        host.note(&line);
        last.lock().unwrap_or_else(PoisonError::into_inner).push(&line);
    })
}

/// The last lines of a file.
fn last_of(file: &File, last: &mut LastLines) {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = file.try_clone()?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LAST_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().for_each(|line| last.push(line));
}
