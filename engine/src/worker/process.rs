//! The outside of a worker process: a crash, or an end for want of memory, is one failed node.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flow_cache::CacheError;

use super::host::Tell;
use super::manifest::{Manifest, ManifestFile, ManifestInput, VERSION, WorkerMessage};
use super::{Failure, Job, Made, Thread, timed_out};
use crate::node::{NodeError, Output};

/// How often requests to stop and time limits are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Time to save a checkpoint and end after the time limit, before it is made to.
const GRACE: Duration = Duration::from_secs(30);
/// Lines of its stderr that an error shows.
const LAST_LINES: usize = 12;

/// The program that is a worker process: it calls [`super::serve`] with the path that is added to its arguments.
#[derive(Clone, Debug)]
pub struct WorkerProgram {
    /// The program.
    pub program: PathBuf,
    /// What comes before the manifest's path.
    pub arguments: Vec<String>,
}

/// Runs a job's node in a separate process.
pub(super) fn run(program: &WorkerProgram, job: &Job<'_>) -> Result<Made, Failure> {
    let cannot = |what: &str, error: std::io::Error| NodeError::failed(format!("cannot {what} its process: {error}"));
    let folder = tempfile::Builder::new()
        .prefix("flow-worker-")
        .tempdir()
        .map_err(|e| cannot("make a directory for", e))?;
    let manifest = folder.path().join("manifest.json");
    let text =
        serde_json::to_vec(&describe(job, folder.path())?).map_err(|e| NodeError::failed(format!("BUG: {e}")))?;
    std::fs::write(&manifest, text).map_err(|e| cannot("describe the work of", e))?;
    let mut command = Command::new(&program.program);
    command
        .args(&program.arguments)
        .arg(&manifest)
        .env("CUDA_VISIBLE_DEVICES", job.grant.gpus.join(","))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Ctrl-C is for the engine, which asks its workers to stop.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(|e| cannot("start", e))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let ended = AtomicBool::new(false);
    let (said, last, status, limit) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch(job, stdin, &mut child, &ended));
        let last = scope.spawn(|| stderr.map(|stderr| noted(stderr, job)).unwrap_or_default());
        let said = stdout.and_then(|out| listen(out, job));
        let last = last.join().unwrap_or_default();
        ended.store(true, Ordering::SeqCst);
        let (status, limit) = watch.join().unwrap_or((None, None));
        (said, last, status, limit)
    });
    if let (Some(limit), None | Some(WorkerMessage::Stopped)) = (limit, &said) {
        return Err(timed_out(limit).into());
    }
    match said {
        Some(WorkerMessage::Done {
            files,
            metrics,
            wall_s,
            peak_rss_bytes,
        }) => {
            let read = |(index, name): (usize, String)| {
                let bytes = std::fs::read(folder.path().join(index.to_string()));
                Ok((name, bytes.map_err(|e| cannot("read what was left by", e))?))
            };
            let files: Result<Vec<(String, Vec<u8>)>, NodeError> = files.into_iter().enumerate().map(read).collect();
            let metrics = metrics
                .into_iter()
                .map(|(name, bits)| (name, f64::from_bits(bits)))
                .collect();
            Ok(Made {
                output: Output { files: files?, metrics },
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
        Some(WorkerMessage::Progress(_) | WorkerMessage::Note(_)) | None => Err(died(status, &last).into()),
    }
}

fn describe(job: &Job<'_>, staging: &Path) -> Result<Manifest, NodeError> {
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
        version: VERSION,
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
        threads: job.grant.threads,
        gpus: job.grant.gpus.clone(),
        cache: job.store.root().to_owned(),
        staging: staging.to_owned(),
    })
}

/// Sends on what it says, and gives the last word; `None` if it ended without one.
fn listen(out: impl Read, job: &Job<'_>) -> Option<WorkerMessage> {
    let tell = Thread {
        id: job.id,
        tell: &job.tell,
    };
    let mut last = None;
    for line in BufReader::new(out).lines() {
        match serde_json::from_str(&line.ok()?) {
            Ok(WorkerMessage::Progress(shown)) => tell.progress(shown),
            Ok(WorkerMessage::Note(line)) => tell.note(&line),
            Ok(word) => last = Some(word),
            Err(error) => tracing::debug!(%error, "unexpected message from a worker"),
        }
    }
    last
}

/// Asks it to stop when that is wanted, ends it when it does not, and takes its status; with the time limit if it passed.
fn watch(
    job: &Job<'_>,
    mut stdin: Option<ChildStdin>,
    child: &mut Child,
    ended: &AtomicBool,
) -> (Option<ExitStatus>, Option<Duration>) {
    let started = Instant::now();
    let mut asked = false;
    let mut limit = None;
    loop {
        if ended.load(Ordering::SeqCst) {
            return (child.wait().ok(), limit);
        }
        if let Some(most) = job.timeout().filter(|most| started.elapsed() > *most) {
            limit = Some(most);
            if started.elapsed() > most + GRACE {
                let _ = child.kill();
            }
        }
        if !asked && (limit.is_some() || job.is_stopping()) {
            asked = true;
            if let Some(stdin) = &mut stdin {
                let _ = stdin.write_all(b"stop\n");
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Makes each line a note, and gives the last ones.
fn noted(from: impl Read, job: &Job<'_>) -> Vec<String> {
    let tell = Thread {
        id: job.id,
        tell: &job.tell,
    };
    let mut last = VecDeque::new();
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        tell.note(&line);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    last.into()
}

fn died(status: Option<ExitStatus>, last: &[String]) -> NodeError {
    #[cfg(unix)]
    let signal = status.and_then(|status| std::os::unix::process::ExitStatusExt::signal(&status));
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    let how = match (signal, status.and_then(|status| status.code())) {
        (Some(9), _) => "was killed (signal 9): probably out of memory".to_owned(),
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("ended with exit status {code} and no message"),
        (None, None) => "ended without a message".to_owned(),
    };
    let error = NodeError::failed(format!("its process {how}"));
    if last.is_empty() {
        error.with_help("it resumes from its last checkpoint when it is run again")
    } else {
        error.with_help(format!("last lines of its output:\n{}", last.join("\n")))
    }
}
