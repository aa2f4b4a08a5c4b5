//! One image file: what its header says, and its pixels as 8-bit values. The format is told from the content.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{Cursor, Read};
use std::path::Path;

use super::bands::Bands;
use flow_engine::plain_file;
use flow_learn::image::Size;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

/// The most pixels of an image that is decoded where nothing is said: 100 megapixels are 300 MB in memory.
pub const MAX_PIXELS: u64 = 100_000_000;

/// A file longer than this is not read: no image within reason has as many bytes.
const MAX_BYTES: u64 = 4 << 30;

/// The most memory that a thread keeps for its next image.
const SPARE_BYTES: usize = 16 << 20;

/// Bytes that tell the format.
const MAGIC: usize = 32;

/// How images are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The most pixels (width times height) of an image.
    pub max_pixels: u64,
    /// What shows through where an image is transparent.
    pub matte: [u8; 3],
}

impl Default for Reading {
    /// 100 megapixels, black.
    fn default() -> Self {
        Self {
            max_pixels: MAX_PIXELS,
            matte: [0; 3],
        }
    }
}

impl Reading {
    /// Whether an image of such a size may be decoded.
    pub(super) fn check_size(&self, width: u32, height: u32) -> Result<(), String> {
        let pixels = u64::from(width) * u64::from(height);
        match pixels > self.max_pixels {
            true => Err(format!(
                "its header says {width}x{height}, {pixels} pixels, and the limit is {}: `max_pixels = {pixels}` lets it in",
                self.max_pixels
            )),
            false => Ok(()),
        }
    }
}

/// What the header of an image file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `jpeg`, `png`, `gif`, `webp`, `bmp` or `tiff`; of an array that of its file.
    pub format: &'static str,
    /// Columns, after the orientation was applied.
    pub width: u32,
    /// Rows, after the orientation was applied.
    pub height: u32,
    /// Channels as they are decoded, alpha included; a palette is looked up.
    pub channels: u8,
    /// Bits of a channel in the file.
    pub depth: u8,
}

/// Values of pixels, as many bits as the file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// From 0 to 255.
    Eight(Vec<u8>),
    /// From 0 to 65535.
    Sixteen(Vec<u16>),
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Eight(values) => values.len(),
            Self::Sixteen(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As 8 bits: of 16 the nearest.
    pub fn eight(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Eight(values) => Cow::Borrowed(values),
            Self::Sixteen(values) => values.iter().map(|v| ((u32::from(*v) + 128) / 257) as u8).collect(),
        }
    }

    /// As 16 bits.
    pub fn sixteen(&self) -> Cow<'_, [u16]> {
        match self {
            Self::Eight(values) => values.iter().map(|v| u16::from(*v) * 257).collect(),
            Self::Sixteen(values) => Cow::Borrowed(values),
        }
    }
}

/// A decoded image: `[height][width][channels]` values, upright, nothing transparent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// What the header said.
    pub header: Header,
    /// Channels of the values: 3 of an image file, any number of an array or of a TIFF file of several bands.
    pub channels: usize,
    /// Its pixels.
    pub values: Values,
}

impl Picture {
    /// Of an array's values, `[height][width][channels]`, from a file of this format.
    pub(crate) fn of_values(format: &'static str, [h, w, c]: [usize; 3], values: Values) -> Self {
        let depth = match values {
            Values::Eight(_) => 8,
            Values::Sixteen(_) => 16,
        };
        let header = Header {
            format,
            width: w as u32,
            height: h as u32,
            channels: c as u8,
            depth,
        };
        Self {
            header,
            channels: c,
            values,
        }
    }

    /// Height, width and channels of its values.
    pub fn size(&self) -> Size {
        let Header { width, height, .. } = self.header;
        Size {
            h: height as usize,
            w: width as usize,
            c: self.channels,
        }
    }

    /// Mean of red, green and blue, from 0 to 255; of gray thrice the same, of more channels the first three.
    pub fn mean(&self) -> [f64; 3] {
        let eight = self.values.eight();
        let pixels = (eight.len() / self.channels.max(1)).max(1) as f64;
        std::array::from_fn(|c| {
            let channel = eight.iter().skip(c.min(self.channels - 1)).step_by(self.channels);
            channel.map(|v| u64::from(*v)).sum::<u64>() as f64 / pixels
        })
    }
}

