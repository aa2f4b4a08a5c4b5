//! NumPy's archives of arrays.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flow_engine::plain_file;
use zip::ZipArchive;

use super::Source;
use super::arrays::{self, Archive, Give, LIMIT, Stop};
use super::container::{Contents, Format, Reader, Take, source_of};
use super::npy::{Array, Header};
use crate::pictures::Fault;

/// Bytes that hold any header.
const HEAD: u64 = 1 << 16;

pub(super) const FORMAT: Format = Format {
    name: "npz",
    fits: |path| {
        let is_npz = |path: &Path| {
            path.extension()
                .is_some_and(|ending| ending.eq_ignore_ascii_case("npz"))
        };
        path.is_file() && is_npz(path)
    },
    read,
    encoded: false,
};

/// Arrays `x` and `y`, or `x_train`, `y_train`, `x_test`, `y_test` and the like.
pub(super) const NPZ: Source = source_of!(FORMAT, takes: &[
    "path", "test", "side", "arrays", "fit", "channels", "matte", "on_bad", "on_leak",
]);

fn damaged(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it is truncated".to_owned(),
        _ => format!("it is damaged: {error}"),
    }
}

type Zip = ZipArchive<BufReader<File>>;

fn opened(path: &Path) -> Result<Zip, String> {
    let file = plain_file::open(path).map_err(|e| e.to_string())?;
    ZipArchive::new(BufReader::new(file)).map_err(|e| format!("no whole npz archive: {e}"))
}

fn read(reader: &Reader<'_>, take: &mut Take<'_>) -> Result<Contents, Fault> {
    let fault = |what: String| {
        let help = "`numpy.savez(\"file.npz\", x=images, y=labels)` writes what is read";
        Fault::new(format!("{}: {what}", reader.path.display()), help)
    };
    let mut zip = opened(reader.path).map_err(fault)?;
    arrays::read(&mut zip, FORMAT.name, reader, take, &fault)
}

impl Archive for Zip {
    fn names(&self) -> Result<Vec<String>, String> {
        let names = self.file_names().filter_map(Result::ok);
        let names = names.filter_map(|name| name.strip_suffix(".npy").map(str::to_owned));
        Ok(names.collect())
    }

    fn header(&mut self, name: &str) -> Result<Header, String> {
        Header::parse(&member(self, name, HEAD)?)
    }

    fn whole(&mut self, name: &str) -> Result<Array, String> {
        Array::parse(&member(self, name, LIMIT)?)
    }

    fn parts(
        &mut self,
        name: &str,
        header: &Header,
        [n, values, together]: [usize; 3],
        give: &mut Give<'_>,
    ) -> Result<(), Stop> {
        let mut entry = self.by_name(&format!("{name}.npy")).map_err(|e| e.to_string())?;
        let (start, _) = header.bytes(0);
        let skipped = std::io::copy(&mut entry.by_ref().take(start), &mut std::io::sink());
        skipped.map_err(|e| damaged(&e))?;
        for from in (0..n).step_by(together) {
            let count = together.min(n - from);
            let mut bytes = vec![0; header.bytes(count * values).1];
            entry.read_exact(&mut bytes).map_err(|e| damaged(&e))?;
            give(from, &Array::part(header, bytes).pixels()?, count)?;
        }
        // Whether all was as it was written, the archive tells at its end.
        let rest = std::io::copy(&mut entry, &mut std::io::sink());
        Ok(rest.map(drop).map_err(|e| damaged(&e))?)
    }
}

/// The arrays of an archive, by their names: of each the numbers of a row, and all of them.
pub(crate) fn arrays(path: &Path) -> Result<BTreeMap<String, (usize, Vec<f32>)>, String> {
    let mut zip = opened(path)?;
    let names: Vec<String> = zip.file_names().filter_map(Result::ok).map(Cow::into_owned).collect();
    let mut arrays = BTreeMap::new();
    for name in names.iter().filter_map(|name| name.strip_suffix(".npy")) {
        let array = member(&mut zip, name, LIMIT).and_then(|bytes| Array::parse(&bytes));
        let rows = array
            .and_then(|array| array.rows())
            .map_err(|what| format!("array `{name}`: {what}"))?;
        arrays.insert(name.to_owned(), rows);
    }
    Ok(arrays)
}

fn member(zip: &mut Zip, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    let entry = zip.by_name(&format!("{name}.npy")).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    entry.take(limit).read_to_end(&mut bytes).map_err(|e| damaged(&e))?;
    Ok(bytes)
}
