#!/usr/bin/env bash
# Times the zoo of pre-training methods from an empty cache, and writes its table to benches/results/zoo.md and its chart beside it.
# usage: benches/zoo.sh [FOLDER]   FOLDER: where an earlier `flow run` from an empty cache left its `.flow`; made anew if left out
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked
if [ $# -gt 0 ]; then
    folder="$1/.flow"
else
    folder="$(mktemp -d)"
    trap 'rm -rf "$folder"' EXIT
fi
export FLOW_CACHE="$folder/cache" FLOW_RUNS="$folder/runs"
[ -d "$folder/runs" ] || ./target/release/flow run workflows/pretext_zoo.toml --keep-going --quiet > /dev/null || true

run="$(ls -d "$folder"/runs/*/ | head -1)"
summary="$(./target/release/flow runs show "$(basename "$run")" --json)"
if grep -q '"status": "cached"' <<< "$summary"; then
    echo "$run did not begin with an empty cache" >&2
    exit 1
fi
field() { sed -n "s/^ *\"$1\": \([0-9]*\),*$/\1/p" <<< "$summary"; }
minutes="$(awk -v a="$(field started_unix_ms)" -v b="$(field finished_unix_ms)" 'BEGIN { printf "%.1f", (b - a) / 60000 }')"
cp "$run/zoo.svg" benches/results/zoo.svg
{
    echo "## The zoo: \`flow run workflows/pretext_zoo.toml\`"
    echo
    echo "From an empty cache, $(grep -c '"status": "ran"' <<< "$summary") nodes on $(nproc) cores: $minutes minutes." \
        "Its chart is \`benches/results/zoo.svg\`."
    echo
    sed "/^# /d; s/^#/###/" "$run/zoo.md"
} > benches/results/zoo.md
benches/assemble.sh
