use std::collections::BTreeMap;
use std::sync::Arc;

use flow_cache::{ActionKey, ArtifactSummary, Cost, Digest};
use flow_engine::figure::Figure;
use flow_engine::node::{InputCost, Report};
use flow_learn::rng::Stream;
use serde_json::{Value, json};

use super::beside::Aside;
use super::judge::{Material, judge};
use super::{CompareNode, change, report, verdict};
use crate::artifacts::{FeatureScore, Protocol, Scores, SplitName, Subject};
use crate::evaluate::arms::pair;

const CLASSES: usize = 4;

/// Scores of a classifier that is right on so many of 1,000 images; the hard images are hard for all.
fn scores(of: Subject, right: f64, run: &str) -> Scores {
    let mut own = Stream::new(1, "scores").child(run);
    let mut shared = Stream::new(1, "images");
    let truth: Vec<usize> = (0..1000).map(|i| i % CLASSES).collect();
    let judged = |class: &usize| {
        let difficulty = 0.9 * f64::from(shared.uniform()) + 0.1 * f64::from(own.uniform());
        if difficulty < right {
            *class
        } else {
            (class + 1) % CLASSES
        }
    };
    let predicted: Vec<usize> = truth.iter().map(judged).collect();
    Scores {
        split: SplitName::Test,
        judged_on: Digest::of(b"images"),
        noun: "images".into(),
        class_names: ["boots", "coats", "hats", "socks"].map(str::to_owned).to_vec(),
        pseudo_labels: None,
        truth: Scores::classes(&truth),
        scores: vec![FeatureScore::new(of, Protocol::FineTuned, CLASSES, &truth, &predicted)],
        located: None,
    }
}

fn bindings(at: &Value, draw: usize) -> BTreeMap<String, Value> {
    let mut bindings: BTreeMap<String, Value> = serde_json::from_value(at.clone()).expect("a table");
    bindings.insert("draw".into(), draw.into());
    bindings.insert("seed".into(), draw.into());
    bindings
}

/// Bindings of a score, and its accuracy.
type Cells = Vec<(Value, f64)>;

/// The verdict's page.
fn said(settings: Value, draws: usize, arms: &[(&str, Cells, f64)], controls: &[(&str, Cells)]) -> String {
    reported(settings, draws, arms, controls).markdown
}

fn reported(settings: Value, draws: usize, arms: &[(&str, Cells, f64)], controls: &[(&str, Cells)]) -> Report {
    with_evidence(settings, draws, arms, controls, &[])
}

/// With what the run's records say besides; of an arm called `student` no pseudo-label was kept.
fn with_evidence(
    settings: Value,
    draws: usize,
    arms: &[(&str, Cells, f64)],
    controls: &[(&str, Cells)],
    lineage: &[InputCost],
) -> Report {
    let mut node = json!({ "compare": ["score"], "baseline": "scratch", "repeat": ["draw", "seed"] });
    for (key, value) in settings.as_object().expect("a table") {
        node[key] = value.clone();
    }
    let node: CompareNode = serde_json::from_value(node).expect("valid");
    let mut of_arms = Vec::new();
    for (arm, cells, spread) in arms {
        for (at, right) in cells {
            for draw in 0..draws {
                // What a draw does to all arms, and what it does to this one.
                let luck = 0.03 * f64::from(Stream::new(3, "luck").index(draw as u64).normal());
                let own = spread * f64::from(Stream::new(4, arm).index(draw as u64).normal());
                let place = node.axes().place(arm, &bindings(at, draw));
                let mut scores = scores(Subject::Model, right + luck + own, &format!("{arm} {at} {draw}"));
                scores.pseudo_labels = (*arm == "student").then_some(0);
                of_arms.push((place, scores));
            }
        }
    }
    let mut asides = Vec::new();
    for (name, cells) in controls {
        for (at, right) in cells {
            asides.push(Aside {
                node: (*name).to_owned(),
                bindings: serde_json::from_value(at.clone()).expect("a table"),
                score: scores(Subject::RawPixels, *right, name),
            });
        }
    }
    let material = Material {
        arms: &pair("compare", of_arms).expect("paired"),
        controls: &asides,
        upper_bound: &[],
    };
    let verdict = judge(&node, &material).expect("a verdict");
    report::render(&node, &verdict, lineage, None).expect("a report")
}

fn at(cells: &[(usize, f64)]) -> Vec<(Value, f64)> {
    cells
        .iter()
        .map(|(labels, right)| (json!({ "labels": labels }), *right))
        .collect()
}

