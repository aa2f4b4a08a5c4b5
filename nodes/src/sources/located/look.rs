//! Annotated images before there is a workflow: counted, and drawn.

use std::path::Path;

use ::image::{ImageFormat, RgbImage};
use flow_learn::data::Object;
use rayon::prelude::*;

use super::image::one_image;
use super::{LAYOUTS, Layout, Sheet, Sheets, folder_of, read};
use crate::pictures::{Entry, Fault, Fit, Fitting, Inspection, Looked, Overlay, PlaceCounts, Reading, decode, look_at};
use crate::sources::{FileSettings, OnBad, Put, SourceSettings};

/// What lies at a path, if it is annotated in one of these ways.
pub(in crate::sources) fn inspected(path: &Path, reading: &Reading) -> Option<Result<Inspection, Fault>> {
    let (source, layout, _) = LAYOUTS.iter().find(|(.., fits)| fits(path))?;
    Some(inspect(source, *layout, path, reading))
}

fn inspect(source: &'static str, layout: Layout, path: &Path, reading: &Reading) -> Result<Inspection, Fault> {
    let skip = skipping();
    let folder = folder_of(path);
    let Sheets {
        class_names,
        images: sheets,
        mut problems,
        annotated,
    } = read(layout, path, &skip)?;
    let mut things: Vec<(String, usize)> = class_names.iter().map(|name| (name.clone(), 0)).collect();
    let (mut left_out, mut masks, mut empty) = (0, 0, 0);
    for sheet in &sheets {
        for thing in &sheet.things {
            match thing.ignore {
                true => left_out += 1,
                false => things[thing.class].1 += 1,
            }
        }
        let has_mask = sheet.mask.is_some() || sheet.things.iter().any(|thing| thing.drawing.is_some());
        masks += usize::from(has_mask);
        empty += usize::from(!has_mask && sheet.things.is_empty());
    }
    let side = 64;
    let fitting = skip.files.fitting((side, side), 3);
    let look = |sheet: &Sheet| {
        let entry = Entry {
            path: sheet.path.clone(),
            label: None,
            split: sheet.split,
            group: None,
        };
        let (_, wrong) = one_image(folder, sheet, &fitting, (class_names.len(), annotated));
        (look_at(&entry, decode(&folder.join(&sheet.path), reading)), wrong)
    };
    let (looked, wrong): (Vec<Looked>, Vec<Vec<String>>) = sheets.par_iter().map(look).unzip();
    problems.extend(wrong.into_iter().flatten());
    Ok(Inspection {
        places: Some(PlaceCounts {
            source,
            things,
            left_out,
            masks,
            empty,
            problems,
        }),
        ..Inspection::of(looked, class_names, None)
    })
}

/// Draws every image of a folder with what is told of it, if it is annotated in one of these ways: `put` is given its path below the folder and a PNG file.
/// Gives the names of the classes and how many images were drawn.
///
/// # Errors
/// If the annotations cannot be read, and those of `put`. An image that cannot be read is left out.
pub(in crate::sources) fn drawn(
    path: &Path,
    reading: &Reading,
    put: &Put<'_>,
) -> Option<Result<(Vec<String>, usize), Fault>> {
    let (_, layout, _) = LAYOUTS.iter().find(|(.., fits)| fits(path))?;
    let draw = || {
        let skip = skipping();
        let Sheets {
            class_names,
            images,
            annotated,
            ..
        } = read(*layout, path, &skip)?;
        let fitting = Fitting {
            reading: *reading,
            fit: Fit::Pad,
            ..skip.files.fitting((DRAWN, DRAWN), 3)
        };
        let folder = folder_of(path);
        let one = |sheet: &Sheet| {
            let (Some((located, fitted)), _) = one_image(folder, sheet, &fitting, (class_names.len(), annotated))
            else {
                return Ok(0);
            };
            let side = DRAWN as u32;
            let image = RgbImage::from_raw(side, side, fitted.values.eight().into_owned());
            let image = image.ok_or_else(|| Fault::new("BUG: an image was not fitted", "report it"))?;
            let class = |object: &Object| (!object.ignore).then_some(usize::from(object.class));
            let overlay = Overlay {
                mask: &located.mask,
                boxes: located
                    .objects
                    .iter()
                    .map(|object| (object.bounds, class(object)))
                    .collect(),
            };
            let mut png = std::io::Cursor::new(Vec::new());
            let written = overlay.over(&image, 1).write_to(&mut png, ImageFormat::Png);
            let failed = |error| Fault::new(format!("cannot write {}: {error}", sheet.path.display()), "report it");
            written.map_err(failed)?;
            put(&sheet.path, png.get_ref())?;
            Ok(1)
        };
        // Of several faults the first image's is told, whichever thread is faster.
        let drawn: Vec<Result<usize, Fault>> = images.par_iter().map(one).collect();
        let drawn: Result<Vec<usize>, Fault> = drawn.into_iter().collect();
        Ok((class_names, drawn?.into_iter().sum()))
    };
    Some(draw())
}

/// Pixels of the sides of a drawn image.
const DRAWN: usize = 512;

/// Settings under which problems are left out.
fn skipping() -> SourceSettings {
    SourceSettings {
        files: FileSettings {
            on_bad: Some(OnBad::Skip),
            ..Default::default()
        },
        ..SourceSettings::default()
    }
}
