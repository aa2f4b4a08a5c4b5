#!/usr/bin/env bash
# The same training by this version and by another, in turn, two nodes at a time on two cores, and writes benches/results/throughput.md.
# usage: benches/throughput.sh OTHER COMMIT   OTHER: the release binary of COMMIT, 7156f27 or later
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/lib.sh
other="$1" commit="$2" rounds="${ROUNDS:-5}"
ours="${FLOW:-./target/release/flow}"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

# Seconds that the nodes trained and guessed, one after the other: SimCLR, scratch, fine-tuning, guesses, self-training.
seconds() {
    rm -rf "$folder/flow"
    FLOW_CACHE="$folder/flow/cache" FLOW_RUNS="$folder/flow/runs" "$1" run benches/throughput/equal.toml -j 2 --quiet > /dev/null
    python3 - "$folder"/flow/runs/*/events.jsonl <<'PY'
import json, sys

seconds = 0.0
for line in open(sys.argv[1]):
    what = json.loads(line)["what"]
    if what["event"] == "node_finished" and what["node"].split("[")[0] in ("simclr", "scratch", "simclr_tuned", "guess", "selftrain"):
        seconds += what["cost"]["wall_s"]
print(f"{seconds:.2f}")
PY
}

here=() there=() ratios=()
for _ in $(seq "$rounds"); do
    there+=("$(seconds "$other")")
    here+=("$(seconds "$ours")")
    ratios+=("$(awk -v a="${there[-1]}" -v b="${here[-1]}" 'BEGIN { printf "%.2f", a / b }')")
done
# Forward and backward: 3 epochs of two views of 9,000 images, and three trainings of 300 steps of 64.
images=111600
before="$(printf '%s\n' "${there[@]}" | median)" now="$(printf '%s\n' "${here[@]}" | median)"
sorted="$(printf '%s\n' "${ratios[@]}" | sort -n)"
rate() { awk -v i="$images" -v s="$1" 'BEGIN { printf "%.0f", i / s }'; }
{
    echo "## The same training by an earlier version"
    echo
    echo "\`benches/throughput.sh\`: \`benches/throughput/equal.toml\` ($images images forward and backward, conv3) by the commit $commit and by this version, in turn, $rounds times; medians."
    echo "Images are counted over the seconds of all nodes that train or guess, of which two run at a time."
    echo
    echo "| | seconds | images a second |"
    echo "| --- | ---: | ---: |"
    echo "| $commit | $before | $(rate "$before") |"
    echo "| this version | $now | $(rate "$now") |"
    echo
    echo "This version is $(median <<< "$sorted") times as fast ($(head -1 <<< "$sorted") to $(tail -1 <<< "$sorted") in single rounds)."
} > benches/results/throughput.md
FLOW="$ours" benches/assemble.sh
