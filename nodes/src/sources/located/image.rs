//! One annotated image, read and fitted.

use std::path::Path;

use flow_learn::data::{IGNORE, Located, Object};

use super::place::Placing;
use super::{Bounds, Sheet, Thing, draw, masks};
use crate::artifacts::Annotated;
use crate::pictures::{Fitted, Fitting, decode};

/// An image as it is learnt from, with what is where in it; and what is wrong with its annotations.
pub(super) fn one_image(
    folder: &Path,
    sheet: &Sheet,
    fitting: &Fitting,
    (classes, annotated): (usize, Annotated),
) -> (Option<(Located, Fitted)>, Vec<String>) {
    let mut problems = Vec::new();
    let mut tell = |id: &str, what: String| {
        problems.push(match id == sheet.source {
            true => format!("{id}: {what}"),
            false => format!("{}: {id}: {what}", sheet.source),
        });
    };
    let name = sheet.path.display().to_string();
    let picture = match decode(&folder.join(&sheet.path), &fitting.reading) {
        Ok(picture) => picture,
        Err(why) => {
            tell(&name, why);
            return (None, problems);
        }
    };
    let size = [picture.header.height as usize, picture.header.width as usize];
    if let Some([height, width]) = sheet.size.filter(|told| *told != size) {
        tell(
            &name,
            format!(
                "it is {}x{} pixels, its annotations are for {}x{}",
                size[1], size[0], width, height
            ),
        );
        return (None, problems);
    }
    let mut mask = vec![0u8; if annotated.masks { size[0] * size[1] } else { 0 }];
    if let Some(file) = &sheet.mask {
        match masks::read(&folder.join(file), size, classes) {
            Ok(values) => mask = values,
            Err(what) => tell(&file.display().to_string(), what),
        }
    }
    let mut objects = Vec::new();
    for thing in &sheet.things {
        match thing.in_image(size) {
            Ok((bounds, inside)) => {
                if annotated.masks {
                    let value = if thing.ignore { IGNORE } else { thing.class as u8 + 1 };
                    let pixels = mask.iter_mut().zip(&inside).filter(|(_, inside)| **inside);
                    pixels.for_each(|(pixel, _)| *pixel = value);
                }
                let area = (bounds[2] - bounds[0]) * (bounds[3] - bounds[1]);
                objects.push(Object {
                    class: thing.class as u16,
                    bounds,
                    area: thing.area.unwrap_or(area),
                    ignore: thing.ignore,
                    sure: 1.0,
                });
            }
            Err(what) => tell(&thing.id, what),
        }
    }
    let placing = Placing::new(fitting.fit, size, fitting.size.0);
    let located = placing.located(Located {
        mask,
        objects: if annotated.boxes { objects } else { Vec::new() },
        ..Located::default()
    });
    match fitting.fitted(&picture) {
        Ok(fitted) => (Some((located, fitted)), problems),
        Err(why) => {
            problems.push(format!("{name}: {why}"));
            (None, problems)
        }
    }
}

/// How far a box may reach over the border, in pixels: files round.
const SLACK: f32 = 1.0;

impl Thing {
    /// Its box in pixels and, if that is told, which pixels are its.
    fn in_image(&self, [height, width]: [usize; 2]) -> Result<([f32; 4], Vec<bool>), String> {
        let inside = match &self.drawing {
            Some(drawing) => drawing.mask([height, width])?,
            None => Vec::new(),
        };
        let (w, h) = (width as f32, height as f32);
        let bounds = match self.bounds {
            Some(Bounds::Pixels(bounds)) => bounds,
            Some(Bounds::Shares([left, top, right, bottom])) => [left * w, top * h, right * w, bottom * h],
            None => draw::around(&inside, width).ok_or("it covers no pixel")?,
        };
        let [left, top, right, bottom] = bounds;
        if !bounds.iter().all(|v| v.is_finite()) {
            return Err("its box has a coordinate that is no number".to_owned());
        }
        if left >= right || top >= bottom {
            return Err(format!("its box {bounds:?} has no area"));
        }
        if left < -SLACK || top < -SLACK || right > w + SLACK || bottom > h + SLACK {
            return Err(format!(
                "its box {bounds:?} is outside of the image of {width}x{height}"
            ));
        }
        let bounds = [left.max(0.0), top.max(0.0), right.min(w), bottom.min(h)];
        Ok((bounds, inside))
    }
}
