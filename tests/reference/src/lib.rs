//! `flow doctor --reference`: runs golden cases of PyTorch and scikit-learn through the shipped numerics.
//!
//! Each JSON file of a folder is a list of cases `{case, source, params, inputs, outputs, grads}`. Nothing here knows a case's numbers
//! or sizes: other files with other values run as well. What is not built is reported as such, never as a pass.

mod backbones;
mod case;
mod image_ops;
mod layers;
mod localisation;
mod losses;
mod method_parts;
mod method_steps;
mod metrics;
mod optim;
mod semi_steps;
mod stats;
mod texts;

use std::path::{Path, PathBuf};

pub use case::{Case, CaseError};

/// What became of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Within tolerance.
    Pass {
        /// The largest error of any value, relative to the tolerance's scale.
        error: f64,
    },
    /// Not within tolerance.
    Fail {
        /// Which output or gradient.
        what: String,
        /// Its largest error.
        error: f64,
        /// What would have passed.
        tolerance: f64,
    },
    /// There is no such function yet.
    NotBuilt,
}

/// One case with its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseResult {
    /// The file's name without `.json`.
    pub file: String,
    /// The case's name.
    pub case: String,
    /// Its place in the file, from 1.
    pub place: usize,
    /// What became of it.
    pub outcome: Outcome,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not a list of cases.
    #[error("{path} is not a list of golden cases: {message}")]
    Format {
        /// Which.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// No file in the folder.
    #[error("{path} holds no .json file with golden cases")]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

type Family = fn(&Case) -> Result<Outcome, CaseError>;

/// The runner of each file. A file of another name has cases that are not built.
const FAMILIES: &[(&str, Family)] = &[
    ("backbones", backbones::run),
    ("image_ops", image_ops::run),
    ("layers", layers::run),
    ("localisation", localisation::run),
    ("method_losses", losses::run),
    ("method_parts", method_parts::run),
    ("method_steps", method_steps::run),
    ("metrics", metrics::run),
    ("optim", optim::run),
    ("rand_augment", image_ops::rand_augment),
    ("semi_steps", semi_steps::run),
    ("ssl_losses", losses::run),
    ("stats", stats::run),
    ("supervised_losses", losses::run),
    ("texts", texts::run),
];

/// Runs every case of every JSON file in `folder`, in the order of their names.
///
/// # Errors
/// If a file cannot be read or is malformed.
pub fn run_reference(folder: &Path) -> Result<Vec<CaseResult>, ReferenceError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ReferenceError::Io { path, source }
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        if path.extension().is_some_and(|e| e == "json") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(ReferenceError::Empty {
            path: folder.to_owned(),
        });
    }
    let mut results = Vec::new();
    for path in files {
        let format = |message: String| ReferenceError::Format {
            path: path.clone(),
            message,
        };
        let text = std::fs::read_to_string(&path).map_err(io(&path))?;
        let cases: Vec<Case> = serde_json::from_str(&text).map_err(|e| format(e.to_string()))?;
        let file = path
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default();
        let family = FAMILIES
            .iter()
            .find(|(name, _)| *name == file)
            .map(|(_, family)| family);
        for (i, case) in cases.iter().enumerate() {
            let outcome = match family {
                Some(family) => family(case).map_err(|e| format(format!("case {} (`{}`): {e}", i + 1, case.case)))?,
                None => Outcome::NotBuilt,
            };
            results.push(CaseResult {
                file: file.clone(),
                case: case.case.clone(),
                place: i + 1,
                outcome,
            });
        }
    }
    Ok(results)
}
