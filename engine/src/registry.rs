//! The node kinds that a binary knows: one line each.

// Contract: Registry::new(); registry.register::<N: Node>() ; registry.kinds() -> sorted names; parse(kind, table) -> Box<dyn ErasedNode>
// (ErasedNode: object-safe mirror of Node, private to the engine crate).
