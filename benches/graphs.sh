#!/usr/bin/env bash
# Times flow, ninja, Snakemake, DVC and redun (those that are on PATH) on the same graphs; writes benches/results/graphs.md.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${FLOW:-}" ]; then
    cargo build --release --locked
    FLOW=./target/release/flow
fi
"${PYTHON:-python3}" benches/graphs/time.py "$FLOW" "$@" > benches/results/graphs.md.new
mv benches/results/graphs.md.new benches/results/graphs.md
benches/assemble.sh
