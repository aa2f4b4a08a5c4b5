//! Records: the self-describing account of one finished action, with a schema version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::key::{ActionKey, Change, Components};
use crate::output_name::OutputName;

/// The version of [`Record`] that this build writes, and the only one that it reads.
pub const SCHEMA: u32 = 1;

/// What one finished action was, what came out of it and what it cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The version of this layout, [`SCHEMA`].
    pub schema: u32,
    /// The digest of `components`.
    pub key: ActionKey,
    /// The node's kind.
    pub kind: String,
    /// The node's instance when it first ran; a label, not part of the key.
    pub node: String,
    /// The workflow in which it first ran; a label, not part of the key.
    pub workflow: String,
    /// Everything that the key depends on.
    pub components: Components,
    /// The files that came out, by name.
    pub outputs: BTreeMap<OutputName, OutputFile>,
    /// What was measured on the way, by name.
    #[serde(with = "numbers")]
    pub metrics: BTreeMap<String, f64>,
    /// Lineage: the keys of the records whose outputs were consumed.
    pub inputs: Vec<ActionKey>,
    /// What it took.
    pub cost: Cost,
    /// When it began, in milliseconds since 1970 (UTC).
    pub started_unix_ms: u64,
    /// When it ended, in milliseconds since 1970 (UTC).
    pub finished_unix_ms: u64,
    /// The version of flow that ran it.
    pub flow_version: String,
    /// The machine that ran it.
    pub host: String,
}

/// One file that came out of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputFile {
    /// The digest of its content, and the name of the blob.
    pub digest: Digest,
    /// Its length.
    pub bytes: u64,
}

/// What an action took of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Wall-clock time in seconds.
    #[serde(with = "number")]
    pub wall_s: f64,
    /// CPU threads that it was given.
    pub threads: u32,
    /// The most memory that the process held meanwhile, where it is known.
    pub peak_rss_bytes: Option<u64>,
}

/// The order of listings.
pub(crate) fn sort_newest_first(records: &mut [Record]) {
    records.sort_by(|a, b| b.finished_unix_ms.cmp(&a.finished_unix_ms).then(a.key.cmp(&b.key)));
}

impl Record {
    /// How far it is from an action of `node` from which it differs by `changes`, nearest first: the same node before others, then
    /// the fewest changes, then the newest. The one order in which earlier records are asked why a node runs.
    pub fn distance(&self, node: &str, changes: &[Change]) -> impl Ord + use<> {
        let newest_first = std::cmp::Reverse(self.finished_unix_ms);
        (self.node != node, changes.len(), newest_first, self.key)
    }

    /// The digest of the outputs, names and contents: two actions with equal outputs have equal digests, which is what
    /// lets a re-run stop early.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"flow outputs, encoding 1\0");
        for (name, file) in &self.outputs {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(file.digest.as_bytes());
        }
        hasher.finalize().into()
    }

    /// The bytes of all outputs together.
    pub fn size(&self) -> u64 {
        self.outputs
            .values()
            .map(|file| file.bytes)
            .fold(0, u64::saturating_add)
    }
}

/// A float in JSON, where the non-finite ones (a diverged loss is a result too) are written as text.
mod number {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use serde_json::Value;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() || !serializer.is_human_readable() {
            serializer.serialize_f64(*value)
        } else {
            serializer.collect_str(value)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        if !deserializer.is_human_readable() {
            return f64::deserialize(deserializer);
        }
        let found = Value::deserialize(deserializer)?;
        let value = match &found {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => match text.as_str() {
                "NaN" => Some(f64::NAN),
                "inf" => Some(f64::INFINITY),
                "-inf" => Some(f64::NEG_INFINITY),
                _ => None,
            },
            _ => None,
        };
        value.ok_or_else(|| de::Error::custom(format!("{found} is not a number, \"NaN\", \"inf\" or \"-inf\"")))
    }
}

/// A map of such floats.
mod numbers {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Number(#[serde(with = "super::number")] f64);

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(name, value)| (name, Number(*value))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
        let map = BTreeMap::<String, Number>::deserialize(deserializer)?;
        Ok(map.into_iter().map(|(name, Number(value))| (name, value)).collect())
    }
}
