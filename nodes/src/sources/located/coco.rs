//! COCO's JSON (Lin et al. 2014, 1405.0312): boxes, polygons and run lengths of all images in one file; `crowd` regions are left out of training and of scores.
//!
//! `path` is a folder with such files, as `annotations/instances_train2017.json`, whose images are in `train2017`, `images` or beside them. All `.json` files in it count.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::draw::Drawing;
use super::{Bounds, Sheet, Sheets, Thing, below, located_source};
use crate::artifacts::Annotated;
use crate::pictures::Fault;
use crate::sources::Source;
use crate::sources::container::{files_with, split_in};

pub(in crate::sources) const COCO: Source = located_source!("coco", sheets);

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: PathBuf,
    width: Option<usize>,
    height: Option<usize>,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct Annotation {
    #[serde(default)]
    id: u64,
    image_id: u64,
    category_id: u64,
    /// Left, top, width and height.
    bbox: Option<[f32; 4]>,
    area: Option<f32>,
    #[serde(default)]
    iscrowd: u8,
    segmentation: Option<Segmentation>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Encoded { size: [usize; 2], counts: Counts },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Counts {
    Runs(Vec<i64>),
    Packed(String),
}

/// The annotations below a folder, or those of a file.
pub(super) fn sheets(path: &Path) -> Result<Sheets, Fault> {
    let folder = super::folder_of(path);
    let mut all = Sheets::default();
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    for file in files_with(path, &[".json"])? {
        let name = below(folder, &file).display().to_string();
        let wrong = |what: String| {
            Fault::new(
                format!("{name}: {what}"),
                "expected COCO's `images`, `annotations` and `categories`",
            )
        };
        let read: File = serde_json::from_str(&super::text_of(&file)?).map_err(|e| wrong(e.to_string()))?;
        for Category { id, name } in read.categories {
            if let Some(other) = names.insert(id, name.clone()).filter(|other| *other != name) {
                return Err(wrong(format!(
                    "category {id} is `{name}`, in another file it is `{other}`"
                )));
            }
        }
        one_file(folder, (&file, &name), (read.images, read.annotations), &mut all)?;
    }
    // Ids need not be counted from 0: classes are numbered in their order.
    let places: BTreeMap<u64, usize> = names.keys().enumerate().map(|(place, id)| (*id, place)).collect();
    let Sheets {
        images: sheets,
        problems,
        ..
    } = &mut all;
    for sheet in sheets {
        sheet
            .things
            .retain_mut(|thing| match places.get(&(thing.class as u64)) {
                Some(place) => {
                    thing.class = *place;
                    true
                }
                None => {
                    problems.push(format!(
                        "{}: {}: there is no category {}",
                        sheet.source, thing.id, thing.class
                    ));
                    false
                }
            });
    }
    all.class_names = names.into_values().collect();
    Ok(all)
}

fn one_file(
    folder: &Path,
    (file, name): (&Path, &str),
    (images, annotations): (Vec<Image>, Vec<Annotation>),
    all: &mut Sheets,
) -> Result<(), Fault> {
    let split = split_in(&name.replace(|c: char| c.is_ascii_digit(), ""));
    let mut sheets: BTreeMap<u64, Sheet> = BTreeMap::new();
    for Image {
        id,
        file_name,
        width,
        height,
    } in images
    {
        let sheet = Sheet {
            path: find_image(folder, file, &file_name),
            split,
            size: height.zip(width).map(|(h, w)| [h, w]),
            source: name.to_owned(),
            ..Sheet::default()
        };
        if sheets.insert(id, sheet).is_some() {
            all.problems.push(format!("{name}: image {id}: it is listed twice"));
        }
    }
    for one in annotations {
        let id = format!("annotation {}", one.id);
        let Some(sheet) = sheets.get_mut(&one.image_id) else {
            all.problems
                .push(format!("{name}: {id}: there is no image {}", one.image_id));
            continue;
        };
        let drawing = one.segmentation.and_then(|drawn| match drawn {
            Segmentation::Polygons(polygons) if polygons.is_empty() => None,
            Segmentation::Polygons(polygons) => Some(Drawing::Polygons(polygons)),
            Segmentation::Encoded {
                size,
                counts: Counts::Runs(runs),
            } => Some(Drawing::Runs(runs, size)),
            Segmentation::Encoded {
                size,
                counts: Counts::Packed(text),
            } => Some(Drawing::Packed(text, size)),
        });
        all.annotated = Annotated {
            masks: all.annotated.masks || drawing.is_some(),
            boxes: true,
        };
        sheet.things.push(Thing {
            id,
            // The id, until all files are read.
            class: usize::try_from(one.category_id).unwrap_or(usize::MAX),
            bounds: one.bbox.map(|[x, y, w, h]| Bounds::Pixels([x, y, x + w, y + h])),
            area: one.area,
            ignore: one.iscrowd > 0,
            drawing,
        });
    }
    all.images.extend(sheets.into_values());
    Ok(())
}

/// Where an image may lie: beside its file, in a folder `images`, or in one that is called like the split in the name of the file.
fn find_image(folder: &Path, file: &Path, name: &Path) -> PathBuf {
    let beside = file.parent().unwrap_or(folder);
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let split = stem.rsplit('_').next().unwrap_or_default().to_owned();
    let places = [
        folder.join(name),
        beside.join(name),
        folder.join("images").join(name),
        folder.join(&split).join(name),
        folder.join("images").join(&split).join(name),
    ];
    let found = places.iter().find(|place| place.is_file()).unwrap_or(&places[0]);
    below(folder, found)
}
