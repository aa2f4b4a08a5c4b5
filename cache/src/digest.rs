//! Content digests: BLAKE3 over bytes, printed as 64 hexadecimal digits.

/// The BLAKE3 digest of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);
// Contract: Digest::of(&[u8]), Digest::of_file(&Path) -> io::Result<Digest>, Display/FromStr as 64 hex, .short() -> first 12 hex,
// as_bytes(); serde as the hex string; Debug prints short.
