//! Who gets which part of the machine, and when.
//!
//! The most urgent node that fits starts. One that does not fit yet keeps what is free of what it needs: less urgent nodes
//! may pass it, but not at its expense, so that it does not wait for ever.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::machine::Machine;
use crate::node::NodeError;
use crate::pools::Pools;
use crate::workflow::Instance;

/// What a node needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// The most CPU threads that it can use; one is enough to start.
    pub(crate) threads: usize,
    pub(crate) gpus: usize,
    pub(crate) memory: u64,
    pub(crate) mutex: Vec<String>,
}

impl Need {
    pub(crate) fn of(instance: &Instance) -> Self {
        let (kind, policy) = (instance.node.resources(), instance.policy());
        Self {
            threads: policy.resources.threads.unwrap_or(kind.max_threads).max(1),
            gpus: policy.resources.gpus.unwrap_or(kind.gpus),
            memory: policy.resources.memory.unwrap_or(kind.memory_bytes),
            mutex: policy.mutex.clone(),
        }
    }
}

/// What a running node has of a machine; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Grant<'a> {
    room: &'a Room,
    part: Part,
}

impl std::ops::Deref for Grant<'_> {
    type Target = Part;

    fn deref(&self) -> &Part {
        &self.part
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        self.room.slots().give_back(std::mem::take(&mut self.part));
    }
}

/// A part of a machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) threads: usize,
    pub(crate) gpus: Vec<String>,
    memory: u64,
    mutex: Vec<String>,
}

/// A machine, and what of it is free: shared by all runs of a process.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) machine: Machine,
    /// Threads that wait for the next node.
    pub(crate) pools: Pools,
    slots: Mutex<Slots>,
}

impl Room {
    pub(crate) fn new(machine: Machine) -> Self {
        let slots = Mutex::new(Slots::new(&machine));
        Self {
            machine,
            pools: Pools::default(),
            slots,
        }
    }

    /// Gives a node what it needs if that is free; `others` more are waiting for threads.
    pub(crate) fn take(&self, need: &Need, others: usize) -> Option<Grant<'_>> {
        let part = self.slots().take(need, others)?;
        Some(Grant { room: self, part })
    }

    /// What is free now, to plan with.
    pub(crate) fn free(&self) -> Slots {
        self.slots().clone()
    }

    /// How many nodes have something, of whichever run.
    pub(crate) fn granted(&self) -> usize {
        self.slots().granted
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is free.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    /// Nodes that have something.
    granted: usize,
    threads: usize,
    gpus: Vec<String>,
    memory: u64,
    held: HashSet<String>,
}

impl Slots {
    pub(crate) fn new(machine: &Machine) -> Self {
        Self {
            granted: 0,
            threads: machine.threads.max(1),
            gpus: machine.gpus.clone(),
            memory: machine.memory.unwrap_or(u64::MAX),
            held: HashSet::new(),
        }
    }

    /// Whether nothing can start.
    pub(crate) fn is_full(&self) -> bool {
        self.threads == 0
    }

    fn fits(&self, need: &Need) -> bool {
        self.threads > 0
            && self.gpus.len() >= need.gpus
            && self.memory >= need.memory
            && !need.mutex.iter().any(|name| self.held.contains(name))
    }

    /// Gives a node what it needs if that is free; `others` more are waiting for threads.
    pub(crate) fn take(&mut self, need: &Need, others: usize) -> Option<Part> {
        if !self.fits(need) {
            return None;
        }
        let threads = (self.threads / (others + 1)).clamp(1, need.threads).min(self.threads);
        self.granted += 1;
        self.threads -= threads;
        self.memory -= need.memory;
        self.held.extend(need.mutex.iter().cloned());
        Some(Part {
            threads,
            gpus: self.gpus.drain(..need.gpus).collect(),
            memory: need.memory,
            mutex: need.mutex.clone(),
        })
    }

    /// Keeps for a node what is free of what it needs.
    pub(crate) fn keep_for(&mut self, need: &Need) {
        self.gpus.drain(..need.gpus.min(self.gpus.len()));
        self.memory = self.memory.saturating_sub(need.memory);
        self.held.extend(need.mutex.iter().cloned());
    }

