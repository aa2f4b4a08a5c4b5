//! GPUs, and what of them is free. A node has some for itself, or shares one with others by its memory.

use crate::node::Resources;

/// A GPU of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// By the name that CUDA_VISIBLE_DEVICES takes.
    pub name: String,
    /// Bytes of memory that nodes may have together; one of which that is not known is given to one node at a time.
    pub memory: Option<u64>,
}

impl From<&str> for Gpu {
    /// One of unknown memory.
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            memory: None,
        }
    }
}

/// What a node needs of GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GpuNeed {
    /// So many for itself.
    Whole(usize),
    /// So many bytes of one.
    Part(u64),
}

/// What is free of the GPUs of a machine.
#[derive(Clone, Debug)]
pub(crate) struct FreeGpus(Vec<State>);

#[derive(Clone, Debug)]
struct State {
    gpu: Gpu,
    /// Nodes that have a part of it.
    nodes: usize,
    /// Bytes of theirs.
    used: u64,
    /// Whether nobody else may have some of it.
    closed: bool,
}

impl State {
    fn is_idle(&self) -> bool {
        self.nodes == 0 && !self.closed
    }

    /// Whether so many bytes of it can be had.
    fn has(&self, bytes: u64) -> bool {
        match self.gpu.memory {
            Some(memory) => !self.closed && self.used.saturating_add(bytes) <= memory,
            None => self.is_idle(),
        }
    }

    /// More is better for the next node: parts are spread over the GPUs.
    fn room(&self) -> u64 {
        self.gpu.memory.unwrap_or(0).saturating_sub(self.used)
    }
}

impl FreeGpus {
    pub(crate) fn new(gpus: &[Gpu]) -> Self {
        let state = |gpu: &Gpu| State {
            gpu: gpu.clone(),
            nodes: 0,
            used: 0,
            closed: false,
        };
        Self(gpus.iter().map(state).collect())
    }

    /// The places of those that a node would be given.
    fn chosen(&self, need: GpuNeed) -> Option<Vec<usize>> {
        match need {
            GpuNeed::Whole(count) => {
                let idle = (0..self.0.len()).filter(|at| self.0[*at].is_idle());
                let chosen: Vec<usize> = idle.take(count).collect();
                (chosen.len() == count).then_some(chosen)
            }
            GpuNeed::Part(bytes) => {
                let having = (0..self.0.len()).filter(|at| self.0[*at].has(bytes));
                // The first of equal ones.
                let best = having
                    .rev()
                    .max_by_key(|at| (self.0[*at].is_idle(), self.0[*at].room()));
                best.map(|at| vec![at])
            }
        }
    }

    pub(crate) fn fits(&self, need: GpuNeed) -> bool {
        self.chosen(need).is_some()
    }

    /// Gives a node what it needs, if that is free: the names.
    pub(crate) fn take(&mut self, need: GpuNeed) -> Option<Vec<String>> {
        let chosen = self.chosen(need)?;
        for at in &chosen {
            let state = &mut self.0[*at];
            state.nodes += 1;
            match need {
                GpuNeed::Part(bytes) if state.gpu.memory.is_some() => state.used += bytes,
                _ => state.closed = true,
            }
        }
        Some(chosen.iter().map(|at| self.0[*at].gpu.name.clone()).collect())
    }

    /// Keeps for a node that waits those that it will have soonest: no other gets more of them.
    pub(crate) fn keep_for(&mut self, need: GpuNeed) {
        let mut open: Vec<&mut State> = self.0.iter_mut().filter(|state| !state.closed).collect();
        let count = match need {
            GpuNeed::Whole(count) => count,
            GpuNeed::Part(bytes) => {
                open.retain(|state| state.gpu.memory.is_none_or(|memory| memory >= bytes));
                1
            }
        };
        open.sort_by_key(|state| (state.nodes, std::cmp::Reverse(state.room())));
        open.into_iter().take(count).for_each(|state| state.closed = true);
    }

    /// A node has ended that had this.
    pub(crate) fn give_back(&mut self, need: GpuNeed, names: &[String]) {
        for state in self.0.iter_mut().filter(|state| names.contains(&state.gpu.name)) {
            state.nodes -= 1;
            match need {
                GpuNeed::Part(bytes) if state.gpu.memory.is_some() => state.used -= bytes,
                _ => state.closed = false,
            }
        }
    }
}

