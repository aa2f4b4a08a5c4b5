//! Annotated images: what is wrong with masks, boxes and the files that tell them.

use image::{DynamicImage, GrayImage, ImageBuffer, Luma, RgbImage};

use super::sources::dataset;
use super::{Desk, png};

/// A VOC annotation of a 20x10 image with one object.
fn voc(object: &str) -> String {
    format!(
        "<annotation><filename>a.png</filename><size><width>20</width><height>10</height></size><object>{object}</object></annotation>"
    )
}

fn coco(images: &str, annotations: &str) -> String {
    format!(
        "{{\"images\": [{images}], \"annotations\": [{annotations}], \"categories\": [{{\"id\": 1, \"name\": \"cat\"}}, {{\"id\": 2, \"name\": \"dog\"}}]}}"
    )
}

#[test]
fn annotated_images() {
    let mut desk = Desk::new();
    let of = |source: &str, path: &str, more: &str| {
        dataset(&format!("source = \"{source}\"\npath = \"{path}\"\nside = 8\n{more}"))
    };
    let run = |desk: &mut Desk, about: &str, source: &str, path: &str| {
        desk.run(about, &of(source, path, ""));
    };

    desk.write("file.json", "{}");
    desk.plan("a file", &of("coco", "file.json", ""));
    desk.plan("no size", &dataset("source = \"yolo\"\npath = \".\""));
    desk.plan("channels", &of("yolo", ".", "channels = 4"));

    desk.picture("yolo/images/a.png", (20, 10), 1);
    desk.plan("no classes of YOLO", &of("yolo", "yolo", ""));
    desk.write("yolo/classes.txt", "cat\ndog\n");
    desk.write("yolo/labels/a.txt", "0 0.5\n7 0.5 0.5 0.1 0.1\n");
    run(&mut desk, "lines of YOLO", "yolo", "yolo");
    desk.write(
        "yolo/labels/a.txt",
        "0 0.5 0.5 0 0.1\n0 5 5 0.1 0.1\n0 nan 0.5 0.1 0.1\n",
    );
    run(&mut desk, "boxes of YOLO", "yolo", "yolo");
    desk.write("yolo/labels/a.txt", [0xff]);
    desk.plan("no text of YOLO", &of("yolo", "yolo", ""));
    desk.write("yolo/labels/a.txt", "");
    desk.plan("all to test", &of("yolo", "yolo", "test = 1"));
    desk.picture("split/images/train/a.png", (20, 10), 1);
    desk.picture("split/images/test/b.png", (20, 10), 1);
    desk.write("split/classes.txt", "cat\ndog\n");
    desk.plan("a test of its own", &of("yolo", "split", "test = 1"));
    desk.write("none/classes.txt", "cat\ndog\n");
    desk.plan("no image", &of("yolo", "none", ""));
    desk.write("none.png/images/a.png", "none");
    desk.write("none.png/classes.txt", "cat\ndog\n");
    run(&mut desk, "an image that is none", "yolo", "none.png");
    desk.run(
        "an image that is none, left out",
        &of("yolo", "none.png", "on_bad = \"skip\""),
    );

    for i in 0..6u8 {
        desk.picture(&format!("some/images/{i}.png"), (20, 10), 9 * i);
        desk.picture(&format!("all test/images/test/{i}.png"), (20, 10), 9 * i);
    }
    for name in ["some", "all test"] {
        desk.write(&format!("{name}/classes.txt"), "cat\ndog\n");
    }
    desk.write("some/labels/1.txt", "7 0.5 0.5 0.1 0.1\n");
    desk.run("one of several left out", &of("yolo", "some", "on_bad = \"skip\""));
    run(&mut desk, "all of them to test", "yolo", "all test");

    desk.picture("voc/JPEGImages/a.png", (20, 10), 1);
    for (about, object) in [
        ("no name", "<bndbox/>"),
        ("no box", "<name>cat</name>"),
        ("no number", "<name>cat</name><bndbox><xmin>1</xmin></bndbox>"),
        (
            "no class",
            "<name>cow</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>",
        ),
    ] {
        desk.write("voc/classes.txt", "cat\ndog\n");
        desk.write("voc/Annotations/a.xml", voc(object));
        desk.plan(about, &of("voc", "voc", ""));
    }
    desk.write("voc/Annotations/a.xml", "<annotation>");
    desk.plan("no XML", &of("voc", "voc", ""));
    let small = voc("<name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>")
        .replace("<width>20", "<width>30");
    desk.write("voc/Annotations/a.xml", small);
    run(&mut desk, "another size", "voc", "voc");

    desk.picture("masks/images/a.png", (20, 10), 1);
    desk.plan("no classes of masks", &of("masks", "masks", ""));
    desk.write("masks/classes.txt", "cat\ndog\n");
    desk.plan("no mask", &of("masks", "masks", ""));
    let gray = |value: u8, width: u32| png(GrayImage::from_pixel(width, 10, Luma([value])).into());
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_pixel(20, 10, Luma([1]));
    for (about, mask) in [
        ("a mask of another size", gray(1, 30)),
        ("a mask of colours", png(RgbImage::new(20, 10).into())),
        ("a mask of 16 bits", png(DynamicImage::from(deep))),
        ("a mask of other classes", gray(7, 20)),
        ("a mask that is none", b"none".to_vec()),
    ] {
        desk.write("masks/masks/a.png", mask);
        run(&mut desk, about, "masks", "masks");
    }
    desk.write(
        "masks/classes.txt",
        (0..300).map(|i| format!("class {i}\n")).collect::<String>(),
    );
    desk.plan("many classes", &of("masks", "masks", ""));

    desk.picture("coco/images/a.png", (20, 10), 1);
    let image = "{\"id\": 1, \"file_name\": \"a.png\", \"width\": 20, \"height\": 10}";
    let one = |rest: &str| format!("{{\"id\": 5, \"image_id\": 1, \"category_id\": 1, {rest}}}");
    for (about, text) in [
        ("no JSON", "{".to_owned()),
        ("an image twice", coco(&format!("{image}, {image}"), "")),
        (
            "no such image",
            coco(
                image,
                "{\"id\": 5, \"image_id\": 9, \"category_id\": 1, \"bbox\": [1, 1, 2, 2]}",
            ),
        ),
        (
            "no such category",
            coco(
                image,
                "{\"id\": 5, \"image_id\": 1, \"category_id\": 9, \"bbox\": [1, 1, 2, 2]}",
            ),
        ),
        (
            "a path twice",
            coco(&format!("{image}, {}", image.replace("\"id\": 1", "\"id\": 2")), ""),
        ),
        ("few points", coco(image, &one("\"segmentation\": [[1, 2, 3]]"))),
        (
            "a point that is none",
            coco(image, &one("\"segmentation\": [[1, 2, 3, 4, 5, 1e300]]")),
        ),
        (
            "runs of another size",
            coco(image, &one("\"segmentation\": {\"size\": [5, 5], \"counts\": [25]}")),
        ),
        (
            "too few runs",
            coco(image, &one("\"segmentation\": {\"size\": [10, 20], \"counts\": [25]}")),
        ),
        (
            "packed runs",
            coco(
                image,
                &one("\"segmentation\": {\"size\": [10, 20], \"counts\": \"~~\"}"),
            ),
        ),
        (
            "nothing covered",
            coco(image, &one("\"segmentation\": {\"size\": [10, 20], \"counts\": [200]}")),
        ),
        ("a box without area", coco(image, &one("\"bbox\": [1, 1, 0, 2]"))),
        ("a box outside", coco(image, &one("\"bbox\": [100, 100, 5, 5]"))),
    ] {
        desk.write("coco/annotations/all.json", text);
        run(&mut desk, about, "coco", "coco");
    }
    desk.write("coco/annotations/all.json", coco(image, ""));
    desk.write(
        "coco/annotations/more.json",
        "{\"images\": [], \"annotations\": [], \"categories\": [{\"id\": 1, \"name\": \"cow\"}]}",
    );
    desk.plan("two names of a category", &of("coco", "coco", ""));
    desk.check("annotated_images");
}
