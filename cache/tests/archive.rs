//! Archives: what comes out of one is what went in, or nothing at all.
#![allow(clippy::unwrap_used)] // Clippy spares test functions, but not their helpers.

mod common;

use std::fs;

use common::{draft, files_under, nodes, open, publish, publish_all};
use flow_cache::{ArchiveError, ArchiveLimits, GcOptions};

#[test]
fn an_archive_carries_entries_to_another_cache_and_says_what_was_new() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, other) = (open(here.path()), open(there.path()));
    publish_all(&store, &["a", "b", "c"]);
    publish_all(&other, &["a"]);
    let archive = here.path().join("all.tar.zst");
    store.export(&store.records().unwrap(), &archive).unwrap();
    let imported = other.import(&archive, ArchiveLimits::DEFAULT).unwrap();
    assert_eq!((imported.new.len(), imported.known.len()), (2, 1));
    let mut listed = nodes(&other.records().unwrap())
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    listed.sort();
    assert_eq!(listed, ["a", "b", "c"]);
    let read = other.peek(&draft("c", "c").0).unwrap().unwrap().read("model").unwrap();
    assert_eq!(read, b"c");
    assert!(other.verify().unwrap().is_sound());
    assert_eq!(other.import(&archive, ArchiveLimits::DEFAULT).unwrap().new, []);
}

#[test]
fn the_same_entries_give_the_same_archive() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish_all(&store, &["a", "b"]);
    let (one, two) = (dir.path().join("1"), dir.path().join("2"));
    store.export(&store.records().unwrap(), &one).unwrap();
    store.export(&store.records().unwrap(), &two).unwrap();
    assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());
}

#[test]
fn an_archive_brings_back_what_was_collected() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish_all(&store, &["a"]);
    let archive = dir.path().join("a.tar.zst");
    store.export(&store.records().unwrap(), &archive).unwrap();
    let all = GcOptions {
        max_bytes: Some(0),
        delete: true,
        ..GcOptions::default()
    };
    store.gc(&all).unwrap();
    assert!(store.peek(&draft("a", "a").0).unwrap().is_none());
    store.import(&archive, ArchiveLimits::DEFAULT).unwrap();
    assert!(store.peek(&draft("a", "a").0).unwrap().is_some());
    assert!(store.marks().unwrap().collected.is_empty());
}

#[test]
fn of_a_damaged_foreign_or_contradicting_archive_nothing_is_taken() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, other) = (open(here.path()), open(there.path()));
    publish_all(&store, &["a", "b"]);
    let archive = here.path().join("all.tar.zst");
    store.export(&store.records().unwrap(), &archive).unwrap();
    let whole = fs::read(&archive).unwrap();
    let refused = |bytes: &[u8], context: &str| {
        let damaged = here.path().join("damaged");
        fs::write(&damaged, bytes).unwrap();
        let error = other.import(&damaged, ArchiveLimits::DEFAULT).expect_err(context);
        assert!(matches!(error, ArchiveError::Unusable { .. }), "{context}: {error}");
        assert!(files_under(&there.path().join("records")).is_empty(), "{context}");
        assert!(files_under(&there.path().join("blobs")).is_empty(), "{context}");
    };
    for cut in (0..whole.len() - 4).step_by(whole.len() / 40 + 1) {
        refused(&whole[..cut], &format!("cut to {cut} bytes"));
    }
    refused(b"PK\x03\x04 something else", "foreign");
    // A flipped byte of the archive's content, not of its compression.
    let plain = zstd::decode_all(whole.as_slice()).unwrap();
    let mut noticed = 0;
    for at in (0..plain.len()).step_by(97) {
        let mut bytes = plain.clone();
        bytes[at] ^= 0x20;
        let damaged = here.path().join("damaged");
        fs::write(&damaged, zstd::encode_all(bytes.as_slice(), 0).unwrap()).unwrap();
        let target = tempfile::tempdir().unwrap();
        let fresh = open(target.path());
        match fresh.import(&damaged, ArchiveLimits::DEFAULT) {
            Ok(_) => assert!(fresh.verify().unwrap().is_sound(), "byte {at} is padding"),
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > 0);
    let (key, different) = draft("a", "other bytes");
    publish(&other, &key, different).unwrap();
    assert!(
        other
            .import(&archive, ArchiveLimits::DEFAULT)
            .unwrap_err()
            .to_string()
            .contains("with other outputs")
    );
    assert_eq!(files_under(&there.path().join("records")).len(), 1);
}

/// The permission bits of a file or folder.
#[cfg(unix)]
fn mode(path: &std::path::Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o7777
}

#[test]
#[cfg(unix)]
fn an_archive_is_a_new_file_like_any_other_and_what_is_taken_from_one_is_the_owners_alone() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plain_file = here.path().join("plain");
    fs::write(&plain_file, "").unwrap();
    let (store, other) = (
        open(here.path().join("cache").as_path()),
        open(&there.path().join("cache")),
    );
    publish_all(&store, &["a"]);
    let archive = here.path().join("a.tar.zst");
    store.export(&store.records().unwrap(), &archive).unwrap();
    assert_eq!(mode(&archive), mode(&plain_file));

    // The same archive, with setuid and write permission for everyone on all that is in it.
    let plain = zstd::decode_all(fs::File::open(&archive).unwrap()).unwrap();
    let mut opened = tar::Archive::new(plain.as_slice());
    let mut wild = tar::Builder::new(Vec::new());
    for entry in opened.entries().unwrap() {
        let entry = entry.unwrap();
        let mut header = entry.header().clone();
        header.set_mode(0o7777);
        header.set_cksum();
        wild.append(&header, entry).unwrap();
    }
    let wild = zstd::encode_all(wild.into_inner().unwrap().as_slice(), 0).unwrap();
    fs::write(&archive, wild).unwrap();
    assert_eq!(other.import(&archive, ArchiveLimits::DEFAULT).unwrap().new.len(), 1);
    for folder in ["blobs", "records"] {
        for file in files_under(&there.path().join("cache").join(folder)) {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
            assert_eq!(mode(file.parent().unwrap()), 0o700);
        }
    }
}

#[test]
fn what_an_import_left_that_was_killed_is_swept_away() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let left = dir.path().join("staging/import-x");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("blob"), "half").unwrap();
    drop(open(dir.path()));
    assert!(!left.exists());
}
