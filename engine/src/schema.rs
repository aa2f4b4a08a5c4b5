//! What workflows may say, as JSON Schema (draft 07) for editors, from the structs that read them and their docs.
//!
//! Three things are true of workflows that a struct does not know: every value may come from a variable (`"${labels}"`), what a
//! node leaves out may stand in `[defaults]`, and each node has keys that the engine reads (`when`, `resources`, ...).

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::registry::Registry;
use crate::workflow::ExecutionPolicy;

/// One form of a node kind, as `flow kinds` shows it.
#[derive(Clone, Debug)]
pub struct FormSchema {
    /// Parameters of which at least one is given in every node of this form; empty if it is the kind's only one.
    pub marks: &'static [&'static str],
    /// Its parameters as the JSON Schema of its struct, with docs, defaults, ranges and what is required. References are inlined.
    pub schema: Value,
}

/// The schema of a type, with everything that it refers to inside.
pub(crate) fn of<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft07();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let schema: Schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    let mut schema = schema.to_value();
    tidy(&mut schema);
    schema
}

impl Registry {
    /// The forms of a kind; none if there is no such kind.
    pub fn form_schemas(&self, kind: &str) -> Vec<FormSchema> {
        let forms = self.forms(kind).iter();
        forms
            .map(|form| FormSchema {
                marks: form.marks,
                schema: (form.schema)(),
            })
            .collect()
    }

    /// The JSON Schema of workflow files, draft 07.
    pub fn workflow_schema(&self) -> Value {
        let kinds = self.kinds();
        let policy = of::<ExecutionPolicy>()["properties"].clone();
        let mut defaults: Map<String, Value> = Map::new();
        let mut cases = Vec::new();
        for kind in &kinds {
            let forms: Vec<Value> = self.form_schemas(kind).into_iter().map(|form| form.schema).collect();
            let node: Vec<Value> = forms.iter().map(|form| node_schema(form, &policy)).collect();
            defaults.insert((*kind).to_owned(), json!({ "type": "object" }));
            let then = if let [only] = node.as_slice() {
                only.clone()
            } else {
                json!({ "anyOf": node })
            };
            cases.push(json!({
                "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] },
                "then": then,
            }));
        }
        json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "A workflow of flow",
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "include": {
                    "description": "Other workflow files whose sections are put before those of this one.",
                    "type": "array", "items": { "type": "string" }
                },
                "workflow": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "name": { "description": "Its name; that of the file if left out.", "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
                        "question": { "description": "What the workflow answers.", "type": "string" }
                    }
                },
                "variables": { "description": "Values that are used in several places, as `${name}`.", "type": "object" },
                "env": { "description": "Environment variables that the workflow reads, with their defaults.", "type": "object" },
                "matrix": {
                    "description": "Variables with several values: a node that uses one is made once for each value.",
                    "type": "object",
                    "additionalProperties": { "type": "array" }
                },
                "defaults": {
                    "description": "Parameters of nodes that do not say otherwise: for one kind in a table of its name, or for all that take them.",
                    "type": "object",
                    "properties": defaults
                },
                "nodes": {
                    "type": "object",
                    "propertyNames": { "pattern": "^[a-z][a-z0-9_-]{0,63}$" },
                    "additionalProperties": {
                        "type": "object",
                        "required": ["kind"],
                        "properties": { "kind": { "description": "What the node does.", "enum": kinds } },
                        "allOf": cases
                    }
                }
            }
        })
    }
}

