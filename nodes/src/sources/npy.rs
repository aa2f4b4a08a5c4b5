//! NumPy's arrays: a header that is a Python dictionary, then values.

use crate::pictures::Values;

/// What a file begins with.
const MAGIC: &[u8] = b"\x93NUMPY";

/// The kinds of values that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
    /// Characters of 32 bits.
    Text,
    /// Characters of 8 bits.
    Bytes,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) shape: Vec<usize>,
    /// As NumPy writes it, e.g. `<f4`.
    pub(super) dtype: String,
    kind: Kind,
    /// Bytes of a value.
    width: usize,
    big_endian: bool,
    fortran: bool,
    /// Where values begin.
    start: usize,
}

impl Header {
    /// Of the first bytes of a file: 64 KiB hold any.
    ///
    /// # Errors
    /// In words.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or("it is no NumPy array: it does not begin as one")?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or("its header is truncated")?;
        let (length, rest) = match version[0] {
            1 => {
                let (length, rest) = rest.split_first_chunk::<2>().ok_or("its header is truncated")?;
                (usize::from(u16::from_le_bytes(*length)), rest)
            }
            2 | 3 => {
                let (length, rest) = rest.split_first_chunk::<4>().ok_or("its header is truncated")?;
                (u32::from_le_bytes(*length) as usize, rest)
            }
            other => return Err(format!("version {other} of NumPy's format found, expected 1 to 3")),
        };
        let start = bytes.len() - rest.len() + length;
        let text = rest.get(..length).ok_or("its header is truncated")?;
        let text = std::str::from_utf8(text).map_err(|_| "its header is no text")?;
        let dtype = value_of(text, "descr")?;
        let dtype = dtype
            .strip_prefix('\'')
            .and_then(|text| text.split('\'').next())
            .ok_or("its values are records, expected numbers")?;
        let fortran = value_of(text, "fortran_order")?.starts_with("True");
        let shape = value_of(text, "shape")?;
        let shape = shape
            .strip_prefix('(')
            .and_then(|text| text.split(')').next())
            .ok_or("its header has no shape")?;
        let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
        let sizes: Result<Vec<usize>, _> = sizes.map(|size| size.trim_end_matches('L').parse()).collect();
        Self::of(dtype, sizes.map_err(|_| "its shape is none")?, fortran, start)
    }

    /// Of values that begin at a place. A type is as NumPy writes it.
    ///
    /// # Errors
    /// In words.
    pub(super) fn of(dtype: &str, shape: Vec<usize>, fortran: bool, start: usize) -> Result<Self, String> {
        let unknown = || match dtype.contains('O') {
            true => format!("its values are pickled objects (dtype {dtype}), which are not read: save numbers"),
            false => format!("dtype {dtype} found, expected whole numbers, float32, float64, bool or texts"),
        };
        let (order, rest) = dtype.split_at_checked(1).ok_or_else(unknown)?;
        let (letter, size) = rest.split_at_checked(1).ok_or_else(unknown)?;
        let size: usize = size.parse().map_err(|_| unknown())?;
        let (kind, width) = match (letter, size) {
            ("b", 1) => (Kind::Bool, 1),
            ("u", 1 | 2 | 4 | 8) => (Kind::Unsigned, size),
            ("i", 1 | 2 | 4 | 8) => (Kind::Signed, size),
            ("f", 4 | 8) => (Kind::Float, size),
            ("U", 1..=4096) => (Kind::Text, 4 * size),
            ("S", 1..=4096) => (Kind::Bytes, size),
            _ => return Err(unknown()),
        };
        Ok(Self {
            shape,
            dtype: dtype.to_owned(),
            kind,
            width,
            big_endian: order == ">",
            fortran,
            start,
        })
    }

    /// How many values there are.
    fn len(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |all, size| all.checked_mul(*size))
    }

    /// Whether each value is a pixel whatever the others are, in the order of the images: then a part of them can be read.
    pub(super) fn is_of_pixels(&self) -> bool {
        !self.fortran && matches!((self.kind, self.width), (Kind::Unsigned, 1 | 2) | (Kind::Bool, 1))
    }

    /// Bytes before the values, and of so many values.
    pub(super) fn bytes(&self, values: usize) -> (u64, usize) {
        (self.start as u64, values * self.width)
    }

    /// Bytes of the whole file.
    pub(super) fn file_len(&self) -> Option<usize> {
        self.len()?.checked_mul(self.width)?.checked_add(self.start)
    }
}

/// What stands behind a key of a Python dictionary.
fn value_of<'t>(text: &'t str, key: &str) -> Result<&'t str, String> {
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let behind = quoted.iter().find_map(|key| text.split_once(key.as_str()));
    let value = behind.and_then(|(_, rest)| rest.trim_start().strip_prefix(':'));
    value
        .map(str::trim_start)
        .ok_or_else(|| format!("its header has no `{key}`"))
}

/// An array in memory.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub(super) header: Header,
    /// Values in the order of the shape, the last size running fastest.
    data: Vec<u8>,
}

