//! Which classes of a data set are meant: by name, or by place.

use flow_engine::node::ParamError;
use flow_engine::workflow::suggest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::at_with;

/// One class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a class's name, or its number from 0")]
pub(crate) enum ClassRef {
    /// By its place among the data set's classes, from 0.
    Place(usize),
    /// By its name.
    Name(String),
}

/// The places of the classes meant, in the order written, which becomes their new order.
///
/// # Errors
/// At `classes[i]` for a class that is not there or is named twice, at `classes` if there are fewer than two.
pub(crate) fn places(wanted: &[ClassRef], names: &[String]) -> Result<Vec<usize>, ParamError> {
    let mut places = Vec::with_capacity(wanted.len());
    for (i, class) in wanted.iter().enumerate() {
        let place = place(class, names).map_err(|(message, help)| at_with(format!("classes[{i}]"), message, help))?;
        if places.contains(&place) {
            let message = format!("class `{}` is named twice", names[place]);
            return Err(at_with(format!("classes[{i}]"), message, "leave one of them out"));
        }
        places.push(place);
    }
    if places.len() < 2 {
        let message = format!("{} class(es) found, expected at least 2", places.len());
        return Err(at_with(
            "classes",
            message,
            "with one class there is nothing to classify",
        ));
    }
    Ok(places)
}

fn place(class: &ClassRef, names: &[String]) -> Result<usize, (String, String)> {
    match class {
        ClassRef::Name(name) => names.iter().position(|known| known == name).ok_or_else(|| {
            let help = suggest(name, "classes", names.iter().map(String::as_str));
            (format!("the data set has no class `{name}`"), help)
        }),
        ClassRef::Place(place) if *place < names.len() => Ok(*place),
        ClassRef::Place(place) => {
            let help = format!("they are numbered from 0 to {}", names.len().saturating_sub(1));
            Err((format!("the data set has no class {place}"), help))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: serde_json::Value) -> Result<Vec<usize>, String> {
        let names = ["trouser", "bag", "coat"].map(str::to_owned);
        let wanted: Vec<ClassRef> = serde_json::from_value(wanted).expect("names and numbers");
        places(&wanted, &names).map_err(|e| format!("{}: {} ({})", e.key, e.message, e.help.unwrap_or_default()))
    }

    #[test]
    fn classes_are_meant_by_name_or_place_and_keep_the_order_written() {
        assert_eq!(chosen(serde_json::json!(["coat", 0])), Ok(vec![2, 0]));
    }

    #[test]
    fn what_is_not_there_or_there_twice_is_told_with_its_place() {
        let refused = |wanted| chosen(wanted).expect_err("refused");
        let text = refused(serde_json::json!(["bag", "trousers"]));
        assert!(
            text.starts_with("classes[1]") && text.contains("did you mean `trouser`"),
            "{text}"
        );
        assert!(refused(serde_json::json!([0, 3])).contains("from 0 to 2"));
        assert!(refused(serde_json::json!(["bag", 1])).contains("twice"));
        assert!(refused(serde_json::json!(["bag"])).contains("at least 2"));
    }
}
