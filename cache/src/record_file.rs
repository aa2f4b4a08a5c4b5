//! A record as a file: readable JSON that ends with a checksum over every byte before it.

use serde::Deserialize;

use crate::digest::Digest;
use crate::key::ActionKey;
use crate::record::{Record, SCHEMA};

/// What stands between the record's last field and the 64 digits of the checksum.
const BEFORE: &[u8] = b",\n  \"checksum\": \"";
/// What follows the checksum.
const AFTER: &[u8] = b"\"\n}\n";
const HEX: usize = 64;

/// Why a file is not the record of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRecord {
    /// Torn, flipped or edited.
    #[error("{0}")]
    Garbled(String),
    /// Intact, but written by another version of flow.
    #[error("it has schema {found}, this version of flow knows schema {known}", known = SCHEMA)]
    Schema { found: u64 },
}

/// The file's content for `record`.
pub(crate) fn encode(record: &Record) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec_pretty(record)?;
    bytes.truncate(bytes.len() - b"\n}".len());
    let checksum = Digest::of(&bytes).to_string();
    bytes.extend_from_slice(BEFORE);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes.extend_from_slice(AFTER);
    Ok(bytes)
}

/// What every version of a record says of itself.
#[derive(Deserialize)]
struct Version {
    schema: u64,
}

/// Reads the record of `key` back: every byte is covered by the checksum, and the key is the digest of the components.
pub(crate) fn decode(bytes: &[u8], key: &ActionKey) -> Result<Record, BadRecord> {
    let fields = verified_fields(bytes).ok_or_else(|| garbled("its checksum does not match its content"))?;
    let json = [fields, b"\n}"].concat();

    let version: Version = serde_json::from_slice(&json).map_err(garbled)?;
    if version.schema != u64::from(SCHEMA) {
        return Err(BadRecord::Schema { found: version.schema });
    }
    let record: Record = serde_json::from_slice(&json).map_err(garbled)?;
    if record.key != *key || record.components.key() != *key {
        return Err(garbled(format!(
            "it is the record of another key, {}",
            record.key.short()
        )));
    }
    Ok(record)
}

/// The bytes that the checksum covers, if it fits them.
fn verified_fields(bytes: &[u8]) -> Option<&[u8]> {
    let (fields, tail) = bytes.split_at_checked(bytes.len().checked_sub(BEFORE.len() + HEX + AFTER.len())?)?;
    let hex = tail.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
    let checksum: Digest = str::from_utf8(hex).ok()?.parse().ok()?;
    (Digest::of(fields) == checksum).then_some(fields)
}

fn garbled(why: impl ToString) -> BadRecord {
    BadRecord::Garbled(why.to_string())
}
