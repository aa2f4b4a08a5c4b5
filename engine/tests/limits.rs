//! Every limit of a workflow file (docs/LIMITS.md) is an error that says the limit, and nothing is read without end.

mod toys;

use std::fmt::Write as _;
use std::path::Path;

use flow_engine::{Override, Workflow};
use toys::{Bench, problems, registry};

const NODE: &str = "[workflow]\nname = \"w\"\n[nodes.a]\nkind = \"const\"\nvalue = \"x\"\n";

/// What the file at `path` is refused with.
#[track_caller]
fn refused(path: &Path) -> String {
    match Workflow::load(path, &registry(), &[]) {
        Ok(_) => panic!("{} was taken", path.display()),
        Err(problems) => problems.to_string() + "\n" + &format!("{problems:?}"),
    }
}

#[test]
fn a_workflow_file_over_its_size_limit_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("w.toml");
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len((16 << 20) + 1).expect("a sparse file");
    assert!(refused(&path).contains("more than 16 MiB"), "{}", refused(&path));
}

#[cfg(unix)]
#[test]
fn a_fifo_a_device_or_a_directory_is_no_workflow_and_never_blocks() {
    let dir = tempfile::tempdir().expect("a directory");
    let fifo = dir.path().join("fifo.toml");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo").success());
    assert!(refused(&fifo).contains("a FIFO"), "{}", refused(&fifo));
    assert!(refused(Path::new("/dev/zero")).contains("a device"));
    assert!(refused(dir.path()).contains("it is a directory"));
    let socket = dir.path().join("socket.toml");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    assert!(refused(&socket).contains("a socket"));
    let including = dir.path().join("w.toml");
    std::fs::write(&including, format!("include = [\"fifo.toml\"]\n{NODE}")).expect("written");
    assert!(refused(&including).contains("a FIFO"), "{}", refused(&including));
}

#[test]
fn includes_are_limited_in_depth() {
    let dir = tempfile::tempdir().expect("a directory");
    for n in 0..80 {
        let next = format!("include = [\"{}.toml\"]\n", n + 1);
        let text = if n == 0 { next + NODE } else { next };
        std::fs::write(dir.path().join(format!("{n}.toml")), text).expect("written");
    }
    let said = refused(&dir.path().join("0.toml"));
    assert!(said.contains("includes are nested more than 64 deep"), "{said}");
}

#[test]
fn nesting_over_the_limit_is_an_error_with_its_place() {
    let lists = |depth: usize| format!("{NODE}seed = {}1{}\n", "[".repeat(depth), "]".repeat(depth));
    for text in [
        lists(70),
        lists(100_000),
        format!("{NODE}v = {}1{}\n", "{a=".repeat(50_000), "}".repeat(50_000)),
        format!("{NODE}{}b = 1\n", "a.".repeat(70)),
        format!("{NODE}{}b = 1\n", "a.".repeat(100_000)),
    ] {
        let said = problems(&text);
        assert!(said.contains("nested more than 64 deep"), "{said:.300}");
        assert!(said.contains(":6:"), "line 6 is to blame: {said:.300}");
    }
}

#[test]
fn a_path_or_a_value_of_set_nested_too_deeply_is_refused() {
    let deep = format!("nodes.a.value={}1{}", "[".repeat(30_000), "]".repeat(30_000));
    let said = Override::parse(&deep).expect_err("too deep");
    assert!(said.contains("1:79: ") && said.contains("64 deep"), "{said:.200}");
    let long = format!("nodes.{}b=1", "a.".repeat(40_000));
    assert!(
        Override::parse(&long)
            .expect_err("too long")
            .contains("more than 64 keys")
    );
    for value in ["nan", "[1, nan]", "{ a = inf }", "[[-inf]]"] {
        let said = Override::parse(&format!("nodes.a.value={value}")).expect_err("not finite");
        assert!(said.contains("finite number"), "{value}: {said}");
    }
}

#[test]
fn a_long_condition_is_read_and_a_deep_one_refused() {
    let when = |condition: &str| format!("{NODE}seed = \"${{x}}\"\nwhen = \"{condition}\"\n[matrix]\nx = [1]\n");
    let long = vec!["x == 1"; 20_000];
    for joined in [long.join(" and "), long.join(" or ")] {
        Bench::new().load(&when(&joined));
    }
    for deep in [
        "(".repeat(5_000) + "x == 1" + &")".repeat(5_000),
        "not ".repeat(20_000) + "x == 1",
    ] {
        let said = problems(&when(&deep));
        assert!(said.contains("nested at most 64 deep"), "{said:.300}");
    }
}

#[test]
fn a_matrix_over_its_limit_is_refused_before_it_is_expanded() {
    let mut text = format!("{NODE}seed = \"${{v0}}${{v1}}${{v2}}${{v3}}${{v4}}${{v5}}\"\n[matrix]\n");
    let values: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    for variable in 0..6 {
        writeln!(text, "v{variable} = [{}]", values.join(", ")).expect("a text");
    }
    let said = problems(&text);
    assert!(said.contains("more than 200000 instances"), "{said:.300}");
}

#[test]
fn rounds_over_their_limit_are_refused() {
    let said = problems(&format!("{NODE}rounds = 1001\nbecomes = \"a.of\"\n"));
    assert!(said.contains("from 1 to 1000"), "{said:.300}");
}
