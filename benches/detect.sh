#!/usr/bin/env bash
# Trains the detector of workflows/detect.toml and the same in PyTorch, in turn, on the same files; writes benches/results/detect.md.
# usage: PYTHON=/path/to/python benches/detect.sh [SEEDS]; it must have torch, torchvision, safetensors and pycocotools. SEEDS: 0 1 2 if left out.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PYTHON:?name a Python that has torch, torchvision, safetensors and pycocotools, e.g. PYTHON=venv/bin/python}"
if [ -z "${FLOW:-}" ]; then
    cargo build --release --locked
    FLOW=$PWD/target/release/flow
fi
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export FLOW_CACHE="$folder/cache" FLOW_RUNS="$folder/runs"
"$FLOW" run workflows/detect.toml --only images --quiet > /dev/null
# The files of the entry, in the order of their names: dataset.json, and of test and train each the boxes, the images and the masks.
mapfile -t files < <("$FLOW" cache query "node = 'images'" --path)
mkdir "$folder/files"
names=(dataset.json test.boxes.safetensors test.images test.masks train.boxes.safetensors train.images train.masks)
for i in "${!names[@]}"; do
    ln -s "${files[i]}" "$folder/files/${names[i]}"
done
for seed in ${*:-0 1 2}; do
    "$FLOW" run workflows/detect.toml --only score --set "nodes.detector.seed=$seed" --quiet > /dev/null
    for node in detector score; do
        "$FLOW" cache show "$node" --json > "$folder/$node.$seed.json"
    done
    "$PYTHON" benches/peer/detect.py "$folder/files" --seed "$seed" > "$folder/peer.$seed.json"
done
"$PYTHON" benches/peer/detect_table.py "$folder" > "$folder/detect.md"
mv "$folder/detect.md" benches/results/detect.md
FLOW="$FLOW" benches/assemble.sh
