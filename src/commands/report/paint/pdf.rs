//! A page of vectors (ISO 32000). Its fonts are in the file, as journals ask for, and its letters are letters.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pdf_writer::types::{CidFontType, FontFlags, LineJoinStyle, SystemInfo, UnicodeCmap};
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr};
use tiny_skia::{Path, PathSegment, Transform};

use super::font::{Face, Fonts};
use super::{Canvas, Colour, Line, Pen};

/// Points (1/72 inch) of a unit, of which an inch has 96.
const POINT: f32 = 0.75;
const IDENTITY: Name<'static> = Name(b"Identity-H");
const SYSTEM: SystemInfo<'static> = SystemInfo {
    registry: Str(b"Adobe"),
    ordering: Str(b"Identity"),
    supplement: 0,
};

/// A page under way.
pub(super) struct Page {
    content: Content,
    width: f32,
    height: f32,
    /// Opacities in use, in thousandths.
    opacities: BTreeMap<u16, String>,
    /// Of each font the glyphs in use, and the letters that they are of.
    glyphs: BTreeMap<&'static str, BTreeMap<u16, char>>,
}

impl Page {
    pub(super) fn new(width: f32, height: f32) -> Self {
        let mut content = Content::new();
        // A page's y goes up.
        content.transform([POINT, 0.0, 0.0, -POINT, 0.0, POINT * height]);
        Self {
            content,
            width,
            height,
            opacities: BTreeMap::new(),
            glyphs: BTreeMap::new(),
        }
    }

    fn begin(&mut self, at: Transform, Colour([red, green, blue, opacity]): Colour) {
        let thousandths = (opacity.clamp(0.0, 1.0) * 1000.0).round() as u16;
        let name = self
            .opacities
            .entry(thousandths)
            .or_insert_with(|| format!("O{thousandths}"));
        self.content.save_state();
        self.content.transform([at.sx, at.ky, at.kx, at.sy, at.tx, at.ty]);
        self.content.set_parameters(Name(name.as_bytes()));
        self.content.set_fill_rgb(red, green, blue);
        self.content.set_stroke_rgb(red, green, blue);
    }

    fn outline(&mut self, outline: &Path) {
        let content = &mut self.content;
        let mut last = (0.0, 0.0);
        for segment in outline.segments() {
            match segment {
                PathSegment::MoveTo(to) => {
                    content.move_to(to.x, to.y);
                    last = (to.x, to.y);
                }
                PathSegment::LineTo(to) => {
                    content.line_to(to.x, to.y);
                    last = (to.x, to.y);
                }
                PathSegment::QuadTo(by, to) => {
                    let near = |from: f32, by: f32| from + 2.0 / 3.0 * (by - from);
                    let (from_x, from_y) = last;
                    content.cubic_to(
                        near(from_x, by.x),
                        near(from_y, by.y),
                        near(to.x, by.x),
                        near(to.y, by.y),
                        to.x,
                        to.y,
                    );
                    last = (to.x, to.y);
                }
                PathSegment::CubicTo(a, b, to) => {
                    content.cubic_to(a.x, a.y, b.x, b.y, to.x, to.y);
                    last = (to.x, to.y);
                }
                PathSegment::Close => drop(content.close_path()),
            }
        }
    }

    /// The file.
    pub(super) fn encoded(self, fonts: &Fonts, title: &str) -> Vec<u8> {
        let mut pdf = Pdf::new();
        let mut next = Ref::new(1);
        let [catalog, pages, page, content, info] = [(); 5].map(|()| next.bump());
        pdf.catalog(catalog).pages(pages).lang(TextStr("en"));
        pdf.document_info(info).title(TextStr(title)).producer(TextStr("flow"));
        pdf.pages(pages).kids([page]).count(1);
        let used: Vec<(&Face, &BTreeMap<u16, char>, Ref)> = [&fonts.regular, &fonts.bold]
            .into_iter()
            .filter_map(|face| Some((face, self.glyphs.get(face.name)?, next.bump())))
            .collect();
        let mut written = pdf.page(page);
        written.parent(pages).contents(content);
        written.media_box(Rect::new(0.0, 0.0, POINT * self.width, POINT * self.height));
        let mut resources = written.resources();
        let mut names = resources.fonts();
        for (face, _, id) in &used {
            names.pair(Name(face.name.as_bytes()), id);
        }
        names.finish();
        let mut states = resources.ext_g_states();
        for (thousandths, name) in &self.opacities {
            let opacity = f32::from(*thousandths) / 1000.0;
            let mut state = states
                .insert(Name(name.as_bytes()))
                .start::<pdf_writer::writers::ExtGraphicsState<'_>>();
            state.non_stroking_alpha(opacity).stroking_alpha(opacity);
        }
        states.finish();
        resources.finish();
        written.finish();
        pdf.stream(content, &packed(&self.content.finish()))
            .filter(Filter::FlateDecode);
        for (face, glyphs, id) in used {
            font(&mut pdf, &mut next, face, glyphs, id);
        }
        pdf.finish()
    }
}

