//! What queries select, by the index and by the record files alone.

mod common;

use common::{draft, nodes, open, open_read_only, publish};
use flow_cache::{ActionKey, KeyFields, Store};
use serde_json::{Value, json};

struct Entries {
    dir: tempfile::TempDir,
    store: Store,
    finished: u64,
}

impl Entries {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path());
        Self {
            dir,
            store,
            finished: 0,
        }
    }

    /// Publishes an entry, later than all others.
    fn add(&mut self, kind: &str, node: &str, params: &[(&str, Value)], inputs: &[ActionKey]) -> ActionKey {
        self.measured(kind, node, params, inputs, &[])
    }

    fn measured(
        &mut self,
        kind: &str,
        node: &str,
        params: &[(&str, Value)],
        inputs: &[ActionKey],
        metrics: &[(&str, f64)],
    ) -> ActionKey {
        self.finished += 1;
        let (_, mut new) = draft(node, node);
        let builder = KeyFields::new(kind, 1).param("called", &json!(node));
        let builder = params
            .iter()
            .fold(builder, |builder, (name, value)| builder.param(name, value));
        let (key, components) = builder.finish();
        new.kind = kind.into();
        new.components = components;
        new.inputs = inputs.to_vec();
        new.metrics = metrics
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        new.finished_unix_ms = self.finished;
        publish(&self.store, &key, new).expect("published");
        key
    }

    /// The nodes of what is selected: the same with and without an index.
    #[track_caller]
    fn select(&self, query: &str) -> Vec<String> {
        let names = |store: &Store| {
            let found = store.query(query, &[]).unwrap_or_else(|error| panic!("{error}"));
            nodes(&found).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let by_index = names(&self.store);
        assert_eq!(names(&open_read_only(self.dir.path())), by_index, "{query}");
        by_index
    }

    fn refused(&self, query: &str) -> String {
        self.store
            .query(query, &["finetune", "evaluate"])
            .expect_err("refused")
            .to_string()
    }
}

#[test]
fn integers_beyond_the_digits_of_a_float_are_told_apart() {
    let mut entries = Entries::new();
    let seeds = [1_u64 << 53, (1 << 53) + 1, (1 << 53) + 2, u64::MAX - 1, u64::MAX];
    for seed in seeds {
        entries.add("finetune", &seed.to_string(), &[("seed", json!(seed))], &[]);
    }
    entries.add("finetune", "float", &[("seed", json!(9_007_199_254_740_992.0))], &[]);
    for seed in &seeds[1..] {
        assert_eq!(entries.select(&format!("params.seed = {seed}")), [seed.to_string()]);
        assert_eq!(
            entries.select(&format!("params.seed in [{seed}, 5]")),
            [seed.to_string()]
        );
    }
    assert_eq!(
        entries.select("params.seed = 9007199254740992.0"),
        ["float", "9007199254740992"]
    );
    assert_eq!(
        entries.select("params.seed > 9007199254740992 and params.seed <= 9007199254740994"),
        ["9007199254740994", "9007199254740993"]
    );
    assert_eq!(
        entries.select("order by params.seed desc limit 2"),
        ["18446744073709551615", "18446744073709551614"]
    );
    assert_eq!(
        entries.select("params.seed > 18446744073709551614"),
        ["18446744073709551615"]
    );
}

#[test]
fn a_number_that_was_rounded_to_an_f32_is_found_as_it_was_written() {
    let mut entries = Entries::new();
    let rate = 0.003_162_277_6_f32;
    let rates = [rate.next_down(), rate, rate.next_up(), 2.0, 16_777_216.0];
    for rate in rates {
        // As parameters are recorded: the shortest digits of the f32, read as an f64.
        let stored: Value = serde_json::from_str(&serde_json::to_string(&rate).unwrap()).unwrap();
        entries.add("finetune", &rate.to_string(), &[("lr", stored)], &[]);
    }
    let written = 0.003_162_277_660_168_379_4_f64;
    let rounded = [(written as f32).to_string()];
    for query in [
        format!("params.lr = {written:?}"),
        format!("params.lr in [7, {written:?}]"),
        format!("params.lr = {}", rounded[0]),
        format!("params.lr <= {written:?} and params.lr >= {written:?}"),
    ] {
        assert_eq!(entries.select(&query), rounded, "{query}");
    }
    assert_eq!(entries.select(&format!("params.lr != {written:?}")).len(), 4);
    assert_eq!(
        entries
            .select(&format!("params.lr < {written:?} or params.lr > {written:?}"))
            .len(),
        4
    );
    assert_eq!(entries.select("params.lr = 2.00000001"), ["2"]);
    assert_eq!(entries.select("params.lr = 16777217"), ["16777216"]);
    assert!(entries.select("params.lr = 2.0001").is_empty());
}

