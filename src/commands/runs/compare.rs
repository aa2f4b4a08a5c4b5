//! `flow runs compare`: node by node, parameters and metrics that differ.

use std::collections::{BTreeMap, BTreeSet};

use flow_cache::name::without_bindings;
use flow_cache::{Access, Record, Store};
use flow_engine::{NodeOutcome, Run};
use serde_json::{Value, json};

use crate::cli::Cli;
use crate::exit::Failure;
use crate::output::{print, print_json_lines};

/// Columns of a terminal, and letters of what is shown of a name and of a value, at most.
const COLUMNS: usize = 80;
const NAME: usize = 32;
const VALUE: usize = 14;

/// What differs in one instance.
enum Difference {
    /// Whether it is there.
    There(bool, bool),
    /// A parameter's values; none where it is not given.
    Parameter(String, [Option<Value>; 2]),
    /// A metric's values; none where it was not measured.
    Metric(String, [Option<f64>; 2]),
}

pub(super) fn compare(cli: &Cli, a: &Run, b: &Run, all: bool, json: bool) -> Result<(), Failure> {
    // Parameters are in the cache's records; without them, metrics can still be compared.
    let store = Store::open(&cli.cache, Access::ReadOnly).ok();
    let nodes = |run: &'_ Run| run.summary.as_ref().map_or_else(Vec::new, |s| s.nodes.clone());
    let (of_a, of_b) = (nodes(a), nodes(b));
    let names: BTreeSet<&str> = of_a.iter().chain(&of_b).map(|n| n.name.as_str()).collect();
    let mut found: Vec<(&str, Vec<Difference>)> = Vec::new();
    for name in names {
        let named = |nodes: &'_ [NodeOutcome]| nodes.iter().find(|node| node.name == name).cloned();
        let differences = differences(store.as_ref(), [named(&of_a), named(&of_b)], all);
        found.push((name, differences));
    }
    if json {
        let shown = found.iter().filter(|(_, differences)| all || !differences.is_empty());
        return print_json_lines(shown.map(|(name, differences)| {
            json!({ "version": 1, "node": name, "differences": differences.iter().map(as_json).collect::<Vec<_>>() })
        }));
    }
    let text = text([&a.id, &b.id], &found);
    print(if text.is_empty() {
        "the runs have the same parameters and metrics\n"
    } else {
        &text
    });
    Ok(())
}

fn differences(store: Option<&Store>, nodes: [Option<NodeOutcome>; 2], all: bool) -> Vec<Difference> {
    let mut found = Vec::new();
    let there = nodes.each_ref().map(Option::is_some);
    if there != [true, true] {
        found.push(Difference::There(there[0], there[1]));
    }
    let record = |node: &Option<NodeOutcome>| -> Option<Record> { store?.record(&node.as_ref()?.key?).ok()? };
    if let [Some(a), Some(b)] = nodes.each_ref().map(record) {
        let changes = a.components.diff(&b.components).into_iter();
        let parameters = changes.filter(|change| change.name.starts_with("param"));
        found.extend(parameters.map(|change| Difference::Parameter(change.name, [change.old, change.new])));
    }
    let metrics: BTreeSet<&String> = nodes.iter().flatten().flat_map(|node| node.metrics.keys()).collect();
    for metric in metrics {
        let values = nodes
            .each_ref()
            .map(|node| node.as_ref().and_then(|node| node.metrics.get(metric).copied()));
        if all || values[0] != values[1] {
            found.push(Difference::Metric(metric.clone(), values));
        }
    }
    found
}

/// The cells of a line: what, both values, and how much more the second is.
type Cells = [String; 4];

fn cells(difference: &Difference) -> Cells {
    let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), Value::to_string);
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let there = |there: bool| if there { "there" } else { "-" }.to_owned();
    match difference {
        Difference::There(a, b) => ["node".into(), there(*a), there(*b), String::new()],
        Difference::Parameter(name, [a, b]) => [name.clone(), text(a), text(b), String::new()],
        Difference::Metric(name, [a, b]) => {
            let more = a.zip(*b).map_or_else(String::new, |(a, b)| format!("{:+.4}", b - a));
            [format!("metrics.{name}"), number(*a), number(*b), more]
        }
    }
}

