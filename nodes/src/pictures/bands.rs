//! TIFF files of many bands, as satellites and microscopes have them: what is neither gray nor colour stays as many channels as it is.

use std::io::Cursor;

use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

use super::decode::{Header, Picture, Reading, Values};

/// A file is planar where this is its `PlanarConfiguration`: one band lies behind the other.
const PLANAR: u32 = 2;

/// The most bands.
const MOST: u16 = 64;

/// A TIFF file of several bands that are no colours, with its size checked.
pub(super) struct Bands<'b> {
    decoder: Decoder<Cursor<&'b [u8]>>,
    pub(super) header: Header,
}

impl<'b> Bands<'b> {
    /// `None` if it is another file, or one that cannot be read: that is told by who reads those.
    ///
    /// # Errors
    /// In words, if it has more pixels than the limit, or too many bands.
    pub(super) fn open(bytes: &'b [u8], reading: &Reading) -> Result<Option<Self>, String> {
        let Ok(mut decoder) = Decoder::new(Cursor::new(bytes)) else {
            return Ok(None);
        };
        let (Ok(ColorType::Multiband { bit_depth, num_samples }), Ok((width, height))) =
            (decoder.colortype(), decoder.dimensions())
        else {
            return Ok(None);
        };
        reading.check_size(width, height)?;
        if num_samples > MOST {
            return Err(format!("it has {num_samples} bands, expected at most {MOST}"));
        }
        let mut limits = Limits::default();
        let most = reading.max_pixels.saturating_mul(2 * u64::from(num_samples));
        limits.decoding_buffer_size = usize::try_from(most).unwrap_or(usize::MAX);
        let header = Header {
            format: "tiff",
            width,
            height,
            channels: num_samples as u8,
            depth: bit_depth,
        };
        Ok(Some(Self {
            decoder: decoder.with_limits(limits),
            header,
        }))
    }

    /// Its pixels.
    ///
    /// # Errors
    /// In words: it is truncated or damaged, or its values are no pixels.
    pub(super) fn picture(mut self) -> Result<Picture, String> {
        let header = self.header;
        let planar = self
            .decoder
            .get_tag_u32(Tag::PlanarConfiguration)
            .is_ok_and(|layout| layout == PLANAR);
        let mut read = DecodingResult::U8(Vec::new());
        self.decoder
            .read_image_to_buffer(&mut read)
            .map_err(|e| format!("damaged or truncated: {e}"))?;
        let bands = usize::from(header.channels);
        let values = match read {
            DecodingResult::U8(values) => Values::Eight(interleaved(values, bands, planar)),
            DecodingResult::U16(values) => Values::Sixteen(interleaved(values, bands, planar)),
            _ => {
                let help = "save it as whole numbers of 8 or 16 bits";
                return Err(format!(
                    "its {bands} bands have values of another type than 8 or 16 bits: {help}"
                ));
            }
        };
        if values.len() != header.width as usize * header.height as usize * bands {
            return Err("the file is truncated".to_owned());
        }
        Ok(Picture {
            header,
            channels: bands,
            values,
        })
    }
}

/// Values of each pixel side by side.
fn interleaved<V: Copy>(values: Vec<V>, bands: usize, planar: bool) -> Vec<V> {
    let plane = values.len() / bands;
    match planar {
        false => values,
        true => (0..plane * bands)
            .map(|at| values[at % bands * plane + at / bands])
            .collect(),
    }
}
