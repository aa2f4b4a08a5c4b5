//! Watching a workflow: run it, and run it again when something that matters has changed, also under a run.
//!
//! The workflow stays in memory, as do the digests of its files: of a change to a data file nothing is parsed again. A
//! change under a run is planned at once, and a new run takes over from the old one: of the nodes at work, those that
//! the new plan wants under the same key run to their end, the others are asked to stop at their next checkpoint. Old
//! and new run share the machine; who needs what an old run still works on waits for it, as for another process.

mod files;
mod links;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::Scope;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select, unbounded};
use flow_cache::Store;

pub use files::{Changed, WatchError, WatchOptions};

use self::files::WatchedFiles;
use crate::events::Reporter;
use crate::execute::Mailbox;
use crate::plan::Resolved;
use crate::recall::recall;
use crate::run::{Options, RunError, RunOutcome, RunStart, Session, run_planned};
use crate::worker::Message;
use crate::workflow::{Diagnostics, Workflow};

/// How often a request to stop, and what no hint was given of, is looked for.
const STOP_EVERY: Duration = Duration::from_millis(100);

/// Loads the workflow and receives the events. Runs send them from separate threads.
pub trait Audience: Sync {
    /// Loads the workflow as it now is.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    fn load(&self) -> Result<Workflow, Diagnostics>;

    /// Something changed, and will be run.
    fn changed(&self, changed: &Changed);

    /// The workflow cannot be loaded; if `running`, the run of what it was before goes on.
    fn broken(&self, problems: Diagnostics, running: bool);

    /// Someone for the next run to report to.
    fn reporter(&self) -> Box<dyn Reporter>;

    /// A run has ended or could not begin; if `superseded`, because another one took over.
    fn ended(&self, outcome: Result<RunOutcome, RunError>, superseded: bool);

    /// Nothing runs; the next change is waited for.
    fn idle(&self);
}

/// Runs the workflow file at `path`, and again after each change, until the options' stop flag is raised.
///
/// # Errors
/// If something cannot be watched.
pub fn watch(
    path: &Path,
    watching: WatchOptions,
    store: &Store,
    options: &Options,
    audience: &dyn Audience,
) -> Result<(), WatchError> {
    let session = Session::open(store, options);
    let session = &session;
    let watched = WatchedFiles::new(path, watching, &session.files)?;
    std::thread::scope(|scope| {
        let (tell_end, ended) = unbounded();
        let mut watch = Watch {
            path,
            session,
            audience,
            watched,
            workflow: None,
            runs: Vec::new(),
            count: 0,
            tell_end,
            ended,
        };
        let result = watch.until_stopped(scope);
        // Runs that are still at it are asked to stop, and waited for.
        if result.is_err() {
            options.stop.request();
        }
        result
    })
}

/// A run that has not ended.
struct Live {
    id: usize,
    tell: Sender<Message>,
}

struct Watch<'a> {
    path: &'a Path,
    session: &'a Session<'a>,
    audience: &'a dyn Audience,
    watched: WatchedFiles<'a>,
    /// As it was loaded last.
    workflow: Option<Arc<Workflow>>,
    runs: Vec<Live>,
    /// Runs started so far.
    count: usize,
    tell_end: Sender<Ended>,
    ended: Receiver<Ended>,
}

/// A run's number, and how it ended.
type Ended = (usize, Result<RunOutcome, RunError>);

impl<'a> Watch<'a> {
    fn until_stopped<'scope>(&mut self, scope: &'scope Scope<'scope, '_>) -> Result<(), WatchError>
    where
        'a: 'scope,
    {
        if self.reload()? {
            self.go(scope);
        }
        loop {
            if self.runs.is_empty() && !self.is_stopping() {
                self.audience.idle();
            }
            let Some(changed) = self.wait() else { return Ok(()) };
            tracing::debug!(?changed, "watching resumes");
            self.audience.changed(&changed);
            if changed.texts.is_empty() && self.workflow.is_some() || self.reload()? {
                self.go(scope);
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.session.options.stop.is_requested()
    }

    /// Waits for a change, and receives the results of runs that end meanwhile; `None` once asked to stop and all runs have.
    fn wait(&mut self) -> Option<Changed> {
        loop {
            if self.is_stopping() && self.runs.is_empty() {
                return None;
            }
            let hint = select! {
                recv(self.watched.hints()) -> hint => Some(hint),
                recv(self.ended) -> ended => {
                    if let Ok(ended) = ended {
                        self.hear_end(ended);
                    }
                    None
                }
                default(STOP_EVERY) => None,
            };
            if self.is_stopping() {
                continue;
            }
            let changed = match hint {
                Some(Ok(hint)) => self.watched.look_after(&hint),
                Some(Err(_)) | None => self.watched.look_unless_recent(),
            };
            if !changed.is_empty() {
                return Some(changed);
            }
        }
    }

    fn hear_end(&mut self, (id, outcome): Ended) {
        self.runs.retain(|run| run.id != id);
        self.audience.ended(outcome, id < self.count);
        if self.runs.is_empty() && !self.is_stopping() {
            self.audience.idle();
        }
    }

    /// Loads the workflow and watches what it reads; `false` if it cannot be loaded. What was watched before then stays
    /// watched, and so do the files that it is made of.
    fn reload(&mut self) -> Result<bool, WatchError> {
        recall(self.session.store, self.path);
        match self.audience.load() {
            Ok(workflow) => {
                let texts = workflow.included().map(|(path, _)| path.to_owned()).collect();
                self.watched.watch(texts, workflow.files())?;
                self.workflow = Some(Arc::new(workflow));
                Ok(true)
            }
            Err(problems) => {
                self.watched.watch_texts_too(problems.included().to_vec())?;
                self.audience.broken(problems, !self.runs.is_empty());
                // What is put right by undoing the change is loaded again.
                self.workflow = None;
                Ok(false)
            }
        }
    }

    /// Plans, takes over from the runs under way, runs.
    fn go<'scope>(&mut self, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        let Some(workflow) = self.workflow.clone() else { return };
        let started = RunStart::now();
        let plan = match self.session.plan(&workflow) {
            Ok(plan) => plan,
            // A data file that is gone may come back.
            Err(error) => return self.audience.ended(Err(error.into()), false),
        };
        let wanted: HashSet<_> = plan.resolved.iter().flatten().map(Resolved::key).collect();
        for run in &self.runs {
            let wanted = wanted.clone();
            // One that has just ended need not be stopped.
            let _ = run.tell.send(Message::Superseded { wanted });
        }
        let mail = Mailbox::new();
        self.count += 1;
        let (id, session, audience, tell_end) = (self.count, self.session, self.audience, self.tell_end.clone());
        self.runs.push(Live {
            id,
            tell: mail.sender(),
        });
        scope.spawn(move || {
            let outcome = run_planned(&workflow, plan, session, started, mail, audience.reporter().as_mut());
            // If the receiver is gone, watching has ended with an error.
            let _ = tell_end.send((id, outcome.map_err(RunError::from)));
        });
    }
}
