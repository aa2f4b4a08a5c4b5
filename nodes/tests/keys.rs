//! What is part of a node's key: for every kind and form, each parameter is, or is listed here as not part of it, with the reason.

use std::collections::BTreeSet;
use std::path::Path;

use flow_engine::stat::FileDigests;
use flow_engine::{FormSchema, Workflow};
use flow_nodes::registry;

/// A form of a kind: its parameters, all of them given, and what changes.
struct Form {
    kind: &'static str,
    /// The node's table, without its kind.
    base: &'static str,
    /// Parameter and another value, after which it has another key.
    changes: &'static [(&'static str, &'static str)],
    /// Parameters that name other nodes: these are in the key by what they make, which is not known here.
    ports: &'static [&'static str],
    /// Parameter, another value, and why the key stays the same.
    not_in_key: &'static [(&'static str, &'static str, &'static str)],
}

const MOVED: &str = "the content of what lies there counts";
const ON_THE_CPU: (&str, &str, &str) = ("precision", "\"fp32\"", "the CPU has no other");
const NO_NETWORK: (&str, &str, &str) = ("device", "\"mock\"", "nothing is computed there");

const FORMS: &[Form] = &[
    Form {
        kind: "dataset",
        base: r#"source = "scenes"
train = 40
test = 20
side = 16
seed = 1
validation = 10
colour = "gray"
style = { turn = 0.5 }"#,
        changes: &[
            ("source", r#""fashion-mnist-sample""#),
            ("train", "50"),
            ("test", "30"),
            ("side", "24"),
            ("seed", "2"),
            ("validation", "11"),
            ("colour", "\"dyed\""),
            ("background", "\"noise\""),
            ("style", "{ turn = 0.6 }"),
            ("vocabulary", "100"),
            ("length", "8"),
        ],
        ports: &[],
        not_in_key: &[],
    },
    Form {
        kind: "dataset",
        base: "source = \"text\"\npath = \"a.tsv\"",
        changes: &[("path", "\"b.tsv\"")],
        ports: &[],
        not_in_key: &[("path", "\"copy/a.tsv\"", MOVED)],
    },
    Form {
        kind: "dataset",
        base: "source = \"folder\"\npath = \"pictures\"\nside = 16",
        changes: &[
            ("path", "\"others\""),
            ("unlabelled", "\"pool\""),
            ("labels", "\"other.csv\""),
            ("columns", "{ label = \"kind\" }"),
            ("arrays", "{ x = \"pictures\" }"),
            ("fit", "\"pad\""),
            ("channels", "1"),
            ("matte", "[255, 255, 255]"),
            ("max_pixels", "1000"),
            ("on_bad", "\"skip\""),
            ("on_leak", "\"drop\""),
        ],
        ports: &[],
        not_in_key: &[("path", "\"copy/pictures\"", MOVED)],
    },
    Form {
        kind: "dataset",
        base: "from = \"x\"\nclasses = [0, 1]\nlabels = 10\nseed = 1",
        changes: &[
            ("classes", "[1, 0]"),
            ("labels", "11"),
            ("others", "\"unlabelled\""),
            ("imbalance", "10.0"),
            ("seed", "2"),
        ],
        ports: &["from"],
        not_in_key: &[],
    },
    Form {
        kind: "augment",
        base: "recipe = \"weak\"",
        changes: &[("recipe", "\"strong\""), ("ops", "[{ op = \"horizontal_flip\" }]")],
        ports: &["data"],
        not_in_key: &[],
    },
    Form {
        kind: "pretrain",
        base: r#"data = "x"
task = "task"
backbone = { name = "conv3" }
epochs = 2
batch = 8
optimizer = { name = "sgd", momentum = 0.9 }
lr = 0.1
warmup_epochs = 1
monitor = 10
seed = 1"#,
        changes: &[
            ("device", "\"mock\""),
            ("device", "\"cuda sm_90 tf32 k1\""),
            ("backbone", "{ name = \"conv4\" }"),
            ("epochs", "3"),
            ("budget", "100"),
            ("batch", "16"),
            ("optimizer", "{ name = \"sgd\", momentum = 0.8 }"),
            ("lr", "0.2"),
            ("warmup_epochs", "0"),
            ("monitor", "11"),
            ("seed", "2"),
            ("init", "{ file = \"b.tsv\" }"),
        ],
        ports: &["data", "views", "task"],
        not_in_key: &[ON_THE_CPU],
    },
    Form {
        kind: "finetune",
        base: r#"data = ["x"]
init = { file = "a.tsv" }
backbone = { name = "conv3" }
steps = 10
batch = 8
optimizer = { name = "sgd", momentum = 0.9 }
lr = 0.1
encoder_lr_scale = 0.5
warmup_steps = 1
labelled_share = 0.5
label_smoothing = 0.1
head = "probe"
freeze = true
keep_statistics = true
seed = 1"#,
        changes: &[
            ("device", "\"mock\""),
            ("device", "\"cuda sm_90 tf32 k1\""),
            ("init", "{ file = \"b.tsv\" }"),
            ("backbone", "{ name = \"conv4\" }"),
            ("task", "\"segment\""),
            ("steps", "11"),
            ("budget", "1000"),
            ("semi", "{ method = \"fixmatch\" }"),
            ("batch", "16"),
            ("optimizer", "{ name = \"adam\" }"),
            ("lr", "0.2"),
            ("encoder_lr_scale", "0.25"),
            ("warmup_steps", "2"),
            ("labelled_share", "0.25"),
            ("label_smoothing", "0.2"),
            ("pseudo_loss", "{ weight = 0.5 }"),
            ("head", "\"random\""),
            ("freeze", "false"),
            ("keep_statistics", "false"),
            ("seed", "2"),
        ],
        ports: &["data", "views", "unlabelled", "strong"],
        not_in_key: &[ON_THE_CPU, ("init", "{ file = \"copy/a.tsv\" }", MOVED)],
    },
    Form {
        kind: "pseudo-label",
        base: "teacher = \"model\"\ndata = \"x\"\nthreshold = 0.5\nsoft = true\nbalance = \"equal\"",
        changes: &[
            ("device", "\"mock\""),
            ("device", "\"cuda sm_90 tf32 k1\""),
            ("task", "\"segment\""),
            ("threshold", "0.6"),
            ("soft", "false"),
            ("balance", "\"none\""),
            ("per_class", "5"),
            ("temperature", "0.5"),
            ("align", "true"),
        ],
        ports: &["teacher", "data", "except"],
        not_in_key: &[ON_THE_CPU],
    },
    Form {
        kind: "evaluate",
        base: "model = \"model\"\ndata = \"x\"\nsplit = \"test\"",
        changes: &[
            ("device", "\"mock\""),
            ("device", "\"cuda sm_90 tf32 k1\""),
            ("split", "\"validation\""),
            ("task", "\"segment\""),
        ],
        ports: &["model", "data"],
        not_in_key: &[ON_THE_CPU],
    },
    Form {
        kind: "evaluate",
        base: "control = \"svm\"\ndata = \"x\"\nsplit = \"test\"",
        changes: &[
            ("control", "\"knn\""),
            ("split", "\"validation\""),
            ("penalty", "[1.0]"),
            ("gamma", "[0.5]"),
            ("neighbours", "[3]"),
            ("network", "{ name = \"conv3\" }"),
            ("seed", "2"),
        ],
        ports: &["data"],
        not_in_key: &[NO_NETWORK, ON_THE_CPU],
    },
    Form {
        kind: "evaluate",
        base: r#"encoder = { file = "a.tsv" }
backbone = { name = "conv3" }
data = "x"
split = "test"
neighbours = 5
temperature = 0.1
controls = true
cluster_images = 10
seed = 1"#,
        changes: &[
            ("device", "\"mock\""),
            ("encoder", "{ file = \"b.tsv\" }"),
            ("backbone", "{ name = \"conv4\" }"),
            ("split", "\"validation\""),
            ("neighbours", "6"),
            ("temperature", "0.2"),
            ("controls", "false"),
            ("cluster_images", "20"),
            ("seed", "2"),
        ],
        ports: &["data"],
        not_in_key: &[ON_THE_CPU, ("encoder", "{ file = \"copy/a.tsv\" }", MOVED)],
    },
    Form {
        kind: "evaluate",
        base: r#"compare = ["score", "score2"]
arm = "arm"
budget = "labels"
repeat = "seed"
baseline = "score"
titles = { score = "scratch" }"#,
        changes: &[
            ("arm", "\"method\""),
            ("budget", "\"n\""),
            ("repeat", "[\"draw\", \"seed\"]"),
            ("baseline", "\"score2\""),
            ("titles", "{ score = \"other\" }"),
            ("cost", "\"total\""),
            ("unequal", "\"a test\""),
            ("metric", "\"macro_f1\""),
            ("margin", "0.02"),
        ],
        ports: &["compare", "evidence", "controls", "upper_bound"],
        not_in_key: &[("replicates", "1000", "older workflows have it, and it changes nothing")],
    },
    Form {
        kind: "evaluate",
        base: r#"summary = ["score", "score2"]
arm = "arm"
budget = "labels"
repeat = "seed"
baseline = "score"
titles = { score = "scratch" }"#,
        changes: &[
            ("arm", "\"method\""),
            ("budget", "\"n\""),
            ("repeat", "[\"draw\"]"),
            ("baseline", "\"score2\""),
            ("titles", "{ score = \"other\" }"),
        ],
        ports: &["summary"],
        not_in_key: &[],
    },
    Form {
        kind: "command",
        base: r#"run = ["sh", "a.tsv", "{params.n}"]
inputs = { ours = "x" }
code = ["a.tsv", "lib"]
outputs = ["one", "two"]
metrics = "m.json"
stdout = "log"
params = { n = 1, path = "lib" }
env = { A = "1" }
pass_env = ["HOME"]
threads = 1"#,
        changes: &[
            ("run", "[\"sh\", \"b.tsv\", \"{params.n}\"]"),
            ("code", "[\"a.tsv\"]"),
            ("code", "[\"a.tsv\", \"lib\", \"copy/a.tsv\"]"),
            ("outputs", "[\"one\"]"),
            ("metrics", "\"n.json\""),
            ("stdout", "\"log2\""),
            ("params", "{ n = 1, path = \"a.tsv\" }"),
            ("params", "{ n = 1.0, path = \"lib\" }"),
            ("env", "{ A = \"2\" }"),
            ("tools", "[\"b.tsv\"]"),
            ("tools", "[\"sh\"]"),
            ("data", "[\"b.tsv\"]"),
            ("give", "{ ours = \"npz\" }"),
            ("makes", "\"dataset\""),
            ("of", "\"ours\""),
            ("split", "\"validation\""),
            ("classes", "[\"a\", \"b\"]"),
            ("shape", "[8, 8, 1]"),
            ("backbone", "{ name = \"conv3\" }"),
        ],
        ports: &["inputs"],
        not_in_key: &[
            (
                "outputs",
                "[\"two\", \"one\", \"two\"]",
                "the order of files changes nothing",
            ),
            (
                "code",
                "[\"lib/\", \"./a.tsv\", \"a.tsv\"]",
                "neither does the spelling of a path",
            ),
            (
                "pass_env",
                "[\"WANDB_API_KEY\"]",
                "its values must not change results, so its names do not",
            ),
            ("threads", "2", "results must not depend on it"),
        ],
    },
    Form {
        kind: "inspect",
        base: "network = \"model\"\ndata = \"x\"\nsplit = \"test\"\nimages = 20\nchannels = 2\nseed = 1",
        changes: &[
            ("split", "\"validation\""),
            ("images", "30"),
            ("channels", "1"),
            ("seed", "2"),
        ],
        ports: &["network", "data", "views"],
        not_in_key: &[],
    },
    Form {
        kind: "concat",
        base: "inputs = [\"x\"]\nfiles = [\"a.tsv\"]\ntext = \"t\"\nkeep_last = 3",
        changes: &[
            ("files", "[\"b.tsv\"]"),
            ("files", "[\"a.tsv\", \"a.tsv\"]"),
            ("text", "\"u\""),
            ("keep_last", "4"),
        ],
        ports: &["inputs"],
        not_in_key: &[("files", "[\"copy/a.tsv\"]", MOVED)],
    },
];

/// Nodes that the forms above name.
const OTHERS: &str = r#"
[nodes.x]
kind = "dataset"
source = "scenes"
train = 60
test = 20
side = 16
validation = 20
[nodes.task]
kind = "pretext"
method = "rotation"
[nodes.model]
kind = "finetune"
data = ["x"]
backbone = { name = "conv3" }
steps = 2
lr = 0.1
[nodes.score]
kind = "evaluate"
model = "model"
data = "x"
[nodes.score2]
kind = "evaluate"
model = "model"
data = "x"
split = "test"
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let lines = |word: &str| {
        (0..20)
            .map(|i| format!("sea\t{word} {i}\nland\t{word} {i}\n"))
            .collect::<String>()
    };
    write("a.tsv", &lines("wave"));
    write("copy/a.tsv", &lines("wave"));
    write("b.tsv", &lines("house"));
    write("lib/x.py", "print()");
    // Only the names of images count before anything runs.
    for name in ["pictures", "copy/pictures", "others"] {
        for (class, i) in ["sea", "land", "pool"]
            .iter()
            .flat_map(|class| (0..10).map(move |i| (class, i)))
        {
            write(&format!("{name}/{class}/{i}.png"), class);
        }
        write(
            &format!("{name}/other.csv"),
            "path,label,kind\nsea/0.png,a,c\nsea/1.png,b,d\nsea/2.png,a,c\nsea/3.png,b,d\n",
        );
    }
    write("others/sea/0.png", "another");
    folder
}