#[test]
fn an_integer_is_not_rounded_to_an_f32() {
    let mut entries = Entries::new();
    entries.add("finetune", "a", &[("n", json!(16_777_216))], &[]);
    assert!(entries.select("params.n = 16777217").is_empty());
    assert!(entries.select("params.n = 16777216.0000001").is_empty());
    assert_eq!(entries.select("params.n < 16777216.1"), ["a"]);
}

#[test]
fn a_metric_that_is_nan_fits_no_comparison_and_comes_last() {
    let mut entries = Entries::new();
    for (node, loss) in [
        ("a", 1.0),
        ("b", f64::NAN),
        ("c", -f64::INFINITY),
        ("d", f64::INFINITY),
        ("e", -f64::NAN),
    ] {
        entries.measured("finetune", node, &[], &[], &[("loss", loss)]);
    }
    entries.measured("finetune", "none", &[], &[], &[]);
    for op in ["=", "!=", "<", "<=", ">", ">="] {
        for query in [format!("metrics.loss {op} 1"), format!("not metrics.loss {op} 1")] {
            let found = entries.select(&query);
            assert!(
                !found.contains(&"b".to_owned()) && !found.contains(&"e".to_owned()),
                "{query}"
            );
        }
    }
    assert_eq!(
        entries.select("order by metrics.loss"),
        ["c", "a", "d", "none", "e", "b"]
    );
    assert_eq!(
        entries.select("order by metrics.loss desc"),
        ["d", "a", "c", "none", "e", "b"]
    );
}

#[test]
fn a_node_name_stands_for_all_its_instances_and_rounds() {
    let mut entries = Entries::new();
    for node in [
        "student",
        "student[seed=0]",
        "student@1[seed=0]",
        "student@2",
        "student-b",
        "students[seed=0]",
    ] {
        entries.add("finetune", node, &[], &[]);
    }
    assert_eq!(
        entries.select("node = student"),
        ["student@2", "student@1[seed=0]", "student[seed=0]", "student"]
    );
    assert_eq!(entries.select("node != student"), ["students[seed=0]", "student-b"]);
    assert_eq!(entries.select("node = student@1"), ["student@1[seed=0]"]);
    assert_eq!(entries.select("node = student[seed=0]"), ["student[seed=0]"]);
    assert_eq!(
        entries.select("node in ['students', student@2]"),
        ["students[seed=0]", "student@2"]
    );
    assert!(entries.select("node = stud").is_empty());
}

#[test]
fn a_kind_that_there_is_not_is_refused_with_the_nearest() {
    let mut entries = Entries::new();
    entries.add("pretrain", "a", &[], &[]);
    for (query, column) in [
        ("kind = pretrian", 8),
        ("kind != pretrian", 9),
        ("metrics.x > 1 or not kind in [finetune, 'pretrian']", 41),
    ] {
        let error = entries.refused(query);
        assert!(error.contains("did you mean `pretrain`?"), "{error}");
        assert!(error.contains(&format!("column {column}: ")), "{error}");
        assert!(error.contains("a kind: evaluate, finetune, pretrain"), "{error}");
    }
    assert!(
        entries
            .store
            .query("kind = evaluate", &["evaluate"])
            .unwrap()
            .is_empty()
    );
    assert!(entries.select("kind ~ trian").is_empty(), "a part of a name is no name");
    let error = entries.refused("pinned = ture");
    assert!(
        error.contains("`true` or `false`") && error.contains("did you mean `true`?"),
        "{error}"
    );
}

/// images -> labelled[40], labelled[100] -> model -> score; each takes 1.5 s.
fn lineage() -> Entries {
    let mut entries = Entries::new();
    let images = entries.add("dataset", "images", &[("side", json!(32))], &[]);
    for labels in [40, 100] {
        let (labels_param, name) = (json!(labels), |node: &str| format!("{node}[labels={labels}]"));
        let params = [("labels", labels_param), ("seed", json!(7))];
        let labelled = entries.add("dataset", &name("labelled"), &params, &[images]);
        let params = [("backbone", json!({"name": "resnet18"})), ("labels", Value::Null)];
        let model = entries.add("finetune", &name("model"), &params, &[labelled, images]);
        let params = [("seed", json!(0)), ("for", json!(labels))];
        let accuracy = [("accuracy", f64::from(labels) / 1000.0)];
        entries.measured("evaluate", &name("score"), &params, &[model, images], &accuracy);
    }
    entries
}

