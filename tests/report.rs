//! What `flow report` promises.

mod common;

use common::{Place, SMALL, axe, chromium};
use regex::Regex;
use serde_json::Value;

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
            _ if name == "meta" || name == "img" => {}
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
    let inside = Regex::new("data:image/png;base64,[^\"]*").expect("a pattern");
    let loads =
        Regex::new(r#"(?i)(https?:)?//[a-z0-9]|<script [^>]|<link|<iframe|\bsrc="[^"]|url\(|@import|fetch\(|import\("#)
            .expect("a pattern");
    let without = inside.replace_all(&first, "");
    assert_eq!(
        loads.find(&without).map(|found| found.as_str()),
        None,
        "it loads something"
    );
    assert!(first.len() < 5_000_000, "{} bytes", first.len());
    assert!(
        first.contains("<h1>does everything hold together?</h1>"),
        "the question"
    );
    for shown in [
        "Answer",
        "Accuracy over labels",
        "Gain over scratch, labels 20",
        "What would change this verdict",
        "Accuracy over training time",
        "What is taken for what",
        "Hard images",
        "Learning curves",
        "Pseudo-labels by round",
        "Classes of the pseudo-labels",
        "The workflow",
        "What ran when",
        "Data sets",
        "Provenance",
        "flow run w.toml",
        "To cite",
    ] {
        assert!(first.contains(shown), "{shown}");
    }
    // Two seeds of three arms at two budgets, each as it fits a screen and a phone.
    assert_eq!(first.matches("class=\"draw\"").count(), 24, "every run is a dot");

    // Nothing is computed for a second one.
    let before = place.digests();
    assert_eq!(first, page(&place), "the same report twice");
    assert_eq!(before, place.digests(), "the cache is as it was");
    std::fs::remove_dir_all(place.path(".flow/cache")).expect("the cache can be removed");
    let without = page(&place);
    assert_well_formed(&without);
    for shown in ["Accuracy over labels", "What ran when", "Provenance"] {
        assert!(without.contains(shown), "{shown}");
    }
}

/// The curves of a run of nothing but hits are those of the run that trained.
#[test]
fn learning_curves_of_cached_trainings_come_from_the_run_that_trained() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let curves = || place.flow(&["report", "--figure", "learning-curves"]).stdout;
    let first = curves();
    assert!(first.lines().count() > 10, "{first}");
    place.run(&[]);
    assert_eq!(place.ran(), Vec::<String>::new());
    assert_eq!(first, curves());
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
fn a_figure_alone_is_a_file_with_its_numbers_beside_it() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let verdict: Value =
        serde_json::from_slice(&std::fs::read(newest_run(&place).join("verdict.json")).expect("a verdict"))
            .expect("JSON");
    let save = |arguments: &[&str]| place.flow(&[&["report", "--figure"], arguments].concat());
    for (ending, begins) in [("svg", &b"<svg xmlns"[..]), ("png", b"\x89PNG"), ("pdf", b"%PDF-")] {
        let ended = save(&["accuracy-over", "-o", &format!("a.{ending}")]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let bytes = std::fs::read(place.path(&format!("a.{ending}"))).expect("a file");
        assert!(bytes.starts_with(begins), "{ending}");
    }
    assert!(
        !std::fs::read_to_string(place.path("a.svg"))
            .expect("a file")
            .contains("var("),
        "colours are written out"
    );
    // Without the page's headings each drawing says of which node it is.
    assert_eq!(save(&["learning-curves", "-o", "l.svg"]).code, 0);
    let curves = std::fs::read_to_string(place.path("l.svg")).expect("a file");
    assert!(
        curves.contains(">scratch: loss<") && curves.contains(">simclr: loss<"),
        "{curves}"
    );
    let numbers = std::fs::read_to_string(place.path("a.csv")).expect("numbers");
    let rows: Vec<Vec<&str>> = numbers.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let mut found = 0;
    for cell in verdict["verdict"]["cells"].as_array().expect("cells") {
        for arm in cell["arms"].as_array().expect("arms") {
            let of_arm = |row: &&Vec<&str>| row[0] == arm["arm"] && row[1] == cell["budget"];
            let row = rows
                .iter()
                .find(of_arm)
                .unwrap_or_else(|| panic!("{arm} is not in {numbers}"));
            for (column, end) in [(2, "mean"), (3, "low"), (4, "high")] {
                let share = 100.0 * arm["figure"][end].as_f64().expect("a number");
                let written: f64 = row[column].parse().expect("a number");
                assert!((written - share).abs() < 0.001, "{end} of {arm}: {written}");
                found += 1;
            }
        }
    }
    assert_eq!(found, 18);

    // Each row of a confusion matrix has all test images of its class, in all runs.
    let matrices = save(&["what-is-taken"]).stdout;
    let classes = verdict["verdict"]["class_names"].as_array().expect("classes").len();
    for row in matrices.lines().skip(1) {
        let shares = row.rsplit(',').take(classes);
        let sum: f64 = shares.map(|share| share.parse::<f64>().expect("a share")).sum();
        assert!((sum - 100.0).abs() < 0.8, "{row}");
    }

    let wrong = save(&["acuracy", "-o", "a.svg"]);
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
    assert!(
        wrong.stderr.contains("accuracy-over-labels"),
        "it lists what there is: {}",
        wrong.stderr
    );
    assert_eq!(save(&["answer", "-o", "a.svg"]).code, 2, "words are not drawn");
    assert_eq!(save(&["accuracy-over", "-o", "a.jpg"]).code, 2);
}

