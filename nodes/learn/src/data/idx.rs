//! IDX, the format of MNIST and its kin: two zero bytes, a type, the number of dimensions, big-endian sizes, then the values.

/// Why bytes are not what was expected of an IDX file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdxError {
    /// The first bytes are wrong.
    #[error(
        "not an IDX file of unsigned bytes: it begins with {found:02x?}, expected 00 00 08 and the number of dimensions"
    )]
    Magic {
        /// The first bytes.
        found: Vec<u8>,
    },
    /// Another number of dimensions.
    #[error("an IDX file of {found} dimension(s), expected {expected}")]
    Dimensions {
        /// Dimensions found.
        found: usize,
        /// Dimensions expected: `1`, or `3 or 4`.
        expected: &'static str,
    },
    /// The file is shorter or longer than its header says.
    #[error("the header says {expected} values, the file has {found}: it is {}", if found < expected { "cut short" } else { "too long" })]
    Length {
        /// Values announced.
        expected: usize,
        /// Values there.
        found: usize,
    },
}

/// Labels of an IDX file with one dimension.
///
/// # Errors
/// If the bytes are not such a file.
pub fn parse_labels(bytes: &[u8]) -> Result<&[u8], IdxError> {
    let (sizes, values) = header(bytes, &(1..=1, "1"))?;
    check_length(sizes.iter().product(), values.len())?;
    Ok(values)
}

/// Whether a file has as many values as its header says.
///
/// # Errors
/// If it has more or fewer.
pub fn check_length(expected: usize, found: usize) -> Result<(), IdxError> {
    match expected == found {
        true => Ok(()),
        false => Err(IdxError::Length { expected, found }),
    }
}

/// Number, height and width of the images of an IDX file, and of images in colour a fourth size, last or second: from its first [`IMAGES_HEADER`] bytes or, if it is shorter, all.
///
/// # Errors
/// If they are not such a header.
pub fn image_sizes(bytes: &[u8]) -> Result<Vec<usize>, IdxError> {
    Ok(header(bytes, &IMAGES)?.0)
}

/// The most bytes that the header of an IDX file of images has.
pub const IMAGES_HEADER: usize = 20;

/// Dimensions that are taken, and those in words.
type Dimensions = (std::ops::RangeInclusive<usize>, &'static str);

const IMAGES: Dimensions = (3..=4, "3 or 4");

/// Sizes, and what is behind the header.
fn header<'b>(bytes: &'b [u8], (taken, expected): &Dimensions) -> Result<(Vec<usize>, &'b [u8]), IdxError> {
    let magic = || IdxError::Magic {
        found: bytes[..bytes.len().min(4)].to_vec(),
    };
    let ([0, 0, 8, found], rest) = bytes.split_first_chunk::<4>().ok_or_else(magic)? else {
        return Err(magic());
    };
    let dimensions = usize::from(*found);
    if !taken.contains(&dimensions) {
        return Err(IdxError::Dimensions {
            found: dimensions,
            expected,
        });
    }
    let (sizes, values) = rest.split_at_checked(4 * dimensions).ok_or_else(magic)?;
    let sizes = sizes.as_chunks::<4>().0.iter();
    Ok((sizes.map(|b| u32::from_be_bytes(*b) as usize).collect(), values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TWO: [u8; 24] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];
    const ONE: [u8; 10] = [0, 0, 8, 1, 0, 0, 0, 2, 7, 9];

    #[test]
    fn sizes_and_values_are_read() {
        assert_eq!(parse_labels(&ONE), Ok(&ONE[8..]));
        assert_eq!(image_sizes(&TWO[..16]), Ok(vec![2, 2, 2]));
        assert!(image_sizes(&TWO[..15]).is_err());
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(parse_labels(&ONE[..9]), Err(IdxError::Length { expected: 2, found: 1 }));
        assert_eq!(
            parse_labels(&TWO),
            Err(IdxError::Dimensions {
                found: 3,
                expected: "1"
            })
        );
        assert_eq!(
            image_sizes(b"\x1f\x8b\x08\x00"),
            Err(IdxError::Magic {
                found: vec![0x1f, 0x8b, 8, 0]
            })
        );
        let huge = [&[0, 0, 8, 1][..], &[255; 12]].concat();
        assert!(parse_labels(&huge).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (image_sizes(&bytes), parse_labels(&bytes));
        }
    }
}
