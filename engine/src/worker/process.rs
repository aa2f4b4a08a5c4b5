//! The outside of a worker process: a crash, or an end for want of memory, is one failed node.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flow_cache::CacheError;
use rustix::process::Signal;

use super::host::Tell;
use super::manifest::{Manifest, ManifestFile, ManifestInput, WorkerMessage};
use super::{Failure, Job, Made, timed_out};
use crate::leash::{self, Group};
use crate::lines::{self, LastLines};
use crate::node::{NodeError, Output};
use crate::{build, code};

/// How often requests to stop and time limits are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Time to save a checkpoint and end after the time limit, before it is made to.
const GRACE: Duration = Duration::from_secs(30);
/// Time to end after the last word.
const LEAVE: Duration = Duration::from_secs(2);
/// As much of a message that cannot be read is shown, in characters.
const SHOWN: usize = 200;
/// Bytes of a message: more than a node with a hundred thousand outputs has to say.
const MAX_MESSAGE: usize = 16 << 20;

/// The program that is a worker process: it calls [`super::serve`].
#[derive(Clone, Debug)]
pub struct WorkerProgram {
    /// The program.
    pub program: PathBuf,
    /// What tells it so.
    pub arguments: Vec<String>,
}

/// Runs a job's node in a separate process.
pub(super) fn run(program: &WorkerProgram, job: &Job<'_>) -> Result<Made, Failure> {
    let cannot = |what: &str, error: std::io::Error| NodeError::cannot(&format!("{what} its process"), &error);
    let folder = leash::folder("flow-worker-").map_err(|e| cannot("make a directory for", e))?;
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).map_err(|e| cannot("make a directory for", e))?;
    let large_folder = Arc::new(job.store.large_folder().map_err(NodeError::from)?);
    let mut manifest = serde_json::to_vec(&describe(job, folder.path(), large_folder.path())?)
        .map_err(|e| NodeError::failed(format!("BUG: {e}")))?;
    manifest.push(b'\n');
    let mut child = command(program, job, &temporary)
        .spawn()
        .map_err(|e| cannot("start", e))?;
    let group = Group::of(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let over = AtomicBool::new(false);
    let (said, last, status, limit) = std::thread::scope(|scope| -> std::io::Result<_> {
        let start = || std::thread::Builder::new();
        let watch = start().spawn_scoped(scope, || watch(job, stdin.as_ref(), &mut child, &group, &over));
        let hear = || stderr.map(|stderr| noted(stderr, job, &over)).unwrap_or_default();
        let last = start().spawn_scoped(scope, hear);
        if watch.is_err() || last.is_err() {
            group.signal(Signal::KILL);
        }
        // One that has ended already is told by its status.
        let _ = stdin.as_ref().map(|mut stdin| stdin.write_all(&manifest));
        let said = stdout.and_then(|out| listen(out, job, &over));
        over.store(true, Ordering::SeqCst);
        let (status, limit) = watch.map(|watch| watch.join().unwrap_or((None, None)))?;
        Ok((said, last.map(|last| last.join().unwrap_or_default())?, status, limit))
    })
    .map_err(|error| cannot("start a thread to read the output of", error))?;
    if let (Some(limit), None | Some(Ok(WorkerMessage::Stopped))) = (limit, &said) {
        return Err(timed_out(limit).into());
    }
    match said.transpose()? {
        Some(WorkerMessage::Done {
            files,
            large,
            metrics,
            wall_s,
            peak_rss_bytes,
        }) => {
            let read = |(index, name): (usize, String)| {
                let bytes = std::fs::read(folder.path().join(index.to_string()));
                Ok((name, bytes.map_err(|e| cannot("read what was left by", e))?))
            };
            let files: Result<Vec<(String, Vec<u8>)>, NodeError> = files.into_iter().enumerate().map(read).collect();
            let taken = large.into_iter().map(|(name, file)| {
                let file = large_folder.take_over(file);
                Ok((name, file.map_err(|e| cannot("take what was left by", e))?))
            });
            let large = taken.collect::<Result<_, NodeError>>()?;
            let metrics = metrics
                .into_iter()
                .map(|(name, bits)| (name, f64::from_bits(bits)))
                .collect();
            Ok(Made {
                output: Output { files: files?, metrics },
                large,
                wall_s,
                peak_rss_bytes,
            })
        }
        Some(WorkerMessage::Stopped) => Err(NodeError::Stopped.into()),
        Some(WorkerMessage::Failed { message, help }) => Err(NodeError::Failed { message, help }.into()),
        Some(WorkerMessage::Corrupt { key, name, path, why }) => {
            Err(NodeError::Cache(CacheError::Corrupt { key, name, path, why }).into())
        }
        Some(WorkerMessage::Panicked(text)) => Err(Failure::Panic(text)),
        Some(WorkerMessage::Progress(_) | WorkerMessage::Note(_) | WorkerMessage::Warning(_)) | None => {
            Err(died(status, &last).into())
        }
    }
}

