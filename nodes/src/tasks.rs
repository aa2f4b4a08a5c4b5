//! What networks are trained to tell of images: the parameter `task` of `finetune`, `pseudo-label` and `evaluate`.

use flow_engine::node::ParamError;
use flow_learn::tasks::{Needs, TASKS, Task, named};

use crate::artifacts::{Annotated, DatasetFacts, NetworkFacts};
use crate::failure::at_with;

/// The task that a network has if nothing is said.
pub(crate) const CLASSIFY: &str = "classify";

/// For parameters that are left out.
pub(crate) fn classify() -> String {
    CLASSIFY.to_owned()
}

/// Whether a task need not be written.
pub(crate) fn is_classify(task: &str) -> bool {
    task == CLASSIFY
}

/// The names of all tasks.
pub(crate) fn names() -> Vec<&'static str> {
    std::iter::once(CLASSIFY)
        .chain(TASKS.iter().map(|task| task.name()))
        .collect()
}

/// The task of a name; `None` is classification.
///
/// # Errors
/// At `task`, if there is none.
pub(crate) fn find(name: &str) -> Result<Option<&'static dyn Task>, ParamError> {
    match named(name) {
        Some(task) => Ok(Some(task)),
        None if is_classify(name) => Ok(None),
        None => {
            let help = flow_engine::workflow::suggest(name, "tasks", names());
            Err(at_with("task", format!("unknown task `{name}`"), help))
        }
    }
}

/// Whether the network at `port` is of the task that a node has.
///
/// # Errors
/// At `task`.
pub(crate) fn same(port: &str, network: &NetworkFacts, task: Option<&dyn Task>) -> Result<(), ParamError> {
    let ours = task.map_or(CLASSIFY, Task::name);
    let theirs = network.task.unwrap_or(CLASSIFY);
    if network.class_names.is_none() || ours == theirs {
        return Ok(());
    }
    let message = format!("`{port}` was trained with the task `{theirs}`, this node has `{ours}`");
    Err(at_with(
        "task",
        message,
        format!("write `task = \"{theirs}\"`, or take another network"),
    ))
}

/// Whether a data set says what a task needs to know.
///
/// # Errors
/// At `port`.
pub(crate) fn annotated(port: &str, data: &DatasetFacts, task: &dyn Task) -> Result<(), ParamError> {
    let has = match task.needs() {
        Needs::Masks => data.annotated.masks,
        Needs::Boxes => data.annotated.boxes,
    };
    if has {
        return Ok(());
    }
    let message = format!(
        "`{}` learns from {}, which these images do not have",
        task.name(),
        task.needs().noun()
    );
    let help = "`source = \"scenes\"` has masks and boxes, as have the sources of annotated images";
    Err(at_with(port, message, help))
}

/// What is known of where things are once a teacher has guessed it.
pub(crate) fn guessed(task: &'static dyn Task) -> Annotated {
    Annotated {
        masks: task.needs() == Needs::Masks,
        boxes: task.needs() == Needs::Boxes,
    }
}

/// A parameter that only classification has was given.
pub(crate) fn only_classify(key: &str, task: &dyn Task) -> ParamError {
    let message = format!(
        "`{key}` is for classification, and this node has the task `{}`",
        task.name()
    );
    at_with(key, message, "leave it out")
}
