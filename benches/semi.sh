#!/usr/bin/env bash
# Runs the semi-supervised workflows from an empty cache (about an hour on two cores) and writes their tables to benches/results/semi.md.
# usage: benches/semi.sh [FOLDER]   FOLDER: where earlier runs of them left their `.flow`; made anew if left out
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/lib.sh
use_folder "$@"
if [ ! -d "$folder/runs" ]; then
    for workflow in semi_zoo cost_of_an_answer open_set long_tail; do
        "$flow" run "workflows/$workflow.toml" --quiet > /dev/null
    done
fi
python3 benches/semi.py "$folder/runs" > benches/results/semi.md.new
mv benches/results/semi.md.new benches/results/semi.md
benches/assemble.sh
