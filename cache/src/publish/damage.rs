//! Damage to every byte of what is published.

use std::path::{Path, PathBuf};

use crate::CacheError;
use crate::disk::sim::SimDisk;
use crate::testing::{draft, holds, open, publish};

fn published() -> SimDisk {
    let disk = SimDisk::default();
    let (key, draft) = draft(0.1, "content");
    publish(&open(&disk).unwrap(), &key, &draft).unwrap();
    disk
}

fn files_under(disk: &SimDisk, folder: &str) -> Vec<PathBuf> {
    disk.paths()
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == folder))
        .collect()
}

fn length(disk: &SimDisk, path: &Path) -> usize {
    let mut length = 0;
    disk.damage(path, |bytes| length = bytes.len());
    length
}

/// Whatever was done to the disk: no wrong byte comes out, and the entry can be recomputed.
fn never_wrong_and_heals(disk: &SimDisk, context: &str) {
    let store = open(disk).unwrap();
    let (key, draft) = draft(0.1, "content");
    if let Some(artifact) = store.lookup(&key).unwrap() {
        let mut bad = false;
        for (name, bytes) in &draft.files {
            match artifact.read(name) {
                Ok(read) => assert_eq!(read, *bytes, "{context}: wrong bytes for {name}"),
                Err(CacheError::Corrupt { .. }) => bad = true,
                Err(other) => panic!("{context}: {other}"),
            }
        }
        assert!(bad, "{context}: the damage went unnoticed");
        store.discard(&key, "its bytes are wrong").unwrap();
    }
    assert!(store.lookup(&key).unwrap().is_none(), "{context}");
    assert!(holds(&publish(&store, &key, &draft).unwrap(), &draft), "{context}");
    assert!(store.verify().unwrap().is_sound(), "{context}");
}

#[test]
fn a_flipped_byte_anywhere_in_a_blob_or_record_never_gives_wrong_bytes() {
    let disk = published();
    let targets = [files_under(&disk, "blobs"), files_under(&disk, "records")].concat();
    assert_eq!(targets.len(), 3);
    for path in targets {
        for at in 0..length(&disk, &path) {
            for mask in [0x01, 0x20, 0xff] {
                let disk = disk.after_power_loss(0);
                disk.damage(&path, |bytes| bytes[at] ^= mask);
                never_wrong_and_heals(&disk, &format!("{} byte {at} ^ {mask:#x}", path.display()));
            }
        }
    }
}

#[test]
fn a_blob_or_record_cut_anywhere_or_grown_is_a_clean_miss() {
    let disk = published();
    for path in [files_under(&disk, "blobs"), files_under(&disk, "records")].concat() {
        for cut in 0..length(&disk, &path) {
            let disk = disk.after_power_loss(0);
            disk.damage(&path, |bytes| bytes.truncate(cut));
            never_wrong_and_heals(&disk, &format!("{} cut to {cut}", path.display()));
        }
        let disk = disk.after_power_loss(0);
        disk.damage(&path, |bytes| bytes.push(b' '));
        never_wrong_and_heals(&disk, &format!("{} grown", path.display()));
    }
}

#[test]
fn a_record_in_the_place_of_another_key_is_no_hit() {
    let disk = published();
    let store = open(&disk).unwrap();
    let (other_key, other) = draft(0.2, "content of another");
    publish(&store, &other_key, &other).unwrap();
    let [first, second] = files_under(&disk, "records").try_into().unwrap();
    let mut bytes = Vec::new();
    disk.damage(&first, |found| bytes = found.clone());
    disk.damage(&second, |found| *found = bytes);
    let hits = [draft(0.1, ""), draft(0.2, "")]
        .iter()
        .filter(|(key, _)| store.peek(key).unwrap().is_some())
        .count();
    assert_eq!(hits, 1);
}

#[test]
fn a_record_of_a_newer_schema_is_reported_and_left_alone() {
    let disk = published();
    let [path] = files_under(&disk, "records").try_into().unwrap();
    disk.damage(&path, |bytes| {
        let text = String::from_utf8(bytes.clone())
            .unwrap()
            .replacen("\"schema\": 1", "\"schema\": 7", 1);
        let (fields, _) = text.rsplit_once(",\n  \"checksum\"").unwrap();
        *bytes = format!(
            "{fields},\n  \"checksum\": \"{}\"\n}}\n",
            crate::Digest::of(fields.as_bytes())
        )
        .into_bytes();
    });
    let store = open(&disk).unwrap();
    let (key, _) = draft(0.1, "content");
    assert!(matches!(
        store.lookup(&key),
        Err(CacheError::UnknownSchema { found: 7, known: 1, .. })
    ));
    assert_eq!(store.records().unwrap(), [], "a listing leaves it out");
    assert!(disk.paths().contains(&path));
}

#[test]
fn discarding_an_entry_keeps_the_sound_blobs_that_others_share() {
    let disk = published();
    let store = open(&disk).unwrap();
    // The same files under another key.
    let (other_key, other) = draft(0.2, "content");
    publish(&store, &other_key, &other).unwrap();
    let (key, _) = draft(0.1, "content");
    store.discard(&key, "a test says so").unwrap();
    assert!(store.lookup(&key).unwrap().is_none());
    let kept = store.peek(&other_key).unwrap().unwrap();
    assert_eq!(kept.read("model").unwrap(), b"content");
}
