#!/usr/bin/env bash
# Runs the workflows of localisation from an empty cache (about an hour on two cores) and writes their tables to benches/results/tasks.md.
# usage: benches/tasks.sh [FOLDER]   FOLDER: where earlier runs of them left their `.flow`; made anew if left out
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/lib.sh
use_folder "$@"
if [ ! -d "$folder/runs" ]; then
    "$flow" run workflows/rethinking_pretraining.toml --quiet > /dev/null
    for task in segment classify; do
        "$flow" run workflows/label_savings.toml --set "variables.task=$task" --quiet > /dev/null
    done
    "$flow" run workflows/segment_selftrain.toml --quiet > /dev/null
fi
python3 benches/tasks.py "$folder/runs" > benches/results/tasks.md.new
mv benches/results/tasks.md.new benches/results/tasks.md
benches/assemble.sh
