//! What a trained network sees: which images excite a channel, what would excite it more, and how features lie to each other.

mod channel;
mod tsne;

pub use channel::{Ascent, Channel, Stages, maximise, means};
pub use tsne::tsne;
