//! The bindings that the instances of one node have, and how those of several inputs join.
//!
//! A node has one instance for every binding in the natural join of its own variables' combinations with the bindings
//! of its inputs: it is expanded by what it uses, itself or through its inputs, and by nothing else.

use std::collections::{BTreeSet, HashMap};

use super::variables::Binding;

/// Bindings by what they have in common with those that they are joined to.
type Groups<'a> = HashMap<Binding, Vec<&'a Binding>>;

/// Instances by binding. Where a port gathers, the gathered variables are taken out of the bindings first, and several
/// instances share one.
#[derive(Debug, Default)]
pub(crate) struct Relation {
    /// The one instance of a node without variables: it goes with every binding, and nothing else is kept of it.
    alone: Option<usize>,
    by_binding: HashMap<Binding, Vec<usize>>,
    /// Which variables are bound: one entry for each way in which it happens, as a rule only one.
    shapes: BTreeSet<Vec<bool>>,
}

impl Relation {
    /// `instances` are the ids with their bindings, in the matrix's order; only variables in `keep` are looked at.
    pub(crate) fn new<'a>(instances: impl Iterator<Item = (usize, &'a Binding)>, keep: &[bool]) -> Self {
        let mut relation = Self::default();
        let mut instances = instances.map(|(id, binding)| (id, binding.only(keep))).peekable();
        if let Some((id, _)) = instances.next_if(|(_, binding)| binding.is_free()) {
            if instances.peek().is_none() {
                relation.alone = Some(id);
                return relation;
            }
            relation.add(id, Binding::free(keep.len()));
        }
        for (id, binding) in instances {
            relation.add(id, binding);
        }
        relation
    }

    fn add(&mut self, id: usize, binding: Binding) {
        self.shapes.insert(binding.bound());
        self.by_binding.entry(binding).or_default().push(id);
    }

    /// Whether any instance is bound to that variable.
    pub(crate) fn binds(&self, variable: usize) -> bool {
        self.shapes.iter().any(|shape| shape[variable])
    }

    /// The instances of which the bindings agree with `binding` and bind nothing else, in the matrix's order.
    pub(crate) fn matching(&self, binding: &Binding) -> Vec<usize> {
        if let Some(id) = self.alone {
            return vec![id];
        }
        let mut found: Vec<usize> = self
            .shapes
            .iter()
            .filter_map(|shape| self.by_binding.get(&binding.only(shape)))
            .flatten()
            .copied()
            .collect();
        found.sort_unstable();
        found
    }

    /// Joins bindings with those of this relation: every pair that agrees on what both bind. Gives up soon after `most`:
    /// two inputs with many values each multiply.
    pub(crate) fn join(&self, bindings: Vec<Binding>, most: usize) -> Vec<Binding> {
        if self.alone.is_some() {
            return bindings;
        }
        let mut grouped: HashMap<(&[bool], Vec<bool>), Groups<'_>> = HashMap::new();
        let widest = self.widest();
        let mut joined = Vec::with_capacity(bindings.len());
        for binding in &bindings {
            if joined.len() > most {
                break;
            }
            let bound = binding.bound();
            for shape in &self.shapes {
                let common: Vec<bool> = bound.iter().zip(shape).map(|(a, b)| *a && *b).collect();
                let key = binding.only(&common);
                if common == *shape {
                    joined.extend(widest.contains(&key).then(|| binding.clone()));
                    continue;
                }
                let groups = grouped.entry((shape, common.clone())).or_insert_with(|| {
                    let mut groups: Groups<'_> = HashMap::new();
                    for candidate in widest.iter().filter(|w| w.bound() == *shape) {
                        groups.entry(candidate.only(&common)).or_default().push(candidate);
                    }
                    groups
                });
                joined.extend(groups.get(&key).into_iter().flatten().map(|other| binding.join(other)));
            }
        }
        joined
    }

    /// The bindings that no other binding here extends.
    fn widest(&self) -> BTreeSet<&Binding> {
        let mut widest: BTreeSet<&Binding> = self.by_binding.keys().collect();
        if self.shapes.len() > 1 {
            for shape in &self.shapes {
                let wider = self.by_binding.keys().filter(|b| {
                    let bound = b.bound();
                    bound != *shape && bound.iter().zip(shape).all(|(wide, narrow)| *wide || !*narrow)
                });
                for binding in wider {
                    widest.remove(&binding.only(shape));
                }
            }
        }
        widest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(values: &[Option<u32>]) -> Binding {
        Binding(values.into())
    }

    #[test]
    fn inputs_with_other_variables_multiply_and_with_the_same_agree() {
        let seeds = [binding(&[Some(0), None]), binding(&[Some(1), None])];
        let relation = Relation::new(seeds.iter().enumerate(), &[true, true]);
        let arms = vec![binding(&[None, Some(0)]), binding(&[None, Some(1)])];
        assert_eq!(relation.join(arms, 9).len(), 4);
        assert_eq!(
            relation.join(vec![binding(&[Some(1), Some(0)])], 9),
            vec![binding(&[Some(1), Some(0)])]
        );
    }

    #[test]
    fn gathered_variables_do_not_bind() {
        let seeds = [binding(&[Some(0), Some(3)]), binding(&[Some(1), Some(3)])];
        let relation = Relation::new(seeds.iter().enumerate(), &[false, true]);
        let joined = relation.join(vec![binding(&[None, None])], 9);
        assert_eq!(joined, vec![binding(&[None, Some(3)])]);
        assert_eq!(relation.matching(&joined[0]), vec![0, 1]);
    }
}
