//! What is said of a person's own pictures: of predictions, of workflows for them, and where a machine lacks something.

use super::Transcript;
use super::common::{TWO, stripes, tiff};

/// Pictures of two classes, and workflows that learn them, or texts.
const PICTURES: &str = r#"
[nodes.images]
kind = "dataset"
source = "folder"
path = "pictures"
side = 16
test = 4

[nodes.model]
kind = "finetune"
data = ["images"]
backbone = { name = "conv3", widths = [4, 4, 4] }
steps = 2
batch = 8
lr = 0.01

[nodes.seen]
kind = "inspect"
network = "model"
data = "images"
images = 16

[nodes.weak]
kind = "augment"
recipe = "weak"

[nodes.simclr]
kind = "pretext"
method = "simclr"

[nodes.encoder]
kind = "pretrain"
data = "images"
views = "weak"
task = "simclr"
backbone = { name = "conv3", widths = [4, 4, 4] }
epochs = 1
batch = 8
lr = 0.01

[nodes.sentences]
kind = "dataset"
source = "text"
path = "texts.tsv"
length = 8

[nodes.reader]
kind = "finetune"
data = ["sentences"]
backbone = { name = "transformer", dim = 8, depth = 1, heads = 2 }
steps = 1
batch = 4
lr = 0.01
"#;

fn with_pictures() -> Transcript {
    let typed = Transcript::new(PICTURES);
    for (class, name) in ["across", "along"].into_iter().enumerate() {
        for seed in 0..12 {
            let path = typed.place.path(&format!("pictures/{name}/{seed}.png"));
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("writable");
            let class = class as u32;
            stripes((20, 20), class, seed + 500 * class).save(path).expect("saved");
        }
    }
    typed.place.write("texts.tsv", "good\tfine\nbad\tpoor\n".repeat(8));
    typed
}

#[test]
fn predictions() {
    let mut typed = with_pictures();
    typed.place.flow(&["cache", "init"]);
    typed.flow("predict best pictures/across/0.png");
    let ran = typed.place.run(&["-j", "1"]);
    let figures = ran.stdout.lines().find(|line| line.starts_with("Figures of"));
    let page = ran.stderr.lines().find(|line| line.starts_with("as a page"));
    let masked = |line: &str| {
        let run = regex::Regex::new("report [0-9a-f]+").expect("a regular expression");
        let cost = regex::Regex::new(r".*published as \S+ after [\d.]+ s.*").expect("a regular expression");
        let line = run.replace(line, "report [run]");
        cost.replace(&line, "[time] published as [key] after [x] s [metrics]")
            .into_owned()
    };
    let log = typed.log("encoder");
    let published = log.lines().find(|line| line.contains("published as"));
    for line in [figures, page, published].into_iter().flatten() {
        typed.text.push_str(&format!("{}\n", masked(line)));
    }
    typed.flow("cache why encoder");
    typed.place.write("none.png", "none");
    typed.place.write("none.zip", "PK\x03\x04none");
    typed.place.write("cut.tar", vec![b'x'; 1024]);
    std::fs::create_dir(typed.place.path("empty")).expect("writable");
    for line in [
        "predict model pictures/across/0.png",
        "predict encoder pictures/across/0.png",
        "predict reader pictures/across/0.png",
        "predict images pictures/across/0.png",
        "predict best pictures/across/0.png",
        "predict 'kind = dataset' pictures/across/0.png",
        "predict 'kind = finetune and node = nobody' pictures/across/0.png",
        "predict 'node = model or node = encoder order by node' pictures/across/0.png",
        "predict model pictures/across/0.png -o results",
        "predict model pictures/across/0.png -o nowhere/results.csv",
        "predict model none.png",
        "predict model none.png --on-bad skip",
        "predict model none.zip",
        "predict model cut.tar",
        "predict model empty",
        "predict model nowhere",
        "predict model 'nowhere/*.png'",
        "predict model '***'",
        "cache export model --to torch -o net.safetensors",
        "cache export encoder --to onnx -o net.onnx",
        "cache export images --to onnx -o net.onnx",
    ] {
        typed.flow(line);
    }
    // Without what it was trained on, how files were read is not known.
    typed.flow("cache export model -o model.tar.zst");
    typed.flow("cache import model.tar.zst --cache other");
    typed.flow("predict model pictures/across/0.png --cache other");
    // In the order of their ages, which is another each time.
    typed
        .place
        .flow(&["cache", "gc", "--max-size", "1B", "--keep-runs", "0", "--delete"]);
    typed.flow("predict model pictures/across/0.png");
    typed.check("predictions");
}

#[test]
fn the_best_of_several_classifiers() {
    let mut typed = with_pictures();
    let validated = PICTURES.replace("test = 4", "test = 4\nvalidation = 4");
    typed.place.write("w.toml", &validated);
    typed.place.run(&["-j", "1"]);
    typed.flow("predict best pictures/across/0.png");
    let blob = super::common::blob(&typed.place, "images", "validation.images");
    let kept = std::fs::read(&blob).expect("a blob of ours");
    std::fs::remove_file(&blob).expect("it is there");
    typed.flow("predict best pictures/across/0.png");
    std::fs::write(&blob, kept).expect("written");
    typed.place.run(&[
        "-j",
        "1",
        "--set",
        "nodes.images.test=2",
        "--set",
        "nodes.images.validation=0",
    ]);
    typed.flow("predict best pictures/across/0.png");
    typed.flow("predict model pictures/across/0.png");
    typed.check("the_best_of_several_classifiers");
}

