//! Tasks in workflows: a teacher, its guesses, a student and a verdict; and what makes no sense is refused before anything runs.

use std::collections::BTreeMap;
use std::path::Path;

use flow_engine::events::{Event, Reporter};
use flow_engine::{NodeStatus, Options, Workflow};

const IMAGES: &str = r#"
[nodes.images]
kind = "dataset"
source = "scenes"
train = 48
test = 12
side = 16
style = { objects = [1, 2], size = [0.25, 0.35] }

[nodes.labelled]
kind = "dataset"
from = "images"
labels = 16

[defaults.finetune]
backbone = { name = "conv3", widths = [8, 12, 16] }
lr = 0.01
steps = 30
batch = 8
"#;

const SELF_TRAINING: &str = r#"
[matrix]
arm = ["scratch", "student"]
seed = [0, 1, 2]

[nodes.scratch]
kind = "finetune"
task = "TASK"
data = ["labelled"]
seed = "${seed}"

[nodes.guess]
kind = "pseudo-label"
task = "TASK"
teacher = "scratch"
data = "images"
except = "labelled"
threshold = 0.1

[nodes.student]
kind = "finetune"
task = "TASK"
data = ["labelled", "guess"]
pseudo_loss = { weight = 1.0 }
seed = "${seed}"
rounds = 2
becomes = "guess.teacher"

[nodes.score]
kind = "evaluate"
task = "TASK"
model = "${arm}"
data = "images"

[nodes.verdict]
kind = "evaluate"
compare = ["score"]
over = ["arm", "seed"]
baseline = "scratch"
unequal = "a test"
"#;

/// What went wrong.
#[derive(Default)]
struct Failures(Vec<String>);

impl Reporter for Failures {
    fn report(&mut self, event: &Event) {
        if let Event::NodeFailed { .. } = event {
            self.0.push(format!("{event:?}"));
        }
    }
}

fn loaded(folder: &Path, text: &str) -> Result<Workflow, String> {
    let file = folder.join("w.toml");
    std::fs::write(&file, text).expect("written");
    flow_engine::load(&file, &flow_nodes::registry(), &[]).map_err(|problems| format!("{problems:?}"))
}

/// The metrics of each instance.
fn run(text: &str) -> BTreeMap<String, BTreeMap<String, f64>> {
    let folder = tempfile::tempdir().expect("a folder");
    let workflow = loaded(folder.path(), text).expect("a workflow without problems");
    let cache = flow_cache::Store::open(&folder.path().join("cache"), flow_cache::Access::ReadWrite).expect("a cache");
    let options = Options::new(folder.path().join("runs"));
    let mut failures = Failures::default();
    let run = flow_engine::run(&workflow, &cache, &options, &mut failures).expect("it runs");
    assert_eq!(run.count(NodeStatus::Ran), run.nodes.len(), "{:#?}", failures.0);
    run.nodes.into_iter().map(|node| (node.name, node.metrics)).collect()
}

#[test]
fn soft_guesses_teach_something_else_than_hard_ones_and_keep_the_same() {
    for task in ["segment", "detect"] {
        let text = SELF_TRAINING
            .replace("TASK", task)
            .replace("seed = [0, 1, 2]", "seed = [0]")
            .replace("rounds = 2\nbecomes = \"guess.teacher\"\n", "");
        let of = |how: &str| {
            let text = text.replace("threshold = 0.1", &format!("threshold = 0.1\n{how}"));
            let nodes = run(&format!(
                "{IMAGES}{}",
                text.split("[nodes.verdict]").next().unwrap_or_default()
            ));
            let named = |name: &str| {
                let found = nodes.iter().find(|(instance, _)| instance.starts_with(name));
                found.map(|(_, metrics)| metrics.clone()).expect("it ran")
            };
            (named("guess"), named("student"), named("score[arm=student"))
        };
        let (hard, soft, sharp) = (of(""), of("soft = true"), of("soft = true\ntemperature = 0.3"));
        assert_eq!(
            (&hard.0, &hard.1["pseudo_labels"]),
            (&soft.0, &soft.1["pseudo_labels"]),
            "{task}"
        );
        assert!(
            hard.2 != soft.2 && soft.2 != sharp.2,
            "{task}: {hard:?}\n{soft:?}\n{sharp:?}"
        );
    }
}

#[test]
fn a_student_learns_from_its_teachers_guesses_and_a_verdict_compares_them() {
    for (task, figure) in [("segment", "mean_iou"), ("detect", "ap")] {
        let nodes = run(&format!("{IMAGES}{}", SELF_TRAINING.replace("TASK", task)));
        let of = |name: &str| {
            let found = nodes.iter().filter(|(instance, _)| instance.starts_with(name));
            found.map(|(_, metrics)| metrics.clone()).collect::<Vec<_>>()
        };
        let guesses = of("guess");
        assert!(
            guesses.iter().all(|metrics| metrics["pool"] == 32.0),
            "{task}: all that are not labelled"
        );
        assert!(
            guesses
                .iter()
                .any(|metrics| metrics["kept"] > 0.0 && metrics.contains_key("precision")),
            "{task}"
        );
        assert!(
            of("student").iter().any(|metrics| metrics["pseudo_labels"] > 0.0),
            "{task}"
        );
        assert!(
            of("score").iter().all(|metrics| (0.0..=1.0).contains(&metrics[figure])),
            "{task}"
        );
        let verdict = of("verdict");
        assert_eq!(verdict.len(), 1);
        assert_eq!(verdict[0].len(), 2, "{task}: {:?}", verdict[0]);
    }
}

#[test]
fn what_makes_no_sense_for_a_task_is_refused_where_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |nodes: &str| {
        loaded(folder.path(), &format!("{IMAGES}{nodes}"))
            .err()
            .unwrap_or_default()
    };
    let fit = |more: &str| format!("[nodes.fit]\nkind = \"finetune\"\ndata = [\"labelled\"]\n{more}\n");
    assert_eq!(refused(&fit("task = \"segment\"")), "");
    assert_eq!(refused(&fit("task = \"classify\"")), "");
    for (more, said) in [
        ("task = \"segmnt\"", "did you mean `segment`"),
        (
            "task = \"detect\"\nlabel_smoothing = 0.1",
            "`label_smoothing` is for classification",
        ),
        (
            "task = \"detect\"\nbackbone = { name = \"vit\" }",
            "needs a backbone of convolutions",
        ),
        (
            "task = \"segment\"\nviews = \"mixed\"\n[nodes.mixed]\nkind = \"augment\"\nops = [{ op = \"mixup\" }]",
            "mixes targets",
        ),
    ] {
        let found = refused(&fit(more));
        assert!(found.contains(said), "{more}: {found}");
    }
    let plain = "[nodes.gray]\nkind = \"dataset\"\nsource = \"fashion-mnist-sample\"\n[nodes.fit]\nkind = \"finetune\"\ntask = \"segment\"\ndata = [\"gray\"]\n";
    assert!(refused(plain).contains("learns from masks, which these images do not have"));
    let judged = |task: &str| {
        fit("task = \"segment\"")
            + &format!("[nodes.score]\nkind = \"evaluate\"\n{task}\nmodel = \"fit\"\ndata = \"images\"\n")
    };
    assert_eq!(refused(&judged("task = \"segment\"")), "");
    assert!(refused(&judged("")).contains("was trained with the task `segment`, this node has `classify`"));
}
