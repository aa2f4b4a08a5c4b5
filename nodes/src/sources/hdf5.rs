//! HDF5 files as h5py writes them: arrays in one piece or in chunks, packed or not.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use flow_engine::plain_file;
use hdf5_reader::{ByteOrder, Datatype, FileStorage, H5Type, Hdf5File, OpenOptions, SliceInfo, SliceInfoElem};

use super::Source;
use super::arrays::{self, Archive, Give, LIMIT, Stop};
use super::container::{Contents, Format, Reader, Take, source_of};
use super::npy::{Array, Header};
use crate::pictures::{Fault, Values};

/// What a file begins with.
const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

pub(super) const FORMAT: Format = Format {
    name: "hdf5",
    fits: |path| {
        let mut start = Vec::new();
        let file = path.is_file().then(|| plain_file::open(path).ok()).flatten();
        file.is_some_and(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start).is_ok()) && start == MAGIC
    },
    read,
    encoded: false,
};

/// Arrays as in an npz file, or in groups: `train/x`, `train/y` and the like.
pub(super) const HDF5: Source = source_of!(FORMAT, takes: &[
    "path", "test", "side", "arrays", "fit", "channels", "matte", "on_bad", "on_leak",
]);

fn read(reader: &Reader<'_>, take: &mut Take<'_>) -> Result<Contents, Fault> {
    let fault = |what: String| {
        let help = "h5py's `file[\"x\"] = images` and `file[\"y\"] = labels` write what is read";
        Fault::new(format!("{}: {what}", reader.path.display()), help)
    };
    let mut file = opened(reader.path).map_err(|what| fault(format!("no whole HDF5 file: {what}")))?;
    arrays::read(&mut file, FORMAT.name, reader, take, &fault)
}

/// Links to other files are not followed.
fn opened(path: &Path) -> Result<Hdf5File, String> {
    let file = plain_file::open(path).map_err(|e| e.to_string())?;
    let storage = FileStorage::from_file(file).map_err(in_words)?;
    let limit = usize::try_from(LIMIT).unwrap_or(usize::MAX);
    let options = OpenOptions::default().with_max_read_bytes(limit);
    Hdf5File::from_storage_with_options(Arc::new(storage), options).map_err(in_words)
}

#[allow(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
fn in_words(error: hdf5_reader::error::Error) -> String {
    format!("damaged, truncated or of a kind that is not read: {error}")
}

impl Archive for Hdf5File {
    fn names(&self) -> Result<Vec<String>, String> {
        let (groups, mut names) = self
            .root_group()
            .and_then(|root| root.member_names())
            .map_err(in_words)?;
        for group in groups {
            let (_, inner) = self
                .group(&group)
                .and_then(|group| group.member_names())
                .map_err(in_words)?;
            names.extend(inner.iter().map(|name| format!("{group}/{name}")));
        }
        Ok(names)
    }

    fn header(&mut self, name: &str) -> Result<Header, String> {
        let array = self.dataset(name).map_err(in_words)?;
        let shape: Result<Vec<usize>, _> = array.shape().iter().map(|size| usize::try_from(*size)).collect();
        let shape = shape.map_err(|_| "its shape is impossible")?;
        let dtype = match array.dtype() {
            Datatype::FixedPoint {
                size,
                signed,
                byte_order,
            } => {
                format!("{}{}{size}", mark(*byte_order), if *signed { 'i' } else { 'u' })
            }
            Datatype::FloatingPoint { size, byte_order } => format!("{}f{size}", mark(*byte_order)),
            // h5py's bool.
            Datatype::Enum { base, .. } if matches!(**base, Datatype::FixedPoint { size: 1, .. }) => "|b1".to_owned(),
            Datatype::String { .. } | Datatype::VarLen { .. } => "|S1".to_owned(),
            _ => return Err("its values are neither numbers nor texts".to_owned()),
        };
        Header::of(&dtype, shape, false, 0)
    }

    fn whole(&mut self, name: &str) -> Result<Array, String> {
        let header = self.header(name)?;
        let array = self.dataset(name).map_err(in_words)?;
        if !matches!(array.dtype(), Datatype::String { .. } | Datatype::VarLen { .. }) {
            let bytes = array.read_raw_bytes().map_err(in_words)?;
            return Array::of(&header.dtype, header.shape, false, &bytes);
        }
        let texts = array.read_strings().map_err(in_words)?;
        let longest = texts.iter().map(String::len).max().unwrap_or(0).max(1);
        let padded = |text: &String| {
            let mut bytes = text.clone().into_bytes();
            bytes.resize(longest, 0);
            bytes
        };
        let bytes: Vec<u8> = texts.iter().flat_map(padded).collect();
        Array::of(&format!("|S{longest}"), header.shape, false, &bytes)
    }

    fn parts(&mut self, name: &str, _: &Header, [n, _, together]: [usize; 3], give: &mut Give<'_>) -> Result<(), Stop> {
        let array = self.dataset(name).map_err(in_words)?;
        // A chunk is unpacked whole: images of one go together, unless those are very many.
        let chunk = array
            .chunks()
            .and_then(|sizes| sizes.first().map(|rows| *rows as usize));
        let chunk = chunk.filter(|rows| (1..=8 * together).contains(rows)).unwrap_or(1);
        let together = together.next_multiple_of(chunk);
        for from in (0..n).step_by(together) {
            let count = together.min(n - from);
            let some = match array.dtype() {
                Datatype::FixedPoint { size: 1, .. } => Values::Eight(rows(&array, from, count)?),
                Datatype::FixedPoint { .. } => Values::Sixteen(rows(&array, from, count)?),
                _ => {
                    let all = self.whole(name)?.pixels()?;
                    return Ok(give(0, &all, n)?);
                }
            };
            give(from, &some, count)?;
        }
        Ok(())
    }
}

/// The values of some rows of an array.
fn rows<V: H5Type + Copy>(array: &hdf5_reader::Dataset, from: usize, count: usize) -> Result<Vec<V>, String> {
    let mut selection = SliceInfo::all(array.ndim());
    if let Some(first) = selection.selections.first_mut() {
        *first = SliceInfoElem::Slice {
            start: from as u64,
            end: (from + count) as u64,
            step: 1,
        };
    }
    let values = array.read_slice::<V>(&selection).map_err(in_words)?;
    Ok(values.iter().copied().collect())
}

fn mark(order: ByteOrder) -> char {
    match order {
        ByteOrder::LittleEndian => '<',
        ByteOrder::BigEndian => '>',
    }
}
