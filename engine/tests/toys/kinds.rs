//! Node kinds small enough to see through: texts, and what is made of texts.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use flow_cache::Artifact;
use flow_engine::node::{
    ArtifactType, Context, DeclaredFile, Facts, InputFacts, Inputs, Lineage, Node, NodeError, NodeFile, NodeRef,
    Output, ParamError, Port, Progress, Report, Resources,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) const TEXT: ArtifactType = ArtifactType("text");
pub(crate) const NUMBER: ArtifactType = ArtifactType("number");
pub(crate) const TABLE: ArtifactType = ArtifactType("table");

pub(crate) fn text_output(text: impl Into<String>) -> Output {
    let text = text.into();
    let metrics = [("length".to_owned(), text.len() as f64)].into();
    Output {
        files: vec![("text".into(), text.into_bytes())],
        metrics,
    }
}

pub(crate) fn read_text(input: &flow_engine::node::Input) -> Result<String, NodeError> {
    String::from_utf8(input.read("text")?).map_err(|e| NodeError::failed(e.to_string()))
}

/// Says `value`.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Const {
    value: String,
    #[serde(default)]
    seed: u64,
    #[serde(default = "quiet")]
    loudness: f32,
}

fn quiet() -> f32 {
    0.1
}

impl Node for Const {
    const KIND: &'static str = "const";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = TEXT;

    fn ports(&self) -> Vec<Port> {
        Vec::new()
    }

    fn facts(&self, _: &InputFacts) -> Result<Facts, ParamError> {
        if !(0.0..=1.0).contains(&self.loudness) {
            return Err(ParamError {
                key: "loudness".into(),
                message: format!("{} found, expected a number from 0 to 1", self.loudness),
                help: Some("turn it down".into()),
            });
        }
        Ok(Facts::of(self.value.len()))
    }

    fn run(&self, _: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        Ok(text_output(&self.value))
    }
}

/// The same kind after its code changed: other version, same bytes unless the value is `changed`.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ConstRaised(Const);

impl Node for ConstRaised {
    const KIND: &'static str = "const";
    const VERSION: u32 = 2;
    const OUTPUT: ArtifactType = TEXT;

    fn ports(&self) -> Vec<Port> {
        Vec::new()
    }

    fn run(&self, _: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        Ok(text_output(if self.0.value == "changes" {
            "now other"
        } else {
            &self.0.value
        }))
    }
}

/// Says what a file says.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FromFile {
    path: DeclaredFile,
    /// Writes to the file while it is being read.
    #[serde(default)]
    disturb: bool,
}

impl Node for FromFile {
    const KIND: &'static str = "file";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = TEXT;

    fn ports(&self) -> Vec<Port> {
        Vec::new()
    }

    fn files(&self, _: &Path) -> Vec<NodeFile> {
        vec![NodeFile::new("path", &self.path)]
    }

    fn run(&self, _: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let text = std::fs::read_to_string(&cx.files[0].path).map_err(|e| NodeError::failed(e.to_string()))?;
        if self.disturb {
            std::fs::write(&cx.files[0].path, "disturbed").map_err(|e| NodeError::failed(e.to_string()))?;
        }
        Ok(text_output(text))
    }
}

/// Joins texts.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Concat {
    of: Vec<NodeRef>,
    #[serde(default)]
    separator: String,
    #[serde(default)]
    style: Style,
}

#[derive(Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Style {
    #[serde(default)]
    case: Case,
}

#[derive(Default, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Case {
    #[default]
    Kept,
    Upper,
}

impl Node for Concat {
    const KIND: &'static str = "concat";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = TEXT;

    fn ports(&self) -> Vec<Port> {
        vec![Port::many("of", &self.of, &[TEXT])]
    }

    fn resources(&self, _: &InputFacts) -> Resources {
        Resources::threads_up_to(usize::MAX)
    }

    fn run(&self, inputs: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        let texts: Vec<String> = inputs.all("of").iter().map(read_text).collect::<Result<_, _>>()?;
        let joined = texts.join(&self.separator);
        Ok(text_output(match self.style.case {
            Case::Kept => joined,
            Case::Upper => joined.to_uppercase(),
        }))
    }
}

/// The first letter of a text: equal for many texts.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct First {
    of: NodeRef,
}

impl Node for First {
    const KIND: &'static str = "first";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = TEXT;

    fn ports(&self) -> Vec<Port> {
        vec![Port::one("of", &self.of, &[TEXT])]
    }

    fn run(&self, inputs: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        Ok(text_output(
            read_text(inputs.one("of"))?.chars().take(1).collect::<String>(),
        ))
    }
}

/// How long a text is: an artifact that ports for texts do not take.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Length {
    of: NodeRef,
}

impl Node for Length {
    const KIND: &'static str = "length";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = NUMBER;

