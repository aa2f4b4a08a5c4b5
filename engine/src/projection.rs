//! What of a node's parameters is part of its key: everything but other nodes ([`NodeRef`], in the key by what they make), files
//! ([`DeclaredFile`], in the key by content) and what changes nothing ([`NotInKey`]).
//!
//! A serializer to JSON that leaves these types out. It tells them by the names that they give to serde, so that no value can be
//! mistaken for one. A table or list of which nothing is left is left out itself.
//!
//! [`NodeRef`]: crate::node::NodeRef
//! [`DeclaredFile`]: crate::node::DeclaredFile
//! [`NotInKey`]: crate::node::NotInKey

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;

use serde::ser::{self, Serialize, Serializer};
use serde_json::{Map, Number, Value};

use crate::node::{DECLARED_FILE, NODE_REF, NOT_IN_KEY};

/// A node's parameters as its key has them.
#[derive(Debug, Default)]
pub(crate) struct Projection {
    pub(crate) params: BTreeMap<String, Value>,
    /// The declared files that were left out, which the key must have by content.
    pub(crate) files: Vec<PathBuf>,
}

impl Projection {
    /// # Errors
    /// If the parameters are no table, or cannot be written as JSON.
    pub(crate) fn of(node: &impl Serialize) -> Result<Self, String> {
        let files = RefCell::default();
        let value = node.serialize(Key { files: &files }).map_err(|e| e.0)?;
        let params = match value {
            Some(Value::Object(map)) => map.into_iter().collect(),
            None => BTreeMap::new(),
            Some(other) => return Err(format!("expected a table, found `{other}`")),
        };
        Ok(Self {
            params,
            files: files.into_inner(),
        })
    }
}

/// Why parameters cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unwritable(String);

impl ser::Error for Unwritable {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Gives a value, or nothing if it is not part of the key.
#[derive(Clone, Copy)]
struct Key<'f> {
    files: &'f RefCell<Vec<PathBuf>>,
}

type Part = Result<Option<Value>, Unwritable>;

fn leaf(value: impl Into<Value>) -> Part {
    Ok(Some(value.into()))
}

fn float(value: f64) -> Part {
    match Number::from_f64(value) {
        Some(number) => leaf(number),
        None => Err(Unwritable(format!("{value} is not a finite number"))),
    }
}

/// A table or list that is being written.
struct Composite<'f, T> {
    key: Key<'f>,
    kept: T,
    /// The key of a map's entry whose value comes next.
    name: String,
    /// Whether something was left out.
    lost: bool,
    /// The name of the variant that it belongs to.
    variant: Option<&'static str>,
}

impl<'f, T: Default> Composite<'f, T> {
    fn new(key: Key<'f>, variant: Option<&'static str>) -> Self {
        Self {
            key,
            kept: T::default(),
            name: String::new(),
            lost: false,
            variant,
        }
    }

    fn finish(self, is_empty: impl Fn(&T) -> bool, value: impl Fn(T) -> Value) -> Part {
        if self.lost && is_empty(&self.kept) {
            return Ok(None);
        }
        Ok(Some(in_variant(self.variant, value(self.kept))))
    }
}

fn in_variant(variant: Option<&str>, value: Value) -> Value {
    match variant {
        Some(name) => Value::Object(Map::from_iter([(name.to_owned(), value)])),
        None => value,
    }
}

impl Composite<'_, Vec<Value>> {
    fn push<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), Unwritable> {
        let part = value.serialize(self.key)?;
        self.lost |= part.is_none();
        self.kept.extend(part);
        Ok(())
    }

    fn list(self) -> Part {
        self.finish(Vec::is_empty, Value::Array)
    }
}

impl Composite<'_, Map<String, Value>> {
    fn insert<V: Serialize + ?Sized>(&mut self, name: String, value: &V) -> Result<(), Unwritable> {
        match value.serialize(self.key)? {
            Some(part) => drop(self.kept.insert(name, part)),
            None => self.lost = true,
        }
        Ok(())
    }

    fn table(self) -> Part {
        self.finish(Map::is_empty, Value::Object)
    }
}

type List<'f> = Composite<'f, Vec<Value>>;
type Table<'f> = Composite<'f, Map<String, Value>>;

impl<'f> Serializer for Key<'f> {
    type Ok = Option<Value>;
    type Error = Unwritable;
    type SerializeSeq = List<'f>;
    type SerializeTuple = List<'f>;
    type SerializeTupleStruct = List<'f>;
    type SerializeTupleVariant = List<'f>;
    type SerializeMap = Table<'f>;
    type SerializeStruct = Table<'f>;
    type SerializeStructVariant = Table<'f>;

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Part {
        match name {
            NODE_REF | NOT_IN_KEY => Ok(None),
            DECLARED_FILE => {
                if let Some(Value::String(path)) = value.serialize(self)? {
                    self.files.borrow_mut().push(path.into());
                }
                Ok(None)
            }
            _ => value.serialize(self),
        }
    }

    fn serialize_bool(self, value: bool) -> Part {
        leaf(value)
    }

