//! Annotated images: what each format tells is read, moved with the pixels, and what is wrong is named by file and id.

use std::io::Cursor;
use std::path::Path;

use flow_engine::events::{Event, Reporter};
use flow_engine::{NodeStatus, Options};
use flow_nodes::pictures::{CLASS_COLOURS, Layout, Reading};
use flow_nodes::sources::{drawn, inspect};
use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};

/// What went wrong.
#[derive(Default)]
struct Failures(String);

impl Reporter for Failures {
    fn report(&mut self, event: &Event) {
        if let Event::NodeFailed { .. } = event {
            self.0 += &format!("{event:?}");
        }
    }
}

/// A folder of files.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    /// An image of 20 by 10 pixels.
    fn image(&self, name: &str, seed: u8) {
        let image = RgbImage::from_fn(20, 10, |x, y| Rgb([x as u8 * 9, y as u8 * 20, seed * 20]));
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).expect("encoded");
        self.write(name, bytes.into_inner());
    }

    /// A mask with a rectangle of a class.
    fn mask(&self, name: &str, (w, h): (u32, u32), class: u8) {
        let inside = |x, y| (4..8).contains(&x) && (2..6).contains(&y);
        let image = GrayImage::from_fn(w, h, |x, y| Luma([if inside(x, y) { class } else { 0 }]));
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).expect("encoded");
        self.write(name, bytes.into_inner());
    }

    /// Images with a rectangle each, in all four formats, twelve of them.
    fn whole(&self) -> &Path {
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        for i in 0..12u8 {
            let class = i % 2;
            self.image(&format!("images/{i}.png"), i);
            self.image(&format!("JPEGImages/{i}.png"), i);
            self.mask(&format!("masks/{i}.png"), (20, 10), class + 1);
            self.write(&format!("labels/{i}.txt"), format!("{class} 0.3 0.4 0.2 0.4\n"));
            self.write(
                &format!("Annotations/{i}.xml"),
                voc(&format!("{i}.png"), "5", "3", ["cat", "dog"][usize::from(class)]),
            );
            images.push(format!(
                r#"{{"id": {i}, "file_name": "{i}.png", "width": 20, "height": 10}}"#
            ));
            annotations.push(format!(
                r#"{{"id": {i}, "image_id": {i}, "category_id": {}, "bbox": [4, 2, 4, 4], "area": 16, "segmentation": [[4, 2, 8, 2, 8, 6, 4, 6]]}}"#,
                10 * (class + 1)
            ));
        }
        self.write("annotations/all.json", coco(&images.join(","), &annotations.join(",")));
        self.write("classes.txt", "cat\ndog\n");
        self.0.path()
    }

    /// What `source` says of the folder when a data set is made of it, or why none is.
    fn data(&self, source: &str, more: &str) -> Result<std::collections::BTreeMap<String, f64>, String> {
        let text = format!(
            "[nodes.data]\nkind = \"dataset\"\nsource = \"{source}\"\npath = \".\"\nside = 8\ntest = 4\n{more}\n"
        );
        let work = tempfile::tempdir().expect("a folder");
        let file = self.0.path().join("w.toml");
        std::fs::write(&file, text).expect("written");
        let said = |problems: &dyn std::fmt::Debug| format!("{problems:?}");
        let workflow = flow_engine::load(&file, &flow_nodes::registry(), &[]).map_err(|e| said(&e))?;
        let cache =
            flow_cache::Store::open(&work.path().join("cache"), flow_cache::Access::ReadWrite).expect("a cache");
        let options = Options::new(work.path().join("runs"));
        let mut failures = Failures::default();
        let run = flow_engine::run(&workflow, &cache, &options, &mut failures).map_err(|e| said(&e))?;
        match run.count(NodeStatus::Ran) {
            1 => Ok(run.nodes[0].metrics.clone()),
            _ => Err(failures.0),
        }
    }
}

fn voc(name: &str, left: &str, top: &str, class: &str) -> String {
    format!(
        "<annotation><filename>{name}</filename><size><width>20</width><height>10</height></size><object><name>{class}</name>\
         <bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>8</xmax><ymax>6</ymax></bndbox></object></annotation>"
    )
}