fn titles() -> Value {
    json!({ "scratch": "scratch", "fixmatch": "FixMatch", "simclr": "SimCLR", "svm": "RBF-SVM on raw pixels" })
}

#[test]
fn one_arm_is_best_and_worth_labels() {
    let arms = [
        ("scratch", at(&[(40, 0.60), (100, 0.70), (1000, 0.82)]), 0.005),
        ("fixmatch", at(&[(40, 0.68), (100, 0.76), (1000, 0.83)]), 0.005),
    ];
    let controls = [("svm", at(&[(40, 0.50), (100, 0.58), (1000, 0.70)]))];
    insta::assert_snapshot!(said(
        json!({ "titles": titles(), "controls": ["svm"] }),
        5,
        &arms,
        &controls
    ));
}

#[test]
fn what_an_expert_must_know_comes_first() {
    let arms = [
        ("scratch", at(&[(40, 0.60), (1000, 0.79)]), 0.01),
        ("simclr", at(&[(40, 0.66), (1000, 0.82)]), 0.01),
    ];
    let controls = [
        ("svm", at(&[(40, 0.62), (1000, 0.83)])),
        ("knn", at(&[(40, 0.4), (1000, 0.7)])),
    ];
    let settings = json!({ "titles": titles(), "unequal": "pre-training comes on top", "controls": ["svm", "knn"] });
    insta::assert_snapshot!(said(settings, 3, &arms, &controls));
}

#[test]
fn as_good_and_not_detectable_are_told_apart_and_two_draws_show_nothing() {
    let arms = [
        ("scratch", at(&[(100, 0.70)]), 0.0),
        ("simclr", at(&[(100, 0.701)]), 0.0),
        ("fixmatch", at(&[(100, 0.72)]), 0.05),
    ];
    insta::assert_snapshot!("as_good", said(json!({ "titles": titles() }), 6, &arms, &[]));
    insta::assert_snapshot!("two_draws", said(json!({ "titles": titles() }), 2, &arms, &[]));
}

#[test]
fn a_difference_that_only_the_correction_takes_away_is_not_called_undetectable() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let arms: Vec<_> = std::iter::once(("scratch", at(&[(100, 0.70)]), 0.0))
        .chain(names.map(|name| (name, at(&[(100, 0.72)]), 0.006)))
        .collect();
    let text = said(json!({}), 3, &arms, &[]);
    let answer = text
        .lines()
        .find(|line| line.contains("Not significant"))
        .expect("it is said");
    let (_, rest) = answer.split_once("Not significant").expect("found");
    let (corrected, rest) = rest.split_once("Not detectable").expect("both groups are there");
    // Each interval of the first group leaves out zero.
    assert!(!corrected.contains("interval -"), "{corrected}");
    assert!(rest.contains("interval -"), "{rest}");
    insta::assert_snapshot!(answer);
}

/// A record of a node's own name.
fn record(kind: &str, node: &str, wall_s: f64, metrics: Value) -> Arc<ArtifactSummary> {
    let digest = Digest::of(format!("{kind} {node}").as_bytes());
    Arc::new(ArtifactSummary {
        key: ActionKey::from(digest),
        kind: kind.to_owned(),
        node: node.to_owned(),
        outputs: BTreeMap::new(),
        metrics: serde_json::from_value(metrics).expect("numbers"),
        cost: Cost {
            wall_s,
            threads: 1,
            peak_rss_bytes: None,
        },
        digest,
    })
}

/// What the records of a run say, whose frozen encoder is no better than `raw` features.
fn evidence(raw: &str) -> Vec<InputCost> {
    let encoder = record("pretrain", "encoder", 90.0, json!({ "images_trained": 9000 }));
    let input = |port, node: &str, records| InputCost {
        port,
        index: 0,
        node: node.to_owned(),
        bindings: BTreeMap::from([("labels".to_owned(), json!(100))]),
        records,
    };
    let tuned = |node: &str, wall_s: f64| record("finetune", node, wall_s, json!({ "images_trained": 1000 }));
    let leaks = record("dataset", "images", 1.0, json!({ "leaks_exact": 2, "leaks_near": 1 }));
    let guesses = record(
        "pseudo-label",
        "guess",
        3.0,
        json!({ "kept_share": 0.7, "precision": 0.9 }),
    );
    let probe = |of: &str, value: f64| (format!("probe.{of}"), value);
    let probes: BTreeMap<String, f64> = [probe("encoder", 0.4), probe(raw, 0.5), probe("random_init", 0.3)].into();
    let mut program = ArtifactSummary::clone(&record("command", "own", 40.0, json!({})));
    let output = json!({ "predictions.safetensors": { "digest": Digest::of(b"x"), "bytes": 1 } });
    program.outputs = serde_json::from_value(output).expect("an output");
    vec![
        input("compare", "scratch", vec![tuned("scratch", 10.0), leaks]),
        input("compare", "simclr", vec![tuned("simclr", 10.0), Arc::clone(&encoder)]),
        input("compare", "fixmatch", vec![tuned("fixmatch", 100.0)]),
        input("compare", "close", vec![tuned("close", 20.0), guesses]),
        input("compare", "own", vec![Arc::new(program)]),
        input("compare", "student", vec![tuned("student", 30.0)]),
        input(
            "evidence",
            "frozen",
            vec![encoder, record("evaluate", "frozen", 1.0, json!(probes))],
        ),
    ]
}

