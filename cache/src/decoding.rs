//! Every decoder of the store on bytes that were changed at random: an error or a miss, never a panic, and never another entry's name.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index as Place;

use crate::claim;
use crate::digest::Digest;
use crate::disk::RealDisk;
use crate::files::{Access, Files};
use crate::index;
use crate::key::{ActionKey, KeyFields};
use crate::layout::Layout;
use crate::lease;
use crate::lock;
use crate::marks::{self, Marks};
use crate::recall;
use crate::record::Record;
use crate::record_file;
use crate::sharing::Sharing;
use crate::stamp::Stamp;
use crate::testing::draft;
use crate::{ArtifactSummary, Store};

/// Bytes taken out, put in, turned round or repeated.
type Change = (u8, Place, u8, u8);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(any::<Change>(), 1..8)
}

fn mutated(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (what, at, value, count) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match what % 6 {
            0 => bytes[at] ^= value,
            1 => bytes[at] = *value,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, *value),
            4 => drop(bytes.drain(at..(at + usize::from(*count)).min(bytes.len()))),
            _ => bytes.extend_from_within(at..(at + usize::from(*count)).min(bytes.len())),
        }
    }
    bytes
}

fn record() -> Record {
    let disk = crate::disk::sim::SimDisk::default();
    let store = crate::testing::open(&disk).unwrap();
    let (key, draft) = draft(0.1, "content");
    store.publish(&key, &draft).unwrap();
    store.record(&key).unwrap().unwrap()
}

/// The fields of a record under a checksum that fits them.
fn sealed(fields: &[u8]) -> Vec<u8> {
    let checksum = Digest::of(fields).to_string();
    [fields, b",\n  \"checksum\": \"", checksum.as_bytes(), b"\"\n}\n"].concat()
}

fn key() -> ActionKey {
    KeyFields::new("k", 1).finish().0
}

fn store_with(path: &str, bytes: &[u8]) -> (tempfile::TempDir, Files) {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::open(Box::<RealDisk>::default(), Layout::new(dir.path()), Access::ReadWrite).unwrap();
    let path = dir.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    (dir, files)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_record_that_was_changed_is_none_even_under_a_fitting_checksum(changes in changes()) {
        let record = record();
        let whole = record_file::encode(&record).unwrap();
        let changed = mutated(&whole, &changes);
        prop_assert!(changed == whole || record_file::decode(&changed, &record.key).is_err());
        let fields = &whole[..whole.len() - sealed(b"").len()];
        prop_assert_eq!(&sealed(fields), &whole);
        if let Ok(read) = record_file::decode(&sealed(&mutated(fields, &changes)), &record.key) {
            // Labels may differ; what is looked up by is what was asked for, and names stay in their folder.
            prop_assert_eq!(read.key, record.key);
            prop_assert_eq!(read.components, record.components);
            prop_assert!(read.outputs.keys().all(|name| Path::new(name.as_str()).is_relative() && !name.contains("..")));
        }
    }

    #[test]
    fn an_entry_of_the_index_that_was_changed_is_none(changes in changes()) {
        let whole = index::encode(&record()).unwrap();
        let changed = mutated(&whole, &changes);
        prop_assert!(changed == whole || index::decode(&changed).is_none());
    }

    #[test]
    fn a_memory_of_a_run_that_was_changed_is_none_even_under_a_fitting_digest(changes in changes()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let one = recall::Remembered {
            summary: std::sync::Arc::new(ArtifactSummary::from(&record())),
            stamp: Stamp::of(file.path()).unwrap(),
        };
        let whole = recall::encode(&[one.clone(), one]).unwrap();
        prop_assert_eq!(recall::decode(&whole).map(|all| all.len()), Some(2));
        let changed = mutated(&whole, &changes);
        prop_assert!(changed == whole || recall::decode(&changed).is_none());
        let body = mutated(&whole[recall::HEADER..], &changes);
        let fitting = [&whole[..1], &Digest::of(&body).as_bytes()[..], &body].concat();
        for one in recall::decode(&fitting).into_iter().flatten() {
            prop_assert!(one.summary.outputs.keys().all(|name| !name.starts_with('/')));
        }
    }

    #[test]
    fn claims_leases_locks_and_config_that_were_changed_name_nobody_else(changes in changes()) {
        let others = [1, 2].map(|version| KeyFields::new("other", version).finish().0);
        let board = format!("process 1 on here (flow run, since 2026)\n{}\n{}\n", others[0], others[1]);
        let changed = String::from_utf8_lossy(&mutated(board.as_bytes(), &changes)).into_owned();
        prop_assert_eq!(claim::holder(&changed, &key()), None);
        if let Some(who) = claim::holder(&changed, &others[0]) {
            prop_assert!(!who.contains(char::is_control));
        }
        let bytes: Vec<u8> = others.iter().flat_map(|key| *key.digest().as_bytes()).collect();
        prop_assert!(lease::decode(&mutated(&bytes, &changes)).count() <= (bytes.len() + 8 * 256) / 32);
        let _ = Sharing::decode(&mutated(Sharing::Group.encode().as_bytes(), &changes));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("lock"), mutated(board.as_bytes(), &changes)).unwrap();
        let mut file = std::fs::File::open(dir.path().join("lock")).unwrap();
        prop_assert!(!lock::named_in(&mut file).contains(char::is_control));
    }

    #[test]
    fn marks_and_names_that_were_changed_are_read_or_left_out(changes in changes()) {
        let (_dir, files) = store_with("tags/best", &mutated(format!("{}\n", key()).as_bytes(), &changes));
        Marks::read(&files).unwrap();
        let line = format!("{} \"a[seed=0]\"\n", key());
        let (_dir, files) = store_with("names", &mutated(line.repeat(3).as_bytes(), &changes));
        for of_one in marks::other_names(&files).unwrap().values() {
            prop_assert!(of_one.len() <= 3 + 8);
        }
    }

    #[test]
    fn checkpoints_that_were_changed_are_none(changes in changes()) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Access::ReadWrite).unwrap();
        store.scratch(&key()).save("epoch", b"12 of 30").unwrap();
        let path = dir.path().join("scratch").join(key().to_string()).join("epoch");
        let whole = std::fs::read(&path).unwrap();
        let changed = mutated(&whole, &changes);
        std::fs::write(&path, &changed).unwrap();
        prop_assert!(changed == whole || store.scratch(&key()).load("epoch").unwrap().is_none());
    }

    #[test]
    fn a_journal_that_was_changed_loses_no_entry(changes in changes()) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Access::ReadWrite).unwrap();
        let (key, draft) = draft(0.1, "content");
        store.publish(&key, &draft).unwrap();
        let journal = std::fs::read(dir.path().join("journal")).unwrap();
        std::fs::write(dir.path().join("journal"), mutated(&journal, &changes)).unwrap();
        prop_assert_eq!(store.records().unwrap().len(), 1);
    }
}
