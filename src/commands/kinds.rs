//! `flow kinds`: what node kinds there are and what each takes; `flow schema`: the same for editors.

use flow_engine::FormSchema;
use serde_json::{Map, Value, json};

use crate::cli::KindsArgs;
use crate::exit::{Exit, Failure};
use crate::output::{print, print_json, print_table};

pub(crate) fn kinds(args: &KindsArgs) -> Result<Exit, Failure> {
    let registry = flow_nodes::registry();
    let Some(kind) = &args.kind else {
        let all = registry.kinds().into_iter().flat_map(|kind| {
            let forms = registry.form_schemas(kind);
            forms.into_iter().map(move |form| (kind, form))
        });
        return all_kinds(all.collect(), args.json);
    };
    let forms = registry.form_schemas(kind);
    if forms.is_empty() {
        let help = flow_engine::workflow::suggest(kind, "node kinds", registry.kinds());
        return Err(Failure::usage(format!("unknown node kind `{kind}`"), help));
    }
    let wanted = args.name.as_deref();
    let mut lines: Vec<Parameter> = Vec::new();
    for form in &forms {
        parameters(&form.schema, "", wanted, &mut lines);
    }
    if let Some(name) = wanted.filter(|_| lines.is_empty()) {
        let mut names = Vec::new();
        forms.iter().for_each(|form| variant_names(&form.schema, &mut names));
        let help = flow_engine::workflow::suggest(name, "parameters and variants", names.iter().map(String::as_str));
        return Err(Failure::usage(
            format!("`{kind}` has no parameter or variant `{name}`"),
            help,
        ));
    }
    if args.json {
        let forms = forms
            .iter()
            .map(|form| json!({ "given": form.marks, "schema": form.schema }));
        print_json(&json!({ "version": 1, "kind": kind, "forms": forms.collect::<Vec<_>>() }))?;
        return Ok(Exit::Ok);
    }
    if wanted.is_some() {
        table(lines);
        return Ok(Exit::Ok);
    }
    for (place, form) in forms.iter().enumerate() {
        let mut lines = Vec::new();
        parameters(&form.schema, "", None, &mut lines);
        let gap = if place > 0 { "\n" } else { "" };
        print(&format!(
            "{gap}kind = \"{kind}\"{}\n{}\n\n",
            with(form.marks),
            description(&form.schema)
        ));
        table(lines);
    }
    print(
        "\nEvery kind also takes `when`, `over`, `rounds` with `becomes`, `priority`, `mutex`, `retry`, `timeout_s`, `resources` and `isolate`.\n",
    );
    Ok(Exit::Ok)
}

pub(crate) fn schema() -> Result<Exit, Failure> {
    print_json(&flow_nodes::registry().workflow_schema())?;
    Ok(Exit::Ok)
}

fn all_kinds(kinds: Vec<(&'static str, FormSchema)>, as_json: bool) -> Result<Exit, Failure> {
    if as_json {
        let lines = kinds
            .iter()
            .map(|(kind, form)| json!({ "kind": kind, "given": form.marks, "about": description(&form.schema) }));
        print_json(&json!({ "version": 1, "kinds": lines.collect::<Vec<_>>() }))?;
        return Ok(Exit::Ok);
    }
    let row =
        |(kind, form): &(&str, FormSchema)| vec![(*kind).to_owned(), form.marks.join(", "), description(&form.schema)];
    print_table(&["kind", "given", "what it is"], kinds.iter().map(row).collect());
    print(
        "\nThe parameters of one: flow kinds KIND. Some of their values have parameters of their own: flow kinds pretext simclr\n",
    );
    Ok(Exit::Ok)
}

fn with(marks: &[&str]) -> String {
    if marks.is_empty() {
        return String::new();
    }
    let marks: Vec<String> = marks.iter().map(|mark| format!("`{mark}`")).collect();
    format!(" with {}", marks.join(" or "))
}

fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().to_owned()
}

/// A line of the table.
struct Parameter {
    name: String,
    what: String,
    default: String,
    meaning: String,
}

fn table(lines: Vec<Parameter>) {
    let rows = lines.into_iter().map(|p| vec![p.name, p.what, p.default, p.meaning]);
    print_table(&["parameter", "type", "default", "meaning"], rows.collect());
}

