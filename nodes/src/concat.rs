//! `kind = "concat"`: files and artifacts one after another, as `cat` does; the smallest node that there is.
//!
//! ```toml
//! [nodes.corpus]
//! kind = "concat"
//! inputs = ["cleaned"]
//! files = ["texts/a.txt", "texts/b.txt"]
//! text = "the end\n"
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use flow_engine::node::{
    ArtifactType, Context, DeclaredFile, Facts, InputFacts, Inputs, Node, NodeError, NodeFile, NodeRef, OpenedFile,
    Output, ParamError, Port,
};
use flow_engine::plain_file;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{ANY, FILES};
use crate::failure::at_with;

/// The name of the file that comes out.
const FILE: &str = "text";

/// Joins files into one, in this order: the files of every input, files of the workflow's folder, a text.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcatNode {
    /// Nodes whose files are taken, each one's in the order of their names.
    #[serde(default)]
    inputs: Vec<NodeRef>,
    /// Files, relative to the workflow file.
    #[serde(default)]
    files: Vec<DeclaredFile>,
    /// Comes last.
    #[serde(default)]
    text: String,
    /// Of the whole, only this many bytes at its end are kept.
    keep_last: Option<usize>,
}

impl Node for ConcatNode {
    const KIND: &'static str = "concat";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = FILES;

    fn ports(&self) -> Vec<Port> {
        vec![Port::many("inputs", &self.inputs, ANY)]
    }

    fn files(&self, _folder: &Path) -> Vec<NodeFile> {
        let file = |(place, file): (usize, &DeclaredFile)| NodeFile::new(format!("files.{place}"), file);
        self.files.iter().enumerate().map(file).collect()
    }

    fn facts(&self, _inputs: &InputFacts) -> Result<Facts, ParamError> {
        if self.inputs.is_empty() && self.files.is_empty() && self.text.is_empty() {
            let help = "name `inputs`, `files` or a `text`";
            return Err(at_with("", "there is nothing to join", help));
        }
        Ok(Facts::unknown())
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let mut whole = Vec::new();
        for input in inputs.all("inputs") {
            for name in input.artifact.names() {
                whole.extend(input.read(name)?);
            }
        }
        for OpenedFile { path, .. } in cx.files {
            let read = plain_file::read(path);
            whole.extend(read.map_err(|e| NodeError::failed(format!("cannot read {}: {e}", path.display())))?);
        }
        whole.extend_from_slice(self.text.as_bytes());
        let surplus = self.keep_last.map_or(0, |most| whole.len().saturating_sub(most));
        Ok(Output {
            files: vec![(FILE.to_owned(), whole.split_off(surplus))],
            metrics: BTreeMap::new(),
        })
    }
}
