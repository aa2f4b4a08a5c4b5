//! Files of others: hostile ones, damaged ones, and those of which no data set can be made.

use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use flow_nodes::pictures::{Layout, Reading};
use flow_nodes::sources;
use image::RgbImage;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Desk, fixtures, png};

/// NumPy's array of a type, with a shape as it is written.
pub(super) fn npy(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    npy_of(
        &format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n"),
        data,
    )
}

fn npy_of(head: &str, data: &[u8]) -> Vec<u8> {
    let length = (head.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", length.as_slice(), head.as_bytes(), data].concat()
}

/// NumPy's archive.
pub(super) fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in arrays {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default())
            .expect("begun");
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
    pub(super) fn inspect(&mut self, about: &str, path: &Path) {
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
        (
            "a header that is no text",
            of(b"\x93NUMPY\x01\x00\x01\x00\xff".to_vec()),
        ),
        ("a header without a type", head("{}")),
        (
            "records",
            head("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }"),
        ),
        (
            "no shape",
            head("{'descr': '<f4', 'fortran_order': False, 'shape': 2, }"),
        ),
        (
            "a shape of words",
            head("{'descr': '<f4', 'fortran_order': False, 'shape': (two,), }"),
        ),
        ("objects", of(npy("|O", "(2, 8, 8)", b""))),
        ("complex numbers", of(npy("<c8", "(2, 8, 8)", b""))),
        (
            "more images than there may be",
            of(npy("<f8", "(9223372036854775807, 8, 8)", b"")),
        ),
        (
            "an impossible shape",
            npz(&[("x", images(2)), ("y", npy("<f8", "(9223372036854775807,)", b""))]),
        ),
        ("too few values", of(npy("|u1", "(2, 8, 8)", &[0; 100]))),
        ("two sizes", of(npy("|u1", "(2, 8)", &[0; 16]))),
        ("no size of images", of(npy("|u1", "(2, 9000, 1)", &[0; 18_000]))),
        ("values of integers", of(npy("<i4", "(1, 8, 8)", &[0xff; 256]))),
        (
            "values of floats",
            of(npy("<f4", "(1, 8, 8)", &(-1f32).to_le_bytes().repeat(64))),
        ),
        (
            "values that are none",
            of(npy("<f4", "(1, 8, 8)", &f32::NAN.to_le_bytes().repeat(64))),
        ),
        ("no array of images", npz(&[("a", images(2))])),
        (
            "other images",
            npz(&[("x_train", images(2)), ("x_test", npy("|u1", "(1, 9, 9)", &[0; 81]))]),
        ),
        ("texts for pixels", of(npy("<U1", "(1, 8, 8)", &[0; 256]))),
        ("fewer labels", npz(&[("x", images(2)), ("y", labels(&[1]))])),
        (
            "labels of two dimensions",
            npz(&[("x", images(2)), ("y", npy("|u1", "(2, 2)", &[0; 4]))]),
        ),
        ("a negative label", npz(&[("x", images(2)), ("y", labels(&[0, -2]))])),
        (
            "half a label",
            npz(&[
                ("x", images(2)),
                ("y", npy("<f8", "(2,)", &0.5f64.to_le_bytes().repeat(2))),
            ]),
        ),
        (
            "a large label",
            npz(&[("x", images(2)), ("y", npy("<u8", "(2,)", &[0xff; 16]))]),
        ),
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
fn arrays_of_hdf5() {
    let mut desk = Desk::new();
    let of = |name: &str| std::fs::read(fixtures().join("hdf5").join(name)).expect("committed");
    let plain = of("plain.h5");
    for (about, part) in [
        ("a beginning", 20),
        ("half a file", plain.len() / 2),
        ("a cut file", plain.len() - 1),
    ] {
        desk.inspect_file(about, "a.h5", &plain[..part]);
    }
    desk.inspect_file("no array of numbers", "a.h5", of("records.h5"));
    let mut damaged = of("packed.hdf5");
    let packed = damaged.windows(2).rposition(|pair| pair == [0x78, 0x5e]).expect("zlib");
    damaged[packed + 9] ^= 0xff;
    desk.inspect_file("damage within", "a.h5", damaged);
    desk.check("arrays_of_hdf5");
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
    let whole = tar_of(&[("cifar-100-python/train", &vec![7; 20_000])]);
    desk.inspect_file("a cut archive", "cifar-100-python.tar.gz", &whole[..whole.len() / 2]);
    let mut garbage = tar(&[("cifar-100-python/train", b"}.")]);
    garbage.truncate(512);
    desk.inspect_file("a cut member", "cifar-100-python.tar", &garbage);
    desk.inspect_file(
        "garbage behind",
        "cifar-100-python.tar",
        [tar(&[("train", b"}.")])[..1024].to_vec(), vec![7; 1024]].concat(),
    );
    desk.fixture("no labels", "stl10_binary", "train_y.bin", [0, 1, 1]);
    desk.fixture("too few labels", "stl10_binary", "train_y.bin", [1, 1]);
    desk.fixture("cut images", "stl10_binary", "train_X.bin.gz", gzip(&[0; 100]));
    for (about, source) in [
        ("no file of it", "cifar"),
        ("nothing of it", "stl10"),
        ("no table", "parquet"),
        ("no shard", "webdataset"),
    ] {
        desk.write("empty/a.txt", "");
        let side = if matches!(source, "parquet" | "webdataset") {
            "side = 8\n"
        } else {
            ""
        };
        desk.plan(
            about,
            &format!("[nodes.a]\nkind = \"dataset\"\nsource = \"{source}\"\npath = \"empty\"\n{side}"),
        );
    }
    desk.write("fashion/train-images-idx3-ubyte", "none");
    for name in [
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ] {
        desk.write(&format!("fashion/{name}"), "none");
    }
    desk.run(
        "another checksum",
        "[nodes.a]\nkind = \"dataset\"\nsource = \"fashion-mnist\"\npath = \"fashion\"\n",
    );
    desk.plan(
        "more than there are",
        "[nodes.a]\nkind = \"dataset\"\nsource = \"fashion-mnist-sample\"\ntrain = 20000\n",
    );
    desk.plan(
        "no colour",
        "[nodes.a]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 40\ntest = 10\nside = 16\ncolour = \"dyed\"\n",
    );
    desk.plan(
        "no path",
        "[nodes.a]\nkind = \"dataset\"\nsource = \"npz\"\n[nodes.b]\nkind = \"dataset\"\nsource = \"idx\"\n",
    );
    desk.check("published_sets");
}

#[test]
fn shards() {
    let mut desk = Desk::new();
    let shard = |desk: &mut Desk, about: &str, members: &[(&str, &[u8])]| {
        desk.inspect_file(about, "train-000.tar", tar(members));
    };
    let image = png(RgbImage::new(8, 8).into());
    shard(
        &mut desk,
        "two sorts of classes",
        &[("0.cls", b"1"), ("0.png", &image), ("1.cls", b"cat"), ("1.png", &image)],
    );
    shard(&mut desk, "no image", &[("0.cls", b"1")]);
    shard(&mut desk, "no JSON", &[("0.json", b"{"), ("0.png", &image)]);
    shard(
        &mut desk,
        "half a label",
        &[("0.json", b"{\"label\": 0.5}"), ("0.png", &image)],
    );
    shard(
        &mut desk,
        "a list for a label",
        &[("0.json", b"{\"label\": [1]}"), ("0.png", &image)],
    );
    shard(&mut desk, "no sample", &[]);
    desk.inspect_file("garbage", "train-000.tar", vec![7; 1024]);
    let table = |desk: &mut Desk, about: &str, schema: &str, text| {
        desk.inspect_file(about, "a.parquet", parquet(schema, &mut row(text)));
    };
    table(
        &mut desk,
        "no column of images",
        "message s { optional int64 number; }",
        None,
    );
    table(
        &mut desk,
        "an image that is text",
        "message s { optional binary image (UTF8); }",
        Some("none"),
    );
    table(
        &mut desk,
        "no image in a row",
        "message s { optional binary image; }",
        None,
    );
    table(
        &mut desk,
        "an image of numbers",
        "message s { optional double image; }",
        None,
    );
    let mut elsewhere = |column: &mut ColumnWriter<'_>| {
        if let ColumnWriter::ByteArrayColumnWriter(column) = column {
            column
                .write_batch(&[ByteArray::from("a.png")], Some(&[2]), None)
                .expect("written");
        }
    };
    let schema = "message s { optional group image { optional binary path (UTF8); } }";
    desk.inspect_file("images elsewhere", "a.parquet", parquet(schema, &mut elsewhere));
    table(
        &mut desk,
        "images of nothing",
        "message s { optional group image { optional int64 size; } }",
        None,
    );
    table(
        &mut desk,
        "half a label",
        "message s { optional binary image; optional double label; }",
        Some("x"),
    );
    desk.inspect_file("no table", "a.parquet", "none");
    let whole = std::fs::read(fixtures().join("parquet/data/train-00000-of-00002.parquet")).expect("committed");
    let mut damaged = whole.clone();
    damaged[4..400].fill(0xff);
    desk.inspect_file("damage within", "a.parquet", damaged);
    desk.fixture(
        "other names",
        "parquet",
        "data/train-00000-of-00002.parquet",
        parquet("message s { optional binary image; }", &mut row(Some("x"))),
    );
    desk.write(
        "one.parquet",
        parquet("message s { optional binary image; }", &mut row(Some("x"))),
    );
    desk.plan(
        "a column that is not there",
        "[nodes.a]\nkind = \"dataset\"\nsource = \"parquet\"\npath = \"one.parquet\"\nside = 8\ncolumns = { label = \"kind\" }\n",
    );
    desk.check("shards");
}

/// A workflow of one data set.
pub(super) fn dataset(lines: &str) -> String {
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
    [0, 0, 8, sizes.len() as u8]
        .into_iter()
        .chain(sizes_bytes)
        .chain(values.iter().copied())
        .collect()
}

#[test]
fn idx_files() {
    let mut desk = Desk::new();
    let good = [idx(&[4, 8, 8], &[7; 256]), idx(&[4], &[0, 1, 0, 1])];
    let mut case = |about: &str, place: usize, file: Vec<u8>| {
        let mut files = [&good[0], &good[1], &good[0], &good[1]].map(Clone::clone);
        files[place] = file;
        let names = [
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        ];
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
    case(
        "gzip with more behind it",
        1,
        [gzip(&good[1]), b"more".to_vec()].concat(),
    );
    case("gzip cut", 1, gzip(&good[1])[..15].to_vec());
    case("gzip damaged", 1, {
        let mut bytes = gzip(&good[1]);
        let end = bytes.len();
        bytes[end - 6] ^= 0xff;
        bytes
    });
    std::fs::remove_file(desk.path("idx/train-labels-idx1-ubyte")).expect("written");
    std::fs::create_dir(desk.path("idx/train-labels-idx1-ubyte")).expect("made");
    desk.run("a directory for a file", &dataset("source = \"idx\"\npath = \"idx\""));
    std::fs::remove_dir(desk.path("idx/train-labels-idx1-ubyte")).expect("made");
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
        ("cut gzip", gzip(b"good\tfine\nbad\tpoor\n")[..15].to_vec()),
        ("too many to test", good.clone().into_bytes()),
    ] {
        desk.write("a.tsv", bytes);
        desk.plan(about, &dataset("source = \"text\"\npath = \"a.tsv\"\ntest = 8"));
    }
    desk.write("a.tsv", good);
    desk.plan(
        "many to validate",
        &dataset("source = \"text\"\npath = \"a.tsv\"\nvalidation = 8"),
    );
    desk.check("texts");
}
