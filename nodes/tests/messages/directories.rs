//! Directories of images: what they lack before anything runs, and what shows when the images are opened.

use std::path::Path;

use image::RgbImage;

use super::sources::dataset;
use super::{Desk, png, tiff};

#[test]
fn directories_of_images() {
    let mut desk = Desk::new();
    let mut place = 0;
    let mut case = |desk: &mut Desk, about: &str, files: &[&str], more: &str, table: Option<&[u8]>| {
        place += 1;
        for (at, file) in files.iter().enumerate() {
            desk.picture(&format!("{place}/{file}"), (20, 16), 13 * at as u8);
        }
        if let Some(table) = table {
            desk.write(&format!("{place}/labels.csv"), table);
        }
        desk.plan(
            about,
            &dataset(&format!("source = \"folder\"\npath = \"{place}\"\nside = 8\n{more}")),
        );
    };
    let own_test = ["train/cat/a.png", "train/dog/b.png", "test/cat/c.png"];
    case(&mut desk, "a test of its own", &own_test, "test = 1", None);
    case(
        &mut desk,
        "a validation of its own",
        &["train/cat/a.png", "train/dog/b.png", "val/cat/c.png", "test/cat/d.png"],
        "validation = 1",
        None,
    );
    let few = ["cat/a.png", "dog/b.png", "dog/c.png"];
    case(&mut desk, "all to test", &few, "test = 3", None);
    case(&mut desk, "too few to test", &few, "", None);
    case(&mut desk, "all to validate", &few, "test = 1\nvalidation = 2", None);
    case(
        &mut desk,
        "test without label",
        &["train/cat/a.png", "train/dog/b.png", "test/c.png"],
        "",
        None,
    );
    case(
        &mut desk,
        "class without training",
        &["train/cat/a.png", "train/dog/b.png", "test/cow/c.png"],
        "",
        None,
    );
    let table = |rows: &str| Some(format!("path,label,split\n{rows}").into_bytes());
    let two = ["a.png", "b.png", "c.png"];
    case(&mut desk, "no such image", &two, "", table("x.png,cat,\n").as_deref());
    case(
        &mut desk,
        "twice",
        &two,
        "",
        table("a.png,cat,\na.png,dog,\n").as_deref(),
    );
    case(
        &mut desk,
        "another split",
        &two,
        "",
        table("a.png,cat,exam\n").as_deref(),
    );
    case(&mut desk, "no UTF-8", &two, "", Some(b"path,label\n\xff.png,cat\n"));
    case(&mut desk, "no column", &two, "", Some(b"file,label\na.png,cat\n"));
    case(&mut desk, "an uneven line", &two, "", Some(b"path,label\na.png\n"));
    case(
        &mut desk,
        "a group in two splits",
        &two,
        "columns = { group = \"who\" }",
        Some(b"path,label,split,who\na.png,cat,train,x\nb.png,dog,train,y\nc.png,cat,test,x\n"),
    );
    case(
        &mut desk,
        "unlabelled with a label",
        &["pool/a.png", "b.png", "c.png"],
        "unlabelled = \"pool\"",
        table("pool/a.png,cat,\nb.png,dog,\n").as_deref(),
    );
    case(&mut desk, "no unlabelled", &two, "unlabelled = \"pool\"", None);
    case(
        &mut desk,
        "few labelled to validate",
        &[
            "cat/a.png",
            "cat/b.png",
            "dog/c.png",
            "dog/d.png",
            "unlabeled/e.png",
            "unlabeled/f.png",
        ],
        "test = 1\nvalidation = 4",
        None,
    );
    desk.write("file.png", "none");
    desk.plan(
        "no directory",
        &dataset("source = \"folder\"\npath = \"file.png\"\nside = 8"),
    );
    std::fs::create_dir_all(desk.path("links/cat")).expect("made");
    std::os::unix::fs::symlink("nowhere", desk.path("links/cat/a.png")).expect("linked");
    desk.plan(
        "a link that leads nowhere",
        &dataset("source = \"folder\"\npath = \"links\"\nside = 8"),
    );
    std::fs::create_dir_all(desk.path("round/cat")).expect("made");
    std::os::unix::fs::symlink("..", desk.path("round/cat/up")).expect("linked");
    desk.plan(
        "a link in a circle",
        &dataset("source = \"folder\"\npath = \"round\"\nside = 8"),
    );
    desk.check("directories_of_images");
}

