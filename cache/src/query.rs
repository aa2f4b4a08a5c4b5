//! stand-in while the language is written
use crate::{CacheError, Record};
#[derive(Debug, thiserror::Error)]
/// e
pub enum QueryError {
    #[error("{0}")]
    /// s
    Syntax(String),
    #[error(transparent)]
    /// c
    Cache(#[from] CacheError),
}
pub(crate) struct Query;
impl std::str::FromStr for Query {
    type Err = QueryError;
    fn from_str(t: &str) -> Result<Self, QueryError> {
        if t.is_empty() { Ok(Self) } else { Err(QueryError::Syntax(t.into())) }
    }
}
impl Query {
    pub(crate) fn select(&self, r: Vec<Record>) -> Vec<Record> { r }
}