#[test]
fn runs_side_by_side_say_what_changed_and_pair_what_has_the_same_draws() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let (first, text) = (
        newest_run(&place),
        std::fs::read_to_string(place.path("w.toml")).expect("a workflow"),
    );
    place.write("w.toml", text.replacen("\nlr = ", "\n# slower\nlr = ", 1));
    place.run(&["--set", "nodes.scratch.lr=0.01"]);
    let second = newest_run(&place);
    let id = |run: &std::path::Path| run.file_name().expect("a name").to_string_lossy().into_owned();
    let ended = place.flow(&["report", "--format", "json", "--compare", &id(&first), &id(&second)]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let compared = ended.json();
    let figures = compared["others"][0]["figures"].as_array().expect("figures");
    let rows = |title: &str| {
        let shown = figures.iter().find(|figure| figure["title"] == title);
        shown.unwrap_or_else(|| panic!("no {title}: {compared}"))["rows"]
            .as_array()
            .expect("rows")
            .clone()
    };
    assert!(
        rows("Parameters that differ")
            .iter()
            .any(|row| row[0] == "scratch" && row[1] == "lr" && row[3] == "0.01")
    );
    for row in rows("Accuracy in both") {
        assert!(row[5].as_str().expect("text").starts_with("paired, 2 draws"), "{row}");
        // The student learns from what scratch guesses.
        if row[0] == "tuned" {
            assert!(
                row[4].as_str().expect("text").starts_with("+0.0 [+0.0"),
                "nothing else changed: {row}"
            );
        }
    }
    let page = place.flow(&["report", "--compare", &id(&first), &id(&second), "-o", "c.html"]);
    assert_eq!(page.code, 0, "{}", page.stderr);
    assert_well_formed(&std::fs::read_to_string(place.path("c.html")).expect("a page"));
}

