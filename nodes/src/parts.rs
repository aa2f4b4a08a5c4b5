//! Looking at many examples part by part, so that a node says how far it is, and stops when it is asked to.

use flow_engine::node::{Context, NodeError, Progress};

/// Examples of a part. What a network says of an example has the same bits in every batch.
const PART: usize = 1024;

/// What `look` finds in each part, one after the other.
///
/// # Errors
/// Those of `look`, and [`NodeError::Stopped`].
pub(crate) fn by_parts<T>(
    cx: &Context<'_>,
    indices: &[u32],
    mut look: impl FnMut(&[u32]) -> Result<Vec<T>, NodeError>,
) -> Result<Vec<T>, NodeError> {
    let mut found = Vec::new();
    let mut done = 0;
    for part in indices.chunks(PART) {
        found.extend(look(part)?);
        done += part.len();
        told(cx, done, indices.len(), "example")?;
    }
    Ok(found)
}

/// Said where a training goes on from its last checkpoint.
pub(crate) fn resumes(after: &str) -> String {
    format!("resumes after {after}")
}

/// Says how far a node is that has no checkpoints.
///
/// # Errors
/// [`NodeError::Stopped`], if it is asked to stop before its end.
pub(crate) fn told(cx: &Context<'_>, done: usize, all: usize, unit: &'static str) -> Result<(), NodeError> {
    cx.host.progress(Progress {
        step: done as u64,
        total: all as u64,
        unit,
        metrics: Vec::new(),
    });
    match done < all && cx.host.stop_requested() {
        true => Err(NodeError::Stopped),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_training_that_goes_on_says_from_where() {
        insta::assert_snapshot!(super::resumes("epoch 3 of 40 and 7 steps"));
    }
}