/// The parameters in a schema, those of tables under dotted names. Of a table that is one of several, distinguished by a word
/// (`method = "simclr"`), all are listed; or with `wanted` only that one. `wanted` may be a parameter as well.
fn parameters(schema: &Value, prefix: &str, wanted: Option<&str>, lines: &mut Vec<Parameter>) {
    for variant in variants(schema) {
        let Some(properties) = variant["properties"].as_object() else {
            continue;
        };
        let word = word_of(properties);
        let is_wanted = match (wanted, &word) {
            (None, _) => true,
            (Some(wanted), Some((_, word))) => wanted == word.as_str(),
            (Some(_), None) => false,
        };
        if is_wanted && let Some((key, word)) = &word {
            lines.push(Parameter {
                name: format!("{prefix}{key} = \"{word}\""),
                what: String::new(),
                default: String::new(),
                meaning: description(variant),
            });
        }
        let required: Vec<&str> = variant["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let indent = if word.is_some() { "  " } else { "" };
        for (key, property) in properties
            .iter()
            .filter(|(_, property)| property.get("const").is_none())
        {
            let name = format!("{indent}{prefix}{key}");
            let named = wanted.is_some_and(|wanted| wanted == key);
            if is_wanted || named {
                lines.push(Parameter {
                    name: name.clone(),
                    what: what(property),
                    default: default(property, required.contains(&key.as_str())),
                    meaning: description(property),
                });
            }
            let inner = if is_wanted || named { None } else { wanted };
            parameters(inside(property), &format!("{indent}{prefix}{key}."), inner, lines);
        }
    }
}

/// The schema of what is in a list, or of the thing itself.
fn inside(schema: &Value) -> &Value {
    match &schema["items"] {
        items @ Value::Object(_) => items,
        _ => schema,
    }
}

/// The tables that a schema can be: itself, or each of several.
fn variants(schema: &Value) -> Vec<&Value> {
    let several = ["oneOf", "anyOf", "allOf"]
        .into_iter()
        .filter_map(|key| schema[key].as_array());
    let several: Vec<&Value> = several.flatten().flat_map(variants).collect();
    if several.is_empty() { vec![schema] } else { several }
}

/// The key and the word that tell a table from its siblings.
fn word_of(properties: &Map<String, Value>) -> Option<(String, String)> {
    properties
        .iter()
        .find_map(|(key, property)| Some((key.clone(), property["const"].as_str()?.to_owned())))
}

fn variant_names(schema: &Value, names: &mut Vec<String>) {
    for variant in variants(schema) {
        let Some(properties) = variant["properties"].as_object() else {
            continue;
        };
        names.extend(word_of(properties).map(|(_, word)| word));
        for (key, property) in properties {
            names.push(key.clone());
            variant_names(inside(property), names);
        }
    }
}

/// A type in words, with its range.
fn what(schema: &Value) -> String {
    let words: Vec<&str> = schema["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !words.is_empty() {
        return words
            .iter()
            .map(|word| format!("\"{word}\""))
            .collect::<Vec<_>>()
            .join(" | ");
    }
    let several: Vec<&Value> = ["oneOf", "anyOf"]
        .into_iter()
        .filter_map(|key| schema[key].as_array())
        .flatten()
        .collect();
    if !several.is_empty() {
        let mut all: Vec<String> = Vec::new();
        for one in several.into_iter().map(what).filter(|one| !one.is_empty()) {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        return all.join(" | ");
    }
    if let Some(word) = schema["const"].as_str() {
        return format!("\"{word}\"");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let name = |kind: &str| match (kind, schema["format"].as_str()) {
        ("string", Some("node")) => "a node's name".to_owned(),
        ("string", Some("path")) => "path".to_owned(),
        ("integer", _) => format!("integer{}", range(schema)),
        ("number", _) => format!("number{}", range(schema)),
        ("boolean", _) => "true | false".to_owned(),
        ("array", _) => format!("list of {}", what(&schema["items"])),
        ("object", _) => "table".to_owned(),
        (other, _) => other.to_owned(),
    };
    types
        .into_iter()
        .filter(|kind| *kind != "null")
        .map(name)
        .collect::<Vec<_>>()
        .join(" | ")
}

/// ` from 0 to 1`, ` above 0`; nothing where the type says it.
fn range(schema: &Value) -> String {
    let low = match (&schema["minimum"], &schema["exclusiveMinimum"]) {
        (_, Value::Number(low)) => format!(" above {low}"),
        (Value::Number(low), _) => format!(" from {low}"),
        _ => String::new(),
    };
    let high = match (&schema["maximum"], &schema["exclusiveMaximum"]) {
        (_, Value::Number(high)) => format!(" below {high}"),
        (Value::Number(high), _) => format!(" to {high}"),
        _ => String::new(),
    };
    low + &high
}

/// The default as it would be written; nothing for what may be left out, `required` for what may not.
fn default(schema: &Value, required: bool) -> String {
    match &schema["default"] {
        Value::Null if required => "required".to_owned(),
        Value::Null => String::new(),
        Value::Object(table) => {
            let inner = table
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{key} = {value}"));
            format!("{{ {} }}", inner.collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}
