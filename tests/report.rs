//! What `flow report` promises.

mod common;

use common::{Place, SMALL};
use regex::Regex;

fn newest_run(place: &Place) -> std::path::PathBuf {
    let run = place.flow(&["runs", "show", "--json"]).json();
    place.path(run["dir"].as_str().expect("a directory"))
}

/// The page of a run of the smallest workflow.
fn page(place: &Place) -> String {
    let ended = place.flow(&["report", "-o", "page.html"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    std::fs::read_to_string(place.path("page.html")).expect("the page was written")
}

/// Every element that is opened is closed, in order.
fn assert_well_formed(page: &str) {
    let tag = Regex::new(r"<(/?)([a-zA-Z0-9]+)[^>]*>").expect("a pattern");
    let mut open: Vec<&str> = Vec::new();
    for found in tag.captures_iter(page) {
        let name = found.get(2).expect("a name").as_str();
        match &found[1] {
            "/" => assert_eq!(open.pop(), Some(name), "closed before it was opened, inside {open:?}"),
            _ if name == "meta" => {}
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}

#[test]
fn a_report_is_one_page_that_loads_nothing_and_shows_every_figure_also_without_its_cache() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let first = page(&place);
    assert_well_formed(&first);
    let loads = Regex::new(r"(?i)(https?:)?//[a-z0-9]|<script|<link|<iframe|\bsrc=|url\(|@import").expect("a pattern");
    assert_eq!(
        loads.find(&first).map(|found| found.as_str()),
        None,
        "it loads something"
    );
    assert!(
        first.contains("<h1>does everything hold together?</h1>"),
        "the question"
    );
    for shown in [
        "Answer",
        "Accuracy over labels",
        "Gain over scratch, labels 20",
        "Provenance",
        "To cite",
    ] {
        assert!(first.contains(shown), "{shown}");
    }
    // Two seeds of three arms at two budgets.
    assert_eq!(first.matches("class=\"draw\"").count(), 12, "every run is a dot");
    assert_eq!(
        first.matches("<polyline class=\"line\"").count(),
        6,
        "three arms, each with its key"
    );

    // Nothing is computed for a second one: without the cache only what it says of machines is missing.
    assert_eq!(first, page(&place), "the same report twice");
    std::fs::remove_dir_all(place.path(".flow/cache")).expect("the cache can be removed");
    assert_eq!(first.matches("<svg").count(), page(&place).matches("<svg").count());
}

#[test]
fn numbers_in_a_report_are_those_of_the_verdict() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let report = place.flow(&["report", "--format", "json"]).json();
    let verdict: serde_json::Value =
        serde_json::from_slice(&std::fs::read(newest_run(&place).join("verdict.json")).expect("a verdict"))
            .expect("JSON");
    assert_eq!(report["version"], 1);
    let figures = report["figures"][0]["figures"].as_array().expect("figures");
    let lines = figures
        .iter()
        .find(|figure| figure["figure"] == "lines")
        .expect("lines");
    for (c, cell) in verdict["verdict"]["cells"]
        .as_array()
        .expect("cells")
        .iter()
        .enumerate()
    {
        for (a, arm) in cell["arms"].as_array().expect("arms").iter().enumerate() {
            let value = &lines["lines"][a]["points"][c]["value"];
            for end in ["mean", "low", "high"] {
                let share = arm["figure"][end].as_f64().expect("a number");
                assert_eq!(
                    value[end].as_f64(),
                    Some(100.0 * share),
                    "{end} of arm {a} at budget {c}"
                );
            }
        }
    }
    let text = place.flow(&["report", "--format", "md"]).stdout;
    assert!(text.starts_with("# does everything hold together?\n"), "{text}");
    assert!(
        text.contains("| arm | labels 20 | labels 40 |\n| --- | --- | --- |\n"),
        "{text}"
    );
}

#[test]
fn what_a_run_lacks_is_named_and_the_rest_is_shown() {
    let place = Place::new(SMALL);
    let none = place.flow(&["report"]);
    assert_eq!(none.code, 2, "{}", none.stderr);
    assert!(none.stderr.contains("no runs yet"), "{}", none.stderr);

    place.run(&["--only", "images"]);
    assert!(page(&place).contains("No node of this run has written figures."));

    place.run(&[]);
    std::fs::write(newest_run(&place).join("verdict.figures.json"), b"{").expect("can be written");
    let damaged = page(&place);
    assert_well_formed(&damaged);
    assert!(
        damaged.contains("<b>verdict.figures.json</b> cannot be shown"),
        "the file is named"
    );
    assert!(damaged.contains("Provenance"), "the rest is shown");

    std::fs::remove_file(newest_run(&place).join("summary.json")).expect("can be removed");
    assert!(page(&place).contains("under way, or was killed"));
}
