//! Image files: decoded and fitted as Pillow does it, listed by directories and tables, damaged ones named, duplicates found.

use std::path::{Path, PathBuf};

use flow_nodes::artifacts::SplitName;
use flow_nodes::pictures::{Columns, Fit, Layout, Reading, Values, decode, header, inspect, list};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images")
}

fn expected() -> Value {
    let text = std::fs::read_to_string(fixtures().join("expected.json")).expect("committed");
    serde_json::from_str(&text).expect("JSON")
}

/// A picture that differs for each seed.
fn picture(w: u32, h: u32, seed: u32) -> RgbImage {
    let value = |x: u32, y: u32, c: u32| {
        let (x, y) = (f64::from(x) / f64::from(w), f64::from(y) / f64::from(h));
        let angle = f64::from(seed * 7 + c) + x * f64::from(3 + seed % 5) + y * f64::from(2 + seed % 7);
        (127.0 + 120.0 * angle.sin()) as u8
    };
    RgbImage::from_fn(w, h, |x, y| Rgb([value(x, y, 0), value(x, y, 1), value(x, y, 2)]))
}

/// A directory of files.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    fn image(&self, name: impl AsRef<Path>, seed: u32) {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture(20, 16, seed)
            .write_to(&mut bytes, ImageFormat::Png)
            .expect("encoded");
        self.write(name, bytes.into_inner());
    }

    fn entries(&self, layout: &Layout) -> Vec<(String, Option<String>, Option<SplitName>)> {
        let found = list(self.path(), layout).expect("a folder of images");
        let shown = |path: &Path| path.display().to_string();
        found
            .entries
            .into_iter()
            .map(|e| (shown(&e.path), e.label, e.split))
            .collect()
    }

    fn refused(&self, layout: &Layout) -> String {
        list(self.path(), layout).expect_err("refused").message
    }
}

