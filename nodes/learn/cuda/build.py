#!/usr/bin/env python3
"""Compiles the kernels with NVRTC, which needs no GPU: a cubin for each architecture, and PTX of the newest one's base for what comes
after, each compressed by zlib, into the folder given (by default `built`, beside this script).

    pip install nvidia-cuda-nvrtc==13.0.88
    python3 build.py [FOLDER]

The same sources give the same bytes.
"""

import ctypes
import glob
import hashlib
import os
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

ARCHITECTURES = [80, 86, 89, 90, 100, 120]
# What a card newer than all of these compiles for itself.
PTX = 80
HERE = os.path.dirname(os.path.abspath(__file__))


def nvrtc():
    roots = [os.path.join(p, "nvidia") for p in sys.path]
    found = [so for root in roots for so in glob.glob(os.path.join(root, "*", "lib", "libnvrtc.so.13"))]
    if not found:
        sys.exit("NVRTC was not found; install it with: pip install nvidia-cuda-nvrtc==13.0.88")
    # It looks for its builtins where the loader does, which is not beside it.
    for builtins in glob.glob(os.path.join(os.path.dirname(found[0]), "libnvrtc-builtins.so.13*")):
        ctypes.CDLL(builtins, mode=ctypes.RTLD_GLOBAL)
    lib = ctypes.CDLL(found[0])
    major, minor = ctypes.c_int(), ctypes.c_int()
    lib.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    if (major.value, minor.value) != (13, 0):
        sys.exit(f"NVRTC {major.value}.{minor.value} was found, 13.0 is needed: pip install nvidia-cuda-nvrtc==13.0.88")
    return lib


def source():
    """all.cu with its files put in their places, so that nothing depends on where they lie."""
    seen = set()

    def expand(name):
        if name in seen or name == "emulate.h":
            return ""
        seen.add(name)
        with open(os.path.join(HERE, name), encoding="utf-8") as file:
            lines = file.read().splitlines()
        out = []
        for line in lines:
            if line.startswith("#include"):
                out.append(expand(line.split('"')[1]))
            elif line != "#pragma once":
                out.append(line)
        return "\n".join(out)

    return expand("all.cu")


def compile_for(lib, code, architecture, kind):
    target = ("sm_" if kind == "cubin" else "compute_") + str(architecture)
    program = ctypes.c_void_p()
    lib.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"flow.cu", 0, None, None)
    options = [f"--gpu-architecture={target}".encode(), b"--std=c++17", b"--extra-device-vectorization"]
    failed = lib.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    if failed:
        size = ctypes.c_size_t()
        lib.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        lib.nvrtcGetProgramLog(program, log)
        sys.exit(f"{target}: {log.value.decode()}")
    ask_size, ask = (lib.nvrtcGetCUBINSize, lib.nvrtcGetCUBIN) if kind == "cubin" else (lib.nvrtcGetPTXSize, lib.nvrtcGetPTX)
    size = ctypes.c_size_t()
    ask_size(program, ctypes.byref(size))
    out = ctypes.create_string_buffer(size.value)
    ask(program, out)
    lib.nvrtcDestroyProgram(ctypes.byref(program))
    return out.raw


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "built")
    os.makedirs(folder, exist_ok=True)
    lib, code = nvrtc(), source()
    jobs = [(a, "cubin") for a in ARCHITECTURES] + [(PTX, "ptx")]
    # The compiler lets go of Python's lock while it works.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        all_compiled = list(pool.map(lambda job: compile_for(lib, code, *job), jobs))
    for (architecture, kind), compiled in zip(jobs, all_compiled):
        packed = zlib.compress(compiled, 9)
        with open(os.path.join(folder, f"sm_{architecture}.{kind}.z"), "wb") as file:
            file.write(packed)
        print(f"sm_{architecture}.{kind}: {len(compiled)} bytes, {len(packed)} compressed")
    # What was compiled, so that a test sees without NVRTC that the sources have changed since.
    with open(os.path.join(folder, "sources.sha256"), "w", encoding="utf-8") as file:
        file.write(hashlib.sha256(code.encode()).hexdigest() + "\n")


if __name__ == "__main__":
    main()
