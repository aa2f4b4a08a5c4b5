//! The language: what it selects, what it refuses, and that printing loses nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::expr::{Number, Op};
use crate::{Cost, Digest, KeyFields, OutputFile, Record};

const DAY_MS: u64 = 86_400_000;
/// 2026-11-23T00:00:00Z.
const NOW_MS: u64 = 1_795_392_000_000;

fn record(node: &str, labels: u32, accuracy: Option<f64>, age_days: u64) -> Record {
    let (key, components) = KeyFields::new("finetune", 1)
        .param("labels", &json!(labels))
        .param("optimizer", &json!({"name": "adam", "lr": 0.01, "odd name": true}))
        .param("views", &json!(["crop", "flip"]))
        .input("data", 0, Digest::of(node.as_bytes()), None)
        .finish();
    Record {
        schema: crate::record::SCHEMA,
        key,
        kind: "finetune".into(),
        node: node.into(),
        workflow: "simclr vs selftrain".into(),
        components,
        outputs: BTreeMap::from([(
            "model".to_owned().try_into().unwrap(),
            OutputFile {
                digest: Digest::of(b"m"),
                bytes: 1_000_000 * u64::from(labels),
            },
        )]),
        metrics: accuracy.map(|a| ("accuracy".to_owned(), a)).into_iter().collect(),
        inputs: vec![key],
        cost: Cost {
            wall_s: f64::from(labels) / 10.0,
            threads: 2,
            peak_rss_bytes: None,
        },
        started_unix_ms: NOW_MS - age_days * DAY_MS - 5_000,
        finished_unix_ms: NOW_MS - age_days * DAY_MS,
        flow_version: "0.1.0".into(),
        host: "here".into(),
    }
}

/// Newest first, as the store lists them.
fn records() -> Vec<Record> {
    vec![
        record("scratch", 40, Some(0.62), 0),
        record("student", 100, Some(0.71), 1),
        record("simclr", 100, Some(0.78), 3),
        record("broken", 1000, None, 10),
    ]
}

/// The entry of `simclr` is pinned and tagged, that of `broken` was collected.
fn marks() -> crate::Marks {
    let (simclr, broken) = (records()[2].key, records()[3].key);
    crate::Marks {
        pins: [(simclr, "for the paper".to_owned())].into(),
        tags: [("best".to_owned(), simclr), ("v1".to_owned(), simclr)].into(),
        collected: [broken].into(),
    }
}

#[test]
fn marks_are_asked_for_by_name() {
    assert_eq!(select("tag = best"), ["simclr"]);
    assert_eq!(select("tag ~ v"), ["simclr"]);
    assert_eq!(select("pinned = true"), ["simclr"]);
    assert_eq!(select("collected = true or pinned = true"), ["simclr", "broken"]);
    assert_eq!(
        select("collected = false and metrics.accuracy > 0.7 and pinned = false"),
        ["student"]
    );
}

fn select(query: &str) -> Vec<String> {
    let query: Query = query.parse().unwrap_or_else(|error| panic!("{error}"));
    select_from(&query, &records())
}

/// The names of those records that the query selects, also when all that is known of them is their cells.
fn select_from(query: &Query, records: &[Record]) -> Vec<String> {
    let marks = marks();
    let world = World {
        now_ms: NOW_MS as f64,
        marks: &marks,
        names: &std::collections::BTreeMap::new(),
    };
    let found: Result<Vec<Record>, std::convert::Infallible> = query.select_from(records, &world);
    found.into_iter().flatten().map(|record| record.node).collect()
}

#[test]
fn the_example_of_the_documentation_selects_orders_and_limits() {
    let query =
        "kind = finetune and params.labels <= 100 and metrics.accuracy > 0.7 order by metrics.accuracy desc limit 5";
    assert_eq!(select(query), ["simclr", "student"]);
    assert_eq!(select("order by metrics.accuracy limit 1"), ["scratch"]);
    assert_eq!(select(""), ["scratch", "student", "simclr", "broken"]);
}