fn command(program: &WorkerProgram, job: &Job<'_>, temporary: &Path) -> Command {
    let mut command = Command::new(&program.program);
    command
        .args(&program.arguments)
        .env("CUDA_VISIBLE_DEVICES", job.grant.gpus.join(","))
        .env("TMPDIR", temporary)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Ctrl-C is for the engine, which asks its workers to stop.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

fn describe(job: &Job<'_>, staging: &Path, large: &Path) -> Result<Manifest, NodeError> {
    let node = &job.instance.node;
    let given_file = |file: &crate::node::OpenedFile| ManifestFile {
        path: file.path.clone(),
        digest: file.digest,
    };
    let given = |input: &crate::node::Input| ManifestInput {
        node: input.node.clone(),
        bindings: input.bindings.clone(),
        key: *input.artifact.key(),
    };
    let ports = job.inputs.0.iter();
    Ok(Manifest {
        build: build::id().to_owned(),
        name: job.instance.name().to_owned(),
        kind: node.kind().to_owned(),
        params: node
            .params()
            .map_err(|e| NodeError::failed(format!("BUG: its parameters are not JSON: {e}")))?,
        key: job.action.key,
        inputs: ports
            .map(|(port, all)| ((*port).to_owned(), all.iter().map(given).collect()))
            .collect(),
        files: job.action.files.iter().map(given_file).collect(),
        secrets: job.secrets.all(),
        printed: code::printed().to_vec(),
        threads: job.grant.threads,
        gpus: job.grant.gpus.clone(),
        cache: job.store.root().to_owned(),
        staging: staging.to_owned(),
        large: large.to_owned(),
    })
}

/// Sends on what it says, and gives the last word; `None` if it ended without one. Nothing that follows what cannot be read can be trusted.
fn listen(out: ChildStdout, job: &Job<'_>, over: &AtomicBool) -> Option<Result<WorkerMessage, NodeError>> {
    let mut last = None;
    lines::follow_each(out, MAX_MESSAGE, over, |line, is_whole| {
        match serde_json::from_str(&line) {
            // What was broken off is told by how the process ended.
            _ if last.is_some() || !is_whole => {}
            Ok(WorkerMessage::Progress(shown)) => job.tell.progress(shown),
            Ok(WorkerMessage::Note(line)) => job.tell.note(&line),
            Ok(WorkerMessage::Warning(text)) => tracing::warn!("{text}"),
            word => {
                last = Some(word.map_err(|error| unreadable(&line, &error)));
                over.store(true, Ordering::SeqCst);
            }
        }
    });
    last
}

/// What was said is not a message.
fn unreadable(line: &str, error: &serde_json::Error) -> NodeError {
    let begin: String = line.chars().take(SHOWN).collect();
    NodeError::failed(format!(
        "its process printed what is no message of a worker ({error}): {begin}"
    ))
    .with_help(
        "run again if flow was replaced meanwhile; else code of the node kind prints to stdout, which it must not",
    )
}

/// Asks it to stop when that is wanted, ends it when it does not, and takes its status; with the time limit if it passed. `over` is raised
/// once it has said its last word or has ended.
fn watch(
    job: &Job<'_>,
    mut stdin: Option<&ChildStdin>,
    child: &mut Child,
    group: &Group,
    over: &AtomicBool,
) -> (Option<ExitStatus>, Option<Duration>) {
    let started = Instant::now();
    let (mut asked, mut limit, mut last_word) = (false, None, None);
    loop {
        match child.try_wait() {
            Ok(None) => {}
            ended => {
                over.store(true, Ordering::SeqCst);
                return (ended.ok().flatten(), limit);
            }
        }
        if over.load(Ordering::SeqCst) && last_word.get_or_insert_with(Instant::now).elapsed() > LEAVE {
            group.signal(Signal::KILL);
        }
        if let Some(most) = job
            .timeout()
            .filter(|most| last_word.is_none() && started.elapsed() > *most)
        {
            limit = Some(most);
            if started.elapsed() > most + GRACE {
                group.signal(Signal::KILL);
            }
        }
        if !asked && (limit.is_some() || job.is_stopping()) {
            asked = true;
            if let Some(stdin) = &mut stdin {
                let _ = stdin.write_all(b"stop\n");
            }
        }
        leash::wait_a_little(child, LOOK);
    }
}

/// Makes each line a note, and gives the last ones.
fn noted(from: ChildStderr, job: &Job<'_>, over: &AtomicBool) -> LastLines {
    let mut last = LastLines::default();
    lines::follow(from, lines::MAX_LINE, over, |line| {
        job.tell.note(&line);
        last.push(&line);
    });
    last
}

fn died(status: Option<ExitStatus>, last: &LastLines) -> NodeError {
    let how = status.map_or_else(|| "ended in an unknown way".to_owned(), leash::how_it_ended);
    let words = last.in_words();
    let words = words.unwrap_or_else(|| "it resumes from its last checkpoint when it is run again".to_owned());
    NodeError::failed(format!("its process {how}")).with_help(words)
}