fn coco(images: &str, annotations: &str) -> String {
    format!(
        r#"{{"images": [{images}], "annotations": [{annotations}], "categories": [{{"id": 10, "name": "cat"}}, {{"id": 20, "name": "dog"}}]}}"#
    )
}

#[test]
fn every_format_makes_a_data_set_of_its_images() {
    let place = Place::new();
    place.whole();
    for (source, things) in [
        ("coco", Some(12.0)),
        ("voc", Some(12.0)),
        ("yolo", Some(12.0)),
        ("masks", None),
    ] {
        if source == "yolo" {
            // Its images are all that lie in the folder.
            std::fs::remove_dir_all(place.0.path().join("JPEGImages")).expect("removed");
            std::fs::remove_dir_all(place.0.path().join("masks")).expect("removed");
        }
        if source == "masks" {
            for i in 0..12u8 {
                place.mask(&format!("masks/{i}.png"), (20, 10), i % 2 + 1);
            }
        }
        let metrics = place.data(source, "").unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(
            (metrics["train_images"], metrics["test_images"]),
            (8.0, 4.0),
            "{source}"
        );
        assert_eq!(metrics.get("things").copied(), things, "{source}");
        assert_eq!(metrics["bad_annotations"], 0.0, "{source}");
    }
}

#[test]
fn bad_annotations_are_listed_by_file_and_id() {
    let place = Place::new();
    place.whole();
    let image = |id: u32, name: &str| format!(r#"{{"id": {id}, "file_name": "{name}", "width": 20, "height": 10}}"#);
    let images = [
        image(1, "0.png"),
        image(2, "1.png"),
        image(2, "2.png"),
        image(4, "0.png"),
    ]
    .join(",");
    let bad = [
        r#"{"id": 1, "image_id": 1, "category_id": 10, "bbox": [15, 2, 9, 4]}"#,
        r#"{"id": 2, "image_id": 1, "category_id": 10, "bbox": [4, 2, 0, 4]}"#,
        r#"{"id": 3, "image_id": 1, "category_id": 11, "bbox": [4, 2, 4, 4]}"#,
        r#"{"id": 4, "image_id": 1, "category_id": 10, "bbox": [4, 2, 4, 4], "segmentation": [[4, 2, 8, 2]]}"#,
        r#"{"id": 5, "image_id": 1, "category_id": 10, "bbox": [4, 2, 4, 4], "segmentation": {"size": [10, 19], "counts": [190]}}"#,
        r#"{"id": 6, "image_id": 1, "category_id": 10, "bbox": [4, 2, 4, 4], "segmentation": {"size": [10, 20], "counts": [190]}}"#,
        r#"{"id": 7, "image_id": 9, "category_id": 10, "bbox": [4, 2, 4, 4]}"#,
    ];
    place.write("annotations/all.json", coco(&images, &bad.join(",")));
    let found = inspect(
        &place.0.path().join("annotations/all.json"),
        &Layout::default(),
        &Reading::default(),
    );
    assert!(
        found.is_err() || found.is_ok_and(|found| found.places.is_some()),
        "a file is looked at with images around it"
    );
    std::fs::remove_dir_all(place.0.path().join("Annotations")).expect("removed");
    std::fs::remove_dir_all(place.0.path().join("masks")).expect("removed");
    std::fs::remove_dir_all(place.0.path().join("labels")).expect("removed");
    let found = inspect(place.0.path(), &Layout::default(), &Reading::default()).expect("COCO");
    let problems = found.places.expect("annotated").problems.join("\n");
    for said in [
        "image 2: it is listed twice",
        "images/0.png is listed twice",
        "annotation 1: its box [15.0, 2.0, 24.0, 6.0] is outside of the image of 20x10",
        "annotation 2: its box [4.0, 2.0, 4.0, 6.0] has no area",
        "annotation 3: there is no category 11",
        "annotation 4: a polygon of 4 coordinates found",
        "annotation 5: its run lengths are for 19x10 pixels",
        "annotation 6: the run lengths cover 190 pixels, the image has 200",
        "annotation 7: there is no image 9",
    ] {
        assert!(
            problems.contains(&format!("annotations/all.json: {said}")),
            "{said} is not in\n{problems}"
        );
    }
    let refused = place.data("coco", "").expect_err("nothing is left out unasked");
    assert!(refused.contains("problem(s) with annotations"), "{refused}");
}

#[test]
fn masks_of_another_size_or_of_no_class_are_named() {
    let place = Place::new();
    place.whole();
    place.mask("masks/3.png", (20, 11), 1);
    place.mask("masks/4.png", (20, 10), 3);
    std::fs::remove_file(place.0.path().join("masks/5.png")).expect("removed");
    let refused = place.data("masks", "").expect_err("a mask is missing");
    assert!(
        refused.contains("masks/5.png: images/5.png: it is missing"),
        "{refused}"
    );
    let skipped = place.data("masks", "on_bad = \"skip\"").expect("three are left out");
    assert_eq!(skipped["bad_annotations"], 3.0);
    place.mask("masks/5.png", (20, 10), 1);
    let refused = place.data("masks", "").expect_err("two masks are wrong");
    for said in [
        "the mask is 20x11 pixels, the image 20x10",
        "a pixel has the value 3, but there are 2 classes",
    ] {
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn inspect_counts_what_is_annotated() {
    let place = Place::new();
    let found = inspect(place.whole(), &Layout::default(), &Reading::default()).expect("VOC");
    let places = found.places.expect("annotated");
    assert_eq!((places.source, places.left_out, places.masks), ("voc", 0, 0));
    assert_eq!(places.things, [("cat".to_owned(), 6), ("dog".to_owned(), 6)]);
    assert_eq!(found.files.len(), 12);
}

#[test]
fn boxes_and_masks_are_drawn_where_they_are_told_in_every_format() {
    for (source, without) in [
        ("voc", &[][..]),
        ("masks", &["Annotations"]),
        ("yolo", &["Annotations", "masks"]),
        ("coco", &["Annotations", "masks", "labels"]),
    ] {
        let place = Place::new();
        place.whole();
        without
            .iter()
            .for_each(|folder| std::fs::remove_dir_all(place.0.path().join(folder)).expect("removed"));
        let found = std::sync::Mutex::new(Vec::new());
        let put = |path: &Path, png: &[u8]| {
            let image = image::load_from_memory(png).expect("a picture").into_rgb8();
            found.lock().expect("whole").push((path.to_owned(), image));
            Ok(())
        };
        let drawn = drawn(place.0.path(), &Reading::default(), &put)
            .expect("annotated")
            .expect("read");
        assert_eq!(drawn.0, ["cat", "dog"], "{source}");
        let found = found.into_inner().expect("whole");
        assert!(drawn.1 >= 12 && found.len() == drawn.1, "{source}: {}", drawn.1);
        // YOLO's images are all that lie in the folder.
        let name = if source == "voc" {
            "JPEGImages/1.png"
        } else {
            "images/1.png"
        };
        let image = found.iter().find(|(path, _)| path.ends_with(name));
        let (_, image) = image.unwrap_or_else(|| panic!("{source}: no {name} among {:?}", found.len()));
        // 20 by 10 pixels lie in the middle of 512 by 512: the thing, from (4, 2) to (8, 6), begins at (102, 179) and ends at (205, 282).
        let dog = CLASS_COLOURS[1].1;
        let near = |x: u32, y: u32| image.get_pixel(x, y).0.iter().zip(dog).all(|(a, b)| a.abs_diff(b) < 14);
        let along = |from: u32| (from..from + 8).any(|x| near(x, 230));
        assert!(along(99) && along(199), "{source}: its left and its right side");
        assert!(!(120..180).any(|x| near(x, 230)), "{source}: it is not painted over");
    }
    assert!(drawn(Path::new("."), &Reading::default(), &|_, _| Ok(())).is_none());
}
