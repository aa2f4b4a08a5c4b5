//! Pixels.

use tiny_skia::{Color, FillRule, LineJoin, Paint, Path, Pixmap, Shader, Stroke, StrokeDash, Transform};

use super::{Canvas, Colour, Line, Pen};

/// Pixels, so many for each unit.
pub(super) struct Pixels {
    pixels: Pixmap,
    scale: f32,
}

impl Pixels {
    pub(super) fn new(width: f32, height: f32, scale: f32) -> Result<Self, String> {
        let pixels = Pixmap::new((width * scale).ceil() as u32, (height * scale).ceil() as u32);
        let pixels = pixels.ok_or_else(|| format!("{width:.0} by {height:.0} units are too many for a picture"))?;
        Ok(Self { pixels, scale })
    }

    pub(super) fn encoded(&self) -> Result<Vec<u8>, String> {
        self.pixels.encode_png().map_err(|error| error.to_string())
    }

    fn placed(&self, at: Transform) -> Transform {
        at.post_scale(self.scale, self.scale)
    }
}

fn paint(Colour([red, green, blue, opacity]): Colour) -> Paint<'static> {
    Paint {
        shader: Shader::SolidColor(Color::from_rgba(red, green, blue, opacity.clamp(0.0, 1.0)).unwrap_or(Color::BLACK)),
        ..Paint::default()
    }
}

impl Canvas for Pixels {
    fn fill(&mut self, outline: &Path, colour: Colour, at: Transform) {
        let at = self.placed(at);
        self.pixels
            .fill_path(outline, &paint(colour), FillRule::Winding, at, None);
    }

    fn stroke(&mut self, outline: &Path, pen: &Pen, colour: Colour, at: Transform) {
        let stroke = Stroke {
            width: pen.width,
            line_join: if pen.round { LineJoin::Round } else { LineJoin::Miter },
            dash: StrokeDash::new(pen.dashes.clone(), 0.0),
            ..Stroke::default()
        };
        let at = self.placed(at);
        self.pixels.stroke_path(outline, &paint(colour), &stroke, at, None);
    }

    fn text(&mut self, line: &Line<'_>, colour: Colour, at: Transform) {
        if let Some(outline) = line.face.outline(line.text, line.size) {
            self.fill(&outline, colour, at);
        }
    }
}
