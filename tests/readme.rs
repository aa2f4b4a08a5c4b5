//! What README shows works as printed, and what the promises name is there.

mod common;

use common::Place;

const README: &str = include_str!("../README.md");

/// A place with what the workflows in README need beside them.
fn place() -> Place {
    let place = Place::new("");
    place.write("common.toml", "");
    place.write("train.py", "");
    place
}

fn blocks() -> Vec<&'static str> {
    let blocks = README.split("```toml\n").skip(1);
    blocks.filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn every_workflow_in_readme_can_be_planned() {
    let place = place();
    let blocks = blocks();
    assert!(blocks.len() >= 2, "README shows workflows");
    for (number, block) in blocks.into_iter().enumerate() {
        let file = format!("block-{number}.toml");
        place.write(&file, block);
        let ended = place.flow(&["plan", &file]);
        assert_eq!(ended.code, 0, "{file}: {}", ended.stderr);
    }
}

#[test]
fn the_first_workflow_in_readme_runs() {
    let place = place();
    place.write("w.toml", blocks()[0]);
    place.run(&[
        "--set",
        "matrix.labels=[40]",
        "--set",
        "nodes.images.train=200",
        "--set",
        "variables.budget=1000",
        "--set",
        "nodes.guess.threshold=0.1",
    ]);
}

#[test]
fn every_command_in_readme_is_one() {
    let place = place();
    let commands = README.lines().filter_map(|line| line.strip_prefix("    flow "));
    let mut seen = 0;
    for line in commands {
        // What the command is, without its explanation.
        let command = line.split("  ").next().unwrap_or_default();
        let words: Vec<&str> = command
            .split(' ')
            .take_while(|word| !word.starts_with('-') && word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
            .collect();
        let help = place.flow(&[&words[..], &["--help"]].concat());
        assert_eq!(help.code, 0, "flow {command}: {}", help.stderr);
        for option in command.split(' ').filter(|word| word.starts_with("--")) {
            assert!(
                help.stdout.contains(option),
                "flow {command}: no {option} in\n{}",
                help.stdout
            );
        }
        seen += 1;
    }
    assert!(seen > 15, "README lists commands");
}

#[test]
fn every_test_that_promises_name_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let promises = concat!(include_str!("../docs/PROMISES.md"), include_str!("../docs/LIMITS.md"));
    let mut seen = 0;
    // Every second piece is what stands between two backticks.
    for (file, test) in promises
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once("::"))
    {
        if std::path::Path::new(file)
            .extension()
            .is_none_or(|ending| ending != "rs")
        {
            continue;
        }
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let name = format!("fn {test}(");
        let (before, _) = text
            .split_once(&name)
            .unwrap_or_else(|| panic!("{file} has no test {test}"));
        let near = before.rsplit("\n\n").next().unwrap_or_default();
        assert!(near.contains("#[test]"), "{file}::{test} is no test");
        seen += 1;
    }
    assert!(seen >= 30, "the promises name tests");
}
