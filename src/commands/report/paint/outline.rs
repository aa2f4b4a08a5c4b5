//! Elements as outlines.

use roxmltree::Node;
use tiny_skia::{Path, PathBuilder, Rect};

use super::{number, numbers};

/// How far a curve's handles lie from the ends of a quarter of a circle, for a radius of 1.
const QUARTER: f32 = 0.552_284_8;

/// The outline of an element, if it has one.
pub(super) fn of(node: Node<'_, '_>, whole: (f32, f32)) -> Option<Path> {
    let get = |name: &str| number(node, name).unwrap_or(0.0);
    match node.tag_name().name() {
        "rect" => {
            let side = |name: &str, whole: f32| match node.attribute(name) {
                Some("100%") => whole,
                _ => get(name),
            };
            let (width, height) = (side("width", whole.0), side("height", whole.1));
            rectangle((get("x"), get("y")), (width, height), get("rx"))
        }
        "circle" => PathBuilder::from_circle(get("cx"), get("cy"), get("r")),
        "line" => joined(&[get("x1"), get("y1"), get("x2"), get("y2")], false),
        "polyline" => joined(&numbers(node.attribute("points")?), false),
        "polygon" => joined(&numbers(node.attribute("points")?), true),
        "path" => path(node.attribute("d")?),
        _ => None,
    }
}

/// Points one after the other.
fn joined(places: &[f32], closed: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (i, place) in places.chunks_exact(2).enumerate() {
        match i {
            0 => builder.move_to(place[0], place[1]),
            _ => builder.line_to(place[0], place[1]),
        }
    }
    if closed {
        builder.close();
    }
    builder.finish()
}

fn rectangle((x, y): (f32, f32), (width, height): (f32, f32), radius: f32) -> Option<Path> {
    let radius = radius.min(0.5 * width).min(0.5 * height);
    if radius <= 0.0 {
        return Rect::from_xywh(x, y, width, height).map(PathBuilder::from_rect);
    }
    let (right, bottom, near) = (x + width, y + height, radius * (1.0 - QUARTER));
    let mut builder = PathBuilder::new();
    builder.move_to(x + radius, y);
    builder.line_to(right - radius, y);
    builder.cubic_to(right - near, y, right, y + near, right, y + radius);
    builder.line_to(right, bottom - radius);
    builder.cubic_to(right, bottom - near, right - near, bottom, right - radius, bottom);
    builder.line_to(x + radius, bottom);
    builder.cubic_to(x + near, bottom, x, bottom - near, x, bottom - radius);
    builder.line_to(x, y + radius);
    builder.cubic_to(x, y + near, x + near, y, x + radius, y);
    builder.close();
    builder.finish()
}

/// Of steps `M`, `L` and `C`, each written.
fn path(steps: &str) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (at, name) in steps.match_indices(['M', 'L', 'C']) {
        let rest = &steps[at + 1..];
        let end = rest.find(['M', 'L', 'C']).unwrap_or(rest.len());
        match (name, numbers(&rest[..end]).as_slice()) {
            ("M", [x, y]) => builder.move_to(*x, *y),
            ("L", [x, y]) => builder.line_to(*x, *y),
            ("C", [x1, y1, x2, y2, x, y]) => builder.cubic_to(*x1, *y1, *x2, *y2, *x, *y),
            _ => return None,
        }
    }
    builder.finish()
}
