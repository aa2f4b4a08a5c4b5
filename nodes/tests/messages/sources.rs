//! Files of others: hostile ones, damaged ones, and those of which no data set can be made.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use flow_nodes::pictures::{Layout, Reading};
use flow_nodes::sources;
use image::{DynamicImage, GrayImage, ImageBuffer, Luma, RgbImage};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Desk, fixtures, png};

/// NumPy's array of a type, with a shape as it is written.
pub(super) fn npy(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    npy_of(&format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n"), data)
}

fn npy_of(head: &str, data: &[u8]) -> Vec<u8> {
    let length = (head.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", length.as_slice(), head.as_bytes(), data].concat()
}

/// NumPy's archive.
pub(super) fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in arrays {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default()).expect("begun");
        zip.write_all(array).expect("written");
    }
    zip.finish().expect("closed").into_inner()
}

/// `n` images of 8x8 pixels and as many labels.
fn images(n: usize) -> Vec<u8> {
    npy("|u1", &format!("({n}, 8, 8)"), &vec![7; 64 * n])
}

fn labels(numbers: &[i64]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    npy("<i8", &format!("({},)", numbers.len()), &bytes)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("packed")
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).expect("appended");
    }
    tar.into_inner().expect("closed")
}

/// Parquet with one row, of which each column is written as `write` does it.
pub(super) fn parquet(schema: &str, write: &mut dyn FnMut(&mut ColumnWriter<'_>)) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::default()).expect("begun");
    let mut group = writer.next_row_group().expect("a group");
    while let Some(mut column) = group.next_column().expect("a column") {
        write(column.untyped());
        column.close().expect("closed");
    }
    group.close().expect("closed");
    writer.close().expect("closed");
    file
}

/// Texts as `text`, numbers as 0.5, or nothing.
fn row(text: Option<&'static str>) -> impl FnMut(&mut ColumnWriter<'_>) {
    move |column| {
        let levels = [i16::from(text.is_some())];
        match column {
            ColumnWriter::ByteArrayColumnWriter(column) => {
                let values: Vec<ByteArray> = text.into_iter().map(ByteArray::from).collect();
                column.write_batch(&values, Some(&levels), None).expect("written");
            }
            ColumnWriter::DoubleColumnWriter(column) => {
                column.write_batch(&[0.5], Some(&[1]), None).expect("written");
            }
            ColumnWriter::Int64ColumnWriter(column) => {
                column.write_batch(&[1], Some(&[1]), None).expect("written");
            }
            _ => unreachable!("no such column is written"),
        }
    }
}

impl Desk {
    /// Notes what is said of a file or a directory that somebody wants to know more about.
    fn inspect(&mut self, about: &str, path: &Path) {
        let said = match sources::inspect(path, &Layout::default(), &Reading::default()) {
            Err(fault) => format!("{}\n  help: {}", fault.message, fault.help),
            Ok(found) => {
                let places = found.places.iter().flat_map(|places| places.problems.clone());
                let files = found.files.iter();
                let files = files.filter_map(|file| Some(format!("{}: {}", file.path, file.problem.clone()?)));
                places.chain(files).collect::<Vec<String>>().join("\n")
            }
        };
        self.say(about, said);
    }

    fn inspect_file(&mut self, about: &str, name: &str, bytes: impl AsRef<[u8]>) {
        self.write(name, bytes);
        self.inspect(about, &self.path(name));
    }

    /// A copy of a fixture, of which a file is another.
    fn fixture(&mut self, about: &str, name: &str, file: &str, bytes: impl AsRef<[u8]>) {
        let to = self.path(&format!("{about}/{name}"));
        copy(&fixtures().join(name), &to);
        if !file.is_empty() {
            self.write(&format!("{about}/{name}/{file}"), bytes);
        }
        self.inspect(about, &to);
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("made");
        std::fs::copy(from, to).expect("copied");
        return;
    }
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        copy(&path, &to.join(path.file_name().expect("a name")));
    }
}

