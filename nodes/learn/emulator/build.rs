//! Compiles the CUDA kernels for the host.

fn main() {
    println!("cargo::rerun-if-changed=../cuda");
    println!("cargo::rerun-if-changed=src/emulate.h");
    println!("cargo::rerun-if-changed=src/emulate.cpp");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .include("src")
        .flag_if_supported("-Wno-unknown-pragmas")
        .file("src/emulate.cpp")
        .compile("flow_emulate");
}
