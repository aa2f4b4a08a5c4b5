//! "did you mean": the one rule by which a mistyped name finds the one that was meant, for workflows, queries and handles.

/// The name among `known` that was most likely meant by `found`; `None` if none is close enough.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| {
            (
                strsim::jaro_winkler(found, name),
                strsim::damerau_levenshtein(found, name),
                name,
            )
        })
        .filter(|(likeness, edits, name)| *edits < name.len() && (*likeness >= 0.8 || *edits <= 1.max(name.len() / 4)))
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.2.cmp(a.2)))
        .map(|(_, _, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_the_name_and_nonsense_finds_none() {
        let known = ["epochs", "batch_size", "seed"];
        assert_eq!(nearest("epoch", known), Some("epochs"));
        assert_eq!(nearest("sede", known), Some("seed"));
        assert_eq!(nearest("zzzzzz", known), None);
        assert_eq!(nearest("x", ["y"]), None, "nothing of it is the same");
    }
}
