//! What can be known before anything runs: whether ports fit, and what each kind says of its parameters and inputs.

use std::collections::BTreeMap;

use super::diagnose::{Diagnostics, Problem};
use super::instance::{Edge, Instance};
use super::template::Template;
use crate::node::{Facts, InputFact, InputFacts, ParamError, Spending, Spent};
use crate::secrets::Secrets;

/// As many nodes are named in an error.
const CANDIDATES: usize = 12;

/// What a node says of what its inputs cost, before anything runs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Account {
    /// The instance.
    pub node: String,
    /// Its words: a table.
    pub text: String,
}

/// Checks port types, then passes facts from inputs to outputs, and fills in what follows from the costs of nodes before. `instances` come after
/// their inputs.
///
/// # Errors
/// Every port that does not fit; or else every instance whose kind objects (those that depend on it are not asked).
pub(crate) fn check(instances: &mut [Instance], templates: &[Template]) -> Result<Vec<Account>, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    for instance in instances.iter() {
        check_types(instance, instances, &templates[instance.template], &mut diagnostics);
    }
    diagnostics.ok(())?;
    check_facts(instances, templates)
}

/// Names of instances are in everything that is written down, so no secret may be a part of one.
///
/// # Errors
/// The first name that has one in it.
pub(crate) fn no_secret_in_names(instances: &[Instance], secrets: &Secrets) -> Result<(), Diagnostics> {
    let told = |instance: &Instance| secrets.in_text(&instance.name).map(str::to_owned);
    match instances.iter().filter(|_| !secrets.is_empty()).find_map(told) {
        None => Ok(()),
        Some(secret) => {
            let message =
                format!("the secret `{secret}` is the value of a matrix variable, and would be part of names");
            let help = format!("use it in parameters only, or declare {secret} = {{ .., secret = false }} below [env]");
            Err(Problem::nowhere("workflow::secret", message).help(help).into())
        }
    }
}

fn check_types(instance: &Instance, all: &[Instance], template: &Template, diagnostics: &mut Diagnostics) {
    for port in &instance.ports {
        for edge in &port.inputs {
            let made = all[edge.instance].node.output();
            if port.accepts.contains(&made) {
                continue;
            }
            let taken: Vec<String> = port.accepts.iter().map(|t| format!("`{}`", t.0)).collect();
            let message = format!(
                "`{}` of `{}` takes {}, but `{}` makes `{}`",
                port.name,
                template.table.name,
                taken.join(" or "),
                edge.node,
                made.0
            );
            let mut fitting: Vec<&str> = all
                .iter()
                .filter(|i| port.accepts.contains(&i.node.output()))
                .map(|i| i.node_name.as_str())
                .collect();
            fitting.sort_unstable();
            fitting.dedup();
            fitting.retain(|name| *name != template.table.name);
            let help = match fitting.len() {
                0 => format!("no node of this workflow makes {}", taken.join(" or ")),
                1..=CANDIDATES => format!("candidates: `{}`", fitting.join("`, `")),
                n => format!(
                    "candidates: `{}` and {} more",
                    fitting[..CANDIDATES].join("`, `"),
                    n - CANDIDATES
                ),
            };
            let span = template.span_of_ref(port.name, edge.reference);
            let label = format!("a {} node", all[edge.instance].kind());
            diagnostics.push(Problem::at("workflow::port_type", &span, message, label).help(help));
        }
    }
}

fn check_facts(instances: &mut [Instance], templates: &[Template]) -> Result<Vec<Account>, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut spends: Vec<Option<Spending>> = Vec::with_capacity(instances.len());
    let mut known: Vec<Option<Facts>> = Vec::with_capacity(instances.len());
    for id in 0..instances.len() {
        let (spending, facts) = match input_facts(&instances[id], instances, &known) {
            Some(inputs) => match settle(id, &inputs, instances, &spends) {
                Ok((spending, facts)) => (spending, Some(facts)),
                Err(error) => {
                    let instance = &instances[id];
                    diagnostics.push(fact_problem(instance, &templates[instance.template], error));
                    (None, None)
                }
            },
            None => (None, None),
        };
        spends.push(spending);
        known.push(facts);
    }
    diagnostics.ok(())?;
    accounts(instances, templates, &spends)
}

/// Fills in what follows from the costs of nodes before, and asks what the node costs and what is known of what it makes.
fn settle(
    id: usize,
    inputs: &InputFacts,
    instances: &mut [Instance],
    spends: &[Option<Spending>],
) -> Result<(Option<Spending>, Facts), ParamError> {
    let spent = Spent {
        instance: &instances[id],
        all: instances,
        spends,
    };
    if let Some(settled) = instances[id].node.settled(&spent)? {
        instances[id].node = settled;
    }
    let node = &instances[id].node;
    let facts = node.facts(inputs)?;
    let spending = node.spends(inputs);
    instances[id].kind_resources = node.resources(inputs);
    Ok((spending, facts))
}

/// What the nodes with labelled ports say of what their inputs cost.
fn accounts(
    instances: &[Instance],
    templates: &[Template],
    spends: &[Option<Spending>],
) -> Result<Vec<Account>, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut accounts = Vec::new();
    for instance in instances.iter().filter(|instance| instance.has_labelled_port()) {
        let spent = Spent {
            instance,
            all: instances,
            spends,
        };
        match instance.node.account(&spent) {
            Ok(text) => accounts.extend(text.map(|text| Account {
                node: instance.name.clone(),
                text,
            })),
            Err(error) => diagnostics.push(fact_problem(instance, &templates[instance.template], error)),
        }
    }
    diagnostics.ok(accounts)
}

/// `None` if something that it depends on is wrong already.
fn input_facts(instance: &Instance, all: &[Instance], known: &[Option<Facts>]) -> Option<InputFacts> {
    let mut by_port = BTreeMap::new();
    for port in &instance.ports {
        let fact = |edge: &Edge| {
            let facts = known[edge.instance].clone()?;
            // As in `run`, names are for those to whom they mean something.
            let (node, bindings) = if port.labelled {
                (edge.node.clone(), all[edge.instance].bindings.clone())
            } else {
                Default::default()
            };
            let artifact = all[edge.instance].node.output();
            Some(InputFact {
                node,
                bindings,
                artifact,
                facts,
            })
        };
        by_port.insert(port.name, port.inputs.iter().map(fact).collect::<Option<Vec<_>>>()?);
    }
    Some(InputFacts::new(by_port, &instance.dir))
}

fn fact_problem(instance: &Instance, template: &Template, error: ParamError) -> Problem {
    let name = &template.table.name;
    let message = match error.key.as_str() {
        "" => format!("`{name}`: {}", error.message),
        key => format!("`{key}` of `{name}`: {}", error.message),
    };
    let label = if instance.bindings.is_empty() {
        String::new()
    } else {
        format!("in {}", instance.name)
    };
    Problem::at("workflow::parameter", &template.span_of(&error.key), message, label).maybe_help(error.help)
}
