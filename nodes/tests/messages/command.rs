//! Programs: what is declared wrongly, and what they leave that is not what they were to make.

use super::Desk;
use super::sources::{idx, npy, npz};

const IMAGES: &str = r#"
[nodes.images]
kind = "dataset"
source = "scenes"
train = 40
test = 3
side = 16

[nodes.texts]
kind = "dataset"
source = "text"
path = "texts.tsv"
length = 8

[nodes.files]
kind = "command"
run = ["true"]
stdout = "o"
"#;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("texts.tsv", "good\tfine\nbad\tpoor\n".repeat(8));
    desk.write("code/train.py", "");
    desk.write("train.py", "");
    desk
}

fn commands(cases: &[(&str, &str)]) -> String {
    let nodes = cases.iter().map(|(name, lines)| {
        let run = if lines.contains("run =") {
            ""
        } else {
            "run = [\"true\"]\n"
        };
        format!("[nodes.{name}]\nkind = \"command\"\n{run}{lines}\n")
    });
    IMAGES.to_owned() + &nodes.collect::<String>()
}

#[test]
fn declarations() {
    let mut desk = desk();
    let cases = [
        ("no_program", "run = []\nstdout = \"o\""),
        ("nothing_kept", ""),
        ("stdout_twice", "outputs = [\"o\"]\nstdout = \"o\""),
        ("outside", "outputs = [\"../o\"]"),
        ("directory", "outputs = [\"o/\"]"),
        ("not_normalised", "outputs = [\"a//b\"]"),
        ("file_and_directory", "outputs = [\"a\", \"a/b\"]"),
        ("input_name", "inputs = { \"a/b\" = \"images\" }\nstdout = \"o\""),
        ("no_threads", "threads = 0\nstdout = \"o\""),
        ("placeholder", "run = [\"echo\", \"{input}\"]\nstdout = \"o\""),
        (
            "give_nothing",
            "give = { dat = \"npz\" }\ninputs = { data = \"images\" }\nstdout = \"o\"",
        ),
        (
            "give_files",
            "give = { data = \"npz\" }\ninputs = { data = \"files\" }\nstdout = \"o\"",
        ),
        (
            "give_texts",
            "give = { data = \"npz\" }\ninputs = { data = \"texts\" }\nstdout = \"o\"",
        ),
        (
            "give_channels",
            "give = { data = \"png\" }\ninputs = { data = \"bands\" }\nstdout = \"o\"",
        ),
        (
            "of_nothing",
            "of = \"dat\"\ninputs = { data = \"images\" }\nmakes = \"predictions\"\ngive = { data = \"npz\" }",
        ),
        ("split_of_files", "split = \"test\"\nstdout = \"o\""),
        (
            "classes_of_predictions",
            "classes = [\"a\"]\nmakes = \"predictions\"\ninputs = { data = \"images\" }\ngive = { data = \"npz\" }",
        ),
        ("of_files", "inputs = { data = \"files\" }\nmakes = \"predictions\""),
        ("of_none", "makes = \"encoder\""),
        ("seen_labels", "inputs = { data = \"images\" }\nmakes = \"predictions\""),
        ("unknown_set", "makes = \"dataset\""),
        (
            "classes_twice",
            "makes = \"dataset\"\nclasses = [\"a\", \"a\"]\nshape = [8, 8, 3]",
        ),
        (
            "odd_shape",
            "makes = \"dataset\"\nclasses = [\"a\", \"b\"]\nshape = [0, 8, 3]",
        ),
        (
            "bands",
            "makes = \"dataset\"\nclasses = [\"a\", \"b\"]\nshape = [8, 8, 5]",
        ),
    ];
    desk.plan("commands", &commands(&cases));
    let files = [
        ("code_outside", "code = [\"code/../train.py\"]\nstdout = \"o\""),
        (
            "data_in_code",
            "code = [\"code\"]\ndata = [\"code/train.py\"]\nstdout = \"o\"",
        ),
    ];
    desk.plan("files", &commands(&files));
    desk.check("declarations");
}

