//! `kind = "command"`: any program as a node, with the same keys, cache and log as the built-in kinds.
//!
//! ```toml
//! [nodes.train]
//! kind = "command"
//! run = ["python3", "train.py", "--data", "{inputs.data}", "--out", "{outputs}/model.pt", "--lr", "{params.lr}"]
//! inputs = { data = "prepared" }
//! code = ["train.py", "lib"]
//! outputs = ["model.pt"]
//! metrics = "metrics.json"
//! params = { lr = 0.1 }
//! ```
//!
//! The program runs in a fresh folder that holds a copy of the declared code at its own relative path (of a folder what
//! [`flow_engine::code`] lists, so without `.git`, `__pycache__`, editors' files and what a `.flowignore` names), the inputs' files in
//! `inputs/NAME/` and an empty `outputs/`. What it leaves in `outputs/` must be what was declared. It sees the variables
//! [`process::BASE`], those of `env`, and those named in `pass_env`; nothing else of the environment.

mod give;
mod left;
mod made;
mod metrics;
mod placeholder;
mod process;
mod program;
mod stage;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flow_engine::node::{
    ArtifactType, Context, DeclaredFile, Facts, InputFacts, Inputs, Node, NodeError, NodeFile, NodeRef, NotInKey,
    Output, ParamError, Port, Resources, Spending,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use flow_learn::backbones::BackboneSettings;

use crate::artifacts::{ANY, FILES, SplitName};
use crate::failure::{at, at_with};
use give::Form;
use made::Makes;
use placeholder::Placeholders;
use stage::Stage;

/// A program of your own, with all that it reads and leaves.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandNode {
    /// The program and its arguments, with `{inputs.NAME}`, `{outputs}`, `{params.NAME}` and `{threads}` filled in; `{{` is a brace.
    /// No shell reads them: for pipes and the like write `["sh", "-c", ".."]`.
    run: Vec<String>,
    /// Nodes whose files are given, each in a separate folder.
    #[serde(default)]
    inputs: BTreeMap<String, NodeRef>,
    /// Files and folders that the program consists of, relative to the workflow file. It sees them at these paths.
    #[serde(default)]
    code: BTreeSet<DeclaredFile>,
    /// Files and folders that it reads beside its code, below the workflow's directory. It sees them at the same paths, where they lie: they are
    /// not copied, and must not change while it runs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    data: BTreeSet<DeclaredFile>,
    /// How inputs are handed over, by their names: `give = { data = "npz" }`. Of a data set whose examples are only partly labelled, only
    /// those labels are; a program that makes predictions or an encoder gets none of test images.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    give: BTreeMap<String, Form>,
    /// What it leaves in `outputs/` beside the files named below: anything but files takes part in verdicts like what other nodes make.
    #[serde(default, skip_serializing_if = "is_files")]
    makes: Makes,
    /// The input that predictions or features are of, whose images an encoder takes, or whose classes and shape a data set has: its only input if
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<String>,
    /// The split that predictions are of: `test` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    split: Option<SplitName>,
    /// The classes of the data set that it makes, in the order of their numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<String>>,
    /// Height, width and channels of the images that it makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<[usize; 3]>,
    /// The network whose weights it makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backbone: Option<BackboneSettings>,
    /// Files that it leaves in `outputs/` and that are kept as they are.
    #[serde(default)]
    outputs: BTreeSet<String>,
    /// A JSON file among what it leaves, with numbers to query by; tables in it give dotted names.
    metrics: Option<String>,
    /// A file among the outputs that takes what the program prints on stdout.
    stdout: Option<String>,
    /// Programs and files whose content is part of the key beside the code and the program itself: names are looked up in PATH, paths are
    /// relative to the workflow file. They are used where they lie.
    #[serde(default)]
    tools: NotInKey<BTreeSet<String>>,
    /// Values for `{params.NAME}`.
    #[serde(default)]
    params: BTreeMap<String, Value>,
    /// Variables of its environment.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Variables that are taken over as they are. Their values are not part of the key: name nothing here that changes results.
    #[serde(default)]
    pass_env: NotInKey<BTreeSet<String>>,
    /// CPU threads that it can make use of, given as `{threads}`, OMP_NUM_THREADS and RAYON_NUM_THREADS; results must not depend on it.
    #[serde(default = "one")]
    threads: NotInKey<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_files(makes: &Makes) -> bool {
    *makes == Makes::Files
}

fn one() -> NotInKey<usize> {
    NotInKey(1)
}

/// How the roles of code begin.
const CODE: &str = "code/";
/// How the roles of data files begin.
const DATA: &str = "data/";

impl CommandNode {
    /// The file of the program, where it is no part of the system, nor of the code: then its content is part of the key.
    fn program(&self) -> Option<std::path::PathBuf> {
        let found = program::found(self.run.first()?, self.env.get("PATH"))?;
        (!found.of_system).then_some(found.path)
    }

