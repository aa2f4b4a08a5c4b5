//! The fonts of pictures: Inter, letters of Latin, Greek and Cyrillic, without hints (SIL Open Font License: `fonts/LICENSE.txt`). They are part of the
//! program, so that a picture looks alike on every machine.

use tiny_skia::{Path, PathBuilder};
use ttf_parser::{GlyphId, OutlineBuilder};

const REGULAR: &[u8] = include_bytes!("fonts/Inter-Regular.ttf");
const BOLD: &[u8] = include_bytes!("fonts/Inter-SemiBold.ttf");

/// One font.
pub(super) struct Face {
    /// As PDF files call it.
    pub(super) name: &'static str,
    pub(super) bytes: &'static [u8],
    pub(super) parsed: ttf_parser::Face<'static>,
}

/// Both fonts.
pub(super) struct Fonts {
    pub(super) regular: Face,
    pub(super) bold: Face,
}

impl Fonts {
    pub(super) fn read() -> Result<Self, String> {
        let read = |name, bytes| {
            let parsed = ttf_parser::Face::parse(bytes, 0).map_err(|error| format!("{name}: {error}"))?;
            Ok::<_, String>(Face { name, bytes, parsed })
        };
        Ok(Self {
            regular: read("Inter-Regular", REGULAR)?,
            bold: read("Inter-SemiBold", BOLD)?,
        })
    }
}

impl Face {
    /// The glyph of a letter, if it has one.
    pub(super) fn glyph(&self, letter: char) -> Option<GlyphId> {
        self.parsed.glyph_index(letter)
    }

    /// How far the next letter stands from this one, for a size of 1.
    pub(super) fn advance(&self, glyph: GlyphId) -> f32 {
        f32::from(self.parsed.glyph_hor_advance(glyph).unwrap_or(0)) / f32::from(self.parsed.units_per_em())
    }

    /// A text's glyphs, a box where there is none.
    pub(super) fn glyphs<'a>(&'a self, text: &'a str) -> impl Iterator<Item = GlyphId> + 'a {
        text.chars().map(|letter| self.glyph(letter).unwrap_or(GlyphId(0)))
    }

    pub(super) fn width(&self, text: &str, size: f32) -> f32 {
        size * self.glyphs(text).map(|glyph| self.advance(glyph)).sum::<f32>()
    }

    /// The outlines of a text; its baseline begins at the origin.
    pub(super) fn outline(&self, text: &str, size: f32) -> Option<Path> {
        let mut pen = Outline {
            builder: PathBuilder::new(),
            scale: size / f32::from(self.parsed.units_per_em()),
            x: 0.0,
        };
        for glyph in self.glyphs(text) {
            self.parsed.outline_glyph(glyph, &mut pen);
            pen.x += size * self.advance(glyph);
        }
        pen.builder.finish()
    }
}

/// Outlines in a font's units, of which y goes up, become those of a drawing.
struct Outline {
    builder: PathBuilder,
    scale: f32,
    x: f32,
}

impl Outline {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + self.scale * x, -self.scale * y)
    }
}

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.builder.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.builder.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.builder.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.builder.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.builder.close();
    }
}