#[test]
fn what_programs_leave() {
    let mut desk = desk();
    let shell = |script: &str, lines: &str| format!("run = [\"sh\", \"-c\", '''{script}''']\n{lines}");
    let predicts = "inputs = { data = \"images\" }\ngive = { data = \"npz\" }\nmakes = \"predictions\"";
    let of_classes = "circle,square,triangle,star,ring,cross,crescent,heart,hexagon,bar";
    let table = |rows: &str| {
        shell(
            &format!("printf 'image,{of_classes}\\n{rows}' > {{{{outputs}}}}/p.csv")
                .replace("{{outputs}}", "{outputs}"),
            predicts,
        )
    };
    let row = |image: &str, first: &str| format!("{image},{first},0,0,0,0,0,0,0,0,0\\n");
    let set = "makes = \"dataset\"\nclasses = [\"a\", \"b\"]\nshape = [8, 8, 3]";
    let copied = |name: &str, lines: &str| shell(&format!("cp -r {} {{outputs}}/", desk.path(name).display()), lines);

    desk.write(
        "numbers.npz",
        npz(&[
            ("x", npy("|u1", "(12, 8, 8, 3)", &[7; 12 * 192])),
            ("y", npy("|u1", "(12,)", &[0, 5].repeat(6))),
        ]),
    );
    desk.write(
        "gray.npz",
        npz(&[
            ("x", npy("|u1", "(12, 8, 8, 1)", &[7; 12 * 64])),
            ("y", npy("|u1", "(12,)", &[0, 1].repeat(6))),
        ]),
    );
    let rows = |n: usize, dim: usize| npy("<f4", &format!("({n}, {dim})"), &vec![0; 4 * n * dim]);
    desk.write("rows.npz", npz(&[("train", rows(39, 4))]));
    desk.write("dims.npz", npz(&[("train", rows(40, 4)), ("test", rows(3, 5))]));
    desk.write("no_train.npz", npz(&[("test", rows(3, 4))]));
    desk.write("no_rows.npz", npz(&[("train", npy("<f4", "(40,)", &[0; 160]))]));
    desk.write(
        "nan.npz",
        npz(&[("train", npy("<f4", "(40, 1)", &f32::NAN.to_le_bytes().repeat(40)))]),
    );
    desk.write("test_alone.npz", npz(&[("train", rows(40, 4))]));
    let labels = [0, 5].repeat(2);
    for part in ["train", "t10k"] {
        desk.write(&format!("idx/{part}-images-idx3-ubyte"), idx(&[4, 8, 8], &[7; 256]));
        desk.write(&format!("idx/{part}-labels-idx1-ubyte"), idx(&[4], &labels));
    }
    desk.write("no_weights.safetensors", "none");
    desk.write("table.parquet", "none");
    for class in ["a", "c"] {
        for i in 0..3u8 {
            desk.picture(
                &format!("train_{class}/{class}/{i}.png"),
                (20, 16),
                30 * i + class.len() as u8,
            );
        }
    }
    for i in 0..4u8 {
        desk.picture(&format!("other/a/{i}.png"), (20, 16), 31 * i);
        desk.picture(&format!("other/c/{i}.png"), (20, 16), 31 * i + 7);
    }
    let encodes = "inputs = { data = \"images\" }\ngive = { data = \"npz\" }\nmakes = \"encoder\"";
    let weights = format!("{encodes}\nbackbone = {{ name = \"conv3\", widths = [4, 4, 4] }}");
    let cases: Vec<(&str, String)> = vec![
        ("no_predictions", shell("true", predicts)),
        ("two_tables", shell("touch {outputs}/a.csv {outputs}/b.csv", predicts)),
        ("rows_missing", table(&row("0", "1"))),
        ("no_place", table(&row("a.png", "1"))),
        ("no_number", table(&row("0", "high"))),
        ("no_sum", table(&row("0", "0.5"))),
        ("row_twice", table(&(row("0", "1") + &row("0", "1")))),
        ("no_column", shell("echo image > {outputs}/p.csv", predicts)),
        ("no_parquet", copied("table.parquet", predicts)),
        ("no_set", shell("true", set)),
        ("other_labels", copied("numbers.npz", set)),
        ("other_channels", copied("gray.npz", set)),
        ("other_class", copied("other/.", set)),
        ("no_square", copied("other/.", &set.replace("[8, 8, 3]", "[8, 9, 3]"))),
        (
            "own_name",
            shell(
                "echo x > {outputs}/dataset.json",
                &format!("outputs = [\"dataset.json\"]\n{set}"),
            ),
        ),
        (
            "two_archives",
            shell(
                &format!(
                    "cp {0} {{outputs}}/a.npz && cp {0} {{outputs}}/b.npz",
                    desk.path("gray.npz").display()
                ),
                set,
            ),
        ),
        (
            "label_of_no_class",
            copied("idx/.", &set.replace("[8, 8, 3]", "[8, 8, 1]")),
        ),
        (
            "class_without_image",
            copied("other/.", &set.replace("\"b\"]", "\"c\", \"d\"]")),
        ),
        (
            "own_file",
            shell(
                &format!("echo x > {{outputs}}/predictions.safetensors; {}", table_of(of_classes)),
                &format!("outputs = [\"predictions.safetensors\"]\n{predicts}"),
            ),
        ),
        (
            "changes_code",
            shell(
                &format!("echo x >> {}", desk.path("code/train.py").display()),
                "stdout = \"o\"",
            ),
        ),
        (
            "changed_code",
            "run = [\"true\"]\nstdout = \"o\"\ninputs = { before = \"changes_code\" }\ncode = [\"code/train.py\"]"
                .to_owned(),
        ),
        ("fewer_rows", copied("rows.npz", encodes)),
        ("other_dims", copied("dims.npz", encodes)),
        ("no_train", copied("no_train.npz", encodes)),
        ("no_rows", copied("no_rows.npz", encodes)),
        ("no_finite", copied("nan.npz", encodes)),
        ("no_weights", copied("no_weights.safetensors", &weights)),
        (
            "nan_metric",
            shell(
                "echo '{{\"a\": NaN, \"b\": \"high\", \"c.d\": 1, \"c\": {{\"d\": 2}}}}' > {outputs}/m.json",
                "metrics = \"m.json\"",
            ),
        ),
        ("lost_link", shell("ln -s nowhere {outputs}/o", "outputs = [\"o\"]")),
        (
            "link_to_directory",
            shell("mkdir {outputs}/d && ln -s d {outputs}/o", "outputs = [\"o\"]"),
        ),
        ("pipe", shell("mkfifo {outputs}/o", "outputs = [\"o\"]")),
        ("encodes_train_alone", copied("test_alone.npz", encodes)),
        (
            "odd_name",
            "run = [\"true\"]\nstdout = \"o\"\ninputs = { data = \"odd_names\" }\ngive = { data = \"png\" }".to_owned(),
        ),
    ];
    let cases: Vec<(&str, &str)> = cases.iter().map(|(name, lines)| (*name, lines.as_str())).collect();
    let odd_name = r#"
[nodes.odd_names]
kind = "made"
makes = "dataset"
of = "images"
replace = { "dataset.json" = [["circle", "../a"]] }
[nodes.judged_without_test]
kind = "evaluate"
encoder = "encodes_train_alone"
data = "images"
"#;
    desk.run("commands", &(commands(&cases) + odd_name));
    desk.check("what_programs_leave");
}

/// A script that leaves predictions of three images.
fn table_of(classes: &str) -> String {
    let row = vec!["0.1"; classes.split(',').count()].join(",");
    format!("(echo image,{classes}; for i in 0 1 2; do echo $i,{row}; done) > {{outputs}}/p.csv")
}
