#!/usr/bin/env bash
# A folder of JPEGs: the first pass to 96x96, the check of an unchanged folder, ten files more; flow and torchvision in turn.
# usage: PYTHON=/path/to/python-with-pillow benches/data.sh [IMAGES]; the comparison needs torch and torchvision as well, and is
# skipped with a message where they are not there.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PYTHON:?name a Python that has Pillow, e.g. PYTHON=venv/bin/python}"
images="${1:-20000}"
if [ -z "${FLOW:-}" ]; then
    cargo build --release --locked
    FLOW=$PWD/target/release/flow
fi
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"$PYTHON" benches/peer/data.py make "$folder/photos" "$images"
cat > "$folder/w.toml" <<'TOML'
[workflow]
name = "data"
[nodes.images]
kind = "dataset"
source = "folder"
path = "photos"
side = 96
TOML
flow() { (cd "$folder" && "$FLOW" --quiet "$@" > /dev/null); }
timed() { # usage: timed WHAT COMMAND...
    local began what="$1"
    shift
    began="$(date +%s.%N)"
    "$@"
    awk -v what="$what" -v a="$began" -v b="$(date +%s.%N)" 'BEGIN { printf "| %s | %.2f s |\n", what, b - a }'
}
echo "| $images JPEGs of 500x375 to 96x96, $(nproc) cores | |"
echo "| --- | ---: |"
timed "flow: first pass, with digests, duplicates and the data set in the cache" flow run w.toml
peak="$(grep -rho '"peak_rss_bytes": [0-9]*' "$folder/.flow/cache/records" | grep -o '[0-9]*$')"
awk -v p="$peak" 'BEGIN { printf "| flow: peak memory of the node | %.0f MiB |\n", p / 1048576 }'
# Stamps are trusted once the last change is some seconds past.
sleep 3
flow plan w.toml
timed "flow: unchanged folder, \`flow plan\`" flow plan w.toml
"$PYTHON" benches/peer/data.py make "$folder/photos" 10 --first "$images"
timed "flow: ten files more" flow run w.toml
# Later epochs read pixels where they are mapped: what takes time is the views, two of each image.
cores="$(nproc)"
views="$("$FLOW" bench augment --recipe simclr --image 3x96x96 --json | sed -n 's/.*"views_per_s":\([0-9.]*\).*/\1/p')"
awk -v v="$views" -v n="$images" -v c="$cores" 'BEGIN {
    printf "| flow: an epoch of two SimCLR views, %d cores (%.0f views/s on one) | %.2f s, %.0f images/s |\n", c, v, 2 * n / v / c, v * c / 2 }'
if "$PYTHON" -c 'import torch, torchvision' 2> /dev/null; then
    "$PYTHON" benches/peer/data.py read "$folder/photos"
    "$PYTHON" benches/peer/data.py views "$folder/photos"
else
    echo "the comparison is skipped: $PYTHON has no torch and torchvision" >&2
fi