#[test]
fn arrays_of_numpy() {
    let mut desk = Desk::new();
    let of = |x: Vec<u8>| npz(&[("x", x)]);
    let head = |head: &str| of(npy_of(head, b""));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no archive", b"none".to_vec()),
        ("no array", of(b"none".to_vec())),
        ("a cut header", of(b"\x93NUMPY\x01".to_vec())),
        ("a header that ends early", of(b"\x93NUMPY\x01\x00\xff\xff{".to_vec())),
        ("a version of tomorrow", of(b"\x93NUMPY\x09\x00".to_vec())),
        ("a header that is no text", of(b"\x93NUMPY\x01\x00\x01\x00\xff".to_vec())),
        ("a header without a type", head("{}")),
        ("records", head("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }")),
        ("no shape", head("{'descr': '<f4', 'fortran_order': False, 'shape': 2, }")),
        ("a shape of words", head("{'descr': '<f4', 'fortran_order': False, 'shape': (two,), }")),
        ("objects", of(npy("|O", "(2, 8, 8)", b""))),
        ("complex numbers", of(npy("<c8", "(2, 8, 8)", b""))),
        ("more images than there may be", of(npy("<f8", "(9223372036854775807, 8, 8)", b""))),
        ("an impossible shape", npz(&[("x", images(2)), ("y", npy("<f8", "(9223372036854775807,)", b""))])),
        ("too few values", of(npy("|u1", "(2, 8, 8)", &[0; 100]))),
        ("two sizes", of(npy("|u1", "(2, 8)", &[0; 16]))),
        ("no size of images", of(npy("|u1", "(2, 9000, 1)", &[0; 18_000]))),
        ("values of integers", of(npy("<i4", "(1, 8, 8)", &[0xff; 256]))),
        ("values of floats", of(npy("<f4", "(1, 8, 8)", &(-1f32).to_le_bytes().repeat(64)))),
        ("values that are none", of(npy("<f4", "(1, 8, 8)", &f32::NAN.to_le_bytes().repeat(64)))),
        ("no array of images", npz(&[("a", images(2))])),
        ("other images", npz(&[("x_train", images(2)), ("x_test", npy("|u1", "(1, 9, 9)", &[0; 81]))])),
        ("fewer labels", npz(&[("x", images(2)), ("y", labels(&[1]))])),
        ("labels of two dimensions", npz(&[("x", images(2)), ("y", npy("|u1", "(2, 2)", &[0; 4]))])),
        ("a negative label", npz(&[("x", images(2)), ("y", labels(&[0, -2]))])),
        ("half a label", npz(&[("x", images(2)), ("y", npy("<f8", "(2,)", &0.5f64.to_le_bytes().repeat(2)))])),
        ("a large label", npz(&[("x", images(2)), ("y", npy("<u8", "(2,)", &[0xff; 16]))])),
        ("no image", npz(&[("x", npy("|u1", "(0, 8, 8)", b""))])),
    ];
    for (about, bytes) in cases {
        desk.inspect_file(about, "a.npz", bytes);
    }
    let mut damaged = npz(&[("x", images(2))]);
    damaged[60] ^= 0xff;
    desk.inspect_file("damage within", "a.npz", damaged);
    desk.check("arrays_of_numpy");
}

