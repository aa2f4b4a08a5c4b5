//! What the crate's tests share.

#[path = "../../tests/common/warned.rs"]
mod warned;

pub(crate) use warned::warned;
