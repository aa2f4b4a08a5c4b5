use std::ffi::OsStr;

use super::*;

/// A directory `code` with these files (a name that ends in `/` is a directory) in a separate folder.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("code")).unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        if name.ends_with('/') {
            fs::create_dir_all(&path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn listed(dir: &tempfile::TempDir) -> Vec<String> {
    let listing = Listing::of(&dir.path().join("code")).unwrap();
    listing.files.iter().map(|f| f.to_string_lossy().into_owned()).collect()
}

#[test]
fn what_no_program_consists_of_is_left_out() {
    let dir = folder(&[
        ("code/train.py", ""),
        ("code/lib/net.py", ""),
        ("code/lib/__pycache__/net.cpython-312.pyc", ""),
        ("code/old.pyo", ""),
        ("code/.git/HEAD", ""),
        ("code/sub/.git", "gitdir: elsewhere"),
        ("code/.flow/runs/x/events.jsonl", ""),
        ("code/.train.py.swp", ""),
        ("code/train.py~", ""),
        ("code/#train.py#", ""),
        ("code/.DS_Store", ""),
        ("code/.ipynb_checkpoints/a.ipynb", ""),
        ("code/empty/", ""),
    ]);
    assert_eq!(listed(&dir), ["lib/net.py", "train.py"]);
}

#[test]
fn flowignore_adds_and_takes_back_and_the_nearest_counts_most() {
    let dir = folder(&[
        (".flowignore", "*.log\nnotes/\n"),
        ("code/.flowignore", "# of this directory\n/data\n!keep.pyc\n"),
        ("code/keep.pyc", ""),
        ("code/a.pyc", ""),
        ("code/a.log", ""),
        ("code/data/big", ""),
        ("code/sub/data", ""),
        ("code/notes/x", ""),
        ("code/sub/.flowignore", "!*.log\n"),
        ("code/sub/b.log", ""),
    ]);
    assert_eq!(listed(&dir), ["keep.pyc", "sub/b.log", "sub/data"]);
}

#[test]
fn a_flowignore_over_its_size_limit_is_refused_and_not_read() {
    let dir = folder(&[("code/.flowignore", ""), ("code/x", "")]);
    let file = fs::File::options()
        .write(true)
        .open(dir.path().join("code/.flowignore"));
    // A hole: it takes no room on the disk.
    file.unwrap().set_len(1 << 40).unwrap();
    let error = Listing::of(&dir.path().join("code")).unwrap_err().to_string();
    assert!(error.contains(".flowignore: it has 1099511627776 bytes"), "{error}");
}

#[test]
fn a_flowignore_that_is_none_is_an_error_that_names_it() {
    let dir = folder(&[("code/.flowignore", "{a\n"), ("code/x", "")]);
    let error = Listing::of(&dir.path().join("code")).unwrap_err().to_string();
    assert!(error.contains("code/.flowignore"), "{error}");
}

#[test]
fn caches_are_left_out_wherever_they_lie() {
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n";
    let dir = folder(&[
        ("code/x", ""),
        ("code/deep/store/CACHEDIR.TAG", tag),
        ("code/deep/store/blobs/ab", ""),
        ("code/mine/CACHEDIR.TAG", "not a tag"),
    ]);
    assert_eq!(listed(&dir), ["mine/CACHEDIR.TAG", "x"]);
}

#[cfg(unix)]
#[test]
fn sockets_and_links_that_lead_nowhere_are_left_out_and_links_in_a_circle_are_an_error() {
    use std::os::unix::fs::symlink;
    let dir = folder(&[("code/x", ""), ("elsewhere/y", "")]);
    let code = dir.path().join("code");
    let _socket = std::os::unix::net::UnixListener::bind(code.join("socket")).unwrap();
    symlink("nowhere", code.join("dangling")).unwrap();
    symlink("../elsewhere", code.join("linked")).unwrap();
    assert_eq!(listed(&dir), ["linked/y", "x"]);
    symlink("../code", dir.path().join("elsewhere/back")).unwrap();
    let error = Listing::of(&code).unwrap_err().to_string();
    assert!(error.contains("linked/back") && error.contains("leads back"), "{error}");
    fs::remove_file(dir.path().join("elsewhere/back")).unwrap();
    symlink("self", code.join("self")).unwrap();
    let error = Listing::of(&code).unwrap_err().to_string();
    assert!(error.contains("code/self"), "{error}");
}

#[test]
fn what_is_not_digested_is_not_copied_and_the_copy_has_the_digest_of_the_original() {
    let dir = folder(&[
        ("code/x", "1"),
        ("code/keep.bak", "2"),
        ("code/.flowignore", "!keep.bak\n"),
        ("code/x.swp", ""),
        ("code/sub/y", "3"),
    ]);
    let (from, to) = (dir.path().join("code"), dir.path().join("copy"));
    let copied = copy(&from, &to).unwrap();
    assert_eq!(
        copied,
        crate::stat::FileDigests::default().digest(&from).unwrap(),
        "of the same files"
    );
    assert!(to.join("keep.bak").is_file() && to.join("sub/y").is_file());
    assert!(!to.join("x.swp").exists() && !to.join(".flowignore").exists());
    fs::write(from.join("sub/y"), "4").unwrap();
    assert_ne!(copied, copy(&from, &to).unwrap());
    assert_eq!(copy(&from.join("x"), &to.join("z")).unwrap(), Digest::of(b"1"));
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_are_files_like_others() {
    use std::os::unix::ffi::OsStrExt;
    let dir = folder(&[("code/x", "1")]);
    let name = OsStr::from_bytes(b"donn\xe9es");
    fs::write(dir.path().join("code").join(name), "2").unwrap();
    fs::write(dir.path().join("code").join(OsStr::from_bytes(b"\xe9.pyc")), "2").unwrap();
    let listing = Listing::of(&dir.path().join("code")).unwrap();
    assert_eq!(listing.files, [Path::new(name), Path::new("x")]);
}

#[test]
fn a_text_that_is_not_utf8_is_told_with_its_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let told = |bytes: &[u8]| {
        let path = dir.path().join("w.toml");
        std::fs::write(&path, bytes).unwrap();
        read_text(&path).expect_err("not UTF-8").to_string()
    };
    assert!(told(b"[nodes.a]\n# gr\xfcn\n").starts_with("2:5: byte 0xfc is not UTF-8"));
    assert!(told(b"\xff\xfea\0").contains("UTF-16"));
}