#[test]
fn every_field_can_be_asked_for() {
    let all = ["scratch", "student", "simclr", "broken"];
    let key = record("student", 100, None, 1).key.to_string();
    for (query, expected) in [
        ("kind = finetune", &all[..]),
        ("node ~ s and not node = student", &["scratch", "simclr"]),
        ("workflow = 'simclr vs selftrain'", &all),
        (&format!("key = {}", &key[..8]), &["student"]),
        (&format!("inputs = {}", &key[..8]), &["student"]),
        (&format!("inputs != {}", &key[..8]), &["scratch", "simclr", "broken"]),
        ("params.labels = 100", &["student", "simclr"]),
        ("params.optimizer.lr < 0.1", &all),
        ("params.optimizer.\"odd name\" = true", &all),
        ("params.views ~ flip", &all),
        ("params.views ~ rotate", &[]),
        ("metrics.accuracy >= 0.71", &["student", "simclr"]),
        ("cost.wall_s > 9", &["student", "simclr", "broken"]),
        ("cost.threads = 2", &all),
        ("size > 100MB", &["broken"]),
        ("size <= 40000000", &["scratch"]),
        ("started < 2026-11-22", &["student", "simclr", "broken"]),
        ("finished >= 2026-11-22T00:00", &["scratch", "student"]),
        ("age < 2d", &["scratch", "student"]),
        ("age > 1w", &["broken"]),
    ] {
        assert_eq!(select(query), expected, "{query}");
    }
}

#[test]
fn a_record_that_lacks_a_field_is_not_selected_by_it() {
    for query in [
        "metrics.accuracy = 1",
        "metrics.nothing != 1",
        "not metrics.nothing = 1",
        "params.nothing ~ x",
    ] {
        assert!(!select(query).contains(&"broken".to_owned()), "{query}");
    }
    assert_eq!(select("metrics.nothing = 1 or node = broken"), ["broken"]);
    assert_eq!(
        select("not (metrics.nothing = 1 and node = broken)"),
        ["scratch", "student", "simclr"]
    );
    assert_eq!(select("order by metrics.accuracy desc").last().unwrap(), "broken");
    assert_eq!(select("order by metrics.accuracy asc").last().unwrap(), "broken");
}

#[test]
fn and_binds_more_than_or_and_not_more_than_both() {
    assert_eq!(
        select("node = scratch or node = simclr and params.labels = 40"),
        ["scratch"]
    );
    assert_eq!(
        select("(node = scratch or node = simclr) and params.labels = 100"),
        ["simclr"]
    );
    assert_eq!(
        select("not node = scratch and params.labels = 40"),
        Vec::<String>::new()
    );
}

#[test]
fn another_type_is_another_value() {
    assert_eq!(select("params.labels = \"100\""), Vec::<String>::new());
    assert_eq!(select("params.labels != \"100\"").len(), 4);
    assert_eq!(select("params.labels < \"100\""), Vec::<String>::new());
}

