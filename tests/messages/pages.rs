//! What pages and the commands around them say.

use super::Transcript;
use super::common::{SMALL, TWO};

#[test]
fn reports() {
    let mut typed = Transcript::new(TWO);
    typed.flow("report");
    typed.flow("run w.toml --only first -j 1");
    for line in [
        "report --figure nothing",
        "report --figure the-workflow -o figure.docx",
        "report nobody",
        "runs show nobody",
        "runs ls --filter 'status = fald'",
        "runs ls --filter 'nodes > many'",
        "runs ls --filter 'nodes >'",
        "runs ls --filter '> 2'",
        "runs ls --filter 'node = 2'",
        "runs ls --filter 'age > today'",
        "runs ls --filter 'status'",
        "runs ls --filter '[1] > 2'",
        "runs ls --filter 'nodes > [1]'",
        "runs ls --filter 'nodes > 2 3'",
        "report --figure the-workflow -o figure.png",
        "bench prefetch --recipe nothing",
        "bench train-step --task nothing",
        "bench train-step --batch 1",
        "bench train-step --image 3x3",
    ] {
        typed.flow(line);
    }
    typed
        .place
        .flow(&["cache", "gc", "--max-size", "1B", "--keep-runs", "0", "--delete"]);
    let id = typed.place.flow(&["runs", "ls", "--json"]).json_lines()[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let run = id.rsplit('-').next().expect("its end").to_owned();
    typed.flow(&format!("cache show {run}:nobody"));
    std::fs::remove_dir_all(typed.place.path(".flow/cache")).expect("there");
    typed.place.flow(&["cache", "init"]);
    typed.flow(&format!("cache show {run}:first"));
    typed.flow(&format!("cache show {run}"));
    for before in ["show ", "that run "] {
        typed.text = typed.text.replace(&format!("{before}{run}"), &format!("{before}[id]"));
    }
    typed.check("reports");
}

/// Pages, with `[x]` for what is measured.
#[test]
fn pages() {
    let mut typed = Transcript::new(SMALL);
    typed.flow("plan w.toml --only images --set nodes.verdict.replicates=1000");
    typed.place.run(&["-j", "1"]);
    typed.flow("report --format md");
    let mut figures = None;
    let mut files: Vec<_> = std::fs::read_dir(typed.newest())
        .expect("a run directory")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    for file in &files {
        let name = file.file_name().expect("a name").to_string_lossy();
        let is_page = file.extension().is_some_and(|ending| ending == "md");
        if name.ends_with(".figures.json") {
            figures = Some(file.clone());
        }
        if is_page || name.ends_with(".figures.json") {
            let text = std::fs::read_to_string(file).expect("a page");
            let shown = if is_page { text } else { texts_of(&text) };
            typed.text.push_str(&format!("$ cat {name}\n{shown}\n\n"));
        }
    }
    typed.place.flow(&["report", "-o", "page.html"]);
    let page = std::fs::read_to_string(typed.place.path("page.html")).expect("a page");
    typed.text.push_str(&format!("$ cat page.html\n{}\n", words_of(&page)));
    typed.flow("report --figure what-would -o figure.png");
    let schema = figures.as_ref().expect("some node has figures");
    let text = std::fs::read_to_string(schema).expect("figures");
    std::fs::write(
        schema,
        text.replacen("\"schema\": 1", "\"schema\": 9", 1)
            .replacen("\"schema\":1", "\"schema\":9", 1),
    )
    .expect("written");
    typed.flow("report --figure answer");
    typed.flow("report --format md");
    typed
        .place
        .run(&["-j", "1", "--only", "scratch", "--set", "nodes.scratch.steps=4"]);
    std::fs::remove_file(typed.newest().join("summary.json")).expect("it is there");
    typed.flow("report --format md");
    let both = typed.place.flow(&["runs", "ls", "--json"]).json_lines();
    let both = [0, 1].map(|i| both[i]["id"].as_str().expect("an id").to_owned());
    typed.flow(&format!("report --format md --compare {} {}", both[1], both[0]));
    let mut text = typed.text;
    for (changing, shown) in [
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "[time]"),
        (r"the longest was [^\n]+,", "the longest was [node],"),
        (r"(?m)^(- machine: )`[^`]+`", "$1`[machine]`"),
        (r"(?m)^[a-z]+, not [a-z]+$", "[class], not [class]"),
        // Which node began before which depends on how long others took.
        (
            r"(?m)^\S+ \([a-z-]+\): ([\d.]+ s from [\d.]+ s, \w+)$",
            "[node] ([kind]): $1",
        ),
        (r"\d{8}T[\d.]+Z-small-[0-9a-f]{6}", "[id]"),
        (r"-?\d+\.\d+(e-?\d+)?", "[x]"),
        (r"\b[0-9a-f]{12,}\b", "[id]"),
        // What such short trainings take for what depends on the last bits.
        (r" of \w+ taken for \w+", " of [class] taken for [class]"),
        (
            r"of class \w+, wrong in (.*) taken for \w+",
            "of class [class], wrong in $1 taken for [class]",
        ),
    ] {
        let changing = regex::Regex::new(changing).expect("a regular expression");
        text = changing.replace_all(&text, shown).into_owned();
    }
    let numbers = regex::Regex::new(r"-?\b\d+( %)?").expect("a regular expression");
    // 95 % intervals and 100 % are words, other numbers are measured.
    let shown = |found: &regex::Captures<'_>| match &found[0] {
        words @ ("95 %" | "100 %") => words.to_owned(),
        number if number.ends_with(" %") => "[x] %".to_owned(),
        _ => "[x]".to_owned(),
    };
    // How many rows a Pareto front has depends on how long trainings took: equal lines are shown once.
    let mut lines: Vec<String> = Vec::new();
    // A node that took no time worth telling has none.
    for line in numbers.replace_all(&text, shown).replace(" · [x] s", "").lines() {
        if line.is_empty() || !lines.iter().any(|known| known == line) {
            lines.push(line.to_owned());
        }
    }
    typed.text = lines.join("\n");
    typed.check("pages");
}

/// What a page says, each sentence once: texts, and what pictures are described by.
fn words_of(page: &str) -> String {
    let part = |pattern: &str| regex::Regex::new(pattern).expect("a regular expression");
    let page = part(r"(?s)<(script|style)\b.*?</(script|style)>").replace_all(page, "\n");
    let described = part(r#"(?:alt|aria-label|title)="([^"]*)""#);
    let described: Vec<&str> = described
        .captures_iter(&page)
        .filter_map(|found| Some(found.get(1)?.as_str()))
        .collect();
    let texts = part("<[^>]*>").replace_all(&page, "\n");
    let all = texts.lines().map(str::trim).chain(described);
    let mut found: Vec<String> = Vec::new();
    for line in all.filter(|line| line.trim().contains(' ')) {
        let line = line
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'");
        let line = line.replace("&amp;", "&");
        if !found.contains(&line) {
            found.push(line);
        }
    }
    found.join("\n")
}

/// The texts of figures.
fn texts_of(figures: &str) -> String {
    fn texts(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::String(text) if text.contains(' ') && !found.contains(text) => found.push(text.clone()),
            serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            serde_json::Value::Object(fields) => fields.values().for_each(|item| texts(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    texts(&serde_json::from_str(figures).expect("JSON"), &mut found);
    found.join("\n")
}
