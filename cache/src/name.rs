//! Names of a workflow's nodes as people write them: `student`, `student@2`, `student[lr=0.1,seed=0]`.
//!
//! What is left out stands for all there is: `student` for all its instances and rounds, `student[seed=0]` for those with that seed. The
//! order of bindings does not matter, nor how a value is written: `1e-1` is `0.1`, and a text may stand in quotes.

/// A name, taken apart.
#[derive(Debug, PartialEq)]
pub struct Name<'a> {
    base: &'a str,
    round: Option<&'a str>,
    bindings: Vec<(&'a str, &'a str)>,
}

impl<'a> Name<'a> {
    /// Takes a name apart; `None` if it is none, like a query.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (head, bindings) = match text.strip_suffix(']') {
            Some(open) => {
                let (head, inner) = open.split_once('[')?;
                (head, bindings(inner)?)
            }
            None => (text, Vec::new()),
        };
        let (base, round) = match head.split_once('@') {
            Some((base, round)) => (base, Some(round)),
            None => (head, None),
        };
        let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
        (plain(base) && round.is_none_or(plain)).then_some(Self { base, round, bindings })
    }

    /// The node's own name, without round and bindings.
    pub fn base(&self) -> &'a str {
        self.base
    }

    /// The round of a node that has several.
    pub fn round(&self) -> Option<&'a str> {
        self.round
    }

    /// The values of its variables.
    pub fn bindings(&self) -> &[(&'a str, &'a str)] {
        &self.bindings
    }

    /// Whether it says all that this instance's name says.
    pub fn is(&self, instance: &Self) -> bool {
        self.stands_for(instance) && instance.stands_for(self)
    }

    /// Whether this instance is one of those that it stands for.
    pub fn stands_for(&self, instance: &Self) -> bool {
        let bound = |(name, value): &(&str, &str)| {
            let mut theirs = instance.bindings.iter();
            theirs.any(|(theirs, other)| theirs == name && is_same(value, other))
        };
        self.base == instance.base
            && (self.round.is_none() || self.round == instance.round)
            && self.bindings.iter().all(bound)
    }
}

/// An instance's name without the values of its variables: `fit@2` of `fit@2[seed=0]`.
pub fn without_bindings(name: &str) -> &str {
    name.split_once('[').map_or(name, |(node, _)| node)
}

/// Of those that fit a name, those that it names exactly, or else all that it stands for.
pub fn select<'n, T>(text: &str, all: Vec<T>, names: impl Fn(&T) -> Vec<&'n str>) -> Vec<T> {
    let Some(wanted) = Name::parse(text) else {
        return all.into_iter().filter(|one| names(one).contains(&text)).collect();
    };
    let any = |one: &T, fits: &dyn Fn(&Name<'_>) -> bool| {
        let names = names(one);
        names.contains(&text) || names.into_iter().filter_map(Name::parse).any(|name| fits(&name))
    };
    let (exact, others): (Vec<T>, Vec<T>) = all.into_iter().partition(|one| any(one, &|name| wanted.is(name)));
    if !exact.is_empty() {
        return exact;
    }
    let stands = others
        .into_iter()
        .filter(|one| any(one, &|name| wanted.stands_for(name)));
    stands.collect()
}

/// `lr=0.1, seed=0`; `None` if it begins with something else. A comma may stand in quotes or brackets, or in a value that is distinguished from
/// the next binding by what follows it.
fn bindings(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut bindings: Vec<(&str, usize, usize)> = Vec::new();
    let mut start = 0;
    for end in commas(text) {
        match text[start..end].split_once('=') {
            Some((name, _)) => bindings.push((name.trim(), start + name.len() + 1, end)),
            None => bindings.last_mut()?.2 = end,
        }
        start = end + 1;
    }
    let value = |(name, from, to)| (name, unquoted(text[from..to].trim()));
    Some(bindings.into_iter().map(value).collect())
}

/// Where the commas are that are not in quotes or brackets, and the end.
fn commas(text: &str) -> Vec<usize> {
    let (mut depth, mut quote, mut places) = (0_usize, None, Vec::new());
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(open)) => quote = (c != open).then_some(open),
            ('"' | '\'', None) => quote = Some(c),
            ('[' | '{' | '(', None) => depth += 1,
            (']' | '}' | ')', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => places.push(at),
            _ => {}
        }
    }
    places.push(text.len());
    places
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

fn is_same(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    match (a.parse::<i128>(), b.parse::<i128>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a.parse::<f64>().is_ok_and(|a| b.parse() == Ok(a)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(text: &str, names: &[&'a str]) -> Vec<&'a str> {
        select(text, names.to_vec(), |name| vec![*name])
    }

    #[test]
    fn bindings_come_in_any_order_and_spelling() {
        let names = ["fit[lr=0.1,seed=0]", "fit[lr=0.1,seed=1]", "fit[lr=0.01,seed=0]"];
        for text in [
            "fit[lr=0.1,seed=0]",
            "fit[seed=0,lr=1e-1]",
            "fit[ lr = 0.10 , seed = 0.0 ]",
            "fit[lr=\"0.1\",seed='0']",
        ] {
            assert_eq!(found(text, &names), ["fit[lr=0.1,seed=0]"], "{text}");
        }
        assert!(found("fit[lr=0.1,seed=2]", &names).is_empty());
        assert!(found("fit[lr=0.1,sed=0]", &names).is_empty());
        assert_eq!(found("n[x=9007199254740993]", &["n[x=9007199254740992]"]).len(), 0);
    }

    #[test]
    fn what_is_left_out_stands_for_all_there_is_unless_something_has_just_that_name() {
        let names = ["s@1[seed=0]", "s@1[seed=1]", "s@2[seed=0]", "t", "t[seed=0]", "sum"];
        assert_eq!(found("s", &names).len(), 3);
        assert_eq!(found("s[seed=0]", &names), ["s@1[seed=0]", "s@2[seed=0]"]);
        assert_eq!(found("s@1", &names), ["s@1[seed=0]", "s@1[seed=1]"]);
        assert_eq!(found("t", &names), ["t"]);
        assert!(found("", &names).is_empty() && found("s@", &names).is_empty());
    }

    #[test]
    fn values_may_hold_what_names_are_written_with() {
        let names = [
            "n[path=a,b/c,seed=0]",
            "n[path=[1, 2],seed=0]",
            "n[path=x=y,seed=0]",
            "n[path=]],seed=0]",
        ];
        for name in names {
            assert_eq!(found(name, &names), [name]);
        }
        assert_eq!(found("n[seed=0,path=\"a,b/c\"]", &names), [names[0]]);
        assert_eq!(found("n[path=x=y]", &names), [names[2]]);
    }

    #[test]
    fn a_query_is_no_name() {
        for query in [
            "node = s",
            "kind=finetune",
            "age<2",
            "node ~ s[",
            "a and b[c=1]",
            "[x=1]",
            "",
        ] {
            assert_eq!(Name::parse(query), None, "{query}");
        }
    }
}