fn refused(query: &str) -> crate::expr::SyntaxError {
    match query.parse::<Query>() {
        Err(QueryError::Syntax(error)) => error,
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn an_error_names_place_expectation_and_nearest_name() {
    for (query, column, found, expected, suggestion) in [
        ("knd = finetune", 1, Some("knd"), "a field: kind", Some("kind")),
        (
            "kind = a and metric.accuracy > 1",
            14,
            Some("metric.accuracy"),
            "a field",
            Some("metrics.accuracy"),
        ),
        ("kind finetune", 6, Some("finetune"), "`=`", None),
        ("kind =", 7, None, "a value", None),
        ("metrics.accuracy > high", 20, Some("high"), "a number", None),
        ("metrics.accuracy ~ 1", 18, Some("~"), "`=`", None),
        ("age < 2", 7, Some("2"), "a span of time", None),
        ("age < 2y", 7, Some("2y"), "a span of time", None),
        ("size > 10XB", 8, Some("10XB"), "a size", None),
        ("finished > tomorrow", 12, Some("tomorrow"), "a time", None),
        ("key = xyz", 7, Some("xyz"), "hexadecimal digits", None),
        ("(kind = a", 10, None, "`)`", None),
        ("kind = a adn node = b", 10, Some("adn"), "`and`", Some("and")),
        ("order kind", 7, Some("kind"), "`by`", None),
        ("limit -1", 7, Some("-1"), "a whole number", None),
        ("limit 1 kind = a", 9, Some("kind"), "nothing more", None),
        ("kind = \"a", 8, Some("\"a"), "a closing quote", None),
        ("kind = a ; drop", 10, Some(";"), "an operator", None),
        ("é = 1", 1, Some("é"), "a field", None),
    ] {
        let error = refused(query);
        assert_eq!((error.column(), error.found.as_deref()), (column, found), "{error}");
        assert!(error.expected.contains(expected), "{query}: {error}");
        assert_eq!(error.suggestion.as_deref(), suggestion, "{error}");
    }
    assert_eq!(
        refused("kind = a and nod = b").to_string().lines().collect::<Vec<_>>()[1..],
        ["    kind = a and nod = b", "                 ^"]
    );
}

#[test]
fn deep_nesting_is_refused_and_long_chains_are_not() {
    for deep in ["(".repeat(100_000), "not ".repeat(100_000)] {
        assert!(refused(&deep).expected.contains("at most 64 deep"));
    }
    let chain = vec!["cost.threads = 2"; 10_000].join(" and ");
    assert_eq!(select(&chain).len(), 4);
}

fn field() -> impl Strategy<Value = Field> {
    let path = || prop::collection::vec(prop_oneof!["[a-z_]{1,4}", ".{0,4}"], 1..3);
    prop_oneof![
        Just(Field::Kind),
        Just(Field::Node),
        Just(Field::Workflow),
        Just(Field::Key),
        Just(Field::Inputs),
        path().prop_map(Field::Param),
        path().prop_map(Field::Metric),
        Just(Field::WallS),
        Just(Field::TotalS),
        Just(Field::Threads),
        Just(Field::Size),
        Just(Field::Started),
        Just(Field::Finished),
        Just(Field::Age),
        Just(Field::Tag),
        Just(Field::Pinned),
        Just(Field::Collected),
    ]
}

fn comparison() -> impl Strategy<Value = Expr> {
    const ORDERED: [Op; 6] = [
        Op::Equal,
        Op::NotEqual,
        Op::Less,
        Op::LessOrEqual,
        Op::Greater,
        Op::GreaterOrEqual,
    ];
    let text = || ".{0,8}".prop_map(Literal::Text).boxed();
    let number = || {
        prop_oneof![
            (prop::num::f64::NORMAL | prop::num::f64::ZERO).prop_map(Number::Float),
            any::<i128>().prop_map(Number::Integer)
        ]
    };
    let positive = || 0.0..1e9f64;
    let with = move |field: Field| {
        let literal = match field {
            Field::Kind | Field::Node | Field::Workflow | Field::Tag => text(),
            Field::Key | Field::Inputs => "[0-9a-f]{1,64}".prop_map(Literal::Text).boxed(),
            Field::Pinned | Field::Collected => any::<bool>().prop_map(Literal::Bool).boxed(),
            Field::Param(_) => prop_oneof![
                text(),
                number().prop_map(Literal::Number),
                any::<bool>().prop_map(Literal::Bool)
            ]
            .boxed(),
            Field::Metric(_) | Field::WallS | Field::TotalS | Field::Threads => {
                number().prop_map(Literal::Number).boxed()
            }
            Field::Size => (positive(), prop::sample::select(vec!["B", "kB", "MiB", "GB"]))
                .prop_map(|(amount, unit)| Literal::Bytes(amount, unit))
                .boxed(),
            Field::Age => (positive(), prop::sample::select(vec!["s", "m", "h", "d", "w"]))
                .prop_map(|(amount, unit)| Literal::Span(amount, unit))
                .boxed(),
            Field::Started | Field::Finished => (0..4_000_000_000_000i64).prop_map(Literal::Time).boxed(),
        };
        let op = match field {
            Field::Key | Field::Inputs => prop::sample::select(vec![Op::Equal, Op::NotEqual, Op::Contains]).boxed(),
            Field::Kind | Field::Node | Field::Workflow | Field::Tag | Field::Param(_) => {
                prop::sample::select([&ORDERED[..], &[Op::Contains]].concat()).boxed()
            }
            Field::Pinned | Field::Collected => prop::sample::select(vec![Op::Equal, Op::NotEqual]).boxed(),
            _ => prop::sample::select(ORDERED.to_vec()).boxed(),
        };
        (Just(field), op, literal).prop_map(|(field, op, literal)| Expr::Compare(field, op, literal))
    };
    field().prop_flat_map(with)
}

fn query() -> impl Strategy<Value = Query> {
    let expr = comparison().prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Expr::Not(Box::new(inner))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            prop::collection::vec(inner, 2..4).prop_map(Expr::Or),
        ]
    });
    let direction = prop::sample::select(vec![Direction::Ascending, Direction::Descending]);
    let order = prop::collection::vec((field(), direction), 0..3);
    (prop::option::of(expr), order, prop::option::of(any::<usize>())).prop_map(|(filter, order, limit)| Query {
        filter,
        order,
        limit,
    })
}

proptest! {
    #[test]
    fn a_printed_query_parses_to_the_same_tree(query in query()) {
        let text = query.to_string();
        let parsed: Query = text.parse().map_err(|error| TestCaseError::fail(format!("{error}")))?;
        prop_assert_eq!(parsed, query, "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,40}", words in prop::collection::vec("(and|or|not|kind|=|\\(|\\)|\"|order|by|,|1|limit|params\\.\")", 0..12)) {
        for text in [text, words.join(" ")] {
            if let Err(error) = text.parse::<Query>() {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
