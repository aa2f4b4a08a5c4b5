//! Action keys and the components that they are made of.
//!
//! One builder feeds both the hash and the list of components, so that the explanation of a miss cannot drift from the key.

// Contract:
// pub struct ActionKey(Digest)  -- Display/FromStr/serde hex, .short()
// pub struct Components(BTreeMap<String, serde_json::Value>)  -- serde transparent; .get(name), .iter();
//     pub fn diff(&self, newer: &Components) -> Vec<Change>;
// pub struct Change { pub name: String, pub old: Option<Value>, pub new: Option<Value> }
// KeyBuilder::new(kind: &str, version: u32)
//     .param(path: &str, value: &Value)      -> component "param.<path>"; nested tables are flattened by the builder: "param.optimizer.lr"
//     .input(port: &str, index: usize, digest: Digest, label: Option<&str>)  -> "input.<port>.<index>" (+ "input.<port>.<index>.label")
//     .file(name: &str, digest: Digest)      -> "file.<name>"
//     .finish() -> (ActionKey, Components)
// "kind" and "version" are components too. Canonical encoding: sorted by name, every name and value length-prefixed, values as
// canonical JSON (sorted object keys, floats in shortest round-trip form). Never a path, a time, a host or a thread count.
