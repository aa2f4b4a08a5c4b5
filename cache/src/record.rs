//! Records: the self-describing account of one finished action, one JSON file each, with a schema version.

// Contract:
// pub struct Record {
//     pub schema: u32, pub key: ActionKey, pub kind: String, pub node: String /* instance name, a label */, pub workflow: String /* label */,
//     pub components: Components, pub outputs: BTreeMap<String, OutputFile>, pub metrics: BTreeMap<String, f64>,
//     pub inputs: Vec<ActionKey> /* lineage: the records whose outputs were consumed */,
//     pub cost: Cost, pub started_unix_ms: u64, pub finished_unix_ms: u64, pub flow_version: String, pub host: String }
// pub struct OutputFile { pub digest: Digest, pub bytes: u64 }
// pub struct Cost { pub wall_s: f64, pub threads: u32, pub peak_rss_bytes: Option<u64> }
// impl Record { pub fn digest(&self) -> Digest  // of the outputs (names and digests): equal outputs, equal digest (early cut-off)
// }
