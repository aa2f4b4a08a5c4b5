#!/usr/bin/env bash
# Times the zoo of pre-training methods from an empty cache, and writes its table to benches/results/zoo.md and its chart beside it.
# usage: benches/zoo.sh [FOLDER]   FOLDER: where an earlier `flow run` from an empty cache left its `.flow`; made anew if left out
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/lib.sh
use_folder "$@"
[ -d "$folder/runs" ] || "$flow" run workflows/pretext_zoo.toml --keep-going --quiet > /dev/null || true

run="$(ls -d "$folder"/runs/*/ | head -1)"
summarise "$run"
must_be_cold "$run"
cp "$run/zoo.svg" benches/results/zoo.svg
{
    echo "## The zoo: \`flow run workflows/pretext_zoo.toml\`"
    echo
    echo "From an empty cache, $ran nodes on $(nproc) cores: $(awk -v s="$seconds" 'BEGIN { printf "%.1f", s / 60 }') minutes." \
        "Its chart is \`benches/results/zoo.svg\`."
    echo
    sed "/^# /d; s/^#/###/" "$run/zoo.md"
} > benches/results/zoo.md
benches/assemble.sh
