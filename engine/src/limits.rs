//! Limits of this process (`ulimit`) under which it cannot work at all: told at once, instead of where it happens to break.

use std::sync::Mutex;

use rustix::process::{Resource, getrlimit};

/// Address space that is reserved, though not used: the allocator's first GiB, stacks, the index.
const LEAST_MEMORY: u64 = 2 << 30;
const MORE_MEMORY: &str = "the limit of memory (ulimit -v) is below 2 GiB, which flow reserves: raise it";
/// Where no more processes than this are allowed, it is tried whether there are enough: threads count as processes.
const FEW_PROCESSES: u64 = 1000;
/// Threads beside those that compute: signals, the index, programs.
const MORE_THREADS: usize = 16;

/// What is too low, and what to do. Allocates nothing, so that it can be said.
pub fn too_little_memory() -> Option<&'static str> {
    let most = getrlimit(Resource::As).current?;
    (most < LEAST_MEMORY).then_some(MORE_MEMORY)
}

/// The same of processes.
pub fn too_few_processes() -> Option<String> {
    let most = getrlimit(Resource::Nproc)
        .current
        .filter(|most| *most < FEW_PROCESSES)?;
    let wanted = 2 * crate::Machine::here().threads + MORE_THREADS;
    let mut failed = None;
    // All at once: each waits until the last was started.
    let turn = Mutex::new(());
    std::thread::scope(|scope| {
        let _all_started = turn.lock();
        for _ in 0..wanted {
            let wait = || drop(turn.lock());
            if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, wait) {
                failed = Some(error);
                break;
            }
        }
    });
    let error = failed?;
    Some(more_processes(wanted, most, &error))
}

fn more_processes(wanted: usize, most: u64, error: &std::io::Error) -> String {
    format!(
        "cannot start {wanted} threads, which flow needs on this machine: {error}. The limit of processes (ulimit -u) is {most}, for all of \
         this user's together: raise it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_low_is_said_with_how_to_raise_it() {
        let processes = more_processes(48, 100, &std::io::Error::from(rustix::io::Errno::AGAIN));
        insta::assert_snapshot!(format!("{MORE_MEMORY}\n{processes}"));
    }
}
