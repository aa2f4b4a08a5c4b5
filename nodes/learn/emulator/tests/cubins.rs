//! The cubins that are committed are those of the sources that are committed.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

fn cuda() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda")
}

/// all.cu with its files put in their places, as build.py does it.
fn expand(name: &str, seen: &mut Vec<String>) -> String {
    if name == "emulate.h" || seen.iter().any(|s| s == name) {
        return String::new();
    }
    seen.push(name.to_owned());
    let source = std::fs::read_to_string(cuda().join(name)).expect("a source");
    let lines = source.lines().filter(|line| *line != "#pragma once");
    let expanded = lines.map(|line| match line.strip_prefix("#include") {
        Some(rest) => expand(rest.trim().trim_matches('"'), seen),
        None => line.to_owned(),
    });
    expanded.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_committed_cubins_are_of_the_committed_sources() {
    let digest = Sha256::digest(expand("all.cu", &mut Vec::new()).as_bytes());
    let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let committed = std::fs::read_to_string(cuda().join("built/sources.sha256")).expect("the digest");
    assert_eq!(
        committed.trim(),
        found,
        "the kernels' sources have changed: run `just cubins` and commit what it makes"
    );
}

/// CI sets FLOW_NVRTC to a Python that has the wheel nvidia-cuda-nvrtc 13.0.88.
#[test]
fn compiling_again_gives_the_same_bytes() {
    let Ok(python) = std::env::var("FLOW_NVRTC") else {
        println!("skipped: FLOW_NVRTC names no Python with nvidia-cuda-nvrtc 13.0.88");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let status = Command::new(python)
        .arg(cuda().join("build.py"))
        .arg(folder.path())
        .status();
    assert!(status.expect("Python runs").success(), "build.py failed");
    let read = |path: &Path| {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).expect("a file");
        std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(file), &mut bytes).expect("zlib");
        bytes
    };
    let mut compared = 0;
    for entry in std::fs::read_dir(cuda().join("built")).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "z") {
            let again = folder.path().join(path.file_name().expect("a name"));
            assert!(
                read(&path) == read(&again),
                "{} is not what its source makes",
                path.display()
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 7, "six architectures and PTX");
}
