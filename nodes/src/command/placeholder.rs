//! `{inputs.data}` and the like in a command's arguments.

use std::collections::BTreeMap;

use serde_json::Value;

/// What may stand in braces, with its text.
pub(super) struct Placeholders(BTreeMap<String, String>);

/// A placeholder that is none.
#[derive(Debug, PartialEq)]
pub(super) struct UnknownPlaceholder {
    pub(super) message: String,
    pub(super) help: String,
}

impl Placeholders {
    pub(super) fn new<T>(inputs: &BTreeMap<String, T>, params: &BTreeMap<String, Value>, threads: usize) -> Self {
        let mut known = BTreeMap::from([
            ("outputs".to_owned(), super::stage::OUTPUTS.to_owned()),
            ("threads".to_owned(), threads.to_string()),
        ]);
        known.extend(
            inputs
                .keys()
                .map(|name| (format!("inputs.{name}"), format!("{}/{name}", super::stage::INPUTS))),
        );
        known.extend(params.iter().map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (format!("params.{name}"), text)
        }));
        Self(known)
    }

    /// The argument with its placeholders filled in. `{{` and `}}` stand for a brace.
    pub(super) fn fill(&self, argument: &str) -> Result<String, UnknownPlaceholder> {
        let mut filled = String::with_capacity(argument.len());
        let mut rest = argument;
        while let Some(at) = rest.find(['{', '}']) {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{{") {
                filled.push('{');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("}}") {
                filled.push('}');
                rest = after;
            } else {
                let inside = rest.strip_prefix('{').and_then(|r| r.split_once('}'));
                let text = inside.and_then(|(name, _)| self.0.get(name));
                let (Some((_, after)), Some(text)) = (inside, text) else {
                    let known: Vec<String> = self.0.keys().map(|name| format!("{{{name}}}")).collect();
                    return Err(UnknownPlaceholder {
                        message: format!("`{argument}` has a brace that begins no placeholder"),
                        help: format!("write one of {}, or `{{{{` and `}}}}` for braces", known.join(", ")),
                    });
                };
                filled.push_str(text);
                rest = after;
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn placeholders() -> Placeholders {
        let inputs = BTreeMap::from([("data".to_owned(), "images")]);
        let params = BTreeMap::from([("lr".to_owned(), json!(0.1)), ("name".to_owned(), json!("a b"))]);
        Placeholders::new(&inputs, &params, 2)
    }

    #[test]
    fn inputs_outputs_params_and_threads_are_filled_in_and_doubled_braces_are_braces() {
        let filled = placeholders().fill("--{inputs.data}/x {outputs}/y {params.lr} {params.name} {threads} {{z}}");
        assert_eq!(filled.as_deref(), Ok("--inputs/data/x outputs/y 0.1 a b 2 {z}"));
    }

    #[test]
    fn an_unknown_placeholder_is_told_what_there_is() {
        for wrong in ["{inputs.other}", "{", "}", "{outputs"] {
            let error = placeholders().fill(wrong).expect_err("no such placeholder");
            assert!(error.help.contains("{inputs.data}"), "{}", error.help);
        }
    }
}
