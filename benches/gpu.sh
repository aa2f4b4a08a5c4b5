#!/usr/bin/env bash
# What is to be seen on a GPU, in one call with nothing but the binary: every kernel against the CPU's, kernels' speed, training steps of
# flow and (where PYTHON has torch and torchvision) PyTorch in turn on the same card, the same bits each time, several trainings at a
# time, the GPU hidden.
# Writes a table to benches/results/gpu.md, or to the file given.
# usage: [FLOW=flow] [PYTHON=python3] [ROUNDS=3] benches/gpu.sh [FILE]
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/lib.sh
out="${1:-benches/results/gpu.md}"
python="${PYTHON:-python3}"
rounds="${ROUNDS:-3}"
if [ -z "${FLOW:-}" ]; then
    cargo build --release --locked
    FLOW=./target/release/flow
fi
lines="$(mktemp)"
trap 'rm -f "$lines"*' EXIT
say() { echo "$*" >&2; }

# 1 and 2: the driver alone is enough, and every kernel does what the CPU's does.
{
    echo "## Kernels on this machine's GPU"
    echo
    echo '```'
    LD_LIBRARY_PATH='' "$FLOW" bench gpu
    echo '```'
} > "$out"

# 4: training steps, in turn with PyTorch's.
peer=no
"$python" -c 'import torch, torchvision; assert torch.cuda.is_available()' 2> /dev/null && peer=yes
cases=(
    "resnet18 512 3x32x32 supervised 15"
    "resnet18 512 3x32x32 simclr 15"
    "conv4 256 1x28x28 supervised 50"
    "conv4 256 1x28x28 simclr 50"
)
for round in $(seq "$rounds"); do
    for case in "${cases[@]}"; do
        read -r backbone batch image task steps <<< "$case"
        step=(--backbone "$backbone" --batch "$batch" --image "$image" --task "$task" --steps "$steps" --device cuda)
        say "round $round: ${step[*]}"
        for precision in tf32 bf16; do "$FLOW" bench train-step "${step[@]}" --precision "$precision" --json >> "$lines"; done
    done
    [ "$peer" = no ] || "$python" benches/peer/gpu_steps.py eager,channels_last,compile,bf16 "${cases[@]}" >> "$lines" 2> "$lines.said" || cat "$lines.said" >&2
done
# The same bits, whatever ran meanwhile.
for case in "${cases[@]}"; do
    read -r backbone _ <<< "$case"
    task="$(cut -d' ' -f4 <<< "$case")"
    for precision in tf32 bf16; do
        of="$(grep "\"device\":\"cuda[^\"]* $precision " "$lines" | grep "\"backbone\":\"$backbone\"" | grep "\"task\":\"$task\"")"
        losses="$(grep -oE '"loss":[^,]*' <<< "$of" | sort -u | wc -l)"
        [ "$losses" = 1 ] || { say "$backbone $task $precision: $losses different losses"; exit 1; }
    done
done
{
    echo
    echo "## Training steps"
    echo
    [ "$peer" = yes ] || printf 'PyTorch was not there to compare with.\n\n'
    echo '| step | who | median ms |'
    echo '| --- | --- | ---: |'
    # The median of all rounds.
    sed 's/": */":/g' "$lines" | awk '
        function field(name) { if (!match($0, "\"" name "\":\"?[^,\"}]*")) return ""; v = substr($0, RSTART, RLENGTH); sub(/^"[^"]*":"?/, "", v); return v }
        { mode = field("mode"); key = field("backbone") " " field("task") "|" (mode == "flow" ? mode " " field("products") : "PyTorch " mode); ms[key, ++n[key]] = field("median_ms") + 0 }
        END { for (key in n) { for (i = 1; i <= n[key]; i++) for (j = i + 1; j <= n[key]; j++) if (ms[key, j] < ms[key, i]) { t = ms[key, i]; ms[key, i] = ms[key, j]; ms[key, j] = t }
              split(key, part, "|"); printf "| %s | %s | %.2f |\n", part[1], part[2], ms[key, int((n[key] + 1) / 2)] } }' | sort
} >> "$out"

# 6: several trainings on one card.
{
    echo
    echo "## Several trainings on one card: conv4, batch 256, SimCLR"
    echo
    echo '| at a time | median ms of a step |'
    echo '| ---: | ---: |'
} >> "$out"
for at_a_time in 1 2 4; do
    pids=()
    for i in $(seq "$at_a_time"); do
        "$FLOW" bench train-step --backbone conv4 --batch 256 --image 1x28x28 --task simclr --steps 200 --device cuda --json > "$lines.$i" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    median="$(cat "$lines".[0-9]* | grep -oE '"median_ms": ?[0-9.]+' | grep -oE '[0-9.]+$' | median)"
    rm -f "$lines".[0-9]*
    echo "| $at_a_time | $median |" >> "$out"
done

# Whether the CPU keeps up: SimCLR with its views made meanwhile, beside the step on views that are there.
{
    echo
    echo "## SimCLR with its views, made on $(nproc) CPU cores meanwhile"
    echo
    echo '| step | ms alone | ms with views | waited for them, % |'
    echo '| --- | ---: | ---: | ---: |'
} >> "$out"
for case in "resnet18 512 3x32x32 simclr 15" "conv4 256 1x28x28 simclr-gray 50"; do
    read -r backbone batch image recipe steps <<< "$case"
    step=(--backbone "$backbone" --batch "$batch" --image "$image" --steps "$steps" --device cuda --json)
    say "views: ${step[*]}"
    value() { grep -oE "\"$1\": ?[0-9.]+" <<< "$2" | grep -oE '[0-9.]+$'; }
    alone="$("$FLOW" bench train-step "${step[@]}" --task simclr)"
    with="$("$FLOW" bench prefetch "${step[@]}" --recipe "$recipe")"
    echo "| $backbone simclr | $(value median_ms "$alone") | $(value step_ms "$with") | $(value waited_percent "$with") |" >> "$out"
done

# 7: without a GPU the same binary runs on the CPU.
say "the GPU hidden:"
CUDA_VISIBLE_DEVICES='' "$FLOW" bench train-step --backbone conv4 --batch 32 --image 1x28x28 --steps 3 --device auto >&2
say "wrote $out"