/// Why a node could never run on these, if it could not: what is wrong, and what to do.
pub(crate) fn refuse(gpus: &[Gpu], need: &Resources) -> Option<(String, &'static str)> {
    let here = |count: usize| format!("{count} GPU{}", if count == 1 { "" } else { "s" });
    let given = "CUDA_VISIBLE_DEVICES and `--gpus` say which a run has";
    match need.gpu_need() {
        GpuNeed::Whole(count) if count > gpus.len() => {
            let message = format!("it needs {}, and this run has {}", here(count), here(gpus.len()));
            Some((
                message,
                "run it where there are more, or lower `gpus` of its `resources`; CUDA_VISIBLE_DEVICES and \
                            `--gpus` say which a run has",
            ))
        }
        GpuNeed::Part(_) if gpus.is_empty() => Some(("it needs a GPU, and this run has none".to_owned(), given)),
        GpuNeed::Part(bytes) => {
            let most = gpus.iter().map(|gpu| gpu.memory.unwrap_or(u64::MAX)).max()?;
            // What is needed rounded up and what there is down, so that no two equal numbers are told apart.
            let message = format!(
                "it needs {} MiB of a GPU's memory, and the largest GPU of this run has {} MiB",
                bytes.div_ceil(1 << 20),
                most >> 20
            );
            (bytes > most).then_some((message, "lower `batch`, or run it where there is a larger one"))
        }
        GpuNeed::Whole(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> FreeGpus {
        let gpu = |name: &str| Gpu {
            name: name.to_owned(),
            memory: Some(100),
        };
        FreeGpus::new(&[gpu("3"), gpu("5")])
    }

    fn names(given: Option<Vec<String>>) -> String {
        given.map_or("none".to_owned(), |names| names.join(" "))
    }

    #[test]
    fn parts_are_spread_and_never_come_to_more_than_a_gpu_has() {
        let mut free = two();
        let mut take = |bytes| names(free.take(GpuNeed::Part(bytes)));
        assert_eq!([60, 30, 30, 40, 31].map(&mut take), ["3", "5", "5", "3", "5"]);
        assert_eq!(take(10), "none");
        free.give_back(GpuNeed::Part(40), &["3".to_owned()]);
        assert_eq!(names(free.take(GpuNeed::Part(40))), "3");
    }

    #[test]
    fn a_node_that_could_never_run_is_told_why_and_what_to_do() {
        let none: &[Gpu] = &[];
        let one = [Gpu {
            name: "0".to_owned(),
            memory: Some(40 << 30),
        }];
        let whole = Resources {
            gpus: Some(2),
            ..Resources::default()
        };
        let part = |bytes: u64| Resources {
            gpu_memory: Some(bytes),
            ..Resources::default()
        };
        let told = [
            refuse(none, &part(1 << 30)),
            refuse(&one, &part(80 << 30)),
            refuse(&one, &whole),
        ];
        let told = told.map(|told| told.map_or(String::new(), |(message, help)| format!("{message}\n  help: {help}")));
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_node_that_wants_a_gpu_for_itself_has_it_for_itself() {
        let mut free = two();
        assert_eq!(names(free.take(GpuNeed::Part(1))), "3");
        assert_eq!(names(free.take(GpuNeed::Whole(2))), "none");
        assert_eq!(names(free.take(GpuNeed::Whole(1))), "5");
        assert_eq!(names(free.take(GpuNeed::Part(1))), "3");
        free.give_back(GpuNeed::Whole(1), &["5".to_owned()]);
        assert_eq!(names(free.take(GpuNeed::Part(1))), "5");
    }

    #[test]
    fn one_that_waits_is_not_passed_at_its_expense() {
        let mut free = two();
        assert_eq!(names(free.take(GpuNeed::Part(50))), "3");
        let mut left = free.clone();
        left.keep_for(GpuNeed::Whole(2));
        assert_eq!(names(left.take(GpuNeed::Part(1))), "none");
        let mut left = free.clone();
        assert_eq!(names(left.take(GpuNeed::Part(60))), "5");
        left.keep_for(GpuNeed::Part(60));
        assert_eq!(names(left.take(GpuNeed::Part(1))), "5", "the first is the sooner free");
        assert_eq!(names(left.take(GpuNeed::Part(50))), "none");
    }

    #[test]
    fn a_gpu_of_unknown_memory_is_given_to_one_at_a_time() {
        let mut free = FreeGpus::new(&["0".into()]);
        assert_eq!(names(free.take(GpuNeed::Part(1))), "0");
        assert_eq!(names(free.take(GpuNeed::Part(1))), "none");
        free.give_back(GpuNeed::Part(1), &["0".to_owned()]);
        assert_eq!(names(free.take(GpuNeed::Whole(1))), "0");
    }
}