    fn ports(&self) -> Vec<Port> {
        vec![Port::one("of", &self.of, &[TEXT])]
    }

    fn run(&self, inputs: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        Ok(text_output(read_text(inputs.one("of"))?.len().to_string()))
    }
}

/// Labels data with a teacher, as far as the engine can tell.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pseudo {
    teacher: NodeRef,
    data: NodeRef,
}

impl Node for Pseudo {
    const KIND: &'static str = "pseudo";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = TEXT;

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::one("teacher", &self.teacher, &[TEXT]),
            Port::one("data", &self.data, &[TEXT]),
        ]
    }

    fn run(&self, inputs: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        let (teacher, data) = (read_text(inputs.one("teacher"))?, read_text(inputs.one("data"))?);
        Ok(text_output(format!("{data} by ({teacher})")))
    }
}

/// While raised, a [`Slow`] node of 50 steps goes no further than its third until it is asked to stop.
pub(crate) static HOLD: AtomicBool = AtomicBool::new(false);

/// Goes `steps` steps with a checkpoint after each; a note tells each step.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slow {
    steps: u32,
    #[serde(default)]
    of: Option<NodeRef>,
}

impl Node for Slow {
    const KIND: &'static str = "slow";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = TEXT;

    fn ports(&self) -> Vec<Port> {
        vec![Port::maybe("of", &self.of, &[TEXT])]
    }

    fn run(&self, _: &Inputs, cx: &mut Context<'_>) -> Result<Output, NodeError> {
        let mut done = String::from_utf8(cx.host.load_checkpoint()?.unwrap_or_default())
            .map_err(|e| NodeError::failed(e.to_string()))?;
        while (done.len() as u32) < self.steps {
            let held = self.steps == 50 && done.len() == 3;
            while held && HOLD.load(Ordering::SeqCst) && !cx.host.stop_requested() {
                std::thread::yield_now();
            }
            if cx.host.stop_requested() {
                return Err(NodeError::Stopped);
            }
            cx.host.note(&format!("step {}", done.len()));
            done.push('x');
            cx.host.save_checkpoint(done.as_bytes())?;
            let (step, total) = (done.len() as u64, u64::from(self.steps));
            cx.host.progress(Progress {
                step,
                total,
                unit: "step",
                metrics: vec![("loss", 1.0 / step as f64)],
            });
        }
        Ok(text_output(done))
    }
}

/// Panics, or fails politely.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trouble {
    panic: bool,
    of: Option<NodeRef>,
}

impl Node for Trouble {
    const KIND: &'static str = "trouble";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = TEXT;

    fn ports(&self) -> Vec<Port> {
        vec![Port::maybe("of", &self.of, &[TEXT])]
    }

    fn run(&self, _: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        assert!(!self.panic, "index out of thin air");
        Err(NodeError::failed("no luck").with_help("try again"))
    }
}

/// Lists what it is given, by name; its page tells what that cost.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gather {
    #[serde(default)]
    compare: Vec<NodeRef>,
    #[serde(default)]
    whatever: Vec<NodeRef>,
    #[serde(default)]
    data: Option<NodeRef>,
}

impl Node for Gather {
    const KIND: &'static str = "gather";
    const VERSION: u32 = 1;
    const OUTPUT: ArtifactType = TABLE;

    fn ports(&self) -> Vec<Port> {
        vec![
            Port::many("compare", &self.compare, &[TEXT]).labelled().gathers(),
            Port::many("whatever", &self.whatever, &[TEXT])
                .labelled()
                .gathers()
                .partial(),
            Port::maybe("data", &self.data, &[TEXT]),
        ]
    }

    fn run(&self, inputs: &Inputs, _: &mut Context<'_>) -> Result<Output, NodeError> {
        let mut table = String::new();
        for input in inputs.all("compare").iter().chain(inputs.all("whatever")) {
            table += &format!("{} {}: {}\n", input.node, json!(input.bindings), read_text(input)?);
        }
        Ok(text_output(table))
    }

    fn report(&self, artifact: &Artifact, lineage: &Lineage<'_>) -> Result<Option<Report>, NodeError> {
        let table = String::from_utf8_lossy(&artifact.read("text")?).into_owned();
        let missing: Vec<String> = lineage.missing().into_iter().map(|input| input.node).collect();
        let lineage = lineage.costs();
        let records: Vec<usize> = lineage.iter().map(|cost| cost.records.len()).collect();
        let json = json!({"rows": lineage.len(), "records": records, "missing": missing});
        Ok(Some(Report {
            markdown: format!("# Table\n{table}"),
            json,
            terminal: table,
            files: vec![("dot".to_owned(), b".".to_vec())],
            headline: None,
            figures: Vec::new(),
        }))
    }
}
