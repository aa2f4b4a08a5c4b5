//! Who gets which part of the machine, and when.
//!
//! The most urgent node that fits starts. One that does not fit yet keeps what is free of what it needs: less urgent nodes
//! may pass it, but not at its expense, so that it does not wait for ever.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::gpus::{self, FreeGpus};
use crate::machine::Machine;
use crate::node::{NodeError, Resources};
use crate::pools::Pools;

/// A machine, and what of it is free: shared by all runs of a process.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) machine: Machine,
    /// Threads that wait for the next node.
    pub(crate) pools: Pools,
    free: Mutex<Free>,
}

/// What a running node has of a machine; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Grant<'a> {
    room: &'a Room,
    part: Part,
    need: Resources,
}

/// What a node has of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) threads: usize,
    /// The GPUs that it has, or has a part of, by name.
    pub(crate) gpus: Vec<String>,
}

/// What is free of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Free {
    threads: usize,
    memory: Option<u64>,
    gpus: FreeGpus,
    /// Names that a running node has for itself.
    held: HashSet<String>,
    /// Nodes that have something.
    granted: usize,
}

impl std::ops::Deref for Grant<'_> {
    type Target = Part;

    fn deref(&self) -> &Part {
        &self.part
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        self.room.lock().give_back(&self.part, &self.need);
    }
}

impl Room {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            free: Mutex::new(Free::new(&machine)),
            pools: Pools::default(),
            machine,
        }
    }

    /// Gives a node what it needs if that is free; `others` more are waiting for threads.
    pub(crate) fn take(&self, need: &Resources, others: usize) -> Option<Grant<'_>> {
        Some(Grant {
            part: self.lock().take(need, others)?,
            room: self,
            need: need.clone(),
        })
    }

    /// What is free now, to plan with.
    pub(crate) fn free(&self) -> Free {
        self.lock().clone()
    }

    /// How many nodes have something, of whichever run.
    pub(crate) fn granted(&self) -> usize {
        self.lock().granted
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Free {
    fn new(machine: &Machine) -> Self {
        Self {
            threads: machine.threads.max(1),
            memory: machine.memory,
            gpus: FreeGpus::new(&machine.gpus),
            held: HashSet::new(),
            granted: 0,
        }
    }

    /// Whether nothing can start.
    pub(crate) fn is_full(&self) -> bool {
        self.threads == 0
    }

    /// Gives a node what it needs if that is free; `others` more are waiting for threads.
    pub(crate) fn take(&mut self, need: &Resources, others: usize) -> Option<Part> {
        let fits = !self.is_full()
            && self.gpus.fits(need.gpu_need())
            && self.memory.is_none_or(|memory| memory >= need.memory())
            && !need.mutex.iter().any(|name| self.held.contains(name));
        if !fits {
            return None;
        }
        let threads = (self.threads / (others + 1)).clamp(1, need.threads()).min(self.threads);
        let gpus = self.gpus.take(need.gpu_need())?;
        self.granted += 1;
        self.threads -= threads;
        self.keep_memory(need);
        Some(Part { threads, gpus })
    }

    /// Keeps for a node that waits what is free of what it needs, but for threads.
    pub(crate) fn keep_for(&mut self, need: &Resources) {
        self.keep_memory(need);
        self.gpus.keep_for(need.gpu_need());
    }

    fn keep_memory(&mut self, need: &Resources) {
        self.memory = self.memory.map(|memory| memory.saturating_sub(need.memory()));
        self.held.extend(need.mutex.iter().cloned());
    }

    /// A node has ended.
    fn give_back(&mut self, part: &Part, need: &Resources) {
        self.granted -= 1;
        self.threads += part.threads;
        self.memory = self.memory.map(|memory| memory + need.memory());
        self.gpus.give_back(need.gpu_need(), &part.gpus);
        self.held.retain(|name| !need.mutex.contains(name));
    }
}

impl Machine {
    /// Why a node could never run here, if it could not.
    pub(crate) fn refuse(&self, need: &Resources) -> Option<NodeError> {
        if let Some((message, help)) = gpus::refuse(&self.gpus, need) {
            return Some(NodeError::failed(message).with_help(help));
        }
        let memory = self.memory.filter(|memory| need.memory() > *memory)?;
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let message = format!(
            "it needs {:.1} GiB of memory, and this run has {:.1} GiB",
            gib(need.memory()),
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

    fn free() -> Free {
        Free::new(&Machine {
            threads: 4,
            memory: Some(100),
            gpus: vec!["3".into(), "5".into()],
        })
    }

    fn need(threads: usize, gpus: usize, memory: u64, mutex: &[&str]) -> Resources {
        let mutex = mutex.iter().map(|name| (*name).to_owned()).collect();
        Resources {
            threads: Some(threads),
            gpus: Some(gpus),
            gpu_memory: None,
            memory: Some(memory),
            mutex,
        }
    }

    #[test]
    fn what_is_taken_is_not_given_twice_and_comes_back() {
        let mut free = free();
        let first = free.take(&need(2, 1, 60, &["disk"]), 0).unwrap();
        assert_eq!((first.threads, first.gpus.as_slice()), (2, ["3".to_owned()].as_slice()));
        assert_eq!(free.take(&need(1, 2, 0, &[]), 0), None, "one GPU is left");
        assert_eq!(free.take(&need(1, 0, 50, &[]), 0), None, "40 bytes are left");
        assert_eq!(free.take(&need(1, 0, 0, &["disk"]), 0), None, "the name is taken");
        free.give_back(&first, &need(2, 1, 60, &["disk"]));
        assert!(
            free.take(&need(9, 2, 100, &["disk"]), 0)
                .is_some_and(|grant| grant.threads == 4)
        );
        assert!(free.is_full());
    }

    #[test]
    fn many_share_the_threads() {
        let mut free = free();
        let grants: Vec<usize> = (0..5)
            .rev()
            .filter_map(|more| free.take(&need(4, 0, 0, &[]), more))
            .map(|g| g.threads)
            .collect();
        assert_eq!(grants, [1, 1, 1, 1]);
    }

    #[test]
    fn a_node_that_waits_for_much_is_not_passed_at_its_expense() {
        let mut free = free();
        let small = free.take(&need(1, 1, 0, &[]), 0).unwrap();
        let mut left = free.clone();
        left.keep_for(&need(1, 2, 0, &[]));
        assert_eq!(left.take(&need(1, 1, 0, &[]), 0), None, "the free GPU is kept for it");
        assert!(left.take(&need(1, 0, 0, &[]), 0).is_some(), "threads are not");
        free.give_back(&small, &need(1, 1, 0, &[]));
        assert!(free.take(&need(1, 2, 0, &[]), 0).is_some());
    }

    #[test]
    fn what_can_never_fit_is_refused_with_what_there_is() {
        let machine = Machine {
            threads: 1,
            memory: Some(1 << 30),
            gpus: Vec::new(),
        };
        let refused = machine.refuse(&need(1, 1, 0, &[])).unwrap().to_string();
        assert_eq!(refused, "it needs 1 GPU, and this run has 0 GPUs");
        let refused = machine.refuse(&need(1, 0, 3 << 30, &[])).unwrap().to_string();
        assert_eq!(refused, "it needs 3.0 GiB of memory, and this run has 1.0 GiB");
        assert!(
            machine.refuse(&need(64, 0, 1 << 30, &[])).is_none(),
            "threads are only a most"
        );
    }
}
