//! Groups of features: assignments that fill every cluster, clusters around means, nearest neighbours.

mod kmeans;
mod neighbours;
mod sinkhorn;
mod whiten;

pub use kmeans::{Clusters, best_kmeans, kmeans};
pub use neighbours::nearest_neighbours;
pub use sinkhorn::{sinkhorn, sinkhorn_until};
pub use whiten::pca_whiten;
