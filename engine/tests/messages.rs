//! Every message of the store, of queries, of runs and of plans that a person reads, as it reads. A variant that is added does not
//! compile until it is listed here.

use std::io;
use std::path::PathBuf;

use flow_cache::{ActionKey, ArchiveError, CacheError, Digest, KeyFields, NonDeterminism, Store};
use flow_engine::node::NodeError;
use flow_engine::watch::WatchError;
use flow_engine::{PlanError, Reason, RunError, RunsError, in_words};
use insta::assert_snapshot;
use serde_json::json;

fn key() -> ActionKey {
    KeyFields::new("kind", 1).finish().0
}

fn path() -> PathBuf {
    PathBuf::from("cache/file")
}

fn failure() -> io::Error {
    io::Error::other("the system's reason")
}

/// The error that is listed after this one; `None` after the last.
fn after(error: &CacheError) -> Option<CacheError> {
    let (path, source) = (path(), failure());
    Some(match error {
        CacheError::Io { .. } => CacheError::Limit {
            action: "open",
            path,
            source,
            advice: "Raise the limit, and run again",
        },
        CacheError::Limit { .. } => CacheError::Interrupted {
            holder: "process 123 on host".into(),
        },
        CacheError::Interrupted { .. } => CacheError::BadOutputName {
            node: "fit".into(),
            source: flow_cache::OutputName::try_from("../x".to_owned()).expect_err("it climbs"),
        },
        CacheError::BadOutputName { .. } => CacheError::DiskFull {
            action: "write",
            path,
            source,
        },
        CacheError::DiskFull { .. } => CacheError::Corrupt {
            key: key(),
            name: "encoder".into(),
            path,
            why: "is missing".into(),
        },
        CacheError::Corrupt { .. } => CacheError::NonDeterministic(Box::new(NonDeterminism {
            key: key(),
            node: "fit[seed=0]".into(),
            published: Digest::of(b"a"),
            new: Digest::of(b"b"),
            files: vec!["encoder".into(), "history.json".into()],
        })),
        CacheError::NonDeterministic(_) => CacheError::Locked {
            path,
            holder: "process 123 on host".into(),
        },
        CacheError::Locked { .. } => CacheError::ReadOnly { root: path },
        CacheError::ReadOnly { .. } => CacheError::NotACache { root: path },
        CacheError::NotACache { .. } => CacheError::UnknownSchema {
            path,
            found: 9,
            known: 1,
        },
        CacheError::UnknownSchema { .. } => CacheError::InvalidDraft {
            key: key(),
            node: "fit".into(),
            why: "its components do not hash to the key".into(),
        },
        CacheError::InvalidDraft { .. } => CacheError::InvalidTag { name: "a b".into() },
        CacheError::InvalidTag { .. } => CacheError::InvalidName { name: "../x".into() },
        CacheError::InvalidName { .. } => return None,
    })
}

#[test]
fn every_error_of_the_store_says_what_where_and_what_to_do() {
    let first = CacheError::Io {
        action: "read",
        path: path(),
        source: failure(),
    };
    let errors = std::iter::successors(Some(first), after);
    let archive = [
        ArchiveError::Io {
            action: "read",
            path: path(),
            source: failure(),
        },
        ArchiveError::Unusable {
            path: path(),
            why: "it is not a flow archive, or one of another version".into(),
        },
    ];
    let lines = errors.map(|error| error.to_string());
    let lines: Vec<String> = lines.chain(archive.map(|error| error.to_string())).collect();
    assert_snapshot!(lines.join("\n\n"));
}

/// The error that is listed after this one; `None` after the last.
fn after_of_runs(error: &RunsError) -> Option<RunsError> {
    Some(match error {
        RunsError::Io { .. } => RunsError::Damaged {
            path: path(),
            why: "expected value at line 1 column 1".into(),
        },
        RunsError::Damaged { .. } => RunsError::NotFound {
            id: "1234".into(),
            dir: path(),
            known: Vec::new(),
        },
        RunsError::NotFound { .. } => return None,
    })
}

/// The error that is listed after this one; `None` after the last.
fn after_of_node(error: &NodeError) -> Option<NodeError> {
    Some(match error {
        NodeError::Stopped => NodeError::failed("the learning rate is 0").with_help("raise it"),
        NodeError::Failed { .. } => NodeError::Cache(CacheError::ReadOnly { root: path() }),
        NodeError::Cache(_) => return None,
    })
}

#[test]
fn every_error_of_a_run_says_what_where_and_what_to_do() {
    let first = RunsError::Io {
        action: "write",
        path: path(),
        source: failure(),
    };
    let runs = std::iter::successors(Some(first), after_of_runs).map(|error| RunError::from(error).to_string());
    let nodes = std::iter::successors(Some(NodeError::Stopped), after_of_node).map(|source| {
        let node = "fit[seed=0]".to_owned();
        RunError::Plan(PlanError::Node {
            node,
            source: Box::new(source),
        })
        .to_string()
    });
    let plan = RunError::Plan(PlanError::Cache(CacheError::ReadOnly { root: path() })).to_string();
    let watch = WatchError {
        path: path(),
        source: notify::Error::generic("the system's reason"),
    };
    let lines: Vec<String> = runs.chain(nodes).chain([plan, watch.to_string()]).collect();
    assert_snapshot!(lines.join("\n\n"));
}

#[test]
fn every_error_of_a_query_points_at_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), flow_cache::Access::ReadWrite).expect("a store");
    let lines = [
        "knd = pretrain",
        "kind = fintune",
        "kind pretrain",
        "kind =",
        "kind = pretrain adn node = a",
        "node in a",
        "pinned = yes",
        "size > large",
        "age > 2x",
        "started > today",
        "key = XYZ",
        "cost.wall_s = fast",
        "kind = 'pretrain",
        "(kind = pretrain",
        "kind = pretrain order metrics.accuracy",
        "kind = pretrain limit many",
        "kind = pretrain limit 3 4",
        "kind = \u{1}",
    ]
    .map(|query| match store.query(query, &["pretrain", "finetune"]) {
        Ok(_) => panic!("{query} was taken"),
        Err(error) => error.to_string(),
    });
    assert_snapshot!(lines.join("\n\n"));
}

#[test]
fn every_reason_of_a_plan_reads_as_a_sentence() {
    let reasons = [
        Reason::New,
        Reason::ParamChanged {
            name: "lr".into(),
            old: Some(json!(0.1)),
            new: Some(json!(0.2)),
        },
        Reason::ParamChanged {
            name: "decay".into(),
            old: None,
            new: Some(json!(1)),
        },
        Reason::InputChanged {
            port: "data.0".into(),
            node: Some("images".into()),
        },
        Reason::InputChanged {
            port: "data.1".into(),
            node: None,
        },
        Reason::FileChanged {
            name: "code/train.py".into(),
        },
        Reason::VersionChanged {
            old: Some(json!(1)),
            new: Some(json!(2)),
        },
        Reason::Missing,
        Reason::Collected,
        Reason::Forced,
        Reason::Upstream { node: "images".into() },
    ];
    assert_snapshot!(in_words(&reasons).join("\n"));
}