/// Everything that is said of a report but its tables.
fn all_words(report: &Report) -> String {
    let sentences = report.figures.iter().filter_map(|figure| match figure {
        Figure::Words(words) => Some(words.sentences.iter().map(|(about, said)| format!("{about}: {said}\n"))),
        _ => None,
    });
    let markdown = report.markdown.lines().take_while(|line| !line.starts_with('|'));
    let markdown: String = markdown.map(|line| format!("{line}\n")).collect();
    let titles = report.figures.iter().map(|figure| match figure {
        Figure::Panels(all) => {
            let curves = all.panels.iter().flat_map(|panel| &panel.curves);
            let names: std::collections::BTreeSet<&str> = curves.map(|curve| curve.name.as_str()).collect();
            format!("{}: {}\n", all.title, names.into_iter().collect::<Vec<_>>().join("; "))
        }
        other => format!("{}\n", other.title()),
    });
    format!(
        "{}\n\n{}\n\n{markdown}\n{}\n{}",
        report.headline.as_deref().unwrap_or("no headline"),
        report.terminal,
        sentences.flatten().collect::<String>(),
        titles.collect::<String>()
    )
}

#[test]
fn what_records_say_of_arms_is_said_beside_their_figures() {
    let arms = [
        ("scratch", at(&[(100, 0.70)]), 0.0),
        ("simclr", at(&[(100, 0.78)]), 0.004),
        ("fixmatch", at(&[(100, 0.80)]), 0.004),
        ("close", at(&[(100, 0.795)]), 0.004),
        ("own", at(&[(100, 0.77)]), 0.004),
        ("student", at(&[(100, 0.70)]), 0.0),
    ];
    let own = with_evidence(json!({ "titles": titles() }), 5, &arms, &[], &evidence("raw_pixels"));
    insta::assert_snapshot!("evidence", all_words(&own));
    let doubtful = [arms[0].clone(), arms[1].clone(), arms[5].clone()];
    let texts = with_evidence(
        json!({ "titles": titles() }),
        5,
        &doubtful,
        &[],
        &evidence("bag_of_words"),
    );
    insta::assert_snapshot!("evidence_of_texts", all_words(&texts));
}

#[test]
fn what_would_turn_a_finding_that_is_open_is_said_from_its_own_spread() {
    let against = |right: f64, spread: f64, draws: usize| {
        let arms = [
            ("scratch", at(&[(100, 0.70)]), 0.0),
            ("simclr", at(&[(100, right)]), spread),
        ];
        would_change(&reported(json!({ "margin": 0.001 }), draws, &arms, &[]))
    };
    let rows = [
        against(0.701, 0.0, 6),
        against(0.706, 0.001, 6),
        against(0.70, 0.06, 6),
        against(0.75, 0.03, 4),
    ];
    let few_images = verdict::MeanInterval {
        mean: 0.01,
        low: -0.01,
        high: 0.03,
    };
    let next_to_nothing = verdict::MeanInterval {
        mean: 1e-5,
        low: -0.1,
        high: 0.1,
    };
    let open = [
        change::more_draws(&[0.01; 6], few_images, "images"),
        change::more_draws(&[-0.1, 0.1, -0.1, 0.1, 0.0, 0.0], next_to_nothing, "images"),
    ];
    let alone = all_words(&reported(json!({}), 3, &[("scratch", at(&[(100, 0.70)]), 0.0)], &[]));
    insta::assert_snapshot!(format!("{}\n{}\n{alone}", rows.concat(), open.join("\n")));
}