#[test]
fn what_a_run_lacks_is_named_and_the_rest_is_shown() {
    let place = Place::new(SMALL);
    let none = place.flow(&["report"]);
    assert_eq!(none.code, 2, "{}", none.stderr);
    assert!(none.stderr.contains("no runs yet"), "{}", none.stderr);

    place.run(&["--only", "images"]);
    assert!(page(&place).contains("nothing is compared in this run"));

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

/// What a page says of itself when it has been shown, in a window of some width. The script of the test may run because the page's policy is put aside.
const ASKED: &str = r#"<script>
addEventListener("load", () => {
  const theme = document.querySelector("button.theme");
  const grounds = [0, 1, 2].map(() => { theme.click(); return theme.textContent + getComputedStyle(document.body).backgroundColor; });
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  document.querySelector("thead button").click();
  document.querySelector("[data-order=like]").click();
  const names = (selector, attribute) => [...document.querySelectorAll(selector)].filter((e) => !e.getAttribute(attribute)).length;
  const said = { width: innerWidth, wide: document.documentElement.scrollWidth, grounds,
    figures: document.querySelectorAll("svg[role=img]").length, nameless: names("svg[role=img]", "aria-label") + names("img", "alt"),
    requests: performance.getEntriesByType("resource").filter((entry) => !entry.name.startsWith("data:")).map((entry) => entry.name) };
  parent.postMessage(JSON.stringify(said), "*");
});
</script>"#;

/// Writes down what is said in a frame.
const HEARD: &str = r#"<script>
addEventListener("message", (event) => document.body.append(Object.assign(document.createElement("pre"), { id: "said", textContent: event.data })));
</script>"#;

#[test]
fn a_browser_shows_the_page_without_an_error_a_request_or_sideways_scrolling() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let shown = page(&place);
    let policy = Regex::new("<meta http-equiv=\"Content-Security-Policy\"[^>]*>").expect("a pattern");
    let asked = policy
        .replace(&shown, "")
        .replace("</body>", &format!("{ASKED}</body>"));
    place.write("asked.html", asked.as_bytes());
    // As it is, with its policy: whatever that forbids would be an error on the console.
    let Some(as_it_is) = chromium(&place, "page.html", 390) else {
        println!("skipped: chromium is not installed");
        return;
    };
    assert!(!as_it_is.stderr.contains("CONSOLE"), "{}", as_it_is.stderr);
    let written = Regex::new("<pre id=\"said\">(.*?)</pre>").expect("a pattern");
    for width in [390, 1280] {
        // A window has its least width, a frame has none.
        let frame =
            format!("<iframe width=\"{width}\" height=\"900\" style=\"border:0\" src=\"asked.html\"></iframe>{HEARD}");
        place.write("frame.html", frame);
        let asked = chromium(&place, "frame.html", 1400).expect("it was there before");
        assert!(!asked.stderr.contains("CONSOLE"), "{}", asked.stderr);
        let said = written
            .captures(&asked.stdout)
            .unwrap_or_else(|| panic!("nothing was said: {}", asked.stdout));
        let said: Value = serde_json::from_str(&said[1].replace("&amp;", "&")).expect("JSON");
        let number = |name: &str| said[name].as_u64().expect("a number");
        assert_eq!(number("width"), width);
        assert!(number("wide") <= width, "sideways scrolling: {said}");
        assert!(number("figures") > 10 && number("nameless") == 0, "{said}");
        assert_eq!(said["requests"], serde_json::json!([]));
        let grounds = said["grounds"].as_array().expect("grounds");
        assert!(
            grounds.contains(&"Theme: lightrgb(251, 251, 250)".into())
                && grounds.contains(&"Theme: darkrgb(19, 21, 24)".into()),
            "{said}"
        );
    }
}

#[test]
fn axe_finds_nothing_serious_in_a_report() {
    let Some(axe) = axe("main") else {
        println!("skipped: FLOW_AXE does not name axe.min.js of the npm package axe-core");
        return;
    };
    let place = Place::new(SMALL);
    place.run(&[]);
    let policy = Regex::new("<meta http-equiv=\"Content-Security-Policy\"[^>]*>").expect("a pattern");
    let shown = page(&place);
    let asked = policy
        .replace(&shown, "")
        .replacen("</body>", &format!("{axe}</body>"), 1);
    place.write("judged.html", asked.as_bytes());
    let Some(found) = chromium(&place, "judged.html", 1280) else {
        println!("skipped: chromium is not installed");
        return;
    };
    let said = Regex::new("<pre id=\"said\">(.*?)</pre>").expect("a pattern");
    let said = said
        .captures(&found.stdout)
        .unwrap_or_else(|| panic!("axe said nothing: {}", found.stderr));
    assert_eq!(&said[1], "axe: []");
}