#[test]
fn directories_as_they_are_read() {
    let mut desk = Desk::new();
    let run = |desk: &mut Desk, about: &str, lines: &str| {
        desk.run(
            about,
            &dataset(&format!("source = \"folder\"\npath = \"{about}\"\nside = 8\n{lines}")),
        );
    };
    for class in ["cat", "dog"] {
        for i in 0..6u8 {
            let shade = 30 * i + u8::from(class == "dog");
            let picture = RgbImage::from_fn(20, 16, |x, y| {
                image::Rgb([(x as u8).wrapping_mul(shade), (y as u8).wrapping_mul(7 + i), shade])
            });
            for about in ["damaged", "all damaged", "leaks"] {
                desk.write(&format!("{about}/train/{class}/{i}.png"), png(picture.clone().into()));
            }
        }
        desk.picture(
            &format!("leaks/test/{class}/own.png"),
            (20, 16),
            200 + u8::from(class == "dog"),
        );
    }
    desk.write("damaged/train/cat/7.png", "no image");
    run(&mut desk, "damaged", "");
    desk.write(
        "leaks/test/cat/same.png",
        std::fs::read(desk.path("leaks/train/cat/3.png")).expect("written"),
    );
    run(&mut desk, "leaks", "on_leak = \"error\"");
    run(&mut desk, "leaks", "on_leak = \"warn\"");
    let near = image::open(desk.path("leaks/train/dog/3.png"))
        .expect("written")
        .to_rgb8();
    let near = RgbImage::from_fn(20, 16, |x, y| {
        image::Rgb(near.get_pixel(x, y).0.map(|v| v.saturating_add(1)))
    });
    desk.write("leaks/test/dog/near.png", png(near.into()));
    run(&mut desk, "leaks", "on_leak = \"warn\"");
    for class in ["cat", "dog"] {
        for split in ["train", "test"] {
            desk.picture(
                &format!("nothing left/{split}/{class}/a.png"),
                (20, 16),
                if class == "cat" { 40 } else { 160 },
            );
        }
    }
    run(&mut desk, "nothing left", "on_leak = \"drop\"");
    desk.write(
        "few/cat/a.png",
        std::fs::read(desk.path("leaks/train/cat/1.png")).expect("written"),
    );
    for i in 0..3 {
        desk.write(
            &format!("few/cat/{i}.png"),
            std::fs::read(desk.path(&format!("leaks/train/cat/{i}.png"))).expect("written"),
        );
        desk.write(
            &format!("few/dog/{i}.png"),
            std::fs::read(desk.path(&format!("leaks/train/dog/{i}.png"))).expect("written"),
        );
    }
    run(&mut desk, "few", "test = 1");
    let gray = dataset("source = \"folder\"\npath = \"damaged\"\nside = 8\non_bad = \"skip\"\nchannels = 7");
    desk.run("channels that they do not have", &gray);
    let rows: String = (0..6)
        .flat_map(|i| ["cat", "dog"].map(|class| format!("train/{class}/{i}.png,{class},{class}\n")))
        .collect();
    desk.write("leaks/groups.csv", format!("path,label,who\n{rows}"));
    run(
        &mut desk,
        "leaks",
        "labels = \"groups.csv\"\ncolumns = { group = \"who\" }\ntest = 1",
    );
    for class in ["cat", "dog"] {
        for i in 0..6 {
            desk.write(&format!("all damaged/train/{class}/{i}.png"), "none");
        }
    }
    run(&mut desk, "all damaged", "on_bad = \"skip\"");
    desk.check("directories_as_they_are_read");
}

#[test]
fn pictures() {
    let mut desk = Desk::new();
    let jpeg = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/gray.jpg")).expect("committed");
    let lzw = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/lzw.tif")).expect("committed");
    let good = png(RgbImage::new(20, 16).into());
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("cut.jpg", jpeg[..jpeg.len() - 2].to_vec()),
        ("half.jpg", jpeg[..jpeg.len() / 2].to_vec()),
        ("empty.png", Vec::new()),
        ("cut.png", good[..good.len() - 30].to_vec()),
        ("damaged.png", {
            let mut bytes = good.clone();
            bytes[45] ^= 0xff;
            bytes
        }),
        ("cut.tif", lzw[..lzw.len() / 2].to_vec()),
        ("other.webp", b"RIFF\x10\x00\x00\x00WEBPVP8 ".to_vec()),
        ("huge.png", {
            let mut bytes = good.clone();
            bytes[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
            let mut crc = flate2::Crc::new();
            crc.update(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
            bytes
        }),
        ("many bands.tif", tiff(65, 8, 1, 0)),
        ("float bands.tif", tiff(5, 32, 3, 0)),
        (
            "variant.bmp",
            [
                b"BM".as_slice(),
                &[0; 8],
                &54u32.to_le_bytes(),
                &40u32.to_le_bytes(),
                &8u32.to_le_bytes(),
                &8u32.to_le_bytes(),
                &1u16.to_le_bytes(),
                &24u16.to_le_bytes(),
                &7u32.to_le_bytes(),
                &[0; 220],
            ]
            .concat(),
        ),
    ];
    for (name, bytes) in files {
        desk.write(&format!("pictures/{name}"), bytes);
    }
    desk.inspect("pictures", &desk.path("pictures"));
    desk.inspect("nowhere", &desk.path("nowhere"));
    desk.check("pictures");
}
