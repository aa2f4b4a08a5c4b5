//! Pools of threads that nodes run in, kept for the next node of the same size: making one takes longer than many a node.

use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Room for deep recursion in a node's own code, e.g. a backward pass over a long tape.
const STACK_BYTES: usize = 16 << 20;

/// Idle pools, the longest idle first.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    idle: Mutex<Vec<ThreadPool>>,
}

impl Pools {
    /// Does `work` inside a pool of so many threads.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub(crate) fn run<R: Send>(
        &self,
        threads: usize,
        work: impl FnOnce() -> R + Send,
    ) -> Result<R, ThreadPoolBuildError> {
        let pool = match self.take(threads) {
            Some(pool) => pool,
            None => build(threads)?,
        };
        // A pool in which something panicked is not kept.
        let result = pool.install(work);
        self.keep(pool);
        Ok(result)
    }

    fn take(&self, threads: usize) -> Option<ThreadPool> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let place = idle.iter().rposition(|pool| pool.current_num_threads() == threads)?;
        Some(idle.remove(place))
    }

    /// Idle threads cost little, but not nothing: there are never more than the largest pool has, or as many pools as cores.
    fn keep(&self, pool: ThreadPool) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(pool);
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        let mut threads: usize = idle.iter().map(ThreadPool::current_num_threads).sum();
        while threads > most && idle.len() > 1 {
            threads -= idle.remove(0).current_num_threads();
        }
    }
}

/// A pool that nobody else uses.
pub(crate) fn build(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(STACK_BYTES)
        .thread_name(|index| format!("node:{index}"))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread() -> std::thread::ThreadId {
        std::thread::current().id()
    }

    #[test]
    fn a_pool_serves_the_next_node_of_its_size_and_no_other() {
        let pools = Pools::default();
        let first = pools.run(1, thread).expect("a thread");
        assert_eq!(pools.run(1, thread).expect("a thread"), first);
        assert_eq!(pools.run(2, rayon::current_num_threads).expect("threads"), 2);
    }

    #[test]
    fn a_pool_in_which_something_panicked_is_not_used_again() {
        let pools = Pools::default();
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pools.run(1, || panic!("a node's bug"))));
        assert!(panicked.is_err());
        assert!(pools.take(1).is_none());
    }
}
