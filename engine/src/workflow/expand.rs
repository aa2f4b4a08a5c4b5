//! From templates to instances: each node once for every binding that it needs, joined to instances of its inputs.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::diagnose::{Diagnostics, Problem};
use super::instance::{Edge, Instance, InstancePort};
use super::relation::Relation;
use super::rounds::{Unit, Units};
use super::template::{Template, Variant};
use super::variables::{Binding, MAX_INSTANCES, Matrix};
use crate::node::{Port, Resources};

/// Expands all units. Instances come after their inputs.
///
/// # Errors
/// If a node depends on a variable that it gathers over, gathers nothing, or the matrix explodes.
pub(crate) fn expand(templates: &[Template], units: &Units, matrix: &Matrix) -> Result<Vec<Instance>, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let inputs = unit_inputs(templates, units);
    let Some(order) = order(&inputs) else {
        return Err(Problem::nowhere(
            "workflow::cycle",
            "a reference to a later round makes nodes depend on themselves",
        )
        .into());
    };
    let mut expansion = Expansion {
        templates,
        units,
        matrix,
        instances: Vec::with_capacity(units.all.len()),
        of_unit: vec![0..0; units.all.len()],
        exact: RefCell::default(),
    };
    for unit in order {
        if let Err(problem) = expansion.expand_unit(unit) {
            diagnostics.push(problem);
            return Err(diagnostics);
        }
    }
    if expansion.instances.is_empty() {
        let message = "no condition holds for any values of the matrix: there is nothing to run";
        diagnostics.push(Problem::nowhere("workflow::when", message));
    }
    diagnostics.ok(expansion.instances.into_iter().map(|(instance, _)| instance).collect())
}

/// The ports of a variant in that unit, with what is fed from the round before.
fn ports<'v>(unit: &Unit, variant: &'v Variant) -> Cow<'v, [Port]> {
    let Some((fed, name)) = &unit.fed else {
        return Cow::Borrowed(&variant.ports);
    };
    let mut ports = variant.ports.clone();
    ports
        .iter_mut()
        .filter(|p| p.name == fed)
        .for_each(|p| p.refs = vec![name.clone()]);
    Cow::Owned(ports)
}

/// The units that each unit takes, each once.
fn unit_inputs(templates: &[Template], units: &Units) -> Vec<Vec<usize>> {
    let inputs_of = |unit: &Unit| {
        let mut inputs = Vec::new();
        for variant in &templates[unit.template].variants {
            let ports = ports(unit, variant);
            let names = ports.iter().flat_map(|port| &port.refs);
            inputs.extend(names.filter_map(|name| units.meant(unit, templates, name)));
        }
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    };
    units.all.iter().map(inputs_of).collect()
}

/// Inputs before what uses them, otherwise as written; `None` on a cycle.
fn order(inputs: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut users = vec![Vec::new(); inputs.len()];
    let mut missing: Vec<usize> = inputs.iter().map(Vec::len).collect();
    for (unit, inputs) in inputs.iter().enumerate() {
        inputs.iter().for_each(|input| users[*input].push(unit));
    }
    let mut ready: BTreeSet<usize> = (0..inputs.len()).filter(|u| missing[*u] == 0).collect();
    let mut order = Vec::with_capacity(inputs.len());
    while let Some(unit) = ready.pop_first() {
        order.push(unit);
        for user in &users[unit] {
            missing[*user] -= 1;
            if missing[*user] == 0 {
                ready.insert(*user);
            }
        }
    }
    (order.len() == inputs.len()).then_some(order)
}

struct Expansion<'a> {
    templates: &'a [Template],
    units: &'a Units,
    matrix: &'a Matrix,
    instances: Vec<(Instance, Binding)>,
    /// The instances of each unit.
    of_unit: Vec<std::ops::Range<usize>>,
    /// The relations to units by all variables, which are the same for everyone who takes them.
    exact: RefCell<HashMap<usize, Rc<Relation>>>,
}

