//! The store on disk: look up, publish, read.

// Contract:
// pub enum Access { ReadWrite, ReadOnly }
// Store::open(root: &Path, access: Access) -> Result<Store, CacheError>     (Store: Send + Sync, share by Arc)
// store.lookup(&self, key: &ActionKey) -> Result<Lookup, CacheError>;
// pub enum Lookup { Hit(Artifact), Miss(Slot) }
// store.peek(&self, key: &ActionKey) -> Result<Option<Artifact>, CacheError>   // no slot: for plans
// store.nearest(&self, kind: &str, node: &str, components: &Components) -> Result<Option<Record>, CacheError>
//       // the earlier record that explains a miss best: same kind, fewest changed components, ties: same node name, newest
// store.find(&self, prefix: &str) -> Result<Vec<Record>, CacheError>   // by hexadecimal prefix of the key (>= 4 digits), or a node name
// store.records(&self) -> Result<Vec<Record>, CacheError>               // newest first
// store.query(&self, text: &str) -> Result<Vec<Record>, QueryError>    // see query.rs
// store.discard(&self, key: &ActionKey, why: &str) -> Result<(), CacheError>   // a corrupt entry: the record is moved to quarantine
// store.verify(&self) -> Result<VerifyReport, CacheError>   // re-hash everything
// store.rebuild_index(&self)
// store.scratch(&self, key: &ActionKey) -> Scratch          // checkpoints; removed when the key publishes
//       Scratch::load(&self, name: &str) -> Result<Option<Vec<u8>>, CacheError>  (None if absent or torn: has own checksum + key bound)
//       Scratch::save(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError>  (atomic: temp, fsync, rename)
// pub struct Slot: consumed by commit, so that only what was missed can be written.
//       slot.key(); slot.commit(draft: Draft) -> Result<Artifact, CacheError>
// pub struct Draft { everything of Record that the engine knows: kind, node, workflow, components, files: Vec<(String, Vec<u8>)>, metrics, inputs, cost, times }
// pub struct Artifact { record: Arc<Record>, .. }  Clone + Send + Sync
//       artifact.record() -> &Record; artifact.digest() -> Digest; artifact.names(); artifact.path(name) -> Option<PathBuf>;
//       artifact.read(name) -> Result<Vec<u8>, CacheError>   // verifies the digest: Corrupt { key, name, .. } otherwise
// pub enum CacheError { Io{..}, Corrupt{..}, NonDeterministic{..}, Locked{..}, DiskFull{..}, ReadOnly{..}, ... } with texts that say what to do.