    /// A node has ended.
    fn give_back(&mut self, grant: Part) {
        self.granted -= 1;
        self.threads += grant.threads;
        self.memory += grant.memory;
        self.gpus.extend(grant.gpus);
        self.gpus.sort_unstable();
        self.held.retain(|name| !grant.mutex.contains(name));
    }
}

impl Machine {
    /// Why a node could never run here, if it could not.
    pub(crate) fn refuse(&self, need: &Need) -> Option<NodeError> {
        if need.gpus > self.gpus.len() {
            let message = format!("it needs {} GPUs, and this run has {}", need.gpus, self.gpus.len());
            let help = "run it where there are more, or lower `gpus` of its `resources`; CUDA_VISIBLE_DEVICES and \
                        `--gpus` say which a run has";
            return Some(NodeError::failed(message).with_help(help));
        }
        let memory = self.memory.filter(|memory| need.memory > *memory)?;
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let message = format!(
            "it needs {:.1} GiB of memory, and this run has {:.1}",
            gib(need.memory),
            gib(memory)
        );
        Some(
            NodeError::failed(message).with_help("lower `memory` of its `resources`, or give the run more: `--memory`"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots() -> Slots {
        Slots::new(&Machine {
            threads: 4,
            memory: Some(100),
            gpus: vec!["3".into(), "5".into()],
        })
    }

    fn need(threads: usize, gpus: usize, memory: u64, mutex: &[&str]) -> Need {
        let mutex = mutex.iter().map(|name| (*name).to_owned()).collect();
        Need {
            threads,
            gpus,
            memory,
            mutex,
        }
    }

    #[test]
    fn what_is_taken_is_not_given_twice_and_comes_back() {
        let mut slots = slots();
        let first = slots.take(&need(2, 1, 60, &["disk"]), 0).unwrap();
        assert_eq!((first.threads, first.gpus.as_slice()), (2, ["3".to_owned()].as_slice()));
        assert_eq!(slots.take(&need(1, 2, 0, &[]), 0), None, "one GPU is left");
        assert_eq!(slots.take(&need(1, 0, 50, &[]), 0), None, "40 bytes are left");
        assert_eq!(slots.take(&need(1, 0, 0, &["disk"]), 0), None, "the name is taken");
        slots.give_back(first);
        assert!(
            slots
                .take(&need(9, 2, 100, &["disk"]), 0)
                .is_some_and(|grant| grant.threads == 4)
        );
        assert!(slots.is_full());
    }

    #[test]
    fn many_share_the_threads() {
        let mut slots = slots();
        let grants: Vec<usize> = (0..5)
            .rev()
            .filter_map(|more| slots.take(&need(4, 0, 0, &[]), more))
            .map(|g| g.threads)
            .collect();
        assert_eq!(grants, [1, 1, 1, 1]);
    }

    #[test]
    fn a_node_that_waits_for_much_is_not_passed_at_its_expense() {
        let mut slots = slots();
        let small = slots.take(&need(1, 1, 0, &[]), 0).unwrap();
        let mut left = slots.clone();
        left.keep_for(&need(1, 2, 0, &[]));
        assert_eq!(left.take(&need(1, 1, 0, &[]), 0), None, "the free GPU is kept for it");
        assert!(left.take(&need(1, 0, 0, &[]), 0).is_some(), "threads are not");
        slots.give_back(small);
        assert!(slots.take(&need(1, 2, 0, &[]), 0).is_some());
    }

    #[test]
    fn what_can_never_fit_is_refused_with_what_there_is() {
        let machine = Machine {
            threads: 1,
            memory: Some(1 << 30),
            gpus: Vec::new(),
        };
        let refused = machine.refuse(&need(1, 1, 0, &[])).unwrap().to_string();
        assert_eq!(refused, "it needs 1 GPUs, and this run has 0");
        let refused = machine.refuse(&need(1, 0, 3 << 30, &[])).unwrap().to_string();
        assert_eq!(refused, "it needs 3.0 GiB of memory, and this run has 1.0");
        assert!(
            machine.refuse(&need(64, 0, 1 << 30, &[])).is_none(),
            "threads are only a most"
        );
    }
}