fn as_json(difference: &Difference) -> Value {
    let [what, a, b, delta] = cells(difference);
    json!({ "what": what, "a": a, "b": b, "delta": delta })
}

/// Instances of a node together: what is the same of several stands once, of metrics the mean. Empty where nothing differs.
fn text(runs: [&str; 2], found: &[(&str, Vec<Difference>)]) -> String {
    let mut nodes: Vec<(&str, Vec<&Vec<Difference>>)> = Vec::new();
    for (name, differences) in found.iter().filter(|(_, differences)| !differences.is_empty()) {
        let base = without_bindings(name);
        match nodes.iter_mut().find(|(known, _)| *known == base) {
            Some((_, all)) => all.push(differences),
            None => nodes.push((base, vec![differences])),
        }
    }
    let mut blocks: Vec<(String, Vec<Cells>)> = Vec::new();
    for (base, instances) in nodes {
        let title = match instances.len() {
            1 => base.to_owned(),
            several => format!("{base} x {several}"),
        };
        blocks.push((title, together(&instances)));
    }
    if blocks.is_empty() {
        return String::new();
    }
    // The short end of an id says which run it is.
    let ids = runs.map(|id| id.rsplit('-').next().unwrap_or(id).to_owned());
    let [a, b] = ids;
    let mut lines = laid_out(&[[String::new(), a, b, "difference".into()]]);
    for (title, rows) in blocks {
        lines += &format!("{}\n{}", cut(&title, COLUMNS), laid_out(&rows));
    }
    lines
}

/// The lines of all instances of a node.
fn together(instances: &[&Vec<Difference>]) -> Vec<Cells> {
    let mut lines: Vec<Cells> = Vec::new();
    let mut metrics: BTreeMap<&str, Vec<[Option<f64>; 2]>> = BTreeMap::new();
    for difference in instances.iter().flat_map(|all| all.iter()) {
        match difference {
            Difference::Metric(name, values) => metrics.entry(name).or_default().push(*values),
            other => {
                let line = cells(other);
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
    }
    for (name, values) in metrics {
        let mean = |of: usize| {
            let known: Vec<f64> = values.iter().filter_map(|pair| pair[of]).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        lines.push(cells(&Difference::Metric(name.to_owned(), [mean(0), mean(1)])));
    }
    lines
}

fn laid_out(rows: &[Cells]) -> String {
    let line = |[what, a, b, more]: &Cells| {
        let [a, b] = [a, b].map(|value| cut(value, VALUE));
        let line = format!("  {:NAME$}  {a:>VALUE$}  {b:>VALUE$}  {more}", cut(what, NAME));
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

/// Text shortened to a number of letters.
fn cut(text: &str, letters: usize) -> String {
    match text.chars().count() > letters {
        true => text.chars().take(letters - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_stand_together_and_no_line_is_wider_than_a_terminal() {
        let metric = |name: &str, a: f64, b: f64| Difference::Metric(name.into(), [Some(a), Some(b)]);
        let lr = || Difference::Parameter("param.lr".into(), [Some(0.05.into()), Some(0.1.into())]);
        let long = "cluster_accuracy.of.an.encoder.with.a.long.name";
        let found = [
            ("scratch[labels=40,seed=0]", vec![lr(), metric("accuracy", 0.5, 0.6)]),
            ("scratch[labels=40,seed=1]", vec![lr(), metric("accuracy", 0.7, 0.6)]),
            ("same", Vec::new()),
            (
                "probe",
                vec![
                    metric(long, -12345.678, 0.0),
                    Difference::Parameter("param.recipe".into(), [Some("x".repeat(200).into()), None]),
                    Difference::There(true, false),
                ],
            ),
        ];
        let text = text(["20261127-1-two-0a1b2c", "20261127-2-two-3d4e5f"], &found);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        insta::assert_snapshot!(text);
    }
}
