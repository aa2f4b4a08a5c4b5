# The daily verbs. `just` alone lists them.

_list:
    @just --list

# The main job.
run *ARGS:
    cargo run --release -- run workflows/simclr_vs_selftrain.toml {{ ARGS }}

# All tests.
test *ARGS:
    cargo test --workspace {{ ARGS }}

# Formatting and lints, as CI has them.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Everything that CI does.
ci:
    .ci/run

# The numerics against PyTorch's, torchvision's, LightlySSL's and scikit-learn's values.
golden:
    cargo run --release -- doctor --reference tests/golden

# Whether every pre-training method learns: three seeds each, about half an hour; BENCHMARKS.md is put together anew.
learns:
    LEARNS_TABLE="{{ justfile_directory() }}/benches/results/learns.md" cargo test --release -p flow-nodes --test learns -- --ignored --nocapture
    benches/assemble.sh

# Try settings of pre-training methods before they go into the table: FILE has JSON lines, see nodes/tests/learns/tune.rs.
try FILE *SEEDS:
    TRY="{{ absolute_path(FILE) }}" SEEDS="{{ SEEDS }}" cargo test --release -p flow-nodes --test learns tried -- --ignored --nocapture

# Make the embedded sample of Fashion-MNIST from the four original files in FOLDER.
sample FOLDER:
    cargo run --release -p flow-nodes --example make_fashion_sample -- {{ FOLDER }} nodes/data/fashion_mnist_sample.bin.zst

# Make the CUDA kernels' machine code anew, with the wheel nvidia-cuda-nvrtc 13.0.88 of the Python given; needs no GPU.
cubins PYTHON="python3":
    {{ PYTHON }} nodes/learn/cuda/build.py

# Check every kernel on this machine's GPU, and time training steps on it beside PyTorch's, if the Python given has it.
bench-gpu PYTHON="python3":
    PYTHON={{ PYTHON }} benches/gpu.sh

# The API documentation.
doc:
    cargo doc --workspace --no-deps --open

# Time the main job, and where a training step's time goes; BENCHMARKS.md is put together anew.
bench:
    benches/main_job.sh
    benches/scale.sh

# Train every method at one budget, about half an hour; table and chart go into benches/results.
zoo:
    benches/zoo.sh

# Run each method's own workflow, about twenty minutes; what they answer goes into BENCHMARKS.md.
methods:
    benches/methods.sh

# Time the engine against ninja, Snakemake, DVC and redun, those that are on PATH.
bench-graphs:
    benches/graphs.sh

# Time training steps and views against PyTorch and torchvision of the Python given.
bench-peer PYTHON:
    PYTHON={{ PYTHON }} benches/train_step.sh

# Time reading a folder of JPEGs against torchvision of the Python given, and the memory that a set of 12 GB takes.
bench-data PYTHON:
    PYTHON={{ PYTHON }} benches/data.sh

# Run the semi-supervised workflows, about an hour on two cores.
bench-semi:
    benches/semi.sh

# Train the detector of workflows/detect.toml, and the same in PyTorch with the Python given, three seeds each.
bench-detect PYTHON:
    PYTHON={{ PYTHON }} benches/detect.sh

# Run the workflows of localisation, about an hour on two cores.
bench-tasks:
    benches/tasks.sh

# Time the list of runs in `flow ui`, of ten thousand.
bench-ui:
    benches/ui.sh

# The same training by the release binary OTHER of COMMIT, in turn with this one.
bench-throughput OTHER COMMIT:
    cargo build --release --locked
    benches/throughput.sh {{ OTHER }} {{ COMMIT }}

# The kernels' micro-benchmarks.
bench-kernels:
    cargo bench -p flow-learn

# Kills, crowds, full disks, damage, foreign archives and limits against the real program for MINUTES; fails if anything is found.
torture MINUTES *ONLY:
    TORTURE_MINUTES={{ MINUTES }} TORTURE_ONLY={{ ONLY }} cargo test --release --test torture -- --ignored --nocapture