#[test]
fn over_several_training_budgets_it_is_said_which_arm_is_best_up_to_where() {
    let cells = |figures: [f64; 3]| -> Vec<(Value, f64)> {
        let costs = [20_000, 60_000, 200_000];
        costs
            .iter()
            .zip(figures)
            .map(|(cost, right)| (json!({ "labels": 100, "budget": cost }), right))
            .collect()
    };
    let arms = [
        ("scratch", cells([0.66, 0.69, 0.70]), 0.004),
        ("fixmatch", cells([0.55, 0.68, 0.78]), 0.004),
        ("simclr", cells([0.60, 0.73, 0.74]), 0.004),
    ];
    let settings = || json!({ "titles": titles(), "cost": "budget" });
    insta::assert_snapshot!(said(settings(), 5, &arms, &[]));
    let close = [
        ("scratch", cells([0.66, 0.69, 0.70]), 0.004),
        ("simclr", cells([0.661, 0.691, 0.701]), 0.02),
    ];
    let first = |text: &str| {
        text.lines()
            .find(|line| line.contains("best is"))
            .unwrap_or_default()
            .to_owned()
    };
    let always = first(&said(settings(), 5, &close, &[]));
    let turns = would_change(&reported(settings(), 5, &arms, &[]));
    insta::assert_snapshot!("over_budgets", format!("{always}\n{turns}"));
}

/// What would change a verdict: its sentences, and what each finding would turn with.
fn would_change(report: &Report) -> String {
    let mut said = String::new();
    for figure in &report.figures {
        match figure {
            Figure::Words(words) if words.title == "What would change this verdict" => {
                let sentences = words.sentences.iter().map(|(about, said)| format!("{about}: {said}\n"));
                said += &sentences.collect::<String>();
            }
            Figure::Table(table) if table.title == "How far each finding is from turning" => {
                let rows = table.rows.iter().map(|row| format!("{}\n", row.join(" | ")));
                said += &rows.collect::<String>();
            }
            _ => {}
        }
    }
    said
}

#[test]
fn what_would_change_a_verdict_is_said_from_its_own_numbers() {
    let arms = [
        ("scratch", at(&[(40, 0.60), (100, 0.70), (1000, 0.82)]), 0.005),
        ("fixmatch", at(&[(40, 0.68), (100, 0.71), (1000, 0.82)]), 0.02),
        ("simclr", at(&[(40, 0.61), (100, 0.73), (1000, 0.83)]), 0.005),
    ];
    let controls = [("svm", at(&[(40, 0.60), (100, 0.70), (1000, 0.82)]))];
    let settings = json!({ "titles": titles(), "controls": ["svm"] });
    insta::assert_snapshot!(would_change(&reported(settings, 5, &arms, &controls)));
    let same = [
        ("scratch", at(&[(100, 0.70)]), 0.0),
        ("simclr", at(&[(100, 0.701)]), 0.0),
    ];
    let of_same = [6, 2].map(|draws| would_change(&reported(json!({}), draws, &same, &[])));
    insta::assert_snapshot!("would_change_what_is_the_same", of_same.concat());
}

#[test]
fn labels_saved_are_drawn_where_the_budgets_reach_and_named_where_they_end() {
    let arms = [
        ("scratch", at(&[(40, 0.60), (100, 0.70), (1000, 0.82)]), 0.0),
        ("fixmatch", at(&[(40, 0.65), (100, 0.76), (1000, 0.83)]), 0.0),
    ];
    let report = reported(json!({ "titles": titles() }), 5, &arms, &[]);
    let saved = report.figures.iter().find_map(|figure| match figure {
        Figure::Lines(lines) if lines.title == "Labels saved" => Some(lines),
        _ => None,
    });
    let saved = saved.expect("three budgets are a grid");
    let points = &saved.lines[0].points;
    assert_eq!(points.iter().map(|point| point.x).collect::<Vec<_>>(), [40.0, 100.0]);
    for point in points {
        assert!(point.value.mean > 1.2 && point.value.mean < 10.0, "{point:?}");
        assert!(
            point.value.low <= point.value.mean && point.value.mean <= point.value.high,
            "{point:?}"
        );
    }
    let below = [
        ("scratch", at(&[(40, 0.60), (100, 0.70), (1000, 0.82)]), 0.0),
        ("fixmatch", at(&[(40, 0.45), (100, 0.65), (1000, 0.80)]), 0.0),
    ];
    let below = reported(json!({ "titles": titles() }), 5, &below, &[]);
    let words = |report: &Report| {
        let lines = report.figures.iter().find_map(|figure| match figure {
            Figure::Lines(lines) if lines.title == "Labels saved" => Some(lines),
            _ => None,
        });
        lines.map_or(String::new(), |lines| {
            format!("{}\n{}\n{}", lines.title, lines.note, lines.y)
        })
    };
    insta::assert_snapshot!(format!("{}\n{}", words(&report), words(&below)));
}

