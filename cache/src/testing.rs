//! What the crate's tests share: small drafts on a simulated disk.

#[path = "../../tests/common/warned.rs"]
mod warned;

use std::path::Path;

pub(crate) use warned::{warned, without_digests};

use crate::disk::sim::SimDisk;
use crate::{ActionKey, Artifact, CacheError, Draft, KeyFields, Store};

/// Where a simulated store lies.
pub(crate) const ROOT: &str = "/data/cache";

/// A draft with the parameter `lr`, and two files whose content follows from `content`.
pub(crate) fn draft(lr: f64, content: &str) -> (ActionKey, Draft) {
    let (key, components) = KeyFields::new("finetune", 1).param("lr", &lr.into()).finish();
    let files = vec![
        ("model".into(), content.as_bytes().to_vec()),
        ("log".into(), content.repeat(3).into_bytes()),
    ];
    (
        key,
        Draft {
            kind: "finetune".into(),
            node: "student".into(),
            components,
            files,
            ..Draft::default()
        },
    )
}

/// Opens the store on a simulated disk.
pub(crate) fn open(disk: &SimDisk) -> Result<Store, CacheError> {
    Store::open_on(Box::new(disk.clone()), Path::new(ROOT))
}

/// Looks a key up and publishes the draft if it is missed.
pub(crate) fn publish(store: &Store, key: &ActionKey, draft: &Draft) -> Result<Artifact, CacheError> {
    match store.lookup(key)? {
        Some(artifact) => Ok(artifact),
        None => store.publish(key, draft),
    }
}

/// Whether the artifact has all files of the draft, with their bytes.
pub(crate) fn holds(artifact: &Artifact, draft: &Draft) -> bool {
    let all = draft
        .files
        .iter()
        .all(|(name, bytes)| artifact.read(name).is_ok_and(|read| read == *bytes));
    all && artifact.names().count() == draft.files.len()
}