#[test]
fn every_format_is_decoded_upright_as_pillow_decodes_it() {
    for (name, expected) in expected()["decoded"].as_object().expect("cases") {
        let path = fixtures().join(name);
        let picture = decode(&path, &Reading::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let size = [picture.header.width, picture.header.height];
        assert_eq!(header(&path, &Reading::default()), Ok(picture.header), "{name}");
        assert_eq!(
            [&expected["width"], &expected["height"]],
            size.map(Value::from).each_ref(),
            "{name}"
        );
        let close = |found: [f64; 3], expected: &Value, what: &str| {
            for (c, found) in found.iter().enumerate() {
                let expected = expected[c].as_f64().expect("a number");
                // Decoders of JPEG may round differently.
                assert!(
                    (found - expected).abs() <= 1.0,
                    "{name}, {what}: {found} and not {expected}"
                );
            }
        };
        close(picture.mean(), &expected["mean"], "mean");
        let (w, h) = (size[0] as usize, size[1] as usize);
        for (q, quarter) in expected["quarters"].as_array().expect("four").iter().enumerate() {
            let (top, left) = (q / 2 * (h / 2), q % 2 * (w / 2));
            let mut sums = [0.0; 3];
            let pixels = picture.values.eight();
            for (y, x) in (top..top + h / 2).flat_map(|y| (left..left + w / 2).map(move |x| (y, x))) {
                let at = 3 * (y * w + x);
                (0..3).for_each(|c| sums[c] += f64::from(pixels[at + c]));
            }
            close(sums.map(|sum| sum / (w * h / 4) as f64), quarter, "quarter");
        }
    }
}

#[test]
fn bands_of_a_tiff_file_stay_as_many_and_as_deep_as_they_are() {
    let path = |name: &str| fixtures().join("bands").join(name);
    let value = |at: usize| {
        let (pixel, band) = (at / 5, at % 5);
        (31 * (pixel / 10) + 7 * (pixel % 10) + 13 * band) % 251
    };
    let reading = Reading::default();
    let deep = decode(&path("sixteen-bit.tif"), &reading).expect("read");
    assert_eq!((deep.channels, deep.header.width, deep.header.height), (5, 10, 12));
    assert_eq!(header(&path("sixteen-bit.tif"), &reading), Ok(deep.header));
    assert_eq!(
        deep.values,
        Values::Sixteen((0..600).map(|at| 200 * value(at) as u16).collect())
    );
    let planar = decode(&path("planar.tif"), &reading).expect("read");
    assert_eq!(
        planar.values,
        Values::Eight((0..600).map(|at| value(at) as u8).collect())
    );
    let float = decode(&path("float.tif"), &reading).expect_err("no whole numbers");
    assert!(float.contains("8 or 16 bits"), "{float}");
    let small = Reading {
        max_pixels: 100,
        ..reading
    };
    assert!(decode(&path("planar.tif"), &small).is_err_and(|e| e.contains("max_pixels = 120")));
    let bytes = std::fs::read(path("sixteen-bit.tif")).expect("committed");
    for cut in 0..bytes.len() {
        let _ = flow_nodes::pictures::decode_bytes(&bytes[..cut], &reading);
    }
}

#[test]
fn resizing_is_pillow_s_to_one_level_in_the_mean() {
    for (case, expected) in expected()["fitted"].as_object().expect("cases") {
        let [name, fit, side] = case.split(' ').collect::<Vec<_>>().try_into().expect("three words");
        let fit = match fit {
            "crop" => Fit::Crop,
            "squash" => Fit::Squash,
            _ => Fit::Pad,
        };
        let picture = decode(&fixtures().join(name), &Reading::default()).expect("decoded");
        let found = fit.apply(&picture, side.parse().expect("a number"), 3, [0; 3]);
        let found = found.expect("three channels").eight().into_owned();
        let expected = expected.as_array().expect("pixels");
        assert_eq!(found.len(), expected.len(), "{case}");
        let off = |(found, expected): (&u8, &Value)| (f64::from(*found) - expected.as_f64().expect("a number")).abs();
        let mean = found.iter().zip(expected).map(off).sum::<f64>() / found.len() as f64;
        assert!(mean <= 1.0, "{case}: {mean}");
    }
}

#[test]
fn transparent_pixels_show_the_matte_colour() {
    let place = Place::new();
    let clear = RgbaImage::from_pixel(4, 4, Rgba([200, 100, 0, 0]));
    let half = RgbaImage::from_pixel(4, 4, Rgba([200, 100, 0, 128]));
    for (name, image) in [("clear.png", clear), ("half.png", half)] {
        image.save(place.path().join(name)).expect("saved");
    }
    let mean = |name: &str, matte| {
        let reading = Reading {
            matte,
            ..Reading::default()
        };
        decode(&place.path().join(name), &reading).expect("decoded").mean()
    };
    assert_eq!(mean("clear.png", [0; 3]), [0.0; 3]);
    assert_eq!(mean("clear.png", [255; 3]), [255.0; 3]);
    assert_eq!(mean("half.png", [0; 3]), [100.0, 50.0, 0.0]);
}

#[test]
fn folders_are_classes_whatever_the_files_are_called() {
    let place = Place::new();
    place.image("cat/a.PNG", 1);
    place.image("cat/deeper/b c.jpg", 2);
    place.image("Zürich/ü", 3);
    place.write("cat/Thumbs.db", "x");
    place.write("cat/.DS_Store", "x");
    place.write("notes.txt", "not an image");
    let found = place.entries(&Layout::default());
    let expected = [
        ("Zürich/ü", "Zürich"),
        ("cat/a.PNG", "cat"),
        ("cat/deeper/b c.jpg", "cat"),
    ];
    assert_eq!(
        found,
        expected.map(|(path, label)| (path.to_owned(), Some(label.to_owned()), None))
    );
    // Told from the content: it is a PNG.
    let reading = Reading::default();
    assert_eq!(
        header(&place.path().join("cat/deeper/b c.jpg"), &reading).map(|h| h.format),
        Ok("png")
    );
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_told_if_it_should_be_an_image() {
    let place = Place::new();
    place.image("a/1.png", 1);
    std::os::unix::fs::symlink("nowhere", place.path().join("a/notes.txt")).expect("linked");
    assert_eq!(place.entries(&Layout::default()).len(), 1);
    std::os::unix::fs::symlink("nowhere", place.path().join("a/2.PNG")).expect("linked");
    assert!(
        place
            .refused(&Layout::default())
            .contains("a/2.PNG is a link that leads nowhere")
    );
}

#[test]
fn names_that_are_not_utf_8_and_linked_folders_are_read_and_a_cycle_is_an_error() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    place.image(Path::new("a").join(std::ffi::OsStr::from_bytes(b"\xff.png")), 1);
    place.image("elsewhere/deep/x.png", 2);
    std::os::unix::fs::symlink(place.path().join("elsewhere/deep"), place.path().join("b")).expect("linked");
    let found = inspect(place.path(), &Layout::default(), &Reading::default()).expect("read");
    assert!(
        found.files.iter().all(|line| line.problem.is_none()),
        "{:?}",
        found.files
    );
    assert_eq!(found.class_names, ["a", "b", "elsewhere"]);
    std::os::unix::fs::symlink(place.path(), place.path().join("a/up")).expect("linked");
    let message = place.refused(&Layout::default());
    assert!(message.contains("up"), "{message}");
}

#[test]
fn splits_flat_folders_and_pools_are_told_by_names() {
    let place = Place::new();
    for (i, name) in [
        "train/a/1.png",
        "Train/b/2.png",
        "VAL/a/3.png",
        "test/b/4.png",
        "unlabelled/5.png",
    ]
    .iter()
    .enumerate()
    {
        place.image(name, i as u32);
    }
    let label = |name: &str| Some(name.to_owned());
    let found = place.entries(&Layout::default());
    let find = |path: &str| found.iter().find(|entry| entry.0 == path).map(|e| (e.1.clone(), e.2));
    assert_eq!(find("train/a/1.png"), Some((label("a"), Some(SplitName::Train))));
    assert_eq!(find("VAL/a/3.png"), Some((label("a"), Some(SplitName::Validation))));
    assert_eq!(find("test/b/4.png"), Some((label("b"), Some(SplitName::Test))));
    assert_eq!(find("unlabelled/5.png"), Some((None, None)));

    let flat = Place::new();
    flat.image("1.png", 1);
    flat.image("pool/2.png", 2);
    let layout = Layout {
        unlabelled: Some("pool/".into()),
        ..Layout::default()
    };
    assert!(flat.entries(&layout).iter().all(|(_, label, _)| label.is_none()));
    let layout = Layout {
        unlabelled: Some("none".into()),
        ..Layout::default()
    };
    assert!(flat.refused(&layout).contains("none"));
}

#[test]
fn a_table_gives_labels_and_splits_and_is_refused_with_its_row() {
    let place = Place::new();
    for (i, name) in ["x/1.png", "x/2.png", "3.png"].iter().enumerate() {
        place.image(name, i as u32);
    }
    place.write("labels.csv", "path,label,split\nx/1.png,sea,test\n./x/2.png,,\n");
    let sea = Some("sea".to_owned());
    assert_eq!(
        place.entries(&Layout::default()),
        [
            ("3.png".to_owned(), None, None),
            ("x/1.png".to_owned(), sea, Some(SplitName::Test)),
            ("x/2.png".to_owned(), None, None),
        ]
    );
    let columns = Columns {
        path: Some("file".into()),
        label: Some("kind".into()),
        ..Columns::default()
    };
    place.write("other.tsv", "file\tkind\n3.png\tland, flat\n");
    let other = Layout {
        labels: Some("other.tsv".into()),
        columns,
        ..Layout::default()
    };
    assert_eq!(place.entries(&other)[0].1.as_deref(), Some("land, flat"));
    for (table, expected) in [
        ("path,label\nx/9.png,sea\n", "labels.csv:2: there is no image `x/9.png`"),
        (
            "path,label\n3.png,sea\nx/1.png,a\n./3.png,land\n",
            "labels.csv:4: `./3.png` is already in line 2",
        ),
        (
            "path,label,split\n3.png,sea,later\n",
            "labels.csv:2: `later` is not a split",
        ),
        (
            "file,label\n3.png,sea\n",
            "labels.csv:1: there is no column `path` among file, label",
        ),
        (
            "path,label\n3.png\n",
            "labels.csv:2: 1 cell(s) found, expected 2 as in line 1",
        ),
    ] {
        place.write("labels.csv", table);
        let message = place.refused(&Layout::default());
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn damaged_files_are_told_with_the_reason_and_a_bomb_is_not_decoded() {
    let place = Place::new();
    place.image("a/good.png", 1);
    let png = std::fs::read(place.path().join("a/good.png")).expect("read");
    let mut jpeg = std::io::Cursor::new(Vec::new());
    DynamicImage::from(picture(64, 64, 2))
        .write_to(&mut jpeg, ImageFormat::Jpeg)
        .expect("encoded");
    let jpeg = jpeg.into_inner();
    let mut bomb = png.clone();
    // Width and height in the header, and its checksum.
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let mut crc = flate2::Crc::new();
    crc.update(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    let cases = [
        ("empty.jpg", Vec::new(), "empty"),
        ("cut.png", png[..png.len() / 2].to_vec(), "truncated"),
        ("cut.jpg", jpeg[..jpeg.len() / 2].to_vec(), "truncated"),
        (
            "text.jpg",
            b"not an image at all, whatever its name".to_vec(),
            "not an image",
        ),
        ("bomb.png", bomb, "60000x60000"),
    ];
    for (name, bytes, _) in &cases {
        place.write(format!("a/{name}"), bytes);
    }
    let found = inspect(place.path(), &Layout::default(), &Reading::default()).expect("read");
    for (name, _, expected) in &cases {
        let line = found
            .files
            .iter()
            .find(|line| line.path == format!("a/{name}"))
            .expect("listed");
        let problem = line.problem.as_deref().unwrap_or_default();
        assert!(problem.contains(expected), "{name}: {problem}");
    }
    let bomb = found
        .files
        .iter()
        .find(|line| line.path == "a/bomb.png")
        .expect("listed");
    assert!(
        bomb.problem
            .as_deref()
            .is_some_and(|p| p.contains("`max_pixels = 3600000000`"))
    );
    assert_eq!(found.sound().count(), 1);
}

#[test]
fn copies_and_near_copies_in_two_splits_are_found_and_others_are_not() {
    let place = Place::new();
    // Pictures whose seeds differ by 35 do look alike.
    for seed in 0..10 {
        place.image(format!("train/a/{seed}.png"), seed);
        place.image(format!("test/a/{}.png", seed + 50), seed + 50);
    }
    place.image("test/a/copy.png", 3);
    // The same, larger and in another format.
    let near = DynamicImage::from(picture(20, 16, 5)).resize_exact(40, 32, image::imageops::FilterType::Triangle);
    near.into_rgb8()
        .save(place.path().join("test/a/near.jpg"))
        .expect("saved");
    let found = inspect(place.path(), &Layout::default(), &Reading::default()).expect("read");
    let name = |at: usize| found.files[at].path.as_str();
    let leaks: Vec<(&str, &str, bool)> = found.leaks.iter().map(|p| (name(p.a), name(p.b), p.exact)).collect();
    assert_eq!(
        leaks,
        [
            ("test/a/copy.png", "train/a/3.png", true),
            ("test/a/near.jpg", "train/a/5.png", false)
        ]
    );
    assert_eq!(found.duplicates.len(), 1);
}