/// Two pretext tasks, a detector and a segmenter, hardly trained.
const SHOWN: &str = r#"
[workflow]
name = "shown"

[nodes.images]
kind = "dataset"
source = "scenes"
train = 64
test = 16
side = 16
style = { objects = [1, 2], size = [0.3, 0.4] }

[nodes.turned]
kind = "pretext"
method = "rotation"

[nodes.holes]
kind = "pretext"
method = "inpainting"

[defaults.pretrain]
data = "images"
backbone = { name = "conv3", widths = [4, 8, 8], grid = 2 }
epochs = 1
batch = 16
lr = 0.003

[nodes.rotation]
kind = "pretrain"
task = "turned"

[nodes.inpainting]
kind = "pretrain"
task = "holes"

[defaults.finetune]
data = ["images"]
backbone = { name = "conv3", widths = [8, 12, 16] }
lr = 0.01
steps = 2
batch = 8

[nodes.detector]
kind = "finetune"
task = "detect"

[nodes.guesses]
kind = "pseudo-label"
task = "segment"
teacher = "segmenter"
data = "images"
soft = true

[nodes.segmenter]
kind = "finetune"
task = "segment"
"#;

#[test]
fn what_pretext_tasks_show_and_what_networks_find_in_images_is_on_the_page() {
    let place = Place::new(SHOWN);
    place.run(&[]);
    let report = place.flow(&["report", "--format", "json"]).json();
    let groups = |title: &str| {
        let figures = report["more"].as_array().expect("figures");
        let found = figures.iter().find(|figure| figure["title"] == title);
        let groups = found.unwrap_or_else(|| panic!("no {title}"))["groups"]
            .as_array()
            .expect("groups")
            .clone();
        groups
            .into_iter()
            .map(|group| {
                let captions = group[1].as_array().expect("pictures").iter();
                let captions: Vec<String> = captions
                    .map(|shown| shown["caption"].as_str().expect("text").to_owned())
                    .collect();
                (group[0].as_str().expect("a heading").to_owned(), captions)
            })
            .collect::<Vec<_>>()
    };
    let tasks = groups("What pretext tasks show");
    assert_eq!(tasks.len(), 4, "two images of each: {tasks:?}");
    assert_eq!(tasks[0].0, "rotation, image 0");
    assert_eq!(
        tasks[0].1,
        ["turned by 0°", "turned by 90°", "turned by 180°", "turned by 270°"]
    );
    assert_eq!(tasks[2].1, ["view", "cut out", "filled in"]);
    for network in ["detector", "segmenter"] {
        let found = groups(&format!("What it finds in images: {network}"));
        assert_eq!(found.len(), 12, "{network}");
        assert!(
            found
                .iter()
                .all(|(_, captions)| captions.len() == 3 && captions[1] == "ground truth"),
            "{network}: {found:?}"
        );
    }
    // Guesses of masks: how many there are and how right, but neither classes nor confidences of images.
    let figures = report["more"].as_array().expect("figures");
    let of_guesses: Vec<&str> = figures
        .iter()
        .filter_map(|figure| figure["title"].as_str())
        .filter(|title| title.contains("seudo-labels") || title.contains("teacher"))
        .collect();
    assert_eq!(of_guesses, ["Pseudo-labels: how many, how right"]);
    // Nothing is made again.
    let before = place.digests();
    page(&place);
    assert_eq!(before, place.digests());
}
