//! The action key of an instance: its kind and version, its parameters, and the digests of its inputs and files.
//!
//! Names of inputs and paths of files are not part of it: a renamed node or a moved file costs nothing. Where a port is
//! labelled, names and bindings are part of the meaning and enter the key.

use std::path::{Path, PathBuf};

use flow_cache::{ActionKey, Components, Digest, KeyBuilder};
use serde_json::Value;

use crate::node::NodeError;
use crate::stat::FileDigests;
use crate::workflow::{Edge, Instance, InstanceId, Workflow};

/// What an instance is about to do, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub(crate) key: ActionKey,
    pub(crate) components: Components,
    /// The files that it reads, with the digests that are in the key.
    pub(crate) files: Vec<(PathBuf, Digest)>,
}

/// The part of an action that is known before any input is: enough to see what a person changed.
pub(crate) struct OwnPart {
    builder: KeyBuilder,
    files: Vec<(PathBuf, Digest)>,
}

impl OwnPart {
    /// Reads the files of an instance, unless they are known.
    ///
    /// # Errors
    /// If a file cannot be read, or the parameters cannot be written as JSON.
    pub(crate) fn new(workflow: &Workflow, id: InstanceId, files: &FileDigests) -> Result<Self, NodeError> {
        let instance = &workflow.instances()[id];
        let files = digest_files(instance, files)?;
        let builder = own_components(instance, &files)?;
        Ok(Self { builder, files })
    }

    pub(crate) fn components(self) -> Components {
        self.builder.finish().1
    }
}

impl Action {
    /// The action of an instance of which all inputs are done; `digest_of` gives the digests of their artifacts. What a port can do
    /// without and is not there is left out.
    ///
    /// # Errors
    /// If an input is not done, which is a defect.
    pub(crate) fn new(
        workflow: &Workflow,
        id: InstanceId,
        own: OwnPart,
        digest_of: impl Fn(InstanceId) -> Option<Digest>,
    ) -> Result<Self, NodeError> {
        let instance = &workflow.instances()[id];
        let OwnPart { mut builder, files } = own;
        for port in &instance.ports {
            for (index, edge) in port.inputs.iter().enumerate() {
                let digest = digest_of(edge.instance);
                if digest.is_none() && port.partial {
                    continue;
                }
                let Some(digest) = digest else {
                    let input = &workflow.instances()[edge.instance].name;
                    return Err(NodeError::failed(format!(
                        "BUG: a key was asked for before `{input}` is done"
                    )));
                };
                let label = port.labelled.then(|| label(workflow, edge));
                builder = builder.input(port.name, index, digest, label.as_deref());
            }
        }
        let (key, components) = builder.finish();
        Ok(Self { key, components, files })
    }
}

/// The names of the inputs by component, as in `input.data.0`.
pub(crate) fn input_names(workflow: &Workflow, id: InstanceId) -> impl Iterator<Item = (String, &str)> {
    workflow.instances()[id].ports.iter().flat_map(move |port| {
        let named = move |(index, edge): (usize, &Edge)| {
            (
                format!("{}.{index}", port.name),
                workflow.instances()[edge.instance].name.as_str(),
            )
        };
        port.inputs.iter().enumerate().map(named)
    })
}

fn digest_files(instance: &Instance, files: &FileDigests) -> Result<Vec<(PathBuf, Digest)>, NodeError> {
    let digest = |file: &PathBuf| {
        let path = instance.dir.join(file);
        match files.digest(&path) {
            Ok(digest) => Ok((path, digest)),
            Err(error) => Err(NodeError::failed(format!("cannot read {}: {error}", path.display()))
                .with_help("put the file there, or change the path in the workflow")),
        }
    };
    instance.files.iter().map(digest).collect()
}

fn own_components(instance: &Instance, files: &[(PathBuf, Digest)]) -> Result<KeyBuilder, NodeError> {
    let node = &instance.node;
    let mut params = node.params().map_err(|error| {
        NodeError::failed(format!(
            "BUG: the parameters of `{}` cannot be written as JSON: {error}",
            instance.name
        ))
    })?;
    for port in &instance.ports {
        remove(&mut params, port.name);
    }
    let mut builder = KeyBuilder::new(node.kind(), node.version());
    for (index, (file, (_, digest))) in instance.files.iter().zip(files).enumerate() {
        let name = file_name(&params, file).unwrap_or_else(|| index.to_string());
        builder = builder.file(&name, *digest);
    }
    instance.files.iter().for_each(|file| blank_path(&mut params, file));
    if let Value::Object(params) = &params {
        for (name, value) in params {
            builder = builder.param(name, value);
        }
    }
    Ok(builder)
}

/// What a labelled port knows of an input: types of values are kept apart (`1` is not `"1"`).
fn label(workflow: &Workflow, edge: &Edge) -> String {
    let bindings = workflow.instances()[edge.instance].bindings.iter();
    let bindings: Vec<String> = bindings.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}[{}]", edge.node, bindings.join(","))
}

fn remove(params: &mut Value, path: &str) {
    match (params, path.split_once('.')) {
        (Value::Object(table), Some((first, rest))) => {
            if let Some(inner) = table.get_mut(first) {
                remove(inner, rest);
            }
        }
        (Value::Object(table), None) => drop(table.remove(path)),
        _ => {}
    }
}

/// Names a file by the parameter that leads to it: `path`, or `path/train.gz` where the parameter names its folder.
fn file_name(params: &Value, file: &Path) -> Option<String> {
    let Value::Object(table) = params else { return None };
    table.iter().find_map(|(key, value)| match value {
        Value::String(text) => {
            let rest = below(file, text)?.to_string_lossy();
            Some(if rest.is_empty() {
                key.clone()
            } else {
                format!("{key}/{rest}")
            })
        }
        Value::Array(items) => {
            let at = items
                .iter()
                .position(|item| item.as_str().is_some_and(|text| below(file, text).is_some()))?;
            let rest = below(file, items[at].as_str()?)?.to_string_lossy();
            Some(if rest.is_empty() {
                format!("{key}.{at}")
            } else {
                format!("{key}.{at}/{rest}")
            })
        }
        Value::Object(_) => file_name(value, file).map(|inner| format!("{key}.{inner}")),
        _ => None,
    })
}

fn below<'a>(file: &'a Path, text: &str) -> Option<&'a Path> {
    if text.is_empty() {
        None
    } else {
        file.strip_prefix(text).ok()
    }
}

/// Takes paths out of parameters: the content is in the key, where it lies is not.
fn blank_path(value: &mut Value, file: &Path) {
    match value {
        Value::String(text) if below(file, text).is_some() => *value = Value::Null,
        Value::Array(items) => items.iter_mut().for_each(|item| blank_path(item, file)),
        Value::Object(table) => table.values_mut().for_each(|item| blank_path(item, file)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_is_named_by_its_parameter_and_its_path_is_taken_out() {
        let mut params = json!({"source": "idx", "path": "data/mnist", "n": 3});
        let file = Path::new("data/mnist/train.gz");
        assert_eq!(file_name(&params, file).as_deref(), Some("path/train.gz"));
        blank_path(&mut params, file);
        assert_eq!(params, json!({"source": "idx", "path": null, "n": 3}));
    }
}
