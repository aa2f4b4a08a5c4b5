#!/usr/bin/env bash
# A folder of JPEGs: the first pass to 96x96, the check of an unchanged folder, ten files more, views; flow and torchvision in turn. Then, with a set
# that is larger than what may be in memory, the peak memory of what makes it, trains on it and judges it. Writes benches/results/data.md and
# benches/results/data_memory.md.
# usage: PYTHON=/path/to/python benches/data.sh [IMAGES [ROUNDS [GB]]]; it must have Pillow, torch and torchvision. IMAGES 0 leaves out the first part.
# GB is the size of the large set, 12 if left out, 0 for none; it takes twice as much room on the disk for a while.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/lib.sh
: "${PYTHON:?name a Python that has Pillow, torch and torchvision, e.g. PYTHON=venv/bin/python}"
images="${1:-20000}" rounds="${2:-3}" large="${3:-12}"
if [ -z "${FLOW:-}" ]; then
    cargo build --release --locked
    FLOW=$PWD/target/release/flow
fi
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
peer() { "$PYTHON" benches/peer/data.py "$@"; }
flow() { (cd "$folder" && "$FLOW" --quiet "$@" > /dev/null); }
seconds() { # usage: seconds COMMAND...
    local began
    began="$(date +%s.%N)"
    "$@"
    awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN { printf "%.2f\n", b - a }'
}
set_of() { # usage: set_of PATH SIDE
    printf '[workflow]\nname = "data"\n[nodes.images]\nkind = "dataset"\nsource = "folder"\npath = "%s"\nside = %s\n' "$1" "$2"
}
peak() { # usage: peak NODE, in MiB
    (cd "$folder" && "$FLOW" cache show "$1" --json) | sed -n 's/.*"peak_rss_bytes": *\([0-9]*\).*/\1/p' | head -1 | awk '{ printf "%.0f\n", $1 / 1048576 }'
}

speed() {
    peer make "$folder/photos" "$images"
    set_of photos 96 > "$folder/w.toml"
    for _ in $(seq "$rounds"); do
        rm -rf "$folder/.flow"
        seconds flow run w.toml >> "$folder/ours"
        peer read "$folder/photos" >> "$folder/theirs"
    done
    ours="$(median < "$folder/ours")" theirs="$(median < "$folder/theirs")"
    # Stamps are trusted once the last change is some seconds past.
    sleep 3
    flow plan w.toml
    unchanged="$(seconds flow plan w.toml)"
    peer make "$folder/photos" 10 --first "$images"
    more="$(seconds flow run w.toml)"
    # Later epochs read pixels where they are mapped: what takes time is the views, two of each image.
    cores="$(nproc)"
    views="$("$FLOW" bench augment --recipe simclr --image 3x96x96 --json | sed -n 's/.*"views_per_s":\([0-9.]*\).*/\1/p')"
    our_views="$(awk -v v="$views" -v c="$cores" 'BEGIN { printf "%.0f", v * c / 2 }')"
    their_views="$(peer views "$folder/photos")"
    echo "## Image files: a folder of $images JPEGs of 500x375 to 96x96, and torchvision's"
    echo
    echo "\`benches/data.sh $images $rounds $large\`: medians of $rounds rounds in turn, $cores cores; torchvision is \`ImageFolder\`, \`transforms.v2\` and a \`DataLoader\` of 2 workers, $("$PYTHON" -c 'import torch, torchvision as v; print("PyTorch", torch.__version__ + ", torchvision", v.__version__)')."
    echo
    echo "| | flow | torchvision | times faster |"
    echo "| --- | ---: | ---: | ---: |"
    awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "| first pass; flow'"'"'s with digests, duplicates across splits and the data set in the cache | %.2f s | %.2f s | %.2f |\n", a, b, b / a }'
    awk -v a="$our_views" -v b="$their_views" 'BEGIN { printf "| every later epoch, two SimCLR views of each image | %.0f images/s | %.0f images/s | %.1f |\n", a, b, a / b }'
    echo "| the check of the unchanged folder, \`flow plan\` | $unchanged s | | |"
    echo "| ten files more | $more s | | |"
    rm -rf "$folder/photos" "$folder/.flow"
}

# Few distinct files, linked many times: what is made of them is as large as if all were distinct.
memory() {
    local side=256 train=$((large * 13 / 3)) test=$((large * 13 / 12))
    peer make "$folder/train" 1000
    peer make "$folder/test" 1000 --first 1000
    for split in train test; do
        for class in "$folder/$split"/*; do
            mkdir -p "$folder/photos/$split/$(basename "$class")"
            for copy in $(seq "${!split}"); do
                cp -rl "$class" "$folder/photos/$split/$(basename "$class")/$copy"
            done
        done
    done
    local n=$(((train + test) * 1000)) network='{ name = "vit", patch = 32, dim = 64, depth = 1 }'
    {
        set_of photos $side
        echo "[nodes.views]
kind = \"augment\"
recipe = \"simclr\"
[nodes.task]
kind = \"pretext\"
method = \"simclr\"
[nodes.encoder]
kind = \"pretrain\"
data = \"images\"
task = \"task\"
views = \"views\"
backbone = $network
budget = 2560
batch = 64
lr = 0.01
[nodes.probe]
kind = \"evaluate\"
encoder = \"encoder\"
controls = false
data = \"images\"
[nodes.model]
kind = \"finetune\"
data = [\"images\"]
init = \"encoder\"
steps = 20
batch = 64
lr = 0.01
[nodes.score]
kind = \"evaluate\"
model = \"model\"
data = \"images\""
    } > "$folder/w.toml"
    flow run w.toml
    echo "## Memory: a set of $(awk -v n=$n -v s=$side 'BEGIN { printf "%.1f", n * s * s * 3 / 1e9 }') GB, $n images of ${side}x$side"
    echo
    echo "| | peak memory in MiB |"
    echo "| --- | ---: |"
    echo "| the node that decodes and keeps it | $(peak images) |"
    echo "| SimCLR on it, 20 steps of 64 images | $(peak encoder) |"
    echo "| embedding all of it, nearest neighbours and a linear probe | $(peak probe) |"
    echo "| fine-tuning on it, 20 steps of 64 images | $(peak model) |"
    echo "| judging its $((test * 1000)) test images | $(peak score) |"
    embed="$(cd "$folder" && "$PYTHON" -c 'import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=2); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)' "$FLOW" --quiet embed encoder photos/test -o features.npz)"
    echo "| \`flow embed\` of $((test * 1000)) image files | $embed |"
}

# What is measured takes the place of earlier results once it is whole.
if [ "$images" != 0 ]; then
    speed > "$folder/data.md"
    mv "$folder/data.md" benches/results/data.md
fi
if [ "$large" != 0 ]; then
    memory > "$folder/data_memory.md"
    mv "$folder/data_memory.md" benches/results/data_memory.md
fi
benches/assemble.sh
