//! No program that this process starts outlives it, however it ends, `kill -9` included.
//!
//! The first program that is started gets a *keeper* for company: this same executable, in a process group of its own, that waits at
//! the end of a pipe. It is told of each process group that begins and ends. When the pipe closes, this process has ended: then the
//! keeper kills the groups that are left and every process whose TMPDIR lies in this process's directory (which finds daemons that left
//! their group), until there are none; it removes that directory, and ends. It has the lock of this process's claims until then, so
//! that nobody else starts what is still running. Not covered: a daemon that left its group and its environment behind, and a keeper that
//! is killed itself together with this process.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

/// This very program, also when its file was replaced meanwhile.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// The variable that tells whose a process is.
const MARK: &str = "TMPDIR";

/// Between two looks at what is still there.
const LOOK: Duration = Duration::from_millis(5);
/// A process that cannot be killed (it waits for a disk) is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to become a keeper: program and first argument.
static PROGRAM: OnceLock<(PathBuf, String)> = OnceLock::new();
/// What the keeper holds until all programs have ended.
static LOCK: OnceLock<Option<File>> = OnceLock::new();
static KEEPER: Mutex<Option<Keeper>> = Mutex::new(None);

struct Keeper {
    tell: ChildStdin,
    /// All temporary files of programs lie here.
    folder: PathBuf,
    _child: Child,
}

/// Keepers are `program` with `argument` and a directory, and must call [`keep`]. Without this there is none, and only ends that this process
/// can act upon are covered.
pub fn configure(program: PathBuf, argument: &str) {
    let _ = PROGRAM.set((program, argument.to_owned()));
}

/// What the keeper is to hold until all programs have ended: the first time counts.
pub(crate) fn hold(lock: impl FnOnce() -> Option<File>) {
    LOCK.get_or_init(lock);
}

fn keeper() -> MutexGuard<'static, Option<Keeper>> {
    KEEPER.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    fn start(program: &Path, argument: &str) -> io::Result<Self> {
        let mut name = tempfile::Builder::new();
        name.prefix("flow-").rand_bytes(16);
        let made = name.make(|folder| {
            let mut child = Self::spawn(program, argument, folder)?;
            // Not before: a directory of which no keeper knows would stay behind if this process were killed here.
            let made = DirBuilder::new().mode(0o700).create(folder);
            if made.is_err() {
                // It must not remove what is not ours.
                let _ = child.kill();
                let _ = child.wait();
            }
            made.map(|()| child)
        })?;
        let (mut child, folder) = made.keep().map_err(|refused| refused.error)?;
        let tell = child.stdin.take();
        Ok(Self {
            tell: tell.ok_or_else(|| io::Error::other("BUG: the keeper has no pipe"))?,
            folder,
            _child: child,
        })
    }

    fn spawn(program: &Path, argument: &str, folder: &Path) -> io::Result<Child> {
        let lock = LOCK.get().and_then(Option::as_ref);
        let held = lock
            .and_then(|lock| lock.try_clone().ok())
            .map_or_else(Stdio::null, Stdio::from);
        let mut command = Command::new(program);
        command.arg(argument).arg(folder).process_group(0);
        command.stdin(Stdio::piped()).stdout(held).stderr(Stdio::null());
        command.spawn().map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the process that ends left-over programs cannot be started: {error}"),
            )
        })
    }
}

/// A fresh directory for a program, which is to have a TMPDIR in it; removed when dropped, or by the keeper.
///
/// # Errors
/// If it cannot be made, or the keeper cannot be started.
pub fn folder(prefix: &str) -> io::Result<TempDir> {
    let mut keeper = keeper();
    if keeper.is_none()
        && let Some((program, argument)) = PROGRAM.get()
    {
        *keeper = Some(Keeper::start(program, argument)?);
    }
    let base = keeper
        .as_ref()
        .map_or_else(std::env::temp_dir, |keeper| keeper.folder.clone());
    tempfile::Builder::new().prefix(prefix).tempdir_in(base)
}

/// A process group that ends when this is dropped, or this process ends.
#[derive(Debug)]
pub struct Group(Option<Pid>);

impl Group {
    /// The group that a child was started as the first of.
    pub fn of(child: &Child) -> Self {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        tell('+', pid);
        Self(pid)
    }

    /// To all of the group; that it is gone already is no error.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        tell('-', self.0);
    }
}

