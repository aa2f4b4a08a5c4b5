//! What this machine lends to a run: CPU threads, memory, GPUs.

use std::path::Path;

use crate::gpus::Gpu;

/// What nodes can be given, all of them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPU threads, at least one.
    pub threads: usize,
    /// Bytes of memory; `None` if it is not known, which is taken for enough.
    pub memory: Option<u64>,
    /// GPUs.
    pub gpus: Vec<Gpu>,
}

impl Machine {
    /// This machine as this process may use it. CUDA_VISIBLE_DEVICES, if it is set, says which GPUs: whoever set it has
    /// given the others to someone else.
    pub fn here() -> Self {
        Self {
            threads: threads(),
            memory: memory(),
            gpus: gpus(
                std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref(),
                Path::new("/proc/driver/nvidia/gpus"),
            ),
        }
    }
}

/// RAYON_NUM_THREADS, or else what the system gives this process.
fn threads() -> usize {
    let asked = std::env::var("RAYON_NUM_THREADS").ok();
    let asked = asked.and_then(|text| text.trim().parse().ok()).filter(|n| *n > 0);
    asked
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1)
}

/// The memory of the machine, or of the group of processes that this one is confined to, whichever is less.
fn memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok();
    let total = info.and_then(|info| {
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?
            .trim()
            .strip_suffix("kB")?
            .trim();
        line.parse::<u64>().ok()?.checked_mul(1024)
    });
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|text| text.trim().parse().ok());
    [total, limit].into_iter().flatten().min()
}

/// The GPUs that are named in `visible`; without it those that the driver lists.
fn gpus(visible: Option<&str>, driver: &Path) -> Vec<Gpu> {
    if let Some(visible) = visible {
        return visible_gpus(visible).map(Gpu::from).collect();
    }
    let listed = std::fs::read_dir(driver).map_or(0, Iterator::count);
    (0..listed).map(|gpu| Gpu::from(gpu.to_string().as_str())).collect()
}

/// The names in CUDA_VISIBLE_DEVICES, as CUDA reads it: what follows a name that is none does not count.
pub fn visible_gpus(variable: &str) -> impl Iterator<Item = &str> {
    let names = variable.split(',').map(str::trim);
    names.take_while(|name| !name.is_empty() && !name.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(gpus: Vec<Gpu>) -> Vec<String> {
        gpus.into_iter().map(|gpu| gpu.name).collect()
    }

    #[test]
    fn an_inherited_choice_of_gpus_is_kept() {
        let nowhere = Path::new("/nowhere");
        let gpus = |visible, driver| names(gpus(visible, driver));
        assert_eq!(gpus(Some("2, 5"), nowhere), ["2", "5"]);
        assert_eq!(gpus(Some("GPU-8f,MIG-1"), nowhere), ["GPU-8f", "MIG-1"]);
        assert_eq!(gpus(Some("0,-1,1"), nowhere), ["0"]);
        assert_eq!(gpus(Some(""), nowhere), [""; 0]);
        assert_eq!(gpus(None, nowhere), [""; 0]);
    }

    #[test]
    fn without_one_the_drivers_list_counts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("0000:01:00.0")).unwrap();
        std::fs::create_dir(dir.path().join("0000:02:00.0")).unwrap();
        assert_eq!(names(gpus(None, dir.path())), ["0", "1"]);
    }
}
