//! The action of an instance: what it is about to do, and to what, as the fields of its key.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flow_cache::{ActionKey, Components, Digest, KeyFields};
use serde_json::Value;

use crate::node::{NodeError, NodeFile, OpenedFile};
use crate::projection::Projection;
use crate::stat::FileDigests;
use crate::workflow::{Edge, Instance, InstanceId, InstancePort, Workflow};

/// What an instance is about to do, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub(crate) key: ActionKey,
    pub(crate) components: Components,
    /// The files that it reads, with the digests that are in the key.
    pub(crate) files: Vec<OpenedFile>,
}

/// The part of an action that is known before any input is: enough to see what a person changed.
pub(crate) struct OwnPart {
    fields: KeyFields,
    files: Vec<OpenedFile>,
}

impl OwnPart {
    /// Reads the files of an instance, unless they are known.
    ///
    /// # Errors
    /// If a file cannot be read, or the parameters cannot be written as JSON.
    pub(crate) fn new(workflow: &Workflow, id: InstanceId, digests: &FileDigests) -> Result<Self, NodeError> {
        let instance = &workflow.instances()[id];
        let node = &instance.node;
        let Projection {
            mut params,
            files: declared,
        } = node.key_params().map_err(|error| bug(instance, &error))?;
        if let Some(lost) = declared
            .iter()
            .find(|path| !instance.files.iter().any(|file| file.path.starts_with(path)))
        {
            return Err(bug(
                instance,
                &format!("{} is declared, but not among its files", lost.display()),
            ));
        }
        seal(workflow, &mut params, digests)?;
        let files = instance
            .files
            .iter()
            .map(|file| open(instance, file, digests))
            .collect::<Result<Vec<_>, _>>()?;
        let mut fields = KeyFields {
            params,
            ..KeyFields::new(node.kind(), node.version())
        };
        for (file, OpenedFile { digest, .. }) in instance.files.iter().zip(&files) {
            fields = fields.file(&file.role, *digest);
        }
        Ok(Self { fields, files })
    }

    pub(crate) fn components(&self) -> Components {
        self.fields.components()
    }
}

/// Puts digests in the place of secrets.
fn seal(workflow: &Workflow, params: &mut BTreeMap<String, Value>, digests: &FileDigests) -> Result<(), NodeError> {
    let secrets = workflow.secrets();
    if secrets.is_empty() {
        return Ok(());
    }
    // Asked for once, so that digests can be made without failing.
    let cannot = |error| {
        NodeError::failed(format!(
            "the key that hides secrets in the cache cannot be read or made: {error}"
        ))
    };
    let sealed = |secret: &str| digests.sealed(secret).map(|digest| digest.to_string());
    sealed("").map_err(cannot)?;
    let digest = |secret: &str| sealed(secret).unwrap_or_default();
    params.values_mut().for_each(|value| secrets.seal(value, &digest));
    Ok(())
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
        let OwnPart { mut fields, files } = own;
        for port in &instance.ports {
            for (index, edge) in port.inputs.iter().enumerate() {
                let digest = digest_of(edge.instance);
                if digest.is_none() && port.partial {
                    continue;
                }
                let Some(digest) = digest else {
                    let input = &workflow.instances()[edge.instance].name;
                    return Err(bug(
                        instance,
                        &format!("its key was asked for before `{input}` is done"),
                    ));
                };
                let label = port.labelled.then(|| label(workflow, edge));
                fields = fields.input(port.name, place(port, index), digest, label.as_deref());
            }
        }
        let (key, components) = fields.finish();
        Ok(Self { key, components, files })
    }
}

fn bug(instance: &Instance, what: &str) -> NodeError {
    NodeError::failed(format!("BUG: `{}` has no key: {what}", instance.name))
}

/// The place of an input in its port: the name by which the node sees it, or its number.
fn place(port: &InstancePort, index: usize) -> String {
    let name = port
        .names
        .as_ref()
        .and_then(|names| names.get(port.inputs[index].reference));
    name.map_or_else(|| index.to_string(), Clone::clone)
}

impl Workflow {
    /// What an instance's key depends on besides its inputs: kind, version, parameters and the content of files.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn own_components(&self, id: InstanceId, digests: &FileDigests) -> Result<Components, NodeError> {
        OwnPart::new(self, id, digests).map(|own| own.components())
    }
}

/// The names of the inputs' instances by component, as in `data.0`.
pub(crate) fn input_names(workflow: &Workflow, id: InstanceId) -> impl Iterator<Item = (String, &str)> {
    workflow.instances()[id].ports.iter().flat_map(move |port| {
        let named = move |(index, edge): (usize, &Edge)| {
            let name = workflow.instances()[edge.instance].name.as_str();
            (format!("{}.{}", port.name, place(port, index)), name)
        };
        port.inputs.iter().enumerate().map(named)
    })
}

fn open(instance: &Instance, file: &NodeFile, digests: &FileDigests) -> Result<OpenedFile, NodeError> {
    let path: PathBuf = instance.dir.join(&file.path);
    match digests.digest(&path) {
        Ok(digest) => Ok(OpenedFile { path, digest }),
        Err(error) => Err(NodeError::failed(format!("cannot read {}: {error}", path.display()))
            .with_help("create the file, or change the path in the workflow")),
    }
}

/// What a labelled port knows of an input: types of values are kept apart (`1` is not `"1"`).
fn label(workflow: &Workflow, edge: &Edge) -> String {
    let bindings = workflow.instances()[edge.instance].bindings.iter();
    let bindings: Vec<String> = bindings.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}[{}]", edge.node, bindings.join(","))
}