    fn serialize_i8(self, value: i8) -> Part {
        leaf(value)
    }

    fn serialize_i16(self, value: i16) -> Part {
        leaf(value)
    }

    fn serialize_i32(self, value: i32) -> Part {
        leaf(value)
    }

    fn serialize_i64(self, value: i64) -> Part {
        leaf(value)
    }

    fn serialize_u8(self, value: u8) -> Part {
        leaf(value)
    }

    fn serialize_u16(self, value: u16) -> Part {
        leaf(value)
    }

    fn serialize_u32(self, value: u32) -> Part {
        leaf(value)
    }

    fn serialize_u64(self, value: u64) -> Part {
        leaf(value)
    }

    /// As it is written: 0.1, and not 0.10000000149011612. People read these values when a miss is explained.
    fn serialize_f32(self, value: f32) -> Part {
        float(value.to_string().parse().unwrap_or(f64::NAN))
    }

    fn serialize_f64(self, value: f64) -> Part {
        float(value)
    }

    fn serialize_char(self, value: char) -> Part {
        leaf(value.to_string())
    }

    fn serialize_str(self, value: &str) -> Part {
        leaf(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Part {
        leaf(value.to_vec())
    }

    fn serialize_none(self) -> Part {
        Ok(Some(Value::Null))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Part {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Part {
        Ok(Some(Value::Null))
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Part {
        Ok(Some(Value::Null))
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Part {
        leaf(variant)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Part {
        Ok(value.serialize(self)?.map(|value| in_variant(Some(variant), value)))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<List<'f>, Unwritable> {
        Ok(Composite::new(self, None))
    }

    fn serialize_tuple(self, _len: usize) -> Result<List<'f>, Unwritable> {
        Ok(Composite::new(self, None))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<List<'f>, Unwritable> {
        Ok(Composite::new(self, None))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<List<'f>, Unwritable> {
        Ok(Composite::new(self, Some(variant)))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Table<'f>, Unwritable> {
        Ok(Composite::new(self, None))
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Table<'f>, Unwritable> {
        Ok(Composite::new(self, None))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Table<'f>, Unwritable> {
        Ok(Composite::new(self, Some(variant)))
    }
}

/// The traits of lists, which differ in names only.
macro_rules! list {
    ($($method:ident of $composite:ident),*) => {$(
        impl ser::$composite for List<'_> {
            type Ok = Option<Value>;
            type Error = Unwritable;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
                self.push(value)
            }

            fn end(self) -> Part {
                self.list()
            }
        }
    )*};
}
list!(
    serialize_element of SerializeSeq,
    serialize_element of SerializeTuple,
    serialize_field of SerializeTupleStruct,
    serialize_field of SerializeTupleVariant
);

/// The traits of structs, which differ in names only.
macro_rules! table {
    ($($composite:ident),*) => {$(
        impl ser::$composite for Table<'_> {
            type Ok = Option<Value>;
            type Error = Unwritable;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unwritable> {
                self.insert(name.to_owned(), value)
            }

            fn end(self) -> Part {
                self.table()
            }
        }
    )*};
}
table!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Table<'_> {
    type Ok = Option<Value>;
    type Error = Unwritable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unwritable> {
        self.name = match key.serialize(self.key)? {
            Some(Value::String(name)) => name,
            Some(other) => other.to_string(),
            None => return Err(Unwritable("BUG: a key of a table is left out".to_owned())),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        let name = std::mem::take(&mut self.name);
        self.insert(name, value)
    }

    fn end(self) -> Part {
        self.table()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::{DeclaredFile, NodeRef, NotInKey};

    #[derive(serde::Serialize)]
    struct Params {
        name: String,
        lr: f32,
        code: Vec<DeclaredFile>,
        init: Option<Start>,
        inputs: BTreeMap<String, NodeRef>,
        threads: NotInKey<usize>,
        views: Option<NodeRef>,
        table: BTreeMap<String, u8>,
    }

    #[derive(serde::Serialize)]
    #[serde(untagged)]
    enum Start {
        File { file: DeclaredFile },
    }

    #[test]
    fn what_names_nodes_and_files_is_left_out_by_its_type_and_not_by_its_text() {
        let file = |path: &str| DeclaredFile::from(PathBuf::from(path));
        let params = Params {
            name: "lib".to_owned(),
            lr: 0.1,
            code: vec![file("lib"), file("./a//b")],
            init: Some(Start::File { file: file("w") }),
            inputs: [("x".to_owned(), NodeRef::from("lib"))].into(),
            threads: NotInKey(3),
            views: None,
            table: BTreeMap::new(),
        };
        let Projection { params, files } = Projection::of(&params).expect("a table");
        assert_eq!(
            json!(params),
            json!({"name": "lib", "lr": 0.1, "views": null, "table": {}})
        );
        assert_eq!(files, ["lib", "a/b", "w"].map(PathBuf::from));
    }

    #[test]
    fn parameters_that_are_no_table_are_refused() {
        insta::assert_snapshot!(Projection::of(&5).err().unwrap_or_default());
    }
}
