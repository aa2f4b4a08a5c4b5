//! Which images to label next.

use std::path::PathBuf;

use flow_engine::node::NodeError;
use flow_learn::selection::{k_centre, margin};

use super::{Batch, Predictor};

/// By what images are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Those between whose two most probable classes the network decides least: the smallest margin first.
    Uncertain,
    /// Those that are least like the labelled ones and each other: greedy k-centre on the features.
    Diverse,
}

/// An image that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// What it is called.
    pub path: PathBuf,
    /// Its logits.
    pub logits: Vec<f32>,
    /// The margin between its two most probable classes; or how far its features are from the nearest labelled or chosen ones.
    pub by: f32,
}

/// Keeps what may be chosen of the images that go by: of `uncertain` the best so far, of `diverse` all features.
pub struct Ranking {
    rank: Rank,
    count: usize,
    candidates: Vec<Chosen>,
    features: Vec<f32>,
}

impl Ranking {
    /// Of `count` images.
    pub fn new(rank: Rank, count: usize) -> Self {
        let (candidates, features) = (Vec::new(), Vec::new());
        Self {
            rank,
            count,
            candidates,
            features,
        }
    }

    /// Looks at a batch.
    pub fn look_at(&mut self, predictor: &Predictor, batch: Batch) {
        let classes = predictor.class_names().len();
        let rows = predictor.probabilities(&batch.logits);
        let logits = batch.logits.chunks_exact(classes);
        for ((path, row), logits) in batch.paths.into_iter().zip(rows.chunks_exact(classes)).zip(logits) {
            self.candidates.push(Chosen {
                path,
                logits: logits.to_vec(),
                by: margin(row),
            });
        }
        match self.rank {
            Rank::Diverse => self.features.extend(batch.features),
            Rank::Uncertain => self.keep_the_least_certain(),
        }
    }

    /// In the order of their margins, of equal ones as they came.
    fn keep_the_least_certain(&mut self) {
        self.candidates.sort_by(|a, b| a.by.total_cmp(&b.by));
        self.candidates.truncate(self.count);
    }

    /// The images, the first to label first.
    ///
    /// # Errors
    /// If the labelled images cannot be read.
    pub fn chosen(mut self, predictor: &mut Predictor) -> Result<Vec<Chosen>, NodeError> {
        if self.rank == Rank::Uncertain {
            return Ok(self.candidates);
        }
        let known = predictor.labelled_features()?;
        let places = k_centre(&self.features, &known, predictor.dim(), self.count);
        let chosen = places.into_iter().map(|(at, by)| Chosen {
            by,
            path: std::mem::take(&mut self.candidates[at].path),
            logits: std::mem::take(&mut self.candidates[at].logits),
        });
        Ok(chosen.collect())
    }
}
