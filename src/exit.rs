//! Exit codes, and errors that know theirs.

use std::process::ExitCode;

use flow_cache::{CacheError, QueryError};
use flow_engine::{Diagnostics, PlanError, RunError};

/// How the program ends. Documented in the README; scripts depend on these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// A node failed, or a check found something wrong.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The workflow is invalid.
    Workflow = 3,
    /// The cache is corrupt.
    Corrupt = 4,
    /// Another process holds what is needed.
    Locked = 5,
    /// Stopped by SIGHUP: its terminal was closed.
    HungUp = 129,
    /// Stopped by SIGINT.
    Interrupted = 130,
    /// Stopped by SIGQUIT.
    Quit = 131,
    /// Stopped by SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The workflow is invalid; each problem is rendered with its place.
    Workflow(Diagnostics),
    /// Anything else, with its own words and what to do.
    Other {
        /// How the program ends.
        exit: Exit,
        /// What is wrong.
        message: String,
        /// What to do.
        help: Option<String>,
    },
}

impl Failure {
    /// A failure of the command line.
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Other {
            exit: Exit::Usage,
            message: message.into(),
            help: Some(help.into()),
        }
    }

    /// A failure of the work itself.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Other {
            exit: Exit::Failed,
            message: message.into(),
            help: None,
        }
    }

    /// The system refused something: what was tried, as `write the results`, and what it says.
    pub(crate) fn cannot(what: &str, error: &impl std::fmt::Display) -> Self {
        Self::failed(format!("cannot {what}: {error}"))
    }

    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Workflow(_) => Exit::Workflow,
            Self::Other { exit, .. } => *exit,
        }
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Workflow(diagnostics)
    }
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        let exit = match &error {
            CacheError::Corrupt { .. } | CacheError::UnknownSchema { .. } => Exit::Corrupt,
            CacheError::Locked { .. } => Exit::Locked,
            _ => Exit::Failed,
        };
        Self::Other {
            exit,
            message: error.to_string(),
            help: None,
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Cache(error) => error.into(),
            error @ QueryError::Syntax(_) => Self::Other {
                exit: Exit::Usage,
                message: error.to_string(),
                help: None,
            },
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Cache(error) => error.into(),
            error @ PlanError::Node { .. } => Self::failed(error.to_string()),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Plan(error) => error.into(),
            RunError::Folder(error) => error.into(),
        }
    }
}
