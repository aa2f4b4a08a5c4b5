//! Masks beside images: for `images/a.jpg` the PNG file `masks/a.png` has a number for each pixel, 0 for background, 1 for the first class and so on, 255 for what counts
//! nowhere. `classes.txt` names the classes, a line each.

use std::ffi::OsStr;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use flow_learn::data::IGNORE;

use super::{Sheet, Sheets, located_source, names_in, split_by_folders};
use crate::artifacts::Annotated;
use crate::pictures::{Fault, images_in};
use crate::sources::Source;

pub(in crate::sources) const MASKS: Source = located_source!("masks", sheets);

pub(super) fn sheets(folder: &Path) -> Result<Sheets, Fault> {
    let names = folder.join("classes.txt");
    if !names.is_file() {
        let message = format!("{} has no `classes.txt`", folder.display());
        return Err(Fault::new(
            message,
            "it names the classes in the order of their numbers from 1, a line each",
        ));
    }
    let mut all = Sheets {
        class_names: names_in(&names)?,
        annotated: Annotated {
            masks: true,
            boxes: false,
        },
        ..Sheets::default()
    };
    let of_images = |path: &PathBuf| path.iter().any(|part| part == "images");
    for path in images_in(folder)?.into_iter().filter(of_images) {
        let mask = mask_of(&path);
        let source = mask.display().to_string();
        if !folder.join(&mask).is_file() {
            all.problems
                .push(format!("{source}: {}: it is missing", path.display()));
            continue;
        }
        all.images.push(Sheet {
            split: split_by_folders(&path),
            path,
            source,
            mask: Some(mask),
            ..Sheet::default()
        });
    }
    Ok(all)
}

/// `masks/` instead of the last `images/`, and `.png`.
fn mask_of(image: &Path) -> PathBuf {
    let parts: Vec<_> = image.iter().collect();
    let place = parts.iter().rposition(|part| *part == "images");
    let swapped = parts
        .iter()
        .enumerate()
        .map(|(at, part)| if Some(at) == place { OsStr::new("masks") } else { *part });
    swapped.collect::<PathBuf>().with_extension("png")
}

/// The numbers of a mask's pixels: gray values, or those of a palette, whose colours mean nothing.
pub(super) fn read(file: &Path, [height, width]: [usize; 2], classes: usize) -> Result<Vec<u8>, String> {
    let bytes = flow_engine::plain_file::read(file).map_err(|e| e.to_string())?;
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let info = reader.info();
    let found = [info.height as usize, info.width as usize];
    if found != [height, width] {
        return Err(format!(
            "the mask is {}x{} pixels, the image {width}x{height}",
            found[1], found[0]
        ));
    }
    let depth = info.bit_depth as usize;
    let one_value = matches!(info.color_type, png::ColorType::Grayscale | png::ColorType::Indexed);
    if !one_value || depth > 8 {
        return Err("expected one value of at most 8 bits for each pixel: gray, or a palette".to_owned());
    }
    let mut packed = vec![0; reader.output_buffer_size().ok_or("too large")?];
    reader.next_frame(&mut packed).map_err(|e| e.to_string())?;
    let line = (width * depth).div_ceil(8);
    let value = |at: usize| {
        let bit = at % width * depth;
        let byte = packed[at / width * line + bit / 8];
        byte >> (8 - depth - bit % 8) & ((1u16 << depth) - 1) as u8
    };
    let mask: Vec<u8> = (0..height * width).map(value).collect();
    match mask
        .iter()
        .find(|value| usize::from(**value) > classes && **value != IGNORE)
    {
        Some(value) => Err(format!(
            "a pixel has the value {value}, but there are {classes} classes"
        )),
        None => Ok(mask),
    }
}