impl Array {
    /// Of a whole file.
    ///
    /// # Errors
    /// In words: it is truncated, or no array of numbers or texts.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let header = Header::parse(bytes)?;
        let expected = header.file_len().ok_or("its shape is impossible")?;
        if bytes.len() < expected {
            return Err(format!(
                "it is truncated: {} bytes found, expected {expected}",
                bytes.len()
            ));
        }
        let data = &bytes[header.start..expected];
        Ok(Self::ordered(header, data))
    }

    /// Of some of the values, in order.
    pub(super) fn part(header: &Header, data: Vec<u8>) -> Self {
        let shape = vec![data.len() / header.width];
        let header = Header {
            shape,
            ..header.clone()
        };
        Self { header, data }
    }

    /// Of values that another file has.
    ///
    /// # Errors
    /// In words.
    pub(super) fn of(dtype: &str, shape: Vec<usize>, fortran: bool, data: &[u8]) -> Result<Self, String> {
        let header = Header::of(dtype, shape, fortran, 0)?;
        if header.file_len() != Some(data.len()) {
            return Err(format!(
                "an array of {} bytes does not fit its shape {:?}",
                data.len(),
                header.shape
            ));
        }
        Ok(Self::ordered(header, data))
    }

    fn ordered(header: Header, data: &[u8]) -> Self {
        if !header.fortran || header.shape.len() < 2 {
            let data = data.to_vec();
            return Self { header, data };
        }
        // The first size runs fastest: each value is put where it belongs.
        let mut ordered = vec![0; data.len()];
        let mut at = vec![0; header.shape.len()];
        for value in data.chunks_exact(header.width) {
            let place = at
                .iter()
                .zip(&header.shape)
                .fold(0, |place, (i, size)| place * size + i);
            ordered[place * header.width..(place + 1) * header.width].copy_from_slice(value);
            for (i, size) in at.iter_mut().zip(&header.shape) {
                *i += 1;
                if *i < *size {
                    break;
                }
                *i = 0;
            }
        }
        Self { header, data: ordered }
    }

    /// A value's bytes, the low one first, in eight.
    fn raw(&self) -> impl Iterator<Item = [u8; 8]> + '_ {
        let Header { width, big_endian, .. } = self.header;
        self.data.chunks_exact(width).map(move |value| {
            let mut bytes = [0; 8];
            bytes[..width].copy_from_slice(value);
            if big_endian {
                bytes[..width].reverse();
            }
            bytes
        })
    }

    /// Whole numbers.
    ///
    /// # Errors
    /// In words: there are others.
    pub(super) fn integers(&self) -> Result<Vec<i64>, String> {
        let (kind, width) = (self.header.kind, self.header.width);
        let unused = 64 - 8 * width.min(8) as u32;
        let integer = |bytes: [u8; 8]| match kind {
            Kind::Bool | Kind::Unsigned => {
                i64::try_from(u64::from_le_bytes(bytes)).map_err(|_| "a number is too large".to_owned())
            }
            // The sign is that of the value's own highest bit.
            Kind::Signed => Ok(i64::from_le_bytes(bytes) << unused >> unused),
            Kind::Float => {
                let value = float(bytes, width);
                let whole = value.fract() == 0.0 && value.abs() < 1e15;
                whole
                    .then_some(value as i64)
                    .ok_or_else(|| format!("{value} found, expected whole numbers"))
            }
            Kind::Text | Kind::Bytes => Err(format!("dtype {} found, expected numbers", self.header.dtype)),
        };
        if matches!(kind, Kind::Text | Kind::Bytes) {
            return integer([0; 8]).map(|_| Vec::new());
        }
        self.raw().map(integer).collect()
    }

    /// The numbers of an array of two sizes, row after row, and how many a row has.
    ///
    /// # Errors
    /// In words: it has other sizes, or a value that is no finite number.
    pub(super) fn rows(&self) -> Result<(usize, Vec<f32>), String> {
        let Some(dim) = self
            .header
            .shape
            .get(1)
            .filter(|dim| self.header.shape.len() == 2 && **dim > 0)
        else {
            return Err(format!(
                "shape {:?} found, expected [examples, numbers]",
                self.header.shape
            ));
        };
        let values: Vec<f32> = match self.header.kind {
            Kind::Float => self.raw().map(|bytes| float(bytes, self.header.width) as f32).collect(),
            _ => self.integers()?.into_iter().map(|v| v as f32).collect(),
        };
        match values.iter().find(|v| !v.is_finite()) {
            Some(value) => Err(format!("{value} found, expected finite numbers")),
            None => Ok((*dim, values)),
        }
    }

    /// Texts, if it holds such.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let text = |value: &[u8]| -> String {
            match self.header.kind {
                Kind::Text => {
                    let characters = value.as_chunks::<4>().0.iter().map(|c| match self.header.big_endian {
                        true => u32::from_be_bytes(*c),
                        false => u32::from_le_bytes(*c),
                    });
                    characters.take_while(|c| *c != 0).filter_map(char::from_u32).collect()
                }
                _ => String::from_utf8_lossy(value).trim_end_matches('\0').to_owned(),
            }
        };
        let is_text = matches!(self.header.kind, Kind::Text | Kind::Bytes);
        is_text.then(|| self.data.chunks_exact(self.header.width).map(text).collect())
    }

    /// Values of pixels: whole numbers up to 255 or 65535 as they are, bool as black and white, floats in [0, 1] times 255.
    ///
    /// # Errors
    /// In words: they are no pixels.
    pub(super) fn pixels(&self) -> Result<Values, String> {
        match (self.header.kind, self.header.width) {
            (Kind::Unsigned, 1) => Ok(Values::Eight(self.data.clone())),
            (Kind::Bool, _) => Ok(Values::Eight(
                self.data.iter().map(|v| if *v == 0 { 0 } else { 255 }).collect(),
            )),
            (Kind::Float, width) => of_floats(&self.raw().map(|bytes| float(bytes, width)).collect::<Vec<f64>>()),
            _ => {
                let values = self.integers()?;
                let (least, most) = values
                    .iter()
                    .fold((0, 0), |(least, most), v| (least.min(*v), most.max(*v)));
                let deep = self.header.width == 2 && self.header.kind == Kind::Unsigned;
                match (least, most) {
                    (0, ..=255) if !deep => Ok(Values::Eight(values.iter().map(|v| *v as u8).collect())),
                    (0, ..=65_535) => Ok(Values::Sixteen(values.iter().map(|v| *v as u16).collect())),
                    _ => Err(format!(
                        "values from {least} to {most} found, expected pixels from 0 to 255 or 65535"
                    )),
                }
            }
        }
    }
}