/// Whether the first bytes of a file are those of an image in one of the formats that are read.
///
/// # Errors
/// If it cannot be read.
pub(super) fn is_image(path: &Path) -> Result<bool, String> {
    let mut start = Vec::new();
    let file = plain_file::open(path).map_err(|e| e.to_string())?;
    file.take(MAGIC as u64)
        .read_to_end(&mut start)
        .map_err(|e| e.to_string())?;
    Ok(begins_as_image(&start))
}

/// Whether these are the first bytes of an image in one of the formats that are read.
pub(super) fn begins_as_image(start: &[u8]) -> bool {
    format_of(start).is_some()
}

/// The format that the first bytes tell.
fn format_of(bytes: &[u8]) -> Option<(ImageFormat, &'static str)> {
    let format = image::guess_format(bytes).ok()?;
    let name = match format {
        ImageFormat::Jpeg => "jpeg",
        ImageFormat::Png => "png",
        ImageFormat::Gif => "gif",
        ImageFormat::WebP => "webp",
        ImageFormat::Bmp => "bmp",
        ImageFormat::Tiff => "tiff",
        _ => return None,
    };
    Some((format, name))
}

/// Reads the header of a file only.
///
/// # Errors
/// In words, without the path: what is wrong with the file.
pub fn header(path: &Path, reading: &Reading) -> Result<Header, String> {
    let bytes = bytes_of(path)?;
    match Bands::open(&bytes, reading)? {
        Some(bands) => Ok(bands.header),
        None => opened(&bytes, reading).map(|(header, ..)| header),
    }
}

/// Reads a file whole.
///
/// # Errors
/// In words, without the path: it cannot be read, is no image, is truncated or damaged, or larger than the limit.
pub fn decode(path: &Path, reading: &Reading) -> Result<Picture, String> {
    decode_bytes(&bytes_of(path)?, reading)
}

/// Decodes the bytes of a file, as [`decode`].
///
/// # Errors
/// As [`decode`].
pub fn decode_bytes(bytes: &[u8], reading: &Reading) -> Result<Picture, String> {
    if let Some(bands) = Bands::open(bytes, reading)? {
        return bands.picture();
    }
    let (header, orientation, decoder) = opened(bytes, reading)?;
    if header.format == "jpeg" && !jpeg_has_end(bytes) {
        return Err("the file is truncated: the end of the JPEG data is missing".into());
    }
    if decoder.color_type() == ColorType::Rgb8 && orientation == Orientation::NoTransforms {
        let mut values = spare(decoder.total_bytes())?;
        decoder.read_image(&mut values).map_err(|e| in_words(&e))?;
        return Ok(Picture {
            header,
            channels: 3,
            values: Values::Eight(values),
        });
    }
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(|e| in_words(&e))?;
    decoded.apply_orientation(orientation);
    let color = decoded.color();
    let values = match (color.bytes_per_pixel() / color.channel_count() == 2, color.has_alpha()) {
        (true, false) => Values::Sixteen(decoded.into_rgb16().into_raw()),
        (true, true) => Values::Sixteen(over(
            decoded.into_rgba16().as_raw(),
            reading.matte.map(|v| u16::from(v) * 257),
        )),
        (false, false) => Values::Eight(decoded.into_rgb8().into_raw()),
        (false, true) => Values::Eight(over(decoded.into_rgba8().as_raw(), reading.matte)),
    };
    Ok(Picture {
        header,
        channels: 3,
        values,
    })
}

thread_local! {
    /// The memory of the image before: to get as much from the system for each takes as long as a quarter of its decoding.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// So many bytes of any value.
fn spare(length: u64) -> Result<Vec<u8>, String> {
    let length = usize::try_from(length).map_err(|error| error.to_string())?;
    let mut bytes = SPARE.take();
    bytes.resize(length, 0);
    Ok(bytes)
}

/// Keeps the memory of an image for the next.
pub(super) fn reuse(picture: Picture) {
    if let Values::Eight(values) = picture.values
        && values.capacity() <= SPARE_BYTES
    {
        SPARE.set(values);
    }
}

/// The bytes of an image file.
pub(super) fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if metadata.len() > MAX_BYTES {
        return Err(format!("it is longer than {} GiB", MAX_BYTES >> 30));
    }
    plain_file::read(path).map_err(|e| e.to_string())
}

