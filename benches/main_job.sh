#!/usr/bin/env bash
# Times the main job from an empty cache, and again when nothing has changed, and writes benches/results/main_job.md.
# usage: benches/main_job.sh [FOLDER]   FOLDER: where an earlier `flow run` from an empty cache left its `.flow`; made anew if left out
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/lib.sh
use_folder "$@"
main_job() { "$flow" run workflows/simclr_vs_selftrain.toml --quiet > /dev/null; }
[ -d "$folder/runs" ] || main_job
first="$(ls -d "$folder"/runs/*/ | head -1)"
summarise "$first"
must_be_cold "$first"

warm=()
for _ in 1 2 3 4 5; do
    start="$(date +%s%N)"
    main_job
    warm+=("$(awk -v a="$start" -v b="$(date +%s%N)" 'BEGIN { printf "%.2f", (b - a) / 1e9 }')")
done
median="$(printf '%s\n' "${warm[@]}" | median)"

{
    echo "## The main job: \`flow run workflows/simclr_vs_selftrain.toml\`"
    echo
    echo "| | seconds |"
    echo "| --- | --- |"
    echo "| from an empty cache, $ran nodes | $seconds |"
    echo "| nothing changed (median of 5) | $median |"
    echo
    echo "What it answered:"
    echo
    sed "s/^#/###/" "$(ls -d "$folder"/runs/*/ | tail -1)verdict.md"
} > benches/results/main_job.md
benches/assemble.sh
