//! Whether a network can be made, asked before anything runs. It is answered by making it; a plan of hundreds of nodes with the same network makes it once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use flow_engine::node::ParamError;
use flow_learn::backbones::BackboneSettings;
use flow_learn::data::NetworkInput;
use flow_learn::rng::Stream;
use flow_learn::tasks::{Locator, Task};

use crate::failure::{backbone_error, setting_error};

/// What was found, by all that it depends on.
static FOUND: Mutex<BTreeMap<String, Result<(), ParamError>>> = Mutex::new(BTreeMap::new());

/// Refuses a backbone that cannot be made for such images, or that a task's head, for so many classes, cannot stand on.
pub(crate) fn check(
    backbone: &BackboneSettings,
    input: NetworkInput,
    task: Option<(&'static dyn Task, usize)>,
) -> Result<(), ParamError> {
    let key = format!(
        "{backbone:?} {input:?} {:?}",
        task.map(|(task, classes)| (task.name(), classes))
    );
    let found = || FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = found().get(&key) {
        return known.clone();
    }
    let made = || {
        let encoder = backbone.sketch(input).map_err(|e| backbone_error(&e))?;
        if let (Some(encoder), Some((task, classes))) = (encoder, task) {
            Locator::new(encoder, task, classes, &Stream::new(0, "sketch")).map_err(setting_error)?;
        }
        Ok(())
    };
    let result = made();
    found().insert(key, result.clone());
    result
}
