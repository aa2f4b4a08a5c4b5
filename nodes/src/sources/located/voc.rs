//! Pascal VOC: for `JPEGImages/a.jpg` the file `Annotations/a.xml` has its boxes and `SegmentationClass/a.png`, where there is one, its mask. `difficult` things are
//! left out of training and of scores, as in VOC's own. Lists of names in `ImageSets/Main` are splits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};

use super::{Bounds, Sheet, Sheets, Thing, located_source, names_in, text_of};
use crate::artifacts::{Annotated, SplitName};
use crate::pictures::{Fault, split_of};
use crate::sources::Source;
use crate::sources::container::files_with;

pub(in crate::sources) const VOC: Source = located_source!("voc", sheets);

pub(super) fn sheets(folder: &Path) -> Result<Sheets, Fault> {
    let splits = splits(folder)?;
    let (mut all, mut names) = (Sheets::default(), BTreeSet::new());
    let mut classes: Vec<Vec<String>> = Vec::new();
    let files = files_with(&folder.join("Annotations"), &[".xml"])?;
    for file in &files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let source = format!("Annotations/{stem}.xml");
        let wrong = |what: String| Fault::new(format!("{source}: {what}"), "expected Pascal VOC's `annotation`");
        let text = text_of(file)?;
        let document = Document::parse(&text).map_err(|e| wrong(e.to_string()))?;
        let root = document.root_element();
        let mask = PathBuf::from(format!("SegmentationClass/{stem}.png"));
        let mut sheet = Sheet {
            path: Path::new("JPEGImages").join(child(root, "filename").unwrap_or(&format!("{stem}.jpg"))),
            split: splits.get(&stem).copied(),
            size: size(root),
            source,
            mask: folder.join(&mask).is_file().then_some(mask),
            things: Vec::new(),
        };
        let mut of_things = Vec::new();
        for (at, object) in root.children().filter(|node| node.has_tag_name("object")).enumerate() {
            let id = format!("object {}", at + 1);
            match thing(&id, object) {
                Ok((name, thing)) => {
                    names.insert(name.clone());
                    of_things.push(name);
                    sheet.things.push(thing);
                }
                Err(what) => all.problems.push(format!("{}: {id}: {what}", sheet.source)),
            }
        }
        classes.push(of_things);
        all.images.push(sheet);
    }
    let names: Vec<String> = match folder.join("classes.txt") {
        file if file.is_file() => names_in(&file)?,
        _ => names.into_iter().collect(),
    };
    for (sheet, of_things) in all.images.iter_mut().zip(classes) {
        let mut of_things = of_things.into_iter();
        let problems = &mut all.problems;
        let source = &sheet.source;
        sheet.things.retain_mut(|thing| {
            let name = of_things.next().unwrap_or_default();
            let place = names.iter().position(|known| *known == name);
            thing.class = place.unwrap_or_default();
            if place.is_none() {
                problems.push(format!(
                    "{source}: {}: there is no class `{name}` in classes.txt",
                    thing.id
                ));
            }
            place.is_some()
        });
    }
    all.annotated = Annotated {
        masks: all.images.iter().all(|sheet| sheet.mask.is_some()),
        boxes: true,
    };
    if !all.annotated.masks {
        all.images.iter_mut().for_each(|sheet| sheet.mask = None);
    }
    all.class_names = names;
    Ok(all)
}

/// The splits of names, by `ImageSets/Main/train.txt` and its like.
fn splits(folder: &Path) -> Result<BTreeMap<String, SplitName>, Fault> {
    let mut splits = BTreeMap::new();
    for name in ["train", "val", "test"] {
        let file = folder.join("ImageSets/Main").join(format!("{name}.txt"));
        if let Some(split) = split_of(name.as_ref()).filter(|_| file.is_file()) {
            splits.extend(names_in(&file)?.into_iter().map(|stem| (stem, split)));
        }
    }
    Ok(splits)
}

/// The text of a child.
fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children()
        .find(|child| child.has_tag_name(name))?
        .text()
        .map(str::trim)
}

fn size(root: Node<'_, '_>) -> Option<[usize; 2]> {
    let size = root.children().find(|child| child.has_tag_name("size"))?;
    let side = |name| child(size, name)?.parse().ok().filter(|side| *side > 0);
    Some([side("height")?, side("width")?])
}

fn thing(id: &str, object: Node<'_, '_>) -> Result<(String, Thing), String> {
    let name = child(object, "name").ok_or("it has no `name`")?.to_owned();
    let bounds = object
        .children()
        .find(|child| child.has_tag_name("bndbox"))
        .ok_or("it has no `bndbox`")?;
    let side = |name: &str| {
        let number = child(bounds, name).and_then(|text| text.parse::<f32>().ok());
        number.ok_or_else(|| format!("its `bndbox` has no number `{name}`"))
    };
    // Pixels are counted from 1, and the last one is within the box.
    let bounds = [side("xmin")? - 1.0, side("ymin")? - 1.0, side("xmax")?, side("ymax")?];
    let thing = Thing {
        id: id.to_owned(),
        class: 0,
        bounds: Some(Bounds::Pixels(bounds)),
        area: None,
        ignore: child(object, "difficult") == Some("1"),
        drawing: None,
    };
    Ok((name, thing))
}
