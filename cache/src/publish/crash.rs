//! A failure at every single change that publishing makes to the disk.

use std::io::ErrorKind;

use crate::disk::sim::SimDisk;
use crate::testing::{draft, holds, open, publish};
use crate::{CacheError, Store};

/// How many ways of losing what was not synced are tried at each point.
const SEEDS: u64 = 24;

/// A disk with one published artifact, and how many changes publishing another takes.
fn prepared() -> (SimDisk, usize) {
    let disk = SimDisk::default();
    let (key, earlier) = draft(0.1, "earlier");
    publish(&open(&disk).unwrap(), &key, &earlier).unwrap();
    let trial = disk.after_power_loss(0);
    let store = open(&trial).unwrap();
    let before = trial.changes();
    let (key, new) = draft(0.2, "new");
    publish(&store, &key, &new).unwrap();
    (disk, trial.changes() - before)
}

/// The store works without help: what was published is a hit with its bytes, the rest is a miss that can be published.
fn recovers(disk: &SimDisk, committed: bool, context: &str) -> Store {
    let store = open(disk).unwrap();
    let (key, earlier) = draft(0.1, "earlier");
    assert!(holds(&store.peek(&key).unwrap().expect(context), &earlier), "{context}");
    let (key, new) = draft(0.2, "new");
    match store.peek(&key).unwrap() {
        Some(artifact) => assert!(holds(&artifact, &new), "{context}"),
        None => assert!(!committed, "{context}: a committed artifact is gone"),
    }
    assert!(
        store.verify().unwrap().is_sound(),
        "{context}: nothing refers to an absent blob"
    );
    assert!(holds(&publish(&store, &key, &new).unwrap(), &new), "{context}");
    store
}

#[test]
fn power_loss_at_any_step_of_publishing_leaves_a_clean_miss_or_the_whole_artifact() {
    let (prepared, steps) = prepared();
    assert!(
        steps >= 10,
        "publishing two files and a record takes many steps, not {steps}"
    );
    for step in 0..=steps {
        let disk = prepared.after_power_loss(0);
        let store = open(&disk).unwrap();
        disk.fail_after(step, ErrorKind::Other);
        let (key, new) = draft(0.2, "new");
        let committed = publish(&store, &key, &new).is_ok();
        for seed in 0..SEEDS {
            recovers(
                &disk.after_power_loss(seed),
                committed,
                &format!("step {step}, seed {seed}"),
            );
        }
    }
}

#[test]
fn power_loss_while_a_store_is_made_leaves_one_that_opens() {
    let whole = SimDisk::default();
    let (key, first) = draft(0.1, "earlier");
    publish(&open(&whole).unwrap(), &key, &first).unwrap();
    for step in 0..=whole.changes() {
        let disk = SimDisk::default();
        disk.fail_after(step, ErrorKind::Other);
        let committed = open(&disk).and_then(|store| publish(&store, &key, &first)).is_ok();
        for seed in 0..SEEDS {
            let disk = disk.after_power_loss(seed);
            let store = open(&disk).unwrap();
            assert!(
                !committed || store.peek(&key).unwrap().is_some(),
                "step {step}, seed {seed}"
            );
            assert!(
                holds(&publish(&store, &key, &first).unwrap(), &first),
                "step {step}, seed {seed}"
            );
        }
    }
}

#[test]
fn a_process_killed_at_any_step_leaves_a_clean_miss_or_the_whole_artifact() {
    let (prepared, steps) = prepared();
    for step in 0..=steps {
        let disk = prepared.after_power_loss(0);
        let store = open(&disk).unwrap();
        disk.fail_after(step, ErrorKind::Other);
        let (key, new) = draft(0.2, "new");
        let committed = publish(&store, &key, &new).is_ok();
        disk.heal();
        recovers(&disk, committed, &format!("step {step}"));
    }
}

#[test]
fn a_full_disk_fails_the_commit_and_leaves_the_store_readable_and_tidy() {
    let (prepared, steps) = prepared();
    let mut refused = 0;
    for step in 0..steps {
        let disk = prepared.after_power_loss(0);
        let store = open(&disk).unwrap();
        disk.fail_after(step, ErrorKind::StorageFull);
        let (key, new) = draft(0.2, "new");
        match publish(&store, &key, &new) {
            // Only the journal and the removal of checkpoints come after the record; neither fails a commit.
            Ok(artifact) => assert!(holds(&artifact, &new)),
            Err(CacheError::DiskFull { .. }) => refused += 1,
            Err(other) => panic!("step {step}: {other}"),
        }
        let (earlier_key, earlier) = draft(0.1, "earlier");
        assert!(
            holds(&store.peek(&earlier_key).unwrap().unwrap(), &earlier),
            "step {step}"
        );
        let staged: Vec<_> = disk
            .paths()
            .into_iter()
            .filter(|path| path.to_string_lossy().contains("new-"))
            .collect();
        assert_eq!(
            staged,
            Vec::<std::path::PathBuf>::new(),
            "step {step}: staged files take space on a full disk"
        );
        disk.heal();
        recovers(&disk, false, &format!("step {step}"));
    }
    assert!(refused >= 10, "{refused}");
}

#[test]
fn a_checkpoint_is_the_earlier_one_or_the_new_one_whenever_power_is_lost() {
    let disk = SimDisk::default();
    let (key, _) = draft(0.1, "");
    open(&disk).unwrap().scratch(&key).save("epoch", b"earlier").unwrap();
    for step in 0..8 {
        let disk = disk.after_power_loss(0);
        let scratch = open(&disk).unwrap().scratch(&key);
        disk.fail_after(step, ErrorKind::Other);
        let saved = scratch.save("epoch", b"new").is_ok();
        for seed in 0..SEEDS {
            let found = open(&disk.after_power_loss(seed))
                .unwrap()
                .scratch(&key)
                .load("epoch")
                .unwrap();
            let fits = if saved {
                &[&b"new"[..]][..]
            } else {
                &[&b"earlier"[..], b"new"]
            };
            assert!(
                found.as_deref().is_some_and(|found| fits.contains(&found)),
                "step {step}, seed {seed}: {found:?}"
            );
        }
    }
}