impl Expansion<'_> {
    fn expand_unit(&mut self, index: usize) -> Result<(), Problem> {
        let unit = &self.units.all[index];
        let template = &self.templates[unit.template];
        let over = self.over(template);
        let first = self.instances.len();
        let mut made: Vec<(Instance, Binding)> = Vec::new();
        let mut relations = Relations {
            expansion: self,
            gathered: HashMap::new(),
            over: &over,
        };
        let mut gathered = vec![false; over.len()];
        let mut tried = false;
        for variant in &template.variants {
            let ports = ports(unit, variant);
            if relations.is_absent(unit, &ports) {
                continue;
            }
            relations.check_over(template, variant, &ports, unit, &mut gathered)?;
            tried = true;
            let mut bindings = vec![variant.binding.clone()];
            for (port, target) in relations.targets(unit, &ports) {
                // One of several inputs that exists nowhere is left out.
                if relations.expansion.of_unit[target].is_empty() {
                    continue;
                }
                bindings = relations.of(port, target).join(bindings, MAX_INSTANCES);
                bindings = self.matrix.keep_allowed(bindings);
                if first + made.len() + bindings.len() > MAX_INSTANCES {
                    return Err(too_many(template));
                }
            }
            for binding in bindings {
                let instance = relations.instance(unit, variant, &ports, &binding);
                made.push((instance, binding));
            }
        }
        if made.is_empty() && tried {
            return Err(nothing_fits(template));
        }
        if !made.is_empty() {
            self.check_gathered(template, &gathered)?;
        }
        made.sort_by(|(_, a), (_, b)| a.cmp(b));
        self.of_unit[index] = first..first + made.len();
        self.instances.extend(made);
        Ok(())
    }

    /// A variable over which nothing is gathered is a slip.
    fn check_gathered(&self, template: &Template, gathered: &[bool]) -> Result<(), Problem> {
        let has_effect = |name: &str| self.matrix.index(name).is_none_or(|index| gathered[index]);
        match template.table.over.iter().find(|(variable, _)| !has_effect(variable)) {
            None => Ok(()),
            Some((variable, span)) => {
                let message = format!("nothing that `{}` gathers varies by `{variable}`", template.table.name);
                Err(Problem::at("workflow::over", span, message, "has no effect").help("remove it from `over`"))
            }
        }
    }

    /// Which variables the node gathers over.
    fn over(&self, template: &Template) -> Vec<bool> {
        self.matrix
            .names()
            .map(|name| template.table.over.iter().any(|(over, _)| over == name))
            .collect()
    }
}

/// The relations of one unit's inputs, each made once.
struct Relations<'a> {
    expansion: &'a Expansion<'a>,
    gathered: HashMap<usize, Rc<Relation>>,
    over: &'a [bool],
}

