#!/usr/bin/env bash
# Where a training step's time goes, how it grows, and whether it waits for its views; writes benches/results/scale.md.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${FLOW:-}" ]; then
    cargo build --release --locked
    FLOW=./target/release/flow
fi
show() {
    echo
    echo "\`flow $*\`"
    echo
    echo '```'
    "$FLOW" "$@" | sed 's/ *$//'
    echo '```'
}
{
    echo "## Whether training waits for its views"
    show bench prefetch --image 3x32x32 --batch 256 --recipe simclr
    show bench prefetch --image 1x28x28 --batch 256 --recipe simclr-gray
    show bench prefetch --backbone resnet18 --batch 64 --steps 5
    echo
    echo "## How time and memory grow"
    echo
    echo "One supervised step; what is not varied is a batch of 128 images of 3x32x32 on all cores. Each line is a process of its own."
    show bench scale --backbone conv4
    show bench scale --backbone conv4 --task simclr
    echo
    echo "## Where a step's time goes"
    echo
    echo "The share of the machine's peak counts the operations of the plain sum, with those on the border's zeros: leaving zeros out"
    echo "and minimal filtering make shares above 100 % possible."
    show bench train-step --layers --threads 1 --backbone conv4 --batch 128
    show bench train-step --layers --backbone conv4 --batch 256 --image 1x28x28 --task simclr
    show bench train-step --layers --backbone resnet18 --batch 64 --steps 5
} > benches/results/scale.md
benches/assemble.sh
