#!/usr/bin/env bash
# Trains the main job's arms in PyTorch at the same budget on the same images, and puts the accuracies beside those of flow's main job; writes
# benches/results/peer.md.
# usage: PYTHON=python3 benches/equal_budget.sh FOLDER [LINES]
#   FOLDER: where a `flow run workflows/simclr_vs_selftrain.toml` left its `.flow`
#   LINES: what an earlier benches/peer/equal_budget.py printed, such as benches/results/equal_budget.jsonl (three draws); made anew, on one
#     thread, if left out
set -euo pipefail
cd "$(dirname "$0")/.."
flow="${FLOW:-./target/release/flow}"
export FLOW_CACHE="$1/.flow/cache" FLOW_RUNS="$1/.flow/runs"
verdict="$(ls -d "$FLOW_RUNS"/*/ | tail -1)verdict.json"

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
if [ $# -gt 1 ]; then
    lines="$2"
else
    lines="$scratch/lines"
    # The files of the entry, in the order of their names: dataset.json, test.images, train.images, validation.images.
    mapfile -t files < <("$flow" cache query "node = 'images'" --path)
    ln -s "${files[1]}" "$scratch/test.images"
    ln -s "${files[2]}" "$scratch/train.images"
    "${PYTHON:-python3}" benches/peer/equal_budget.py "$scratch" --labels 100,1000 --draws 0,1,2,3,4 > "$lines"
fi
"${PYTHON:-python3}" benches/peer/equal_budget_table.py "$lines" "$verdict" > benches/results/peer.md
FLOW="$flow" benches/assemble.sh