/// A keeper that was killed cannot be told; the groups are still ended by us.
fn tell(what: char, group: Option<Pid>) {
    if let (Some(group), Some(keeper)) = (group, keeper().as_mut()) {
        let _ = writeln!(keeper.tell, "{what}{}", group.as_raw_nonzero());
    }
}

/// Waits until the child has ended, or so long.
pub fn wait_a_little(child: &Child, most: Duration) {
    #[cfg(target_os = "linux")]
    {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::process::{PidfdFlags, pidfd_open};
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(most.subsec_nanos()),
        };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let ended = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(Ok(_)) = ended.map(|ended| poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&limit))) {
            return;
        }
    }
    let _ = child;
    std::thread::sleep(most / 4);
}

/// The end of a process in words, for after its name: `ended with exit status 3`.
pub fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(9)) => "was killed (signal 9): probably out of memory".to_owned(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// Ends every process whose TMPDIR lies in `folder`.
pub fn end_strays(folder: &Path) {
    end_all(&BTreeSet::new(), folder);
}

/// The whole life of a keeper. The caller sees to it that no signal of a terminal ends it.
pub fn keep(folder: &Path) {
    let mut groups = BTreeSet::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match (line.chars().next(), line.get(1..).and_then(|group| group.parse().ok())) {
            (Some('+'), Some(group)) => drop(groups.insert(group)),
            (_, Some(group)) => drop(groups.remove(&group)),
            _ => {}
        }
    }
    end_all(&groups, folder);
    let _ = std::fs::remove_dir_all(folder);
}

fn end_all(groups: &BTreeSet<i32>, folder: &Path) {
    let began = Instant::now();
    for group in groups.iter().filter_map(|group| Pid::from_raw(*group)) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    // A process has no environment yet in the moment between its start and its program: only the second look in a row that finds
    // nothing is the end.
    let mut found_nothing = false;
    loop {
        let left = left(groups, folder);
        if (left.is_empty() && found_nothing) || began.elapsed() > PATIENCE {
            return;
        }
        found_nothing = left.is_empty();
        for pid in left {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(LOOK);
    }
}

/// The processes that are of these groups, or have a TMPDIR in the folder. None where there is no `/proc`.
fn left(groups: &BTreeSet<i32>, folder: &Path) -> Vec<Pid> {
    let mut mark = MARK.as_bytes().to_vec();
    mark.push(b'=');
    mark.extend_from_slice(folder.as_os_str().as_encoded_bytes());
    let is_left = |pid: &i32| {
        let Some((state, group)) = std::fs::read(format!("/proc/{pid}/stat"))
            .ok()
            .and_then(|stat| state(&stat))
        else {
            return false;
        };
        let environ = || std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let is_marked = || environ().split(|byte| *byte == 0).any(|entry| entry.starts_with(&mark));
        !matches!(state, b'Z' | b'X') && (groups.contains(&group) || is_marked())
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    pids.filter(|pid| *pid != own)
        .filter(is_left)
        .filter_map(Pid::from_raw)
        .collect()
}

/// State and process group of `/proc/PID/stat`: what follows the name, which may contain anything, in its last parenthesis.
fn state(stat: &[u8]) -> Option<(u8, i32)> {
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let text = std::str::from_utf8(&stat[after..]).ok()?;
    let mut fields = text.split_whitespace();
    let state = fields.next()?.bytes().next()?;
    Some((state, fields.nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_of_a_process_reads_as_a_sentence() {
        // As the system has it: an exit status, a signal, stopped.
        let ends = [3 << 8, 9, 15, 0x137f].map(|raw| how_it_ended(ExitStatus::from_raw(raw)));
        let folder = tempfile::tempdir().unwrap();
        let refused = Keeper::spawn(Path::new("/nowhere/flow"), "__keeper", folder.path());
        let refused = refused.err().map(|error| error.to_string());
        insta::assert_snapshot!(ends.into_iter().chain(refused).collect::<Vec<String>>().join("\n"));
    }

    #[test]
    fn the_group_of_a_process_is_read_whatever_it_is_called() {
        assert_eq!(state(b"7 (a) Z 9 (b) S 1 42 3"), Some((b'S', 42)));
        assert_eq!(state(b"7 ("), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_that_left_its_group_is_found_by_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut stray = Command::new("sleep")
            .arg("600")
            .env(MARK, folder.path())
            .spawn()
            .unwrap();
        end_strays(folder.path());
        assert!(!stray.wait().unwrap().success(), "it was killed");
    }
}
