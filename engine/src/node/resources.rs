//! What a node takes of the machine.

use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::gpus::GpuNeed;
use crate::workflow::ExecutionPolicy;

/// What a node takes of the machine: as its kind says, and where its table says something (`resources = { threads = 4, gpus = 1, memory =
/// "8GB" }`), as that says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// The most CPU threads that it is given; it gets at least one, and results must not depend on how many.
    pub threads: Option<usize>,
    /// GPUs, which it has for itself.
    pub gpus: Option<usize>,
    /// Bytes of a GPU's memory: it shares one with others. Nothing where `gpus` is said.
    #[serde(deserialize_with = "size")]
    pub gpu_memory: Option<u64>,
    /// Bytes of memory.
    #[serde(deserialize_with = "size")]
    pub memory: Option<u64>,
    /// Names that no other node has at the same time: `mutex` of its table.
    #[serde(skip)]
    pub(crate) mutex: Vec<String>,
}

impl Resources {
    /// So many threads at most, and nothing else.
    pub fn threads_up_to(most: usize) -> Self {
        Self {
            threads: Some(most),
            ..Self::default()
        }
    }

    /// As a table says, and where it says nothing, as the kind does.
    pub(crate) fn of(table: &ExecutionPolicy, kind: &Self) -> Self {
        let own = &table.resources;
        // A kind that says that it takes no GPU has none, and one that would have a whole one is content with a part.
        let shares = own.gpus.is_none() && own.gpu_memory.is_some() && kind.gpus != Some(0);
        Self {
            threads: own.threads.or(kind.threads),
            gpus: own.gpus.or(kind.gpus).filter(|_| !shares),
            gpu_memory: own.gpu_memory.or(kind.gpu_memory),
            memory: table.resources.memory.or(kind.memory),
            mutex: table.mutex.clone(),
        }
    }

    /// The most CPU threads, at least one: one if nothing else is said.
    pub(crate) fn threads(&self) -> usize {
        self.threads.unwrap_or(1).max(1)
    }

    pub(crate) fn gpu_need(&self) -> GpuNeed {
        match (self.gpus, self.gpu_memory) {
            (None, Some(bytes)) => GpuNeed::Part(bytes),
            (gpus, _) => GpuNeed::Whole(gpus.unwrap_or(0)),
        }
    }

    /// Bytes; 0 if that is nothing to plan with.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.unwrap_or(0)
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    flow_cache::query::parse_size(&text).map(Some).map_err(D::Error::custom)
}
