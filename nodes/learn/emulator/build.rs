//! Compiles the CUDA kernels for the host, and a driver that runs them.

use std::path::Path;

fn main() {
    for source in ["../cuda", "src/emulate.h", "src/emulate.cpp", "src/driver.cpp"] {
        println!("cargo::rerun-if-changed={source}");
    }
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .pic(true)
        .include("src")
        .flag_if_supported("-Wno-unknown-pragmas")
        // A thread's own state is looked at with every fragment.
        .flag_if_supported("-ftls-model=initial-exec");
    build.clone().file("src/emulate.cpp").compile("flow_emulate");

    // What looks for the driver finds a library of this name.
    let out = std::env::var("OUT_DIR").expect("cargo says where");
    let directory = Path::new(&out).join("driver");
    std::fs::create_dir_all(&directory).expect("cargo's directory can be written");
    let linked = build
        .get_compiler()
        .to_command()
        .args(["-shared", "-o"])
        .arg(directory.join("libcuda.so"))
        .args(["src/driver.cpp", "-Wl,--whole-archive"])
        .arg(Path::new(&out).join("libflow_emulate.a"))
        .arg("-Wl,--no-whole-archive")
        .status()
        .expect("the compiler can be started");
    assert!(linked.success(), "the emulated driver does not link");
    println!("cargo::rustc-env=FLOW_EMULATED_DRIVER={}", directory.display());
}
