//! Paths in files that are UTF-8 throughout, for `#[serde(with = "os_path")]`: a path that is not UTF-8 is written as its bytes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(PathBuf),
    Bytes(OsString),
}

pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => text.serialize(serializer),
        None => path.as_os_str().serialize(serializer),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(match Written::deserialize(deserializer)? {
        Written::Text(path) => path,
        Written::Bytes(bytes) => bytes.into(),
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct One(#[serde(with = "crate::os_path")] PathBuf);

    #[test]
    fn a_path_reads_back_as_it_was_whatever_its_bytes() {
        for bytes in [&b"plain"[..], b"donn\xe9es/\\\"x", "sch\u{f6}n".as_bytes()] {
            let path = One(OsString::from_vec(bytes.to_vec()).into());
            let text = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<One>(&text).unwrap(), path, "{text}");
        }
    }
}