#[test]
fn by_macro_f1_the_words_and_figures_are_those_of_macro_f1() {
    let arms = [
        ("scratch", at(&[(100, 0.70)]), 0.004),
        ("fixmatch", at(&[(100, 0.76)]), 0.004),
    ];
    let heads = ["macro_f1", "balanced_accuracy"].map(|metric| {
        let text = said(json!({ "titles": titles(), "metric": metric }), 5, &arms, &[]);
        let head = text.lines().find(|line| line.starts_with('|')).unwrap_or_default();
        head.to_owned()
    });
    insta::assert_snapshot!(heads.join("\n"));
}

#[test]
fn on_a_terminal_no_line_is_wider_than_80_columns_and_the_answer_is_a_sentence_for_each_budget() {
    let budgets = [40, 100, 400, 1000, 4000, 10_000];
    let cells = |gain: f64| at(&budgets.map(|labels| (labels, 0.6 + gain)));
    let arms = [
        ("scratch", cells(0.0), 0.005),
        ("fixmatch", cells(0.05), 0.005),
        ("simclr", cells(-0.05), 0.005),
    ];
    let controls = [("svm", cells(0.02))];
    let text = reported(json!({ "titles": titles(), "controls": ["svm"] }), 5, &arms, &controls).terminal;
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
    insta::assert_snapshot!(text);
}

#[test]
fn an_arm_at_chance_is_said_before_anything_else_and_first_of_all_the_baseline() {
    // Four classes: a quarter is what guessing reaches.
    let arms = [
        ("scratch", at(&[(100, 0.25), (1000, 0.60)]), 0.005),
        ("fixmatch", at(&[(100, 0.50), (1000, 0.70)]), 0.005),
        ("simclr", at(&[(100, 0.26), (1000, 0.65)]), 0.005),
    ];
    insta::assert_snapshot!(said(json!({ "titles": titles() }), 5, &arms, &[]));
    let learnt = [
        ("scratch", at(&[(100, 0.40)]), 0.005),
        ("fixmatch", at(&[(100, 0.50)]), 0.005),
    ];
    assert!(!said(json!({ "titles": titles() }), 5, &learnt, &[]).contains("guessing"));
}

#[test]
fn a_baseline_that_has_not_learnt_its_own_labels_is_said_before_anything_else() {
    let arms = [
        ("scratch", at(&[(100, 0.40)]), 0.005),
        ("simclr", at(&[(100, 0.50)]), 0.005),
    ];
    let with_learnt = |learnt: f64| {
        let trained = InputCost {
            port: "compare",
            index: 0,
            node: "scratch".to_owned(),
            bindings: BTreeMap::from([("labels".to_owned(), json!(100))]),
            records: vec![record(
                "finetune",
                "scratch[labels=100]",
                1.0,
                json!({ "train_accuracy": learnt }),
            )],
        };
        with_evidence(json!({ "titles": titles() }), 5, &arms, &[], &[trained]).markdown
    };
    let page = with_learnt(0.712);
    insta::assert_snapshot!(page.lines().nth(2).unwrap_or_default());
    assert!(!with_learnt(0.97).contains("too short"));
}

#[test]
fn a_pretext_task_that_was_not_learnt_is_said_before_anything_else() {
    let arms = [
        ("scratch", at(&[(100, 0.40)]), 0.005),
        ("simclr", at(&[(100, 0.50)]), 0.005),
    ];
    let with_accuracy = |accuracy: f64| {
        let figures = json!({ "accuracy": accuracy, "accuracy_by_guessing": 0.25 });
        let rotated = InputCost {
            port: "compare",
            index: 0,
            node: "simclr".to_owned(),
            bindings: BTreeMap::from([("labels".to_owned(), json!(100))]),
            records: vec![record("pretrain", "rotated[seed=0]", 1.0, figures)],
        };
        with_evidence(json!({ "titles": titles() }), 5, &arms, &[], &[rotated]).markdown
    };
    let page = with_accuracy(0.26);
    insta::assert_snapshot!(page.lines().nth(2).unwrap_or_default());
    assert!(!with_accuracy(0.5).contains("was not learnt"));
}
