//! Keys: pinned, canonical, distinct.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn sample() -> KeyFields {
    KeyFields::new("finetune", 3)
        .param(
            "optimizer",
            &json!({"name": "adam", "lr": 0.001, "betas": [0.9, 0.999], "odd name": null}),
        )
        .param("labels", &json!(100))
        .param("threshold", &json!(1e-7))
        .param("frozen", &json!(false))
        .param("schedule", &json!({}))
        .input("data", 0, Digest::of(b"images"), None)
        .input("compare", 1, Digest::of(b"arm"), Some("student"))
        .file("images.idx", Digest::of(b"file"))
}

/// If this changes, every cache of every user becomes a miss: raise the encoding's number in `DOMAIN` and say so.
#[test]
fn the_encoding_of_a_key_is_pinned() {
    let (key, _) = sample().finish();
    assert_eq!(
        key.to_string(),
        "885b122a2afaddea5158e2d5487100eb65d1f11b1dca708379aa7ba09009fc5d"
    );
}

#[test]
fn tables_are_flattened_to_one_component_for_each_leaf() {
    let (_, components) = sample().finish();
    let names: Vec<&str> = components.iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "file.images.idx",
            "input.compare.1",
            "input.compare.1.label",
            "input.data.0",
            "kind",
            "param.frozen",
            "param.labels",
            "param.optimizer.\"odd name\"",
            "param.optimizer.betas",
            "param.optimizer.lr",
            "param.optimizer.name",
            "param.schedule",
            "param.threshold",
            "version",
        ]
    );
    assert_eq!(components.get("param.optimizer.lr"), Some(&json!(0.001)));
}

#[test]
fn what_looks_alike_has_different_keys() {
    let key = |value: Value| KeyFields::new("k", 1).param("p", &value).finish().0;
    let values = [
        json!(1),
        json!(1.0),
        json!("1"),
        json!([1]),
        json!(["1"]),
        json!(true),
        json!("true"),
        json!(null),
        json!({}),
        json!([]),
        json!(0.0),
        json!(-0.0),
        json!({"a": {"b": 1}}),
        json!({"a.b": 1}),
        json!({"a": [1, 2]}),
        json!({"a": [12]}),
        json!(0.1 + 0.2),
        json!(0.3),
    ];
    let keys: std::collections::BTreeSet<ActionKey> = values.iter().cloned().map(key).collect();
    assert_eq!(keys.len(), values.len());
    let absent = KeyFields::new("k", 1).finish().0;
    assert!(!keys.contains(&absent), "an empty table is not an absent one");
}

#[test]
fn a_difference_names_what_changed_came_and_went() {
    let (_, old) = KeyFields::new("k", 1)
        .param("lr", &json!(0.1))
        .param("gone", &json!(1))
        .finish();
    let (_, new) = KeyFields::new("k", 1)
        .param("lr", &json!(0.2))
        .param("came", &json!("x"))
        .finish();
    let change = |name: &str, old, new| Change {
        name: name.into(),
        old,
        new,
    };
    assert_eq!(
        old.diff(&new),
        [
            change("param.came", None, Some(json!("x"))),
            change("param.gone", Some(json!(1)), None),
            change("param.lr", Some(json!(0.1)), Some(json!(0.2))),
        ]
    );
    assert_eq!(old.diff(&old), []);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|map| Value::from(Map::from_iter(map))),
        ]
    })
}

fn parameters() -> impl Strategy<Value = BTreeMap<String, Value>> {
    prop::collection::btree_map("[a-z]{1,3}", value(), 0..5)
}

fn build<'a>(parameters: impl IntoIterator<Item = (&'a String, &'a Value)>) -> (ActionKey, Components) {
    parameters
        .into_iter()
        .fold(KeyFields::new("k", 1), |b, (name, value)| b.param(name, value))
        .finish()
}

proptest! {
    #[test]
    fn the_order_of_calls_does_not_matter(parameters in parameters()) {
        prop_assert_eq!(build(&parameters), build(parameters.iter().rev()));
    }

    #[test]
    fn distinct_parameters_have_distinct_encodings(a in parameters(), b in parameters()) {
        let ((_, left), (_, right)) = (build(&a), build(&b));
        prop_assert_eq!(a == b, encode(left.0.iter()) == encode(right.0.iter()));
    }

    #[test]
    fn one_change_anywhere_changes_the_key(parameters in parameters(), value in value(), pick in any::<prop::sample::Index>()) {
        prop_assume!(!parameters.is_empty());
        let name = parameters.keys().nth(pick.index(parameters.len())).unwrap().clone();
        let mut changed = parameters.clone();
        let earlier = changed.insert(name, value.clone());
        prop_assert_eq!(earlier == Some(value), build(&parameters).0 == build(&changed).0);
    }

    #[test]
    fn components_survive_json_with_their_key(parameters in parameters()) {
        let (key, components) = build(&parameters);
        let json = serde_json::to_string(&components).unwrap();
        let read: Components = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read.key(), key);
    }

    #[test]
    fn canonical_json_reads_back_as_the_same_value(value in value()) {
        let mut text = String::new();
        write_canonical(&value, &mut text);
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn the_difference_is_empty_exactly_for_equal_keys(a in parameters(), b in parameters()) {
        let ((left, a), (right, b)) = (build(&a), build(&b));
        prop_assert_eq!(a.diff(&b).is_empty(), left == right);
        prop_assert_eq!(a.diff(&b).len(), b.diff(&a).len());
    }
}
