#!/usr/bin/env bash
# Times the main job from an empty cache, and again when nothing has changed, and writes BENCHMARKS.md from what it saw.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export FLOW_CACHE="$folder/cache" FLOW_RUNS="$folder/runs"

seconds() {
    local start end
    start="$(date +%s.%N)"
    ./target/release/flow run workflows/simclr_vs_selftrain.toml --quiet > "$folder/out.txt"
    end="$(date +%s.%N)"
    awk -v a="$start" -v b="$end" 'BEGIN { printf "%.2f", b - a }'
}

cold="$(seconds)"
warm=()
for _ in 1 2 3 4 5; do warm+=("$(seconds)"); done
median="$(printf '%s\n' "${warm[@]}" | sort -n | sed -n 3p)"
verdict="$(ls -d "$folder"/runs/*/ | head -1)verdict.md"

{
    echo "# Benchmarks"
    echo
    echo "Written by \`benches/main_job.sh\` on $(date -u +%F); nothing in here is typed by hand."
    echo
    echo "Machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores," \
        "kernels: $(./target/release/flow doctor --json | sed 's/.*"vectors":"\([^"]*\)".*/\1/'), $(rustc --version)."
    echo
    echo "## The main job: \`flow run workflows/simclr_vs_selftrain.toml\`"
    echo
    echo "| | seconds |"
    echo "| --- | --- |"
    echo "| from an empty cache | $cold |"
    echo "| nothing changed (median of 5) | $median |"
    echo
    echo "What it answered:"
    echo
    sed 's/^#/###/' "$verdict"
} > BENCHMARKS.md
