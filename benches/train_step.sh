#!/usr/bin/env bash
# One training step and one augmented view, flow and PyTorch in turn on the same work; writes benches/results/train_step.md.
# usage: PYTHON=/path/to/python-with-torch-torchvision-and-timm benches/train_step.sh [ROUNDS]
# CASES="conv4 128" times the cases that begin so alone, and prints their table instead of writing it.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PYTHON:?name a Python that has torch, torchvision and timm, e.g. PYTHON=venv/bin/python}"
rounds="${1:-3}"
if [ -z "${FLOW:-}" ]; then
    cargo build --release --locked
    FLOW=./target/release/flow
fi
lines="$(mktemp)"
trap 'rm -f "$lines"' EXIT
cases=(
    "conv4 128 3x32x32 supervised 15"
    "conv4 256 1x28x28 simclr 11"
    "resnet18 64 3x32x32 supervised 5"
    "vit 128 3x32x32 supervised 7"
)
for round in $(seq "$rounds"); do
    for case in "${cases[@]}"; do
        [[ "$case" == "${CASES:-}"* ]] || continue
        read -r backbone batch image task steps <<< "$case"
        for threads in 2 1; do
            step=(--backbone "$backbone" --batch "$batch" --image "$image" --task "$task" --threads "$threads" --steps "$steps")
            echo "round $round: ${step[*]}" >&2
            for mode in flow eager channels_last compile flow_bf16 bf16; do
                case "$mode" in
                flow) "$FLOW" bench train-step "${step[@]}" --json >> "$lines" ;;
                # Where the processor does not multiply bf16 there is no line.
                flow_bf16) "$FLOW" bench train-step "${step[@]}" --precision bf16 --json >> "$lines" || true ;;
                *) "$PYTHON" benches/peer/train_step.py "${step[@]}" --mode "$mode" 2> /dev/null >> "$lines" ;;
                esac
            done
        done
    done
    for view in "simclr 3x32x32" "simclr-gray 1x28x28"; do
        read -r recipe image <<< "$view"
        "$FLOW" bench augment --recipe "$recipe" --image "$image" --json >> "$lines"
        "$PYTHON" benches/peer/augment.py --recipe "$recipe" --image "$image" >> "$lines"
    done
done
if [ -n "${CASES:-}" ]; then
    "$PYTHON" benches/peer/table.py "$lines"
    exit
fi
"$PYTHON" benches/peer/table.py "$lines" > benches/results/train_step.md
benches/assemble.sh