    /// Every file that must be there at the end, each once.
    fn left(&self) -> Vec<&str> {
        let extra = [&self.metrics, &self.stdout].into_iter().flatten();
        let mut left: Vec<&str> = self.outputs.iter().chain(extra).map(String::as_str).collect();
        left.sort_unstable();
        left.dedup();
        left
    }
}

impl CommandNode {
    /// What can be checked of the outputs before hours of work: something is kept, each is a file of its own below `outputs/`.
    fn check_outputs(&self) -> Result<(), ParamError> {
        let left = self.left();
        if left.is_empty() && self.makes == Makes::Files {
            return Err(at_with(
                "outputs",
                "nothing is declared, so nothing would be kept",
                "name the files that the program writes, or capture its output with `stdout = \"log.txt\"`",
            ));
        }
        if let Some(stdout) = self.stdout.as_ref().filter(|stdout| self.outputs.contains(*stdout)) {
            let message = format!(
                "`{stdout}` is among `outputs`, and captures the program's output: one would overwrite the other"
            );
            return Err(at_with(
                "stdout",
                message,
                "give it another name; it need not be among `outputs`",
            ));
        }
        for path in &left {
            let plain: std::path::PathBuf = Path::new(path).components().collect();
            if !stage::stays_inside(&plain) {
                let message = format!("`{path}` must be a relative path without `..`");
                return Err(at_with("outputs", message, "outputs lie below `{outputs}`"));
            }
            if path.ends_with('/') {
                let help = "name each file in it, or let the program pack it, e.g. with tar";
                return Err(at_with(
                    "outputs",
                    format!("`{path}` is a directory, expected a file"),
                    help,
                ));
            }
            if plain.as_os_str() != std::ffi::OsStr::new(path) {
                return Err(at_with(
                    "outputs",
                    format!("`{path}` is not normalised"),
                    format!("write `{}`", plain.display()),
                ));
            }
            if let Some(inner) = left
                .iter()
                .find(|other| other != &path && Path::new(other).starts_with(path))
            {
                let message = format!("`{path}` cannot be a file and the directory of `{inner}`");
                return Err(at_with("outputs", message, "rename one of them"));
            }
        }
        Ok(())
    }
}

impl CommandNode {
    /// Code and data lie below the workflow's directory, and neither within the other.
    fn check_files(&self) -> Result<(), ParamError> {
        for (key, files) in [("code", &self.code), ("data", &self.data)] {
            if let Some(file) = files.iter().find(|file| !stage::stays_inside(file.path())) {
                let message = format!("`{}` must be a relative path without `..`", file.path().display());
                let help = format!("{key} lies below the workflow's directory, or a link there leads to it");
                return Err(at_with(key, message, help));
            }
        }
        let meets = |data: &&DeclaredFile| {
            let others = self.code.iter().chain(self.data.iter().filter(|other| other != data));
            let mut others = others.map(DeclaredFile::path);
            let reserved = [stage::INPUTS, stage::OUTPUTS]
                .iter()
                .any(|name| data.path().starts_with(name));
            reserved || others.any(|other| other.starts_with(data.path()) || data.path().starts_with(other))
        };
        match self.data.iter().find(meets) {
            Some(data) => {
                let message = format!("`{}` lies where other files of the program do", data.path().display());
                let help =
                    "keep data apart from code and from other data; `inputs` and `outputs` are the program's own";
                Err(at_with("data", message, help))
            }
            None => Ok(()),
        }
    }
}

impl Node for CommandNode {
    const KIND: &'static str = "command";
    const VERSION: u32 = 2;
    const OUTPUT: ArtifactType = FILES;

    fn makes(&self) -> ArtifactType {
        self.artifact()
    }

    fn ports(&self) -> Vec<Port> {
        vec![Port::named("inputs", &self.inputs, ANY)]
    }