#[test]
fn an_entry_has_the_parameters_of_what_it_was_made_from_and_their_whole_cost() {
    let entries = lineage();
    let query = "kind = evaluate and params.labels = 100 and params.backbone.name = resnet18 and cost.total_s < 300 \
                 order by metrics.accuracy desc";
    assert_eq!(entries.select(query), ["score[labels=100]"]);
    // The images are made once, whether or not two ways lead there.
    assert_eq!(entries.select("kind = evaluate and cost.total_s = 6").len(), 2);
    assert_eq!(entries.select("cost.total_s = 1.5"), ["images"]);
    assert_eq!(
        entries.select("kind = evaluate order by params.labels"),
        ["score[labels=40]", "score[labels=100]"]
    );
    assert_eq!(entries.select("params.labels = 40 and not kind = dataset").len(), 2);
    assert!(entries.select("kind = evaluate and params.nothing != 3").is_empty());
    assert!(
        entries.select("kind = finetune and metrics.accuracy > 0").is_empty(),
        "a metric is its own"
    );
}

#[test]
fn what_an_entry_says_itself_counts_before_what_it_was_made_from() {
    let entries = lineage();
    assert!(entries.select("kind = evaluate and params.seed = 7").is_empty());
    assert_eq!(entries.select("kind = finetune and params.seed = 7").len(), 2);
    assert_eq!(
        entries
            .select("not params.seed = 0 and kind in [evaluate, finetune]")
            .len(),
        2
    );
}

#[test]
fn of_several_values_at_one_distance_any_will_do_for_equality_and_none_may_for_its_opposite() {
    let mut entries = lineage();
    let scores = entries.store.query("kind = evaluate", &[]).unwrap();
    let scores: Vec<ActionKey> = scores.iter().map(|record| record.key).collect();
    entries.add("report", "both", &[], &scores);
    assert_eq!(entries.select("kind = report and params.for = 40"), ["both"]);
    assert_eq!(entries.select("kind = report and params.for in [3, 100]"), ["both"]);
    assert_eq!(entries.select("kind = report and params.for > 50"), ["both"]);
    assert_eq!(entries.select("kind = report and params.for != 40").len(), 0);
    assert_eq!(entries.select("kind = report and params.for != 41"), ["both"]);
    assert_eq!(
        entries.select("kind = report and params.seed = 0"),
        ["both"],
        "the same value twice is one"
    );
    assert_eq!(entries.select("kind = report and cost.total_s = 12"), ["both"]);
}

#[test]
fn a_whole_cost_of_which_a_part_is_not_known_is_none() {
    let mut entries = Entries::new();
    let lost = KeyFields::new("dataset", 1).finish().0;
    entries.add("finetune", "a", &[("lr", json!(1))], &[lost]);
    assert!(entries.select("cost.total_s >= 0").is_empty());
    assert_eq!(entries.select("params.lr = 1"), ["a"]);
}

#[test]
fn a_renamed_node_is_found_by_its_new_name_and_its_old() {
    let mut entries = Entries::new();
    let key = entries.add("finetune", "student", &[], &[]);
    entries.add("finetune", "other", &[], &[]);
    entries.store.also_called([(key, "pupil")].into_iter());
    for query in ["node ~ pupil", "node = pupil", "node = student", "node != other"] {
        assert_eq!(entries.select(query), ["student"], "{query}");
    }
    assert_eq!(entries.select("node != pupil"), ["other"]);
}

#[test]
fn a_parameter_that_no_entry_has_is_named_with_the_nearest() {
    let mut entries = Entries::new();
    entries.add("finetune", "a", &[("labels", json!(40))], &[]);
    let unknown = |query: &str| entries.store.unknown_params(query).expect("read");
    assert_eq!(unknown("params.labels = 100"), []);
    let nearest = Some("params.labels".to_owned());
    assert_eq!(unknown("params.label = 100"), [("params.label".to_owned(), nearest)]);
}