/// The schema of a form as a node's table: variables, defaults and the engine's keys are possible in it.
fn node_schema(form: &Value, policy: &Value) -> Value {
    let mut node = form.clone();
    each_variant(&mut node, &mut |variant| {
        // What is missing may stand in [defaults]; what tells variants apart stays required.
        let told_by =
            |properties: &Map<String, Value>, key: &str| properties.get(key).is_some_and(|p| p.get("const").is_some());
        let properties = variant
            .get("properties")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        if let Some(Value::Array(required)) = variant.get_mut("required") {
            required.retain(|key| key.as_str().is_some_and(|key| told_by(&properties, key)));
        }
        let mut all = engine_keys(policy);
        for (key, property) in properties {
            let is_mark = property.get("const").is_some();
            all.insert(key, if is_mark { property } else { or_variable(property) });
        }
        variant.insert("properties".to_owned(), Value::Object(all));
        variant.insert("additionalProperties".to_owned(), false.into());
    });
    node
}

/// The keys of every node's table that are not its kind's.
fn engine_keys(policy: &Value) -> Map<String, Value> {
    let mut keys: Map<String, Value> = policy.as_object().cloned().unwrap_or_default();
    let own = json!({
        "kind": { "type": "string" },
        "when": { "description": "For which values of the matrix the node exists, e.g. `labels <= 100 and seed == 0`.", "type": "string" },
        "over": { "description": "The matrix variables over which its inputs are gathered.", "type": "array", "items": { "type": "string" } },
        "rounds": { "description": "How often it is repeated; `becomes` says what its result is to the next round.", "type": "integer", "minimum": 1, "maximum": 1000 },
        "becomes": { "description": "The parameter that names this node in the next round, as `node.port`.", "type": "string" }
    });
    keys.extend(own.as_object().cloned().unwrap_or_default());
    keys
}

/// Calls `change` for the object schema itself, or for each of its variants.
fn each_variant(schema: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Value::Object(object) = schema else { return };
    let mut is_leaf = true;
    for key in ["oneOf", "anyOf"] {
        if let Some(Value::Array(variants)) = object.get_mut(key) {
            variants.iter_mut().for_each(|variant| each_variant(variant, change));
            is_leaf = false;
        }
    }
    if is_leaf {
        change(object);
    }
}

/// A parameter's schema, or a string with a variable in it; the same of everything inside.
fn or_variable(mut property: Value) -> Value {
    each_variant(&mut property, &mut |variant| {
        let properties = variant.get_mut("properties").and_then(Value::as_object_mut);
        let properties = properties.into_iter().flat_map(Map::values_mut);
        for inner in properties.filter(|inner| inner.get("const").is_none()) {
            *inner = or_variable(inner.take());
        }
    });
    let Value::Object(mut object) = property else {
        return property;
    };
    for key in ["items", "additionalProperties"] {
        if let Some(inner @ Value::Object(_)) = object.get_mut(key) {
            *inner = or_variable(inner.take());
        }
    }
    if object.get("type") == Some(&"string".into()) && object.get("enum").is_none() {
        return Value::Object(object);
    }
    // Docs and defaults stay outside, where editors look for them.
    let mut outer = Map::new();
    for key in ["description", "default"] {
        if let Some(value) = object.remove(key) {
            outer.insert(key.to_owned(), value);
        }
    }
    let variable = json!({ "type": "string", "pattern": "\\$\\{" });
    outer.insert("anyOf".to_owned(), json!([object, variable]));
    Value::Object(outer)
}

/// Lines of a doc comment are lines of a paragraph; a default of an f32 is written as people write it.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = text
                    .replace("\n\n", "\u{0}")
                    .replace('\n', " ")
                    .replace('\u{0}', "\n\n")
                    .replace("[`", "`")
                    .replace("`]", "`");
            }
            if let Some(default) = object.get_mut("default") {
                narrow(default);
            }
            object.remove("title");
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// 0.10000000149011612 is the f32 0.1.
fn narrow(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let wide = number.as_f64().unwrap_or_default();
            let short = (wide as f32).to_string().parse::<f64>().unwrap_or(wide);
            if f64::from(wide as f32) == wide {
                *value = short.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(narrow),
        Value::Object(object) => object.values_mut().for_each(narrow),
        _ => {}
    }
}
