//! What stays in the cache and what goes: collection, pins, tags, archives, as a person meets them.

mod common;

use common::Place;

const TWO: &str = r#"
[workflow]
name = "room"

[nodes.words]
kind = "concat"
text = "some words\n"

[nodes.more]
kind = "concat"
inputs = ["words"]
text = "and more\n"
"#;

#[test]
fn a_collection_says_what_would_go_does_it_when_told_and_the_next_run_makes_it_again() {
    let place = Place::new(TWO);
    place.run(&[]);
    let digests = place.digests();
    let vague = place.flow(&["cache", "gc"]);
    assert!(
        vague.code != 0 && vague.stderr.contains("--max-size"),
        "{}",
        vague.stderr
    );
    let kept = place.flow(&["cache", "gc", "--max-size", "0", "--delete"]);
    assert!(
        kept.stderr.contains("0 entries and 0 unreferenced blobs removed") && kept.stderr.contains("over `--max-size`"),
        "{}",
        kept.stderr
    );
    let planned = place.flow(&["cache", "gc", "--max-size", "0", "--keep-runs", "0"]);
    assert!(
        planned.stdout.contains("words")
            && planned
                .stderr
                .contains("2 entries and 0 unreferenced blobs would be removed"),
        "{}",
        planned.stderr
    );
    assert!(place.run(&[]).stderr.contains("2 cached"));
    let done = place.flow(&["cache", "gc", "--max-size", "0", "--keep-runs", "0", "--delete"]);
    assert!(
        done.stderr.contains("2 entries and 0 unreferenced blobs removed"),
        "{}",
        done.stderr
    );
    let plan = place.flow(&["plan", "w.toml"]).stdout;
    assert!(plan.contains("its outputs were collected by flow cache gc"), "{plan}");
    let listed = place.flow(&["cache", "query", "collected = true"]).stdout;
    assert!(listed.contains("words") && listed.contains("more"), "{listed}");
    place.run(&[]);
    assert_eq!(place.digests(), digests);
    let none = place.flow(&["cache", "query", "collected = true", "--json"]).stdout;
    assert_eq!(none, "");
}

#[test]
fn pinned_and_tagged_entries_stay_and_a_tag_is_taken_wherever_an_entry_is_asked_for() {
    let place = Place::new(TWO);
    place.run(&[]);
    assert_eq!(
        place
            .flow(&["cache", "pin", "node = words", "--note", "for the paper"])
            .code,
        0
    );
    assert_eq!(place.flow(&["cache", "tag", "best", "more"]).code, 0);
    let marks = place.flow(&["cache", "marks"]).stdout;
    assert!(marks.contains("for the paper") && marks.contains("best"), "{marks}");
    let done = place.flow(&["cache", "gc", "--max-size", "0", "--keep-runs", "0", "--delete"]);
    assert!(
        done.stderr.contains("0 entries and 0 unreferenced blobs removed"),
        "{}",
        done.stderr
    );
    for command in ["show", "tree", "why"] {
        let ended = place.flow(&["cache", command, "best"]);
        assert_eq!(ended.code, 0, "{command}: {}", ended.stderr);
    }
    assert!(place.flow(&["cache", "query", "tag = best"]).stdout.contains("more"));
    assert_eq!(place.flow(&["cache", "untag", "best"]).code, 0);
    assert_eq!(place.flow(&["cache", "unpin", "words"]).code, 0);
    assert!(
        place
            .flow(&["cache", "show", "best"])
            .stderr
            .contains("no entry `best`")
    );
}

#[test]
fn an_archive_takes_an_entry_with_all_that_it_was_made_from_to_an_empty_cache() {
    let (here, there) = (Place::new(TWO), Place::new(TWO));
    here.run(&[]);
    let exported = here.flow(&["cache", "export", "more", "--with-inputs", "-o", "all.tar.zst"]);
    assert!(exported.stderr.contains("2 entries"), "{}", exported.stderr);
    let archive = here.path("all.tar.zst").display().to_string();
    let imported = there.flow(&["cache", "import", &archive]);
    assert!(
        imported.stderr.contains("imported 2, 0 already present"),
        "{}",
        imported.stderr
    );
    assert!(there.run(&[]).stderr.contains("0 ran, 2 cached"));
    there.write("foreign", "not an archive");
    let refused = there.flow(&["cache", "import", "foreign"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("Nothing was imported"),
        "{}",
        refused.stderr
    );
}