#[test]
fn beginnings_of_own_images() {
    let mut typed = with_pictures();
    std::fs::create_dir(typed.place.path("texts")).expect("writable");
    typed.place.write("texts/a.txt", "no image");
    let copy = |from: &str, to: &str| {
        let to = typed.place.path(to);
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("writable");
        std::fs::copy(typed.place.path(from), to).expect("copied");
    };
    for seed in 0..4 {
        copy(&format!("pictures/across/{seed}.png"), &format!("flat/{seed}.png"));
        copy(
            &format!("pictures/across/{seed}.png"),
            &format!("few/across/{seed}.png"),
        );
    }
    copy("pictures/along/0.png", "few/along/0.png");
    copy("pictures/along/0.png", "pictures/along/twin.png");
    std::fs::write(typed.place.path("pictures/along/broken.png"), "none").expect("written");
    for seed in 0..6 {
        for (class, name) in ["across", "along"].into_iter().enumerate() {
            let picture = image::DynamicImage::from(stripes((20, 20), class as u32, seed + 40 * class as u32));
            let path = typed.place.path(&format!("gray/{name}/{seed}.png"));
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("writable");
            picture.to_luma8().save(path).expect("saved");
            let bands = tiff(5, 8, 1, (class as u8) * 90 + seed as u8);
            let path = typed.place.path(&format!("bands/{name}/{seed}.tif"));
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("writable");
            std::fs::write(path, bands).expect("written");
        }
    }
    for line in [
        "init texts",
        "init texts.tsv",
        "init flat --task classify",
        "init few",
        "init pictures -o own.toml --minutes 0.001",
        "init flat --task pretrain -o flat.toml",
        "init gray --task classify -o gray.toml",
        "init bands --task classify -o bands.toml",
        "data inspect pictures",
    ] {
        typed.flow(line);
    }
    for file in ["own.toml", "flat.toml", "gray.toml", "bands.toml"] {
        let written = std::fs::read_to_string(typed.place.path(file)).unwrap_or_default();
        typed.text.push_str(&format!("$ cat {file}\n{written}\n"));
    }
    // How long trainings are follows from the machine's speed.
    for (measured, shown) in [
        (r"\d+(\.\d+)? minutes", "[x] minutes"),
        (r"(?m)^(budget|epochs|steps) = \d[\d_]*", "$1 = [x]"),
    ] {
        let measured = regex::Regex::new(measured).expect("a regular expression");
        typed.text = measured.replace_all(&typed.text, shown).into_owned();
    }
    typed.check("beginnings_of_own_images");
}

#[test]
fn machines_that_have_less() {
    let mut typed = with_pictures();
    typed.place.write("w.toml", TWO);
    let trains = PICTURES.replace(
        "lr = 0.01\n\n[nodes.seen]",
        "lr = 0.01\ndevice = \"cuda\"\n\n[nodes.seen]",
    );
    assert_ne!(trains, PICTURES);
    typed.place.write("gpu.toml", trains);
    typed.flow("plan gpu.toml");
    typed.flow("TMPDIR=nowhere run w.toml");
    typed.flow("FLOW_LOG=nonsense=[ plan w.toml");
    typed.flow("run w.toml --trace nowhere/trace.json");
    typed.check("machines_that_have_less");
}

/// Of images with boxes, and drawn.
#[test]
fn drawings() {
    let mut typed = with_pictures();
    for (image, label) in [("a", "0 0.5 0.5 0.4 0.4\n"), ("b", "")] {
        for (folder, ending) in [("images", "png"), ("labels", "txt")] {
            let path = typed.place.path(&format!("yolo/{folder}/{image}.{ending}"));
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("writable");
            match folder {
                "images" => stripes((20, 20), 0, 1).save(path).expect("saved"),
                _ => std::fs::write(path, label).expect("written"),
            }
        }
    }
    typed.place.write("yolo/classes.txt", "stripe\n");
    std::fs::create_dir_all(typed.place.path("coco/annotations")).expect("writable");
    stripes((20, 20), 0, 1)
        .save(typed.place.path("secret.png"))
        .expect("saved");
    let coco = r#"{"images": [{"id": 1, "file_name": "../secret.png", "width": 20, "height": 20}], "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 4, 4], "area": 16}]}"#;
    typed.place.write("coco/annotations/all.json", coco);
    for line in [
        "data inspect yolo",
        "data inspect yolo --draw drawn",
        "data inspect yolo --draw w.toml",
        "data inspect pictures --draw drawn",
        "data inspect coco --draw drawn",
    ] {
        typed.flow(line);
    }
    typed.check("drawings");
}
