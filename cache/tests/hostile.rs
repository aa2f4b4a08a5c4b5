//! Archives that someone made to do harm: nothing of them is taken, and nothing is written outside the store.
#![allow(clippy::unwrap_used)] // Clippy spares test functions, but not their helpers.

mod common;

use std::fs;
use std::path::Path;

use common::{draft, files_under, open, publish, publish_all};
use flow_cache::{ArchiveError, ArchiveLimits, Digest, GcOptions, Record, Store};
use proptest::prelude::*;
use tar::EntryType;

const SMALL: ArchiveLimits = ArchiveLimits {
    entries: 100,
    bytes: 128 << 20,
    record_bytes: 1 << 20,
    ratio: 1000,
};

/// A file in an archive.
#[derive(Clone)]
struct Part {
    name: String,
    kind: EntryType,
    link: &'static str,
    bytes: Vec<u8>,
}

fn part(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Part {
    Part {
        name: name.into(),
        kind: EntryType::Regular,
        link: "",
        bytes: bytes.into(),
    }
}

/// The parts as they are, whatever a well-behaved builder would say of them.
fn plain(parts: &[Part]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for part in parts {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..part.name.len()].copy_from_slice(part.name.as_bytes());
        header.set_entry_type(part.kind);
        if !part.link.is_empty() {
            header.set_link_name_literal(part.link).unwrap();
        }
        header.set_size(part.bytes.len() as u64);
        header.set_mode(0o6777);
        header.set_cksum();
        builder.append(&header, part.bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn packed(parts: &[Part]) -> Vec<u8> {
    zstd::encode_all(plain(parts).as_slice(), 0).unwrap()
}

fn head() -> Part {
    part("flow-archive", "flow archive 1\n")
}

/// A record as a file, its checksum fitting whatever it says.
fn sealed(json: &str) -> Vec<u8> {
    let fields = json.strip_suffix("\n}").unwrap();
    format!("{fields},\n  \"checksum\": \"{}\"\n}}\n", Digest::of(fields.as_bytes())).into_bytes()
}

/// A record and its one blob, of a node with that output.
fn record_of(node: &str, content: &str) -> (Record, Vec<Part>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (key, new) = draft(node, content);
    publish(&store, &key, new).unwrap();
    let record = store.record(&key).unwrap().unwrap();
    let json = serde_json::to_string_pretty(&record).unwrap();
    let parts = vec![
        part(format!("blobs/{}", Digest::of(content.as_bytes())), content),
        part(format!("records/{key}.json"), sealed(&json)),
    ];
    (record, parts)
}

/// A store in a separate directory, beside which nothing may be written.
struct Target {
    dir: tempfile::TempDir,
    store: Store,
}

impl Target {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("cache"));
        Self { dir, store }
    }

    fn import(&self, archive: &[u8], limits: ArchiveLimits) -> Result<(), ArchiveError> {
        let elsewhere = tempfile::tempdir().unwrap();
        let path = elsewhere.path().join("a.tar.zst");
        fs::write(&path, archive).unwrap();
        let result = self.store.import(&path, limits).map(drop);
        let beside: Vec<_> = fs::read_dir(self.dir.path()).unwrap().flatten().collect();
        assert_eq!(beside.len(), 1, "nothing lies beside the store: {beside:?}");
        assert!(
            files_under(&self.dir.path().join("cache/staging")).is_empty(),
            "nothing is left on its way"
        );
        result
    }

    fn refuses(&self, archive: &[u8], limits: ArchiveLimits) -> String {
        let error = self.import(archive, limits).unwrap_err();
        assert!(matches!(error, ArchiveError::Unusable { .. }), "{error}");
        assert!(files_under(&self.dir.path().join("cache/records")).is_empty());
        assert!(files_under(&self.dir.path().join("cache/blobs")).is_empty());
        error.to_string()
    }
}

#[test]
fn names_of_outputs_that_lead_elsewhere_are_refused() {
    let target = Target::new();
    let (record, parts) = record_of("a", "content");
    let json = serde_json::to_string_pretty(&record).unwrap();
    let long = "x".repeat(2000);
    for name in [
        "/tmp/pwned",
        "../pwned",
        "a/../../pwned",
        "..",
        ".",
        "",
        "a//b",
        "a/",
        "\\u001b[2Jmodel",
        "a\\u0000b",
        "a\\nb",
        &long,
    ] {
        let evil = json.replace("\"model\": {", &format!("\"{name}\": {{"));
        assert_ne!(evil, json);
        let archive = packed(&[
            head(),
            part(&parts[0].name, "content"),
            part(&parts[1].name, sealed(&evil)),
        ]);
        let told = target.refuses(&archive, SMALL);
        assert!(told.contains("cannot be the name of an output"), "{name}: {told}");
        assert!(!told.chars().any(char::is_control), "{told:?}");
    }
    target.import(&packed(&[vec![head()], parts].concat()), SMALL).unwrap();
}

#[test]
fn links_devices_pipes_holes_and_long_names_in_an_archive_are_refused() {
    let target = Target::new();
    let (_, parts) = record_of("a", "content");
    let kinds = [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Directory,
        EntryType::GNUSparse,
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
        EntryType::Continuous,
    ];
    for kind in kinds {
        let evil = Part {
            kind,
            link: "/etc/passwd",
            ..part(&parts[0].name, "")
        };
        let told = target.refuses(&packed(&[head(), evil]), SMALL);
        assert!(told.contains("regular files"), "{kind:?}: {told}");
    }
    for name in [
        "../x",
        "/x",
        "blobs/../../x",
        "records/x.json",
        "blobs/AB",
        "config",
        "flow-archive/x",
    ] {
        let told = target.refuses(&packed(&[head(), part(name, "x")]), SMALL);
        assert!(told.contains("not part of an archive"), "{name}: {told}");
    }
}

#[test]
fn what_an_archive_takes_is_bounded_and_each_bound_names_its_option() {
    let target = Target::new();
    let (_, parts) = record_of("a", "content");
    let key = parts[1].name.clone();
    let blob = |n: u32| part(format!("blobs/{}", Digest::of(&n.to_le_bytes())), n.to_le_bytes());
    let many: Vec<Part> = std::iter::once(head()).chain((0..200).map(blob)).collect();
    let zeros = vec![0; 100 << 20];
    let bomb = packed(&[head(), part(format!("blobs/{}", Digest::of(&zeros)), zeros)]);
    // Ten gigabytes, it says.
    let mut liar = plain(&[head(), part(&parts[0].name, "content")]);
    let header = 1024;
    liar[header + 124..header + 136].copy_from_slice(b"121200000000");
    let sum: u32 = (0..512)
        .map(|at| {
            if (148..156).contains(&at) {
                32
            } else {
                u32::from(liar[header + at])
            }
        })
        .sum();
    liar[header + 148..header + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let liar = zstd::encode_all(liar.as_slice(), 0).unwrap();
    let cases = [
        (packed(&many), SMALL, "--max-entries"),
        (bomb.clone(), SMALL, "--max-ratio"),
        (
            bomb,
            ArchiveLimits {
                bytes: 50 << 20,
                ratio: u64::MAX,
                ..SMALL
            },
            "--max-size",
        ),
        (
            packed(&[head(), part(key, vec![b' '; 2 << 20])]),
            SMALL,
            "--max-record-size",
        ),
        (liar, SMALL, "does not have the content"),
    ];
    for (archive, limits, named) in cases {
        let told = target.refuses(&archive, limits);
        assert!(told.contains(named), "{named}: {told}");
    }
}

#[test]
fn two_truths_for_one_key_in_an_archive_are_refused_with_both_named() {
    let target = Target::new();
    let ((one, first), (other, second)) = (record_of("a", "one"), record_of("a", "other"));
    assert_eq!(one.key, other.key);
    let told = target.refuses(&packed(&[vec![head()], first, second].concat()), SMALL);
    for digest in [one.digest(), other.digest()] {
        assert!(told.contains(&digest.to_string()), "{told}");
    }
    // Twice the same is no contradiction.
    let (_, twice) = record_of("a", "one");
    let (_, again) = record_of("a", "one");
    target
        .import(&packed(&[vec![head()], twice, again].concat()), SMALL)
        .unwrap();
}

#[test]
fn an_import_never_replaces_another_truth_of_the_store() {
    let (record, parts) = record_of("a", "theirs");
    let (_, others) = record_of("b", "b");
    let archive = packed(&[vec![head()], others, parts].concat());
    let everything = GcOptions {
        max_bytes: Some(0),
        delete: true,
        ..GcOptions::default()
    };
    for state in ["whole", "collected", "its blob lost"] {
        let target = Target::new();
        let (key, ours) = draft("a", "ours");
        let artifact = publish(&target.store, &key, ours).unwrap();
        match state {
            "collected" => drop(target.store.gc(&everything).unwrap()),
            "its blob lost" => fs::remove_file(artifact.path("model").unwrap()).unwrap(),
            _ => {}
        }
        let before = target.store.record(&key).unwrap();
        let told = target.import(&archive, SMALL).unwrap_err().to_string();
        for digest in [record.digest(), artifact.digest()] {
            assert!(told.contains(&digest.to_string()), "{state}: {told}");
        }
        assert_eq!(target.store.record(&key).unwrap(), before, "{state}");
        assert!(
            target.store.peek(&draft("b", "b").0).unwrap().is_none(),
            "all or nothing"
        );
    }
}

#[test]
fn an_import_mends_what_is_damaged_and_keeps_what_is_there() {
    let target = Target::new();
    let (key, ours) = draft("a", "content");
    let mut later = ours.clone();
    later.finished_unix_ms += 5;
    publish(&target.store, &key, later).unwrap();
    let before = target.store.record(&key).unwrap();
    let artifact = target.store.peek(&key).unwrap().unwrap();
    fs::write(artifact.path("model").unwrap(), "cOntent, and more").unwrap();
    let (_, parts) = record_of("a", "content");
    target.import(&packed(&[vec![head()], parts].concat()), SMALL).unwrap();
    assert_eq!(
        target.store.peek(&key).unwrap().unwrap().read("model").unwrap(),
        b"content"
    );
    assert_eq!(target.store.record(&key).unwrap(), before, "its record was sound");
}

/// An archive of three entries, unpacked and packed.
fn sound() -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish_all(&store, &["a", "b", "c"]);
    let path = dir.path().join("a");
    store.export(&store.records().unwrap(), &path).unwrap();
    let packed = fs::read(&path).unwrap();
    (zstd::decode_all(packed.as_slice()).unwrap(), packed)
}

fn mutate(bytes: &mut Vec<u8>, changes: &[(prop::sample::Index, u8, u8)]) {
    for (at, what, value) in changes {
        if bytes.is_empty() {
            return;
        }
        let at = at.index(bytes.len());
        match what % 4 {
            0 | 1 => bytes[at] ^= value,
            2 => bytes.truncate(at),
            _ => bytes.insert(at, *value),
        }
    }
}

/// Whatever it holds: an error or a sound store, and nothing beside it.
fn is_harmless(archive: &[u8]) {
    let target = Target::new();
    let _ = target.import(archive, SMALL);
    assert!(target.store.verify().unwrap().is_sound());
    for file in files_under(target.dir.path()) {
        let known = [
            "blobs",
            "records",
            "journal",
            "CACHEDIR.TAG",
            "staging.lock",
            "publish.lock",
        ];
        let inside: &Path = file.strip_prefix(target.dir.path().join("cache")).unwrap();
        let first = inside.components().next().unwrap().as_os_str();
        assert!(known.iter().any(|name| first == *name), "{}", file.display());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_archive_is_an_error_or_sound_and_never_leaves_the_store(
        changes in prop::collection::vec(any::<(prop::sample::Index, u8, u8)>(), 1..6), inside in any::<bool>()
    ) {
        let (mut plain, mut packed) = sound();
        if inside {
            mutate(&mut plain, &changes);
            packed = zstd::encode_all(plain.as_slice(), 0).unwrap();
        } else {
            mutate(&mut packed, &changes);
        }
        is_harmless(&packed);
    }
}

/// With `[digest]` for digests, which depend on the time of a record.
fn without_digests(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let word = |word: &str| match word.len() >= 64 && word.bytes().take(64).all(|b| b.is_ascii_hexdigit()) {
        true => format!("[digest]{}", &word[64..]),
        false => word.to_owned(),
    };
    words.map(word).collect()
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn every_refusal_of_an_archive_says_what_is_wrong_with_it() {
    let (record, parts) = record_of("a", "content");
    let json = serde_json::to_string_pretty(&record).unwrap();
    let name = format!("records/{}.json", record.key);
    let other = json.replace(&Digest::of(b"content").to_string(), &Digest::of(b"other").to_string());
    assert_ne!(other, json);
    let kind = |kind, link| Part {
        kind,
        link,
        ..part("blobs/x", "")
    };
    let whole = |more: &[Part]| packed(&[&[head()], parts.as_slice(), more].concat());
    let trailing = zstd::encode_all([plain(&[head()]), vec![7; 512]].concat().as_slice(), 0).unwrap();
    let less = ArchiveLimits { entries: 1, ..SMALL };
    let small_records = ArchiveLimits {
        record_bytes: 10,
        ..SMALL
    };
    let few_bytes = ArchiveLimits { bytes: 100, ..SMALL };
    let low_ratio = ArchiveLimits { ratio: 2, ..SMALL };
    let zeros = vec![0; 65 << 20];
    let cases = [
        ("no archive", b"none".to_vec(), SMALL),
        (
            "another version",
            packed(&[part("flow-archive", "flow archive 9\n")]),
            SMALL,
        ),
        ("many files", whole(&[]), less),
        ("a link", whole(&[kind(EntryType::Symlink, "/etc/passwd")]), SMALL),
        ("holes", whole(&[kind(EntryType::GNUSparse, "")]), SMALL),
        ("a long name", whole(&[kind(EntryType::GNULongName, "")]), SMALL),
        ("something else", whole(&[kind(EntryType::Continuous, "")]), SMALL),
        ("another file", whole(&[part("x", "")]), SMALL),
        ("more behind", trailing, SMALL),
        (
            "another content",
            whole(&[part(format!("blobs/{}", Digest::of(b"x")), "y")]),
            SMALL,
        ),
        ("a large record", whole(&[]), small_records),
        ("a record that is none", whole(&[part(&name, sealed("{\n}"))]), SMALL),
        ("a garbled record", whole(&[part(&name, json.clone())]), SMALL),
        (
            "a record of tomorrow",
            whole(&[part(&name, sealed(&json.replace("\"schema\": 1", "\"schema\": 9")))]),
            SMALL,
        ),
        ("two records", whole(&[part(&name, sealed(&other))]), SMALL),
        ("no outputs", packed(&[head(), parts[1].clone()]), SMALL),
        ("many bytes", whole(&[]), few_bytes),
        (
            "a bomb",
            whole(&[part(format!("blobs/{}", Digest::of(&zeros)), zeros)]),
            low_ratio,
        ),
    ];
    let mut said = String::new();
    for (about, archive, limits) in cases {
        let target = Target::new();
        let why = target.refuses(&archive, limits);
        let (_, why) = why.split_once("a.tar.zst").unwrap();
        said.push_str(&format!("--- {about}\n{why}\n"));
    }
    insta::assert_snapshot!(without_digests(&said));
}
