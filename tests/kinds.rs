//! `flow kinds` and `flow schema`: nobody has to open a source file to write a workflow.

mod common;

use std::path::{Path, PathBuf};

use common::Place;
use serde_json::Value;

fn kinds(arguments: &[&str]) -> String {
    let ended = Place::new("").flow(&[&["kinds"], arguments].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stdout
}

fn schema() -> Value {
    let ended = Place::new("").flow(&["schema"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("JSON")
}

#[test]
fn the_kinds_and_the_parameters_of_one_are_listed() {
    insta::assert_snapshot!("kinds", kinds(&[]));
    insta::assert_snapshot!("kinds_concat", kinds(&["concat"]));
    insta::assert_snapshot!("kinds_pretext_byol", kinds(&["pretext", "byol"]));
    insta::assert_snapshot!("kinds_finetune_batch", kinds(&["finetune", "batch"]));
}

#[test]
fn an_unknown_kind_or_parameter_is_told_with_the_nearest() {
    let place = Place::new("");
    for (arguments, nearest) in [
        (&["kinds", "fintune"][..], "finetune"),
        (&["kinds", "pretext", "simsclr"], "simclr"),
    ] {
        let ended = place.flow(arguments);
        assert_eq!(ended.code, 2, "{}", ended.stdout);
        assert!(ended.stderr.contains(nearest), "{}", ended.stderr);
    }
}

/// Calls `see` with the path of every parameter in a form's schema.
fn each_property(schema: &Value, path: &str, see: &mut dyn FnMut(String, &Value)) {
    for key in ["oneOf", "anyOf", "allOf"] {
        for variant in schema[key].as_array().into_iter().flatten() {
            each_property(variant, path, see);
        }
    }
    if schema["items"].is_object() {
        each_property(&schema["items"], path, see);
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        if property.get("const").is_none() {
            see(path.clone(), property);
        }
        each_property(property, &path, see);
    }
}

#[test]
fn every_parameter_of_every_kind_says_what_it_is_and_of_which_type() {
    let kinds: Value = serde_json::from_str(&kinds(&["--json"])).unwrap();
    let mut seen = 0;
    for kind in kinds["kinds"].as_array().unwrap() {
        let name = kind["kind"].as_str().unwrap();
        let one = Place::new("").flow(&["kinds", name, "--json"]).stdout;
        let one: Value = serde_json::from_str(&one).unwrap();
        for form in one["forms"].as_array().unwrap() {
            each_property(&form["schema"], name, &mut |path, property| {
                assert!(property["description"].is_string(), "{path} has no description");
                let typed = ["type", "enum", "oneOf", "anyOf", "allOf"]
                    .iter()
                    .any(|key| property.get(key).is_some());
                // What a program is given may be of any type.
                assert!(
                    typed || path.starts_with("command.params"),
                    "{path} has no type: {property}"
                );
                seen += 1;
            });
        }
    }
    assert!(seen > 150, "{seen} parameters");
}

/// Every workflow that is shipped, parts of workflows included.
fn shipped(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            shipped(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            found.push(path);
        }
    }
}

fn as_json(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Value>(text).expect("TOML")).expect("JSON")
}

#[test]
fn the_schema_takes_every_shipped_workflow() {
    let validator = jsonschema::draft7::new(&schema()).expect("a JSON Schema of draft 07");
    let mut files = Vec::new();
    shipped(&Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows"), &mut files);
    assert!(files.len() > 20, "{} workflows", files.len());
    for file in files {
        let workflow = as_json(&std::fs::read_to_string(&file).unwrap());
        let errors: Vec<String> = validator
            .iter_errors(&workflow)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {}", file.display(), errors.join("\n"));
    }
}

#[test]
fn the_schema_refuses_what_flow_refuses() {
    let validator = jsonschema::draft7::new(&schema()).expect("a JSON Schema of draft 07");
    let with = |line: &str| format!("[nodes.task]\nkind = \"pretext\"\nmethod = \"simclr\"\n{line}\n");
    // A variable may stand wherever a value may, however deep.
    let deep = "[nodes.fit]\nkind = \"finetune\"\ndata = [\"images\"]\nlr = 0.1\nsemi = { method = \"fixmatch\", threshold = \"${t}\" }\n";
    let sound = [
        deep.to_owned(),
        with(""),
        with("temperature = 0.2"),
        with("temperature = \"${t}\""),
        with("when = \"seed == 0\""),
    ];
    let wrong = [
        with("temprature = 0.2"),
        with("temperature = \"cold\""),
        with("temperature = -1.0"),
        with("timeout_s = \"soon\""),
        "[nodes.task]\nkind = \"pretxt\"\n".to_owned(),
        "[nodes.Task]\nkind = \"pretext\"\nmethod = \"simclr\"\n".to_owned(),
        "[matrix]\nseed = 3\n".to_owned(),
    ];
    for text in sound {
        assert!(validator.is_valid(&as_json(&text)), "{text}");
    }
    for text in wrong {
        assert!(!validator.is_valid(&as_json(&text)), "{text}");
    }
}

#[test]
fn the_schema_beside_the_shipped_workflows_is_the_one_of_this_build() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows");
    let committed = std::fs::read_to_string(folder.join("flow.schema.json")).expect("committed");
    let committed: Value = serde_json::from_str(&committed).expect("JSON");
    assert!(
        committed == schema(),
        "write it anew: `flow schema > workflows/flow.schema.json`"
    );
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            let text = std::fs::read_to_string(&path).expect("readable");
            assert!(text.starts_with("#:schema flow.schema.json\n"), "{}", path.display());
        }
    }
}