impl Canvas for Page {
    fn fill(&mut self, outline: &Path, colour: Colour, at: Transform) {
        self.begin(at, colour);
        self.outline(outline);
        self.content.fill_nonzero().restore_state();
    }

    fn stroke(&mut self, outline: &Path, pen: &Pen, colour: Colour, at: Transform) {
        self.begin(at, colour);
        self.content.set_line_width(pen.width);
        if pen.round {
            self.content.set_line_join(LineJoinStyle::RoundJoin);
        }
        if !pen.dashes.is_empty() {
            self.content.set_dash_pattern(pen.dashes.iter().copied(), 0.0);
        }
        self.outline(outline);
        self.content.stroke().restore_state();
    }

    fn text(&mut self, line: &Line<'_>, colour: Colour, at: Transform) {
        let used = self.glyphs.entry(line.face.name).or_default();
        let glyphs: Vec<u16> = line.face.glyphs(line.text).map(|glyph| glyph.0).collect();
        used.extend(glyphs.iter().copied().zip(line.text.chars()));
        let bytes: Vec<u8> = glyphs.iter().flat_map(|glyph| glyph.to_be_bytes()).collect();
        self.begin(at, colour);
        self.content
            .begin_text()
            .set_font(Name(line.face.name.as_bytes()), line.size);
        self.content.set_text_matrix([1.0, 0.0, 0.0, -1.0, 0.0, 0.0]);
        self.content.show(Str(&bytes)).end_text().restore_state();
    }
}

/// A font whole, with the widths of the glyphs in use, and what letters they are.
fn font(pdf: &mut Pdf, next: &mut Ref, face: &Face, glyphs: &BTreeMap<u16, char>, id: Ref) {
    let [glyph_font, descriptor, letters, file] = [(); 4].map(|()| next.bump());
    let name = Name(face.name.as_bytes());
    let thousandths = |units: i16| 1000.0 * f32::from(units) / f32::from(face.parsed.units_per_em());
    pdf.type0_font(id)
        .base_font(name)
        .encoding_predefined(IDENTITY)
        .descendant_font(glyph_font)
        .to_unicode(letters);
    let mut written = pdf.cid_font(glyph_font);
    written.subtype(CidFontType::Type2).base_font(name).system_info(SYSTEM);
    written
        .font_descriptor(descriptor)
        .cid_to_gid_map_predefined(Name(b"Identity"));
    let mut widths = written.widths();
    for glyph in glyphs.keys() {
        widths.consecutive(*glyph, [1000.0 * face.advance(ttf_parser::GlyphId(*glyph))]);
    }
    widths.finish();
    written.finish();
    let bounds = face.parsed.global_bounding_box();
    pdf.font_descriptor(descriptor)
        .name(name)
        .flags(FontFlags::NON_SYMBOLIC)
        .bbox(Rect::new(
            thousandths(bounds.x_min),
            thousandths(bounds.y_min),
            thousandths(bounds.x_max),
            thousandths(bounds.y_max),
        ))
        .italic_angle(0.0)
        .ascent(thousandths(face.parsed.ascender()))
        .descent(thousandths(face.parsed.descender()))
        .cap_height(thousandths(
            face.parsed.capital_height().unwrap_or(face.parsed.ascender()),
        ))
        .stem_v(80.0)
        .font_file2(file);
    let mut map = UnicodeCmap::new(Name(b"letters"), SYSTEM);
    glyphs.iter().for_each(|(glyph, letter)| map.pair(*glyph, *letter));
    pdf.stream(letters, &packed(&map.finish())).filter(Filter::FlateDecode);
    let length = i32::try_from(face.bytes.len()).unwrap_or(i32::MAX);
    let bytes = packed(face.bytes);
    let mut embedded = pdf.stream(file, &bytes);
    embedded.filter(Filter::FlateDecode).pair(Name(b"Length1"), length);
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut writer = ZlibEncoder::new(Vec::new(), Compression::default());
    writer
        .write_all(bytes)
        .and_then(|()| writer.finish())
        .expect("BUG: memory takes what is written to it")
}
