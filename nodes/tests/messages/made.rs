//! A node kind that makes what no other would: damaged artifacts, and whole ones of which nothing is known before a run.

use std::collections::BTreeMap;

use flow_engine::node::{ArtifactType, Context, Inputs, Node, NodeError, NodeRef, Output, Port};
use flow_nodes::artifacts::{DATASET, ENCODER, FEATURES, FILES, MODEL, PREDICTIONS, RECIPE, SCORES, TASK, VERDICT};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const ALL: &[ArtifactType] = &[
    FILES,
    DATASET,
    RECIPE,
    TASK,
    ENCODER,
    MODEL,
    PREDICTIONS,
    FEATURES,
    SCORES,
    VERDICT,
];

/// An artifact as a test writes it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Made {
    /// What sort it is.
    makes: String,
    /// The artifact whose files it has.
    #[serde(default)]
    of: Option<NodeRef>,
    /// Files that are others.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// What is replaced in files, by what.
    #[serde(default)]
    replace: BTreeMap<String, Vec<[String; 2]>>,
    /// Files of which only so many bytes are left; files of none are left out.
    #[serde(default)]
    cut: BTreeMap<String, usize>,
    /// Bytes of a file that are others: the place, counted from its end, and the new byte.
    #[serde(default)]
    set: BTreeMap<String, Vec<[usize; 2]>>,
}

impl Node for Made {
    const KIND: &'static str = "made";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = FILES;

    fn makes(&self) -> ArtifactType {
        *ALL.iter()
            .find(|sort| sort.0 == self.makes)
            .expect("a sort of artifacts")
    }

    fn ports(&self) -> Vec<Port> {
        vec![Port::maybe("of", &self.of, ALL)]
    }

    fn run(&self, inputs: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        if let Some(of) = inputs.maybe("of") {
            for name in of.artifact.names() {
                files.insert(name.to_owned(), of.read(name)?);
            }
        }
        files.extend(
            self.files
                .iter()
                .map(|(name, text)| (name.clone(), text.clone().into_bytes())),
        );
        let replaced = self
            .replace
            .iter()
            .flat_map(|(name, pairs)| pairs.iter().map(move |pair| (name, pair)));
        for (name, [old, new]) in replaced {
            let file = files.get_mut(name).unwrap_or_else(|| panic!("no file {name}"));
            let at = file.windows(old.len()).position(|part| part == old.as_bytes());
            let at = at.unwrap_or_else(|| panic!("no `{old}` in {name}: {}", String::from_utf8_lossy(file)));
            file.splice(at..at + old.len(), new.bytes());
        }
        for (name, bytes) in &self.set {
            let file = files.get_mut(name).unwrap_or_else(|| panic!("no file {name}"));
            for [from_end, byte] in bytes {
                let at = file.len() - from_end;
                file[at] = *byte as u8;
            }
        }
        for (name, bytes) in &self.cut {
            files
                .get_mut(name)
                .unwrap_or_else(|| panic!("no file {name}"))
                .truncate(*bytes);
        }
        files.retain(|name, bytes| !bytes.is_empty() || !self.cut.contains_key(name));
        Ok(Output {
            files: files.into_iter().collect(),
            metrics: BTreeMap::new(),
        })
    }
}