fn opened<'b>(bytes: &'b [u8], reading: &Reading) -> Result<(Header, Orientation, impl ImageDecoder + 'b), String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let (format, name) = format_of(bytes)
        .ok_or("not an image in a format that is read (JPEG, PNG, GIF, WebP, BMP, TIFF), judged by its content")?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(reading.max_pixels.saturating_mul(16));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| in_words(&e))?;
    let (width, height) = decoder.dimensions();
    reading.check_size(width, height)?;
    // Wrong EXIF data is no reason to refuse an image; viewers show it as it is.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let original = decoder.original_color_type();
    let header = Header {
        format: name,
        width,
        height,
        channels: decoder.color_type().channel_count(),
        depth: u8::try_from(original.bits_per_pixel() / u16::from(original.channel_count().max(1))).unwrap_or(u8::MAX),
    };
    Ok((upright(header, orientation), orientation, decoder))
}

/// The header with width and height as they are once the orientation is applied.
fn upright(header: Header, orientation: Orientation) -> Header {
    let Header { width, height, .. } = header;
    match orientation {
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            Header {
                width: height,
                height: width,
                ..header
            }
        }
        _ => header,
    }
}

/// Whether the end marker follows where the pixels begin. The decoder fills in what is missing with gray and says nothing.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    // Segments up to the start of the first scan: they may hold a thumbnail with an end marker of its own.
    while let Some([0xff, marker, high, low]) = bytes.get(at..at + 4) {
        match marker {
            0xff => at += 1,
            // As a rule it is the last that there is.
            0xda => return bytes[at..].windows(2).rev().any(|pair| pair == [0xff, 0xd9]),
            _ => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
        }
    }
    false
}

/// A transparent image over one colour.
fn over<V: Copy + Into<u32> + TryFrom<u32> + Bounded>(rgba: &[V], matte: [V; 3]) -> Vec<V> {
    let most = V::MOST.into();
    let of_pixel = |pixel: &[V; 4]| {
        let pixel = *pixel;
        let alpha: u64 = u64::from(pixel[3].into());
        std::array::from_fn::<V, 3, _>(|c| {
            let most = u64::from(most);
            let mixed = u64::from(pixel[c].into()) * alpha + u64::from(matte[c].into()) * (most - alpha);
            // Of the most a value can be, so it fits.
            V::try_from(((mixed + most / 2) / most) as u32).unwrap_or(V::MOST)
        })
    };
    rgba.as_chunks::<4>().0.iter().flat_map(of_pixel).collect()
}

/// The largest value of a channel.
trait Bounded {
    const MOST: Self;
}

impl Bounded for u8 {
    const MOST: Self = Self::MAX;
}

impl Bounded for u16 {
    const MOST: Self = Self::MAX;
}

/// The decoder's error in words.
fn in_words(error: &ImageError) -> String {
    let words = match error {
        ImageError::Decoding(_) => format!("damaged or truncated: {error}"),
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => "the file is truncated".into(),
        ImageError::Limits(_) => format!("it needs more memory than `max_pixels` allows: {error}"),
        ImageError::Unsupported(_) => format!("this variant of the format is not read: {error}"),
        other => other.to_string(),
    };
    // Some decoders end theirs with a new line.
    words.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_decoder_refuses_is_said_in_words() {
        use image::error::{ImageFormatHint, LimitError, LimitErrorKind, UnsupportedError, UnsupportedErrorKind};
        let limit = LimitError::from_kind(LimitErrorKind::InsufficientMemory);
        let format = || ImageFormatHint::Name("TIFF".to_owned());
        let variant = UnsupportedError::from_format_and_kind(format(), UnsupportedErrorKind::Format(format()));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge.jpg");
        // A hole: it takes no room on the disk.
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(MAX_BYTES + 1).unwrap();
        let said = [
            in_words(&ImageError::Limits(limit)),
            in_words(&ImageError::Unsupported(variant)),
            bytes_of(&path).unwrap_err(),
        ];
        insta::assert_snapshot!(said.join("\n"));
    }
}
