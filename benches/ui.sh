#!/usr/bin/env bash
# Times the list of runs of `flow ui`; writes benches/results/ui.md.
# usage: benches/ui.sh [RUNS]
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${FLOW:-}" ]; then
    cargo build --release --locked
    FLOW=./target/release/flow
fi
"${PYTHON:-python3}" benches/ui.py "$FLOW" "${1:-10000}" > benches/results/ui.md.new
mv benches/results/ui.md.new benches/results/ui.md
benches/assemble.sh