    /// The program sees the paths of its code and its data: they are its roles. After these comes the program itself, where it is no part of the
    /// system, and then the tools.
    fn files(&self, _folder: &Path) -> Vec<NodeFile> {
        let code = self.code.iter();
        let code = code.map(|code| NodeFile::new(format!("{CODE}{}", code.path().display()), code));
        let program = self.program().map(|path| NodeFile::new("program", &path.into()));
        let tool = |name: &String| {
            let found = program::found(name, self.env.get("PATH"));
            let path = found.map_or_else(|| name.into(), |found| found.path);
            NodeFile::new(format!("tools/{name}"), &path.into())
        };
        let data = self.data.iter();
        let data = data.map(|data| NodeFile::new(format!("{DATA}{}", data.path().display()), data));
        code.chain(data)
            .chain(program)
            .chain(self.tools.iter().map(tool))
            .collect()
    }

    fn copies(&self, role: &str) -> bool {
        role.starts_with(CODE)
    }

    fn not_in_key(&self) -> Vec<String> {
        let words = self.run.iter().enumerate();
        let is_outside = |(place, word): &(usize, &String)| match place {
            0 => self.program().is_none() && !program::is_code(word) && !self.tools.contains(*word),
            _ => program::is_file(word) && !self.tools.contains(*word),
        };
        words.filter(is_outside).map(|(_, word)| word.clone()).collect()
    }

    /// What a program trains is its own affair; what makes a data set trains nothing.
    fn spends(&self, _inputs: &InputFacts) -> Option<Spending> {
        (self.makes == Makes::Dataset).then(Spending::default)
    }

    fn facts(&self, inputs: &InputFacts) -> Result<Facts, ParamError> {
        if self.run.first().is_none_or(String::is_empty) {
            return Err(at(
                "run",
                "expected a program and its arguments, e.g. [\"python3\", \"train.py\"]",
            ));
        }
        self.check_outputs()?;
        self.check_files()?;
        if let Some(name) = self
            .inputs
            .keys()
            .find(|name| !stage::stays_inside(Path::new(name)) || name.contains('/'))
        {
            return Err(at("inputs", format!("`{name}` cannot be a directory's name")));
        }
        if *self.threads == 0 {
            return Err(at("threads", "0 found, expected at least 1"));
        }
        let known = Placeholders::new(&self.inputs, &self.params, 1);
        for (i, argument) in self.run.iter().enumerate() {
            known
                .fill(argument)
                .map_err(|e| at_with(format!("run.{i}"), e.message, e.help))?;
        }
        self.check_given(inputs)?;
        self.made_facts(inputs)
    }

    fn resources(&self, _: &InputFacts) -> Resources {
        Resources::threads_up_to(*self.threads)
    }

    fn run(&self, inputs: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let stage = Stage::new()?;
        let (code, others) = cx.files.split_at(self.code.len());
        for (code, file) in self.code.iter().zip(code) {
            stage.put_code(code.path(), file)?;
        }
        let (data, others) = others.split_at(self.data.len());
        for (data, file) in self.data.iter().zip(data) {
            stage.put_data(data.path(), file)?;
        }
        for (name, input) in self.inputs.keys().zip(inputs.all("inputs")) {
            self.give(&stage, name, input)?;
        }
        let placeholders = Placeholders::new(&self.inputs, &self.params, cx.threads);
        let filled = self.run.iter().map(|argument| placeholders.fill(argument));
        let arguments: Vec<String> = filled
            .collect::<Result<_, _>>()
            .map_err(|e| NodeError::failed(e.message))?;
        let threads = cx.threads.to_string();
        let mut env: BTreeMap<String, String> = BTreeMap::from([
            ("OMP_NUM_THREADS".to_owned(), threads.clone()),
            ("RAYON_NUM_THREADS".to_owned(), threads),
            ("CUDA_VISIBLE_DEVICES".to_owned(), cx.gpus.join(",")),
        ]);
        env.extend(self.env.clone());
        let program = (others.len() > self.tools.len()).then(|| others[0].path.as_path());
        process::run(
            &process::Spec {
                arguments: &arguments,
                program,
                folder: stage.folder(),
                scratch: &stage.scratch(),
                stdout: self.stdout.as_ref().map(|name| stage.output(name)).transpose()?,
                env: &env,
                pass_env: &self.pass_env.0,
            },
            cx.host,
        )?;
        let mut files = stage.outputs(&self.left(), self.makes != Makes::Files, cx.host)?;
        for (name, bytes) in &mut files {
            if self.stdout.as_ref() == Some(name) {
                cx.host.hide(bytes);
            }
        }
        let metrics = match &self.metrics {
            Some(name) => metrics::read(name, &files, cx.host)?,
            None => BTreeMap::new(),
        };
        self.made(&stage, inputs, Output { files, metrics }, cx.host)
    }
}