/// What the key of a node depends on besides its inputs, or why there is no such node.
fn components(folder: &Path, kind: &str, table: &str) -> Result<String, String> {
    let text = format!("[workflow]\nname = \"w\"\n{OTHERS}\n[nodes.it]\nkind = \"{kind}\"\n{table}\n");
    let workflow =
        Workflow::from_text(&folder.join("w.toml"), &text, &registry(), &[]).map_err(|e| format!("{e:?}"))?;
    let it = workflow
        .instances()
        .iter()
        .position(|i| i.name() == "it")
        .expect("it is there");
    let components = workflow
        .own_components(it, &FileDigests::default())
        .map_err(|e| e.to_string())?;
    Ok(format!("{components:?}"))
}

/// The base with one parameter given another value.
fn with(base: &str, param: &str, value: &str) -> String {
    let mut table: toml::Table = base.parse().expect("TOML");
    let other: toml::Table = format!("{param} = {value}").parse().expect("TOML");
    table.extend(other);
    table.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

#[test]
fn changing_any_parameter_changes_the_key_or_is_listed_as_not_part_of_it() {
    let folder = folder();
    let mut faults = Vec::new();
    for form in FORMS {
        let same = components(folder.path(), form.kind, form.base).expect(form.base);
        assert_eq!(
            components(folder.path(), form.kind, form.base).as_ref(),
            Ok(&same),
            "changing nothing changes nothing"
        );
        for (param, value) in form.changes {
            // What makes no sense together is refused, and has no key.
            if components(folder.path(), form.kind, &with(form.base, param, value)).as_ref() == Ok(&same) {
                faults.push(format!("{} with `{param} = {value}` has the same key", form.kind));
            }
        }
        for (param, value, why) in form.not_in_key {
            let changed = components(folder.path(), form.kind, &with(form.base, param, value));
            if changed.as_ref() != Ok(&same) {
                faults.push(format!(
                    "{} with `{param} = {value}` has another key, though {why}: {changed:?}",
                    form.kind
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// What decides nothing about the output: a node's execution policy.
const POLICY: &str = r#"priority = 3
mutex = "disk"
retry = { times = 2 }
timeout_s = 600
resources = { threads = 1, gpus = 1, memory = "1GB" }
isolate = true
"#;

/// The parameters that a table leaves out, as they are then.
fn defaults(form: &Form) -> Vec<(String, String)> {
    fn without_null(value: &serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(table) => {
                let given = table.iter().filter(|(_, value)| !value.is_null());
                given.map(|(key, value)| (key.clone(), without_null(value))).collect()
            }
            other => other.clone(),
        }
    }
    let table: toml::Table = form.base.parse().expect("TOML");
    let forms = registry().form_schemas(form.kind);
    let of_form = |schema: &&FormSchema| match schema.marks {
        [] => true,
        marks => marks.iter().any(|mark| table.contains_key(*mark)),
    };
    let schema = forms.iter().find(of_form).expect("a form of the kind").schema.clone();
    let variants = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let is_meant = |variant: &&serde_json::Value| {
        let word = &variant["properties"]["method"]["const"];
        word.is_string() && word.as_str() == table.get("method").and_then(toml::Value::as_str)
    };
    let properties = variants.iter().find(is_meant).unwrap_or(&schema)["properties"].clone();
    let left_out = properties.as_object().expect("properties").iter();
    let left_out = left_out.filter(|(key, of)| !table.contains_key(*key) && !of["default"].is_null());
    left_out
        .map(|(key, of)| {
            let value = toml::Value::try_from(without_null(&of["default"])).expect("a default");
            (key.clone(), value.to_string())
        })
        .collect()
}

#[test]
fn changing_what_changes_nothing_never_changes_the_key() {
    let folder = folder();
    let pretext = Form {
        kind: "pretext",
        base: "method = \"simclr\"",
        changes: &[],
        ports: &[],
        not_in_key: &[],
    };
    let (mut faults, mut written_out) = (Vec::new(), 0);
    for form in FORMS.iter().chain([&pretext]) {
        let same = components(folder.path(), form.kind, form.base).expect(form.base);
        let table: toml::Table = form.base.parse().expect("TOML");
        let backwards: String = table
            .iter()
            .rev()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        let mut others = vec![
            ("another order".to_owned(), backwards),
            ("a comment".to_owned(), format!("# why\n{}  # so\n\n", form.base)),
            ("its execution policy".to_owned(), format!("{}\n{POLICY}", form.base)),
        ];
        for (key, value) in defaults(form) {
            written_out += 1;
            others.push((format!("`{key} = {value}`, its default"), with(form.base, &key, &value)));
        }
        for (what, table) in others {
            let found = components(folder.path(), form.kind, &table);
            if found.as_ref() != Ok(&same) {
                faults.push(format!("{} has another key with {what}: {found:?}", form.kind));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(written_out > 10, "only {written_out} defaults were found");
}

#[test]
fn every_parameter_of_every_kind_is_listed() {
    let folder = folder();
    let mut missing = Vec::new();
    for form in FORMS {
        let unknown = format!("{}\nno_such_key = 1", form.base);
        let refusal = components(folder.path(), form.kind, &unknown).expect_err("no kind has it");
        assert!(refusal.contains("no_such_key"), "{refusal}");
        for param in fields(form.base, form.kind) {
            let listed = |form: &Form| {
                let changed = form
                    .changes
                    .iter()
                    .map(|(name, _)| name)
                    .chain(form.not_in_key.iter().map(|(name, ..)| name));
                changed.chain(form.ports).any(|name| *name == param)
            };
            if !FORMS.iter().filter(|other| other.kind == form.kind).any(listed) {
                missing.push(format!("{}: {param}", form.kind));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The parameters of a form, as serde lists them to whoever gives one that is unknown.
fn fields(base: &str, kind: &str) -> BTreeSet<String> {
    use flow_nodes::*;
    fn of<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
        let refusal = match toml::from_str::<T>("no_such_key = 1") {
            Ok(_) => panic!("no kind takes it"),
            Err(error) => error.message().to_owned(),
        };
        let (_, list) = refusal.split_once(", expected ").expect("serde lists the fields");
        list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }
    match kind {
        "dataset" if base.starts_with("source") => of::<SourceNode>(),
        "dataset" => of::<PartNode>(),
        "augment" => of::<AugmentNode>(),
        "pretrain" => of::<PretrainNode>(),
        "finetune" => of::<FinetuneNode>(),
        "pseudo-label" => of::<PseudoLabelNode>(),
        "evaluate" if base.starts_with("model") => of::<ScoreNode>(),
        "evaluate" if base.starts_with("encoder") => of::<ProbeNode>(),
        "evaluate" if base.starts_with("compare") => of::<CompareNode>(),
        "evaluate" => of::<SummaryNode>(),
        "command" => of::<CommandNode>(),
        "inspect" => of::<InspectNode>(),
        "concat" => of::<ConcatNode>(),
        other => panic!("no form of {other} is listed"),
    }
}

#[test]
fn every_kind_is_listed() {
    let listed: BTreeSet<&str> = FORMS.iter().map(|form| form.kind).chain(["pretext"]).collect();
    assert_eq!(registry().kinds(), listed.into_iter().collect::<Vec<_>>());
}

/// A method's settings are one table, in the key as it is: each of its values counts.
#[test]
fn every_setting_of_a_method_is_part_of_the_key() {
    let folder = folder();
    let key = |table: &str| components(folder.path(), "pretext", table).expect(table);
    assert_ne!(key("method = \"simclr\""), key("method = \"moco\""));
    assert_ne!(
        key("method = \"simclr\"\ntemperature = 0.5"),
        key("method = \"simclr\"\ntemperature = 0.4")
    );
    assert_eq!(key("method = \"simclr\""), key("method = \"simclr\""));
}
