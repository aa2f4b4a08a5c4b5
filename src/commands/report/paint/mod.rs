//! A drawing as pixels (PNG) or as vectors (PDF). What is read is SVG as `drawing::file` writes it, and no other: rectangles, circles, lines, polygons, paths
//! of `M`, `C` and `L`, text of one line, groups that are moved, turned and scaled, and a style sheet of single classes.

mod font;
mod outline;
mod pdf;
mod png;
mod style;

use roxmltree::{Document, Node};
use tiny_skia::{Path, Transform};

use self::font::{Face, Fonts};
use self::style::{Anchor, Look, Sheet};

/// How a line is drawn.
struct Pen {
    width: f32,
    /// Lengths of dashes and of gaps between them; empty for a line without.
    dashes: Vec<f32>,
    /// Whether corners are round.
    round: bool,
}

/// Red, green, blue and opacity, each from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Colour([f32; 4]);

/// A line of text in one face; its baseline begins at the transform's origin.
struct Line<'a> {
    text: &'a str,
    face: &'a Face,
    size: f32,
}

/// What is drawn on. Lengths are a drawing's units, from the left and from the top; a transform says where they lie.
trait Canvas {
    fn fill(&mut self, outline: &Path, colour: Colour, at: Transform);
    fn stroke(&mut self, outline: &Path, pen: &Pen, colour: Colour, at: Transform);
    fn text(&mut self, line: &Line<'_>, colour: Colour, at: Transform);
}

/// A drawing, read.
pub(super) struct Painting<'a> {
    document: Document<'a>,
    sheet: Sheet,
    fonts: Fonts,
    width: f32,
    height: f32,
}

impl<'a> Painting<'a> {
    /// Reads a drawing.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub(super) fn read(svg: &'a str) -> Result<Self, String> {
        let document = Document::parse(svg).map_err(|error| error.to_string())?;
        let root = document.root_element();
        let side = |name: &str| number(root, name).filter(|side| *side > 0.0);
        let (width, height) = side("width").zip(side("height")).ok_or("it has no size")?;
        let style = root.children().find(|node| node.has_tag_name("style"));
        Ok(Self {
            sheet: Sheet::read(style.and_then(|node| node.text()).unwrap_or_default()),
            fonts: Fonts::read()?,
            width,
            height,
            document,
        })
    }

    /// As a PNG file, with so many pixels for each unit.
    pub(super) fn png(&self, scale: f32) -> Result<Vec<u8>, String> {
        let mut pixels = png::Pixels::new(self.width, self.height, scale)?;
        self.paint(&mut pixels);
        pixels.encoded()
    }

    /// As a PDF file of one page, whose text is text: it can be searched and copied, and its fonts are in the file.
    pub(super) fn pdf(&self) -> Vec<u8> {
        let title = self
            .document
            .root_element()
            .children()
            .find(|node| node.has_tag_name("title"));
        let mut page = pdf::Page::new(self.width, self.height);
        self.paint(&mut page);
        page.encoded(&self.fonts, title.and_then(|node| node.text()).unwrap_or_default())
    }

    /// Letters that the fonts lack: a box stands in their place.
    pub(super) fn missing(&self) -> String {
        let texts = self.document.descendants().filter(|node| node.has_tag_name("text"));
        let mut missing: Vec<char> = texts
            .flat_map(|node| words(node).chars().collect::<Vec<_>>())
            .filter(|letter| self.fonts.regular.glyph(*letter).is_none())
            .collect();
        missing.sort_unstable();
        missing.dedup();
        missing.into_iter().collect()
    }

    fn paint(&self, canvas: &mut impl Canvas) {
        for node in self.document.root_element().children() {
            self.node(canvas, node, &Look::default(), Transform::identity());
        }
    }

    fn node(&self, canvas: &mut impl Canvas, node: Node<'_, '_>, outer: &Look, at: Transform) {
        // What is under a pointer, and the sheet, are not drawn.
        if !node.is_element() || ["title", "style"].contains(&node.tag_name().name()) {
            return;
        }
        let look = self.sheet.look(node, outer);
        let at = node
            .attribute("transform")
            .map_or(at, |text| at.pre_concat(transform(text)));
        match node.tag_name().name() {
            "text" => self.text(canvas, node, &look, at),
            _ => {
                if let Some(outline) = outline::of(node, (self.width, self.height)) {
                    // A line has no inside.
                    if let Some(colour) = look.fill().filter(|_| !node.has_tag_name("line")) {
                        canvas.fill(&outline, colour, at);
                    }
                    if let Some((pen, colour)) = look.stroke() {
                        canvas.stroke(&outline, &pen, colour, at);
                    }
                }
            }
        }
        for child in node.children() {
            self.node(canvas, child, &look, at);
        }
    }

    fn text(&self, canvas: &mut impl Canvas, node: Node<'_, '_>, look: &Look, at: Transform) {
        let face = if look.bold {
            &self.fonts.bold
        } else {
            &self.fonts.regular
        };
        let text = words(node);
        let line = Line {
            text: &text,
            face,
            size: look.size,
        };
        let back = match look.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => 0.5,
            Anchor::End => 1.0,
        };
        let [x, y] = ["x", "y"].map(|name| number(node, name).unwrap_or(0.0));
        if let Some(colour) = look.fill() {
            canvas.text(
                &line,
                colour,
                at.pre_translate(x - back * face.width(&text, look.size), y),
            );
        }
    }
}

/// The text of an element, without what a pointer shows.
fn words(node: Node<'_, '_>) -> String {
    node.children()
        .filter_map(|child| child.is_text().then(|| child.text())?)
        .collect()
}

fn number(node: Node<'_, '_>, name: &str) -> Option<f32> {
    node.attribute(name)?.parse().ok()
}

/// All numbers of a text, whatever stands between them.
fn numbers(text: &str) -> Vec<f32> {
    let parts = text.split(|letter: char| !(letter.is_ascii_digit() || "+-.e".contains(letter)));
    parts.filter_map(|part| part.parse().ok()).collect()
}

/// `translate(1 2) rotate(-90) scale(.5)`.
fn transform(text: &str) -> Transform {
    text.split(')').fold(Transform::identity(), |at, step| {
        let (name, given) = step.split_once('(').unwrap_or((step, ""));
        match (name.trim(), numbers(given).as_slice()) {
            ("translate", [x, y]) => at.pre_translate(*x, *y),
            ("rotate", [degrees]) => at.pre_concat(Transform::from_rotate(*degrees)),
            ("scale", [factor]) => at.pre_scale(*factor, *factor),
            _ => at,
        }
    })
}

#[cfg(test)]
mod tests;