fn float(bytes: [u8; 8], width: usize) -> f64 {
    match width {
        4 => f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        _ => f64::from_le_bytes(bytes),
    }
}

fn of_floats(values: &[f64]) -> Result<Values, String> {
    if values.iter().any(|v| !v.is_finite()) {
        return Err("a value is not finite, expected pixels".into());
    }
    let (least, most) = values
        .iter()
        .fold((0.0f64, 0.0f64), |(least, most), v| (least.min(*v), most.max(*v)));
    if least < 0.0 || most > 255.0 {
        let help = "are they normalised? Save them as they were";
        return Err(format!(
            "values from {least} to {most} found, expected [0, 1] or [0, 255]: {help}"
        ));
    }
    let factor = if most <= 1.0 { 255.0 } else { 1.0 };
    Ok(Values::Eight(
        values.iter().map(|v| (v * factor).round() as u8).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn npy(dtype: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let head = format!("{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': ({shape}), }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((head.len() as u16).to_le_bytes());
        bytes.extend(head.bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn values_are_those_of_numpy_whatever_order_and_width_they_have() {
        let array = Array::parse(&npy("|u1", "True", "2, 3", &[0, 3, 1, 4, 2, 5])).expect("an array");
        assert_eq!(array.pixels(), Ok(Values::Eight(vec![0, 1, 2, 3, 4, 5])));
        let big = Array::parse(&npy(">i2", "False", "3,", &[0, 7, 255, 255, 1, 0])).expect("an array");
        assert_eq!(big.integers(), Ok(vec![7, -1, 256]));
        assert!(big.pixels().expect_err("negative").contains("-1"));
        let deep = Array::parse(&npy("<u2", "False", "2,", &[0, 1, 5, 0])).expect("an array");
        assert_eq!(deep.pixels(), Ok(Values::Sixteen(vec![256, 5])));
        let floats = [0.0f32, 0.5, 1.0].map(f32::to_le_bytes).concat();
        let floats = Array::parse(&npy("<f4", "False", "3,", &floats)).expect("an array");
        assert_eq!(floats.pixels(), Ok(Values::Eight(vec![0, 128, 255])));
        let texts: Vec<u8> = "catd\0\0".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        let texts = Array::parse(&npy("<U3", "False", "2,", &texts)).expect("an array");
        assert_eq!(texts.texts(), Some(vec!["cat".into(), "d".into()]));
    }

    #[test]
    fn what_is_no_array_of_numbers_is_refused_in_words() {
        let refused = |bytes: &[u8]| Array::parse(bytes).expect_err("no array");
        assert!(refused(b"").contains("does not begin"));
        assert!(refused(&npy("|O", "False", "2,", b"..")).contains("pickled objects"));
        assert!(refused(&npy("<c16", "False", "1,", &[0; 16])).contains("<c16"));
        assert!(refused(&npy("<f4", "False", "2, 2", &[0; 15])).contains("truncated"));
        let huge = "18446744073709551615, 9";
        assert!(refused(&npy("<f4", "False", huge, &[0; 15])).contains("impossible"));
        assert!(refused(&npy("<f4", "False", "2", &[0; 8])[..30]).contains("header is truncated"));
        let nan = Array::parse(&npy("<f4", "False", "1,", &f32::NAN.to_le_bytes())).expect("an array");
        assert!(nan.pixels().is_err());
    }
}