#[test]
fn pickles() {
    let mut desk = Desk::new();
    let array = |inner: &str| -> Vec<u8> { format!("\u{1}{inner}").into_bytes()[1..].to_vec() };
    let many = b"]".repeat(1001);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a call", b"cos\nsystem\n(tR.".to_vec()),
        ("an unknown operation", b"\x80\x02S'x'\n.".to_vec()),
        ("many lists", many),
        ("nothing to give", b".".to_vec()),
        ("no text for a name", b"K\x01K\x01\x93.".to_vec()),
        ("no mark", b"t.".to_vec()),
        ("a long number", b"\x8a\x09999999999.".to_vec()),
        ("a number of letters", b"Iabc\n.".to_vec()),
        ("too few values", b"\x87.".to_vec()),
        ("no list", b"K\x01K\x02a.".to_vec()),
        ("no dictionary", b"K\x01K\x02K\x03s.".to_vec()),
        ("nothing to remember", b"q\x01.".to_vec()),
        ("nothing remembered", b"h\x01.".to_vec()),
        ("a call of a number", b"K\x01)R.".to_vec()),
        ("text that is none", b"c_codecs\nencode\n(U\x01\xfftR.".to_vec()),
        ("bytes that are none", array("c_codecs\nencode\n(U\u{3}€tR.")),
        ("another object", b"cnumpy\nndarray\n)R.".to_vec()),
        ("filled in otherwise", b"K\x01K\x01b.".to_vec()),
        ("filled in with another tuple", b"K\x01)b.".to_vec()),
        ("a shape of texts", b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01(U\x01xtcnumpy\ndtype\n(U\x03|u1tRK\x00U\x01xtb.".to_vec()),
        ("another shape", b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01(K\x02tcnumpy\ndtype\n(U\x03|u1tRK\x00U\x01xtb.".to_vec()),
        ("cut", b"\x80".to_vec()),
        ("no labels", b"}.".to_vec()),
        ("no data", b"}(U\x06labels]u.".to_vec()),
        (
            "data of another shape",
            b"}(U\x06labels]U\x04datacnumpy.core.multiarray\n_reconstruct\n)R(K\x01(K\x01tcnumpy\ndtype\n(U\x03|u1tRK\x00U\x01xtbu.".to_vec(),
        ),
    ];
    for (about, bytes) in cases {
        desk.fixture(about, "cifar-10-batches-py", "data_batch_1", bytes);
    }
    let deep: Vec<u8> = [
        b"}(U\x06labels]K\x01aU\x04datacnumpy.core.multiarray\n_reconstruct\n)R(K\x01(K\x01M\x00\x0ctcnumpy\ndtype\n(U\x03<u2tRK\x00T\x00\x18\x00\x00".as_slice(),
        &[0x01; 6144],
        b"tbu.",
    ]
    .concat();
    desk.fixture("deep data", "cifar-10-batches-py", "data_batch_1", deep);
    desk.check("pickles");
}

#[test]
fn published_sets() {
    let mut desk = Desk::new();
    desk.fixture("cut batch", "cifar-10-batches-bin", "data_batch_1.bin", [1; 100]);
    desk.fixture("two versions", "cifar-10-batches-bin", "train", b"}.");
    let tar_of = |members: &[(&str, &[u8])]| gzip(&tar(members));
    let whole = tar_of(&[("cifar-100-python/train", &[7; 20_000])]);
    desk.inspect_file("a cut archive", "cifar-100-python.tar.gz", &whole[..whole.len() / 2]);
    let mut garbage = tar(&[("cifar-100-python/train", b"}.")]);
    garbage.truncate(512);
    desk.inspect_file("a cut member", "cifar-100-python.tar", &garbage);
    desk.inspect_file("garbage behind", "cifar-100-python.tar", [tar(&[("train", b"}.")])[..1024].to_vec(), vec![7; 1024]].concat());
    desk.fixture("no labels", "stl10_binary", "train_y.bin", [0, 1, 1]);
    desk.fixture("too few labels", "stl10_binary", "train_y.bin", [1, 1]);
    desk.fixture("cut images", "stl10_binary", "train_X.bin.gz", gzip(&[0; 100]));
    for (about, source) in [("no file of it", "cifar"), ("nothing of it", "stl10"), ("no table", "parquet"), ("no shard", "webdataset")] {
        desk.write("empty/a.txt", "");
        let side = if matches!(source, "parquet" | "webdataset") { "side = 8\n" } else { "" };
        desk.plan(about, &format!("[nodes.a]\nkind = \"dataset\"\nsource = \"{source}\"\npath = \"empty\"\n{side}"));
    }
    desk.write("fashion/train-images-idx3-ubyte", "none");
    for name in ["train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"] {
        desk.write(&format!("fashion/{name}"), "none");
    }
    desk.run("another checksum", "[nodes.a]\nkind = \"dataset\"\nsource = \"fashion-mnist\"\npath = \"fashion\"\n");
    desk.plan("more than there are", "[nodes.a]\nkind = \"dataset\"\nsource = \"fashion-mnist-sample\"\ntrain = 20000\n");
    desk.plan("no colour", "[nodes.a]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 40\ntest = 10\nside = 16\ncolour = \"dyed\"\n");
    desk.plan("no path", "[nodes.a]\nkind = \"dataset\"\nsource = \"npz\"\n[nodes.b]\nkind = \"dataset\"\nsource = \"idx\"\n");
    desk.check("published_sets");
}

#[test]
fn shards() {
    let mut desk = Desk::new();
    let shard = |desk: &mut Desk, about: &str, members: &[(&str, &[u8])]| {
        desk.inspect_file(about, "train-000.tar", tar(members));
    };
    let image = png(RgbImage::new(8, 8).into());
    shard(&mut desk, "two sorts of classes", &[("0.cls", b"1"), ("0.png", &image), ("1.cls", b"cat"), ("1.png", &image)]);
    shard(&mut desk, "no image", &[("0.cls", b"1")]);
    shard(&mut desk, "no JSON", &[("0.json", b"{"), ("0.png", &image)]);
    shard(&mut desk, "half a label", &[("0.json", b"{\"label\": 0.5}"), ("0.png", &image)]);
    shard(&mut desk, "a list for a label", &[("0.json", b"{\"label\": [1]}"), ("0.png", &image)]);
    shard(&mut desk, "no sample", &[]);
    desk.inspect_file("garbage", "train-000.tar", vec![7; 1024]);
    let table = |desk: &mut Desk, about: &str, schema: &str, text| {
        desk.inspect_file(about, "a.parquet", parquet(schema, &mut row(text)));
    };
    table(&mut desk, "no column of images", "message s { optional int64 number; }", None);
    table(&mut desk, "an image that is text", "message s { optional binary image (UTF8); }", Some("none"));
    table(&mut desk, "no image in a row", "message s { optional binary image; }", None);
    table(&mut desk, "an image of numbers", "message s { optional double image; }", None);
    table(&mut desk, "images elsewhere", "message s { optional group image { optional binary path (UTF8); } }", Some("a.png"));
    table(&mut desk, "images of nothing", "message s { optional group image { optional int64 size; } }", None);
    table(&mut desk, "half a label", "message s { optional binary image; optional double label; }", Some("x"));
    desk.inspect_file("no table", "a.parquet", "none");
    let whole = std::fs::read(fixtures().join("parquet/data/train-00000-of-00002.parquet")).expect("committed");
    let mut damaged = whole.clone();
    damaged[4..400].fill(0xff);
    desk.inspect_file("damage within", "a.parquet", damaged);
    desk.fixture("other names", "parquet", "data/train-00000-of-00002.parquet", parquet("message s { optional binary image; }", &mut row(Some("x"))));
    desk.write("one.parquet", parquet("message s { optional binary image; }", &mut row(Some("x"))));
    desk.plan(
        "a column that is not there",
        "[nodes.a]\nkind = \"dataset\"\nsource = \"parquet\"\npath = \"one.parquet\"\nside = 8\ncolumns = { label = \"kind\" }\n",
    );
    desk.check("shards");
}

/// A workflow of one data set.
fn dataset(lines: &str) -> String {
    format!("[nodes.a]\nkind = \"dataset\"\n{lines}\n")
}

#[test]
fn files_of_many_images_as_data_sets() {
    let mut desk = Desk::new();
    desk.write("a.npz", npz(&[("x", images(12)), ("y", labels(&[0, 1].repeat(6)))]));
    let npz_with = |lines: &str| dataset(&format!("source = \"npz\"\npath = \"a.npz\"\n{lines}"));
    desk.plan("no size", &dataset("source = \"parquet\"\npath = \"a.npz\""));
    desk.plan("other channels", &npz_with("channels = 5"));
    desk.plan("an array that is not there", &npz_with("arrays = { x = \"images\" }"));
    desk.plan("too small", &npz_with("side = 4"));
    desk.plan("no test", &npz_with("test = 0"));
    desk.plan("too many to test", &npz_with("test = 12"));
    desk.plan("too many to validate", &npz_with("test = 2\nvalidation = 10"));
    let names = std::fs::read(fixtures().join("cifar-10-batches-bin/data_batch_1.bin")).expect("committed");
    for (about, text) in [("fewer names", "airplane\n"), ("names that are the same", "a\na\na\n")] {
        desk.write("cifar/data_batch_1.bin", &names);
        desk.write("cifar/batches.meta.txt", text);
        desk.plan(about, &dataset("source = \"cifar\"\npath = \"cifar\""));
    }
    desk.check("files_of_many_images_as_data_sets");
}

/// IDX files: of images with sizes, of labels.
pub(super) fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let sizes_bytes = sizes.iter().flat_map(|size| size.to_be_bytes());
    [0, 0, 8, sizes.len() as u8].into_iter().chain(sizes_bytes).chain(values.iter().copied()).collect()
}

#[test]
fn idx_files() {
    let mut desk = Desk::new();
    let good = [idx(&[4, 8, 8], &[7; 256]), idx(&[4], &[0, 1, 0, 1])];
    let mut case = |about: &str, place: usize, file: Vec<u8>| {
        let mut files = [&good[0], &good[1], &good[0], &good[1]].map(Clone::clone);
        files[place] = file;
        let names = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
        for (name, bytes) in names.iter().zip(&files) {
            desk.write(&format!("idx/{name}"), bytes);
        }
        desk.run(about, &dataset("source = \"idx\"\npath = \"idx\""));
        desk.inspect(about, &desk.path("idx"));
    };
    case("no such file", 0, b"none".to_vec());
    case("one dimension", 0, idx(&[4], &[1; 4]));
    case("too few values", 0, idx(&[4, 8, 8], &[7; 100]));
    case("too many values", 1, idx(&[4], &[0, 1, 0, 1, 0]));
    case("impossible sizes", 0, idx(&[u32::MAX, u32::MAX, u32::MAX], b""));
    case("another count", 1, idx(&[3], &[0, 1, 0]));
    case("other test images", 2, idx(&[4, 9, 9], &[7; 324]));
    case("another test class", 3, idx(&[4], &[0, 1, 0, 5]));
    case("gzip with more behind it", 1, [gzip(&good[1]), b"more".to_vec()].concat());
    case("gzip cut", 1, gzip(&good[1])[..15].to_vec());
    case("gzip damaged", 1, {
        let mut bytes = gzip(&good[1]);
        let end = bytes.len();
        bytes[end - 6] ^= 0xff;
        bytes
    });
    let none = [idx(&[0, 8, 8], b""), idx(&[0], b"")];
    desk.write("idx/train-images-idx3-ubyte", &none[0]);
    desk.write("idx/train-labels-idx1-ubyte", &none[1]);
    desk.plan("no image", &dataset("source = \"idx\"\npath = \"idx\""));
    desk.check("idx_files");
}

#[test]
fn texts() {
    let mut desk = Desk::new();
    let good = "good\tfine\nbad\tpoor\n".repeat(4);
    for (about, bytes) in [
        ("no UTF-8", b"good\tfine\nbad\t\xff\n".to_vec()),
        ("no class", b"\tfine\n".to_vec()),
        ("no text", b"good\t \n".to_vec()),
        ("too many to test", good.clone().into_bytes()),
    ] {
        desk.write("a.tsv", bytes);
        desk.plan(about, &dataset("source = \"text\"\npath = \"a.tsv\"\ntest = 8"));
    }
    desk.write("a.tsv", good);
    desk.plan("many to validate", &dataset("source = \"text\"\npath = \"a.tsv\"\nvalidation = 8"));
    desk.check("texts");
}

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
        desk.plan(about, &dataset(&format!("source = \"folder\"\npath = \"{place}\"\nside = 8\n{more}")));
    };
    let own_test = ["train/cat/a.png", "train/dog/b.png", "test/cat/c.png"];
    case(&mut desk, "a test of its own", &own_test, "test = 1", None);
    case(&mut desk, "a validation of its own", &["train/cat/a.png", "train/dog/b.png", "val/cat/c.png", "test/cat/d.png"], "validation = 1", None);
    let few = ["cat/a.png", "dog/b.png", "dog/c.png"];
    case(&mut desk, "all to test", &few, "test = 3", None);
    case(&mut desk, "too few to test", &few, "", None);
    case(&mut desk, "all to validate", &few, "test = 1\nvalidation = 2", None);
    case(&mut desk, "test without label", &["train/cat/a.png", "train/dog/b.png", "test/c.png"], "", None);
    case(&mut desk, "class without training", &["train/cat/a.png", "train/dog/b.png", "test/cow/c.png"], "", None);
    let table = |rows: &str| Some(format!("path,label,split\n{rows}").into_bytes());
    let two = ["a.png", "b.png", "c.png"];
    case(&mut desk, "no such image", &two, "", table("x.png,cat,\n").as_deref());
    case(&mut desk, "twice", &two, "", table("a.png,cat,\na.png,dog,\n").as_deref());
    case(&mut desk, "another split", &two, "", table("a.png,cat,exam\n").as_deref());
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
    case(&mut desk, "unlabelled with a label", &["pool/a.png", "b.png", "c.png"], "unlabelled = \"pool\"", table("pool/a.png,cat,\nb.png,dog,\n").as_deref());
    case(&mut desk, "no unlabelled", &two, "unlabelled = \"pool\"", None);
    case(&mut desk, "few labelled to validate", &["cat/a.png", "cat/b.png", "dog/c.png", "dog/d.png", "unlabeled/e.png", "unlabeled/f.png"], "test = 1\nvalidation = 4", None);
    desk.write("file.png", "none");
    desk.plan("no directory", &dataset("source = \"folder\"\npath = \"file.png\"\nside = 8"));
    std::fs::create_dir_all(desk.path("links/cat")).expect("made");
    std::os::unix::fs::symlink("nowhere", desk.path("links/cat/a.png")).expect("linked");
    desk.plan("a link that leads nowhere", &dataset("source = \"folder\"\npath = \"links\"\nside = 8"));
    std::fs::create_dir_all(desk.path("round/cat")).expect("made");
    std::os::unix::fs::symlink("..", desk.path("round/cat/up")).expect("linked");
    desk.plan("a link in a circle", &dataset("source = \"folder\"\npath = \"round\"\nside = 8"));
    desk.check("directories_of_images");
}

#[test]
fn directories_as_they_are_read() {
    let mut desk = Desk::new();
    let run = |desk: &mut Desk, about: &str, lines: &str| {
        desk.run(about, &dataset(&format!("source = \"folder\"\npath = \"{about}\"\nside = 8\n{lines}")));
    };
    for class in ["cat", "dog"] {
        for i in 0..6u8 {
            let shade = 30 * i + u8::from(class == "dog");
            let picture = RgbImage::from_fn(20, 16, |x, y| image::Rgb([(x as u8).wrapping_mul(shade), (y as u8).wrapping_mul(7 + i), shade]));
            for about in ["damaged", "all damaged", "leaks"] {
                desk.write(&format!("{about}/train/{class}/{i}.png"), png(picture.clone().into()));
            }
        }
        desk.picture(&format!("leaks/test/{class}/own.png"), (20, 16), 200 + u8::from(class == "dog"));
    }
    desk.write("damaged/train/cat/7.png", "no image");
    run(&mut desk, "damaged", "");
    desk.write("leaks/test/cat/same.png", std::fs::read(desk.path("leaks/train/cat/3.png")).expect("written"));
    run(&mut desk, "leaks", "on_leak = \"error\"");
    run(&mut desk, "leaks", "on_leak = \"warn\"");
    let near = image::open(desk.path("leaks/train/dog/3.png")).expect("written").to_rgb8();
    let near = RgbImage::from_fn(20, 16, |x, y| image::Rgb(near.get_pixel(x, y).0.map(|v| v.saturating_add(1))));
    desk.write("leaks/test/dog/near.png", png(near.into()));
    run(&mut desk, "leaks", "on_leak = \"warn\"");
    for class in ["cat", "dog"] {
        for split in ["train", "test"] {
            desk.picture(&format!("nothing left/{split}/{class}/a.png"), (20, 16), 7 * class.as_bytes()[0] % 200);
        }
    }
    run(&mut desk, "nothing left", "on_leak = \"drop\"");
    desk.write("few/cat/a.png", std::fs::read(desk.path("leaks/train/cat/1.png")).expect("written"));
    for i in 0..3 {
        desk.write(&format!("few/cat/{i}.png"), std::fs::read(desk.path(&format!("leaks/train/cat/{i}.png"))).expect("written"));
        desk.write(&format!("few/dog/{i}.png"), std::fs::read(desk.path(&format!("leaks/train/dog/{i}.png"))).expect("written"));
    }
    run(&mut desk, "few", "test = 1");
    let gray = dataset("source = \"folder\"\npath = \"damaged\"\nside = 8\non_bad = \"skip\"\nchannels = 7");
    desk.run("channels that they do not have", &gray);
    let rows: String = (0..6)
        .flat_map(|i| ["cat", "dog"].map(|class| format!("train/{class}/{i}.png,{class},{class}\n")))
        .collect();
    desk.write("leaks/groups.csv", format!("path,label,who\n{rows}"));
    run(&mut desk, "leaks", "labels = \"groups.csv\"\ncolumns = { group = \"who\" }\ntest = 1");
    let listed: Vec<PathBuf> = (0..6).map(|i| desk.path(&format!("all damaged/train/cat/{i}.png"))).collect();
    for class in ["cat", "dog"] {
        for i in 0..6 {
            desk.write(&format!("all damaged/train/{class}/{i}.png"), "none");
        }
    }
    assert_eq!(listed.len(), 6);
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
        ("many bands.tif", tiff(65, 8, 1)),
        ("float bands.tif", tiff(5, 32, 3)),
        ("variant.bmp", [b"BM".as_slice(), &[0; 8], &54u32.to_le_bytes(), &40u32.to_le_bytes(), &8u32.to_le_bytes(), &8u32.to_le_bytes(), &1u16.to_le_bytes(), &24u16.to_le_bytes(), &7u32.to_le_bytes(), &[0; 220]].concat()),
    ];
    for (name, bytes) in files {
        desk.write(&format!("pictures/{name}"), bytes);
    }
    desk.inspect("pictures", &desk.path("pictures"));
    desk.inspect("nowhere", &desk.path("nowhere"));
    desk.check("pictures");
}

/// A TIFF file of 4x4 pixels with so many bands of a depth and a format: 1 for whole numbers, 3 for floats.
fn tiff(bands: u16, bits: u16, format: u16) -> Vec<u8> {
    let n = u32::from(bands);
    let (depths, formats) = (8 + 2 + 10 * 12 + 4, 8 + 2 + 10 * 12 + 4 + 2 * n);
    let pixels = formats + 2 * n;
    let length = 16 * n * u32::from(bits) / 8;
    let entries: [(u16, u16, u32, u32); 10] = [
        (256, 4, 1, 4),
        (257, 4, 1, 4),
        (258, 3, n, depths),
        (259, 4, 1, 1),
        (262, 4, 1, 1),
        (273, 4, 1, pixels),
        (277, 4, 1, n),
        (278, 4, 1, 4),
        (279, 4, 1, length),
        (339, 3, n, formats),
    ];
    let mut bytes = b"II*\0\x08\0\0\0\x0a\0".to_vec();
    for (tag, kind, count, value) in entries {
        bytes.extend(tag.to_le_bytes().into_iter().chain(kind.to_le_bytes()));
        bytes.extend(count.to_le_bytes().into_iter().chain(value.to_le_bytes()));
    }
    bytes.extend([0; 4]);
    bytes.extend(bits.to_le_bytes().repeat(usize::from(bands)));
    bytes.extend(format.to_le_bytes().repeat(usize::from(bands)));
    bytes.resize((pixels + length) as usize, 0);
    bytes
}

/// A VOC annotation of a 20x10 image with one object.
fn voc(object: &str) -> String {
    format!("<annotation><filename>a.png</filename><size><width>20</width><height>10</height></size><object>{object}</object></annotation>")
}

fn coco(images: &str, annotations: &str) -> String {
    format!("{{\"images\": [{images}], \"annotations\": [{annotations}], \"categories\": [{{\"id\": 1, \"name\": \"cat\"}}, {{\"id\": 2, \"name\": \"dog\"}}]}}")
}

#[test]
fn annotated_images() {
    let mut desk = Desk::new();
    let of = |source: &str, path: &str, more: &str| dataset(&format!("source = \"{source}\"\npath = \"{path}\"\nside = 8\n{more}"));
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
    desk.write("yolo/labels/a.txt", "0 0.5 0.5 0 0.1\n0 5 5 0.1 0.1\n0 nan 0.5 0.1 0.1\n");
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
    desk.run("an image that is none, left out", &of("yolo", "none.png", "on_bad = \"skip\""));

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
        ("no class", "<name>cow</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"),
    ] {
        desk.write("voc/classes.txt", "cat\ndog\n");
        desk.write("voc/Annotations/a.xml", voc(object));
        desk.plan(about, &of("voc", "voc", ""));
    }
    desk.write("voc/Annotations/a.xml", "<annotation>");
    desk.plan("no XML", &of("voc", "voc", ""));
    let small = voc("<name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>").replace("<width>20", "<width>30");
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
    desk.write("masks/classes.txt", (0..300).map(|i| format!("class {i}\n")).collect::<String>());
    desk.plan("many classes", &of("masks", "masks", ""));

    desk.picture("coco/images/a.png", (20, 10), 1);
    let image = "{\"id\": 1, \"file_name\": \"a.png\", \"width\": 20, \"height\": 10}";
    let one = |rest: &str| format!("{{\"id\": 5, \"image_id\": 1, \"category_id\": 1, {rest}}}");
    for (about, text) in [
        ("no JSON", "{".to_owned()),
        ("an image twice", coco(&format!("{image}, {image}"), "")),
        ("no such image", coco(image, "{\"id\": 5, \"image_id\": 9, \"category_id\": 1, \"bbox\": [1, 1, 2, 2]}")),
        ("no such category", coco(image, "{\"id\": 5, \"image_id\": 1, \"category_id\": 9, \"bbox\": [1, 1, 2, 2]}")),
        ("a path twice", coco(&format!("{image}, {}", image.replace("\"id\": 1", "\"id\": 2")), "")),
        ("few points", coco(image, &one("\"segmentation\": [[1, 2, 3]]"))),
        ("a point that is none", coco(image, &one("\"segmentation\": [[1, 2, 3, 4, 5, 1e300]]"))),
        ("runs of another size", coco(image, &one("\"segmentation\": {\"size\": [5, 5], \"counts\": [25]}"))),
        ("too few runs", coco(image, &one("\"segmentation\": {\"size\": [10, 20], \"counts\": [25]}"))),
        ("packed runs", coco(image, &one("\"segmentation\": {\"size\": [10, 20], \"counts\": \"~~\"}"))),
        ("nothing covered", coco(image, &one("\"segmentation\": {\"size\": [10, 20], \"counts\": [200]}"))),
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