impl Relations<'_> {
    fn targets<'p>(&self, unit: &Unit, ports: &'p [Port]) -> Vec<(&'p Port, usize)> {
        let Expansion { units, templates, .. } = self.expansion;
        let named = ports
            .iter()
            .flat_map(|port| port.refs.iter().map(move |name| (port, name)));
        named
            .filter_map(|(port, name)| Some((port, units.meant(unit, templates, name)?)))
            .collect()
    }

    /// Whether a port has nothing to take because no condition of its inputs holds anywhere.
    fn is_absent(&self, unit: &Unit, ports: &[Port]) -> bool {
        let Expansion {
            units,
            templates,
            of_unit,
            ..
        } = self.expansion;
        let exists = |name: &String| {
            units
                .meant(unit, templates, name)
                .is_some_and(|target| !of_unit[target].is_empty())
        };
        ports
            .iter()
            .any(|port| !port.refs.is_empty() && !port.refs.iter().any(exists))
    }

    fn of(&mut self, port: &Port, target: usize) -> Rc<Relation> {
        let Expansion {
            instances,
            of_unit,
            exact,
            ..
        } = self.expansion;
        let make = |keep: &[bool]| {
            let range = of_unit[target].clone();
            Rc::new(Relation::new(range.map(|id| (id, &instances[id].1)), keep))
        };
        if port.gathers {
            let keep: Vec<bool> = self.over.iter().map(|over| !over).collect();
            Rc::clone(self.gathered.entry(target).or_insert_with(|| make(&keep)))
        } else {
            let keep = vec![true; self.over.len()];
            Rc::clone(exact.borrow_mut().entry(target).or_insert_with(|| make(&keep)))
        }
    }

    fn instance(&mut self, unit: &Unit, variant: &Variant, ports: &[Port], binding: &Binding) -> Instance {
        let Expansion {
            units,
            templates,
            matrix,
            ..
        } = *self.expansion;
        let mut bound = Vec::with_capacity(ports.len());
        for port in ports {
            let mut inputs = Vec::new();
            for (index, name) in port.refs.iter().enumerate() {
                let Some(target) = units.meant(unit, templates, name) else {
                    continue;
                };
                let ids = self.of(port, target).matching(binding);
                inputs.extend(ids.into_iter().map(|id| Edge {
                    instance: id,
                    node: name.clone(),
                    reference: index,
                }));
            }
            bound.push(InstancePort {
                name: port.name,
                accepts: port.accepts,
                names: port.names.clone(),
                labelled: port.labelled,
                partial: port.partial,
                inputs,
            });
        }
        Instance {
            name: matrix.label(&unit.name, binding),
            node_name: unit.name.clone(),
            template: unit.template,
            bindings: matrix.values(binding),
            node: Arc::clone(&variant.node),
            ports: bound,
            files: variant.files.clone(),
            policy: Arc::clone(&templates[unit.template].policy),
            kind_resources: Resources::default(),
            dir: templates[unit.template].table.dir.clone(),
            rounds_left: units.rounds_left(unit, &templates[unit.template].table.name),
            forced: false,
        }
    }

    /// A variable is either gathered over or expanded by, not both. Notes in `gathered` over which there is something to
    /// gather.
    fn check_over(
        &mut self,
        template: &Template,
        variant: &Variant,
        ports: &[Port],
        unit: &Unit,
        gathered: &mut [bool],
    ) -> Result<(), Problem> {
        if template.table.over.is_empty() {
            return Ok(());
        }
        let name = &template.table.name;
        let targets = self.targets(unit, ports);
        for (variable, span) in &template.table.over {
            let Some(index) = self.expansion.matrix.index(variable) else {
                continue;
            };
            for (port, target) in &targets {
                if port.gathers {
                    let Expansion { instances, of_unit, .. } = self.expansion;
                    let range = of_unit[*target].clone();
                    gathered[index] |= range.into_iter().any(|id| instances[id].1.0[index].is_some());
                } else if self.of(port, *target).binds(index) {
                    let message = format!(
                        "`{name}` gathers over `{variable}`, but its `{}` varies by it",
                        port.name
                    );
                    return Err(Problem::at("workflow::over", span, message, "gathered over")
                        .help(format!("give `{}` a node that does not use `{variable}`", port.name)));
                }
            }
            if variant.binding.0[index].is_some() {
                let message = format!("`{name}` gathers over `{variable}` and uses ${{{variable}}}");
                return Err(Problem::at("workflow::over", span, message, "gathered over").help("do one or the other"));
            }
        }
        Ok(())
    }
}

fn too_many(template: &Template) -> Problem {
    let message = format!("the matrix makes more than {MAX_INSTANCES} nodes");
    let label = format!("while expanding `{}`", template.table.name);
    Problem::at("workflow::too_many", &template.table.name_span, message, label).help("use fewer values or variables")
}

fn nothing_fits(template: &Template) -> Problem {
    let message = format!(
        "no combination of the matrix matches all inputs of `{}`",
        template.table.name
    );
    Problem::at(
        "workflow::no_instance",
        &template.table.name_span,
        message,
        "would never run",
    )
    .help("its inputs exist for different values of the same variable only")
}
