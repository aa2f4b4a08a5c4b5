//! YOLO's text: for `images/a.jpg` the file `labels/a.txt` has a line for each thing, `class x y width height`, its centre and size as shares of the image's. An image
//! without such a file has no thing. `classes.txt` names the classes, a line each.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{Bounds, Sheet, Sheets, Thing, located_source, names_in, split_by_folders, text_of};
use crate::artifacts::Annotated;
use crate::pictures::{Fault, images_in};
use crate::sources::Source;

pub(in crate::sources) const YOLO: Source = located_source!("yolo", sheets);

/// Files with the names of classes.
const NAMES: &[&str] = &["classes.txt", "obj.names", "labels/classes.txt"];

pub(super) fn sheets(folder: &Path) -> Result<Sheets, Fault> {
    let names = NAMES.iter().map(|name| folder.join(name)).find(|file| file.is_file());
    let class_names = match names {
        Some(file) => names_in(&file)?,
        None => {
            let message = format!("{} has no `classes.txt`", folder.display());
            return Err(Fault::new(
                message,
                "it names the classes in the order of their numbers, a line each",
            ));
        }
    };
    let mut all = Sheets {
        annotated: Annotated {
            masks: false,
            boxes: true,
        },
        ..Sheets::default()
    };
    for path in images_in(folder)? {
        let labels = labels_of(&path);
        let mut sheet = Sheet {
            split: split_by_folders(&path),
            source: labels.display().to_string(),
            path,
            ..Sheet::default()
        };
        let file = folder.join(&labels);
        let text = if file.is_file() { text_of(&file)? } else { String::new() };
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let id = format!("line {}", at + 1);
            match thing(&id, line, class_names.len()) {
                Ok(thing) => sheet.things.push(thing),
                Err(what) => all.problems.push(format!("{}: {id}: {what}", sheet.source)),
            }
        }
        all.images.push(sheet);
    }
    all.class_names = class_names;
    Ok(all)
}

/// `labels/` instead of the last `images/`, and `.txt`.
fn labels_of(image: &Path) -> PathBuf {
    let parts: Vec<_> = image.iter().collect();
    let place = parts.iter().rposition(|part| *part == "images");
    let swapped = parts
        .iter()
        .enumerate()
        .map(|(at, part)| if Some(at) == place { OsStr::new("labels") } else { *part });
    swapped.collect::<PathBuf>().with_extension("txt")
}

fn thing(id: &str, line: &str, classes: usize) -> Result<Thing, String> {
    let numbers: Vec<f32> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [class, x, y, w, h] = numbers[..] else {
        return Err(format!("`{}` found, expected a class and four numbers", line.trim()));
    };
    if class < 0.0 || class.fract() != 0.0 || class as usize >= classes {
        return Err(format!("there is no class {class}: `classes.txt` names {classes}"));
    }
    Ok(Thing {
        id: id.to_owned(),
        class: class as usize,
        bounds: Some(Bounds::Shares([x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0])),
        area: None,
        ignore: false,
        drawing: None,
    })
}
