#!/usr/bin/env bash
# Runs the workflow of each method from an empty cache, one after the other, and writes what each answers to benches/results/methods.md.
# usage: benches/methods.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/lib.sh
use_folder
runs="$FLOW_RUNS"

# The cell of an arm in the verdict's first table; column 3 is of the smaller budget, 4 of the larger.
# usage: cell VERDICT ARM COLUMN
cell() { awk -F' *[|] *' -v arm="$2" -v column="$3" '$2 == arm { print $column; exit }' "$1"; }

# The budget of a column of that table.
# usage: budget VERDICT COLUMN
budget() { awk -F' *[|] *' -v column="$2" '/^[|]/ { print $column; exit }' "$1" | grep -o '[0-9]*'; }

{
    echo "## What \`flow run workflows/<method>.toml\` answers"
    echo
    echo "Each from an empty cache on $(nproc) cores, with the settings in the file: accuracy in percent on 2,000 test images, mean of three seeds" \
        "with its 95 % interval; \`+\` and \`-\`: detectably better or worse than from scratch (paired, Holm-corrected p < 0.05, and the same sign" \
        "for every seed). The data is each method's own, so rows do not compare with each other; the zoo does that."
    for column in 3 4; do
        echo
        echo "| | labels | from scratch | pre-trained, linear probe | pre-trained, then fine-tuned | nodes | s |"
        echo "| --- | ---: | --- | --- | --- | --- | --- |"
        for workflow in workflows/*.toml; do
            grep -q 'common/judge.toml' "$workflow" || continue
            method="$(basename "$workflow" .toml)"
            export FLOW_CACHE="$folder/$method/cache" FLOW_RUNS="$runs/$method"
            [ -d "$FLOW_RUNS" ] || "$flow" run "$workflow" --quiet > /dev/null || true
            run="$(ls -d "$FLOW_RUNS"/*/ || true)"
            if ! [ -f "$run/verdict.md" ]; then
                echo "| $method | | failed | | | | |"
                continue
            fi
            summarise "$run"
            row="| $method | $(budget "$run/verdict.md" "$column") |"
            for arm in 'training from scratch' 'pre-trained, linear probe' 'pre-trained, then fine-tuned'; do
                row+=" $(cell "$run/verdict.md" "$arm" "$column") |"
            done
            echo "$row $ran | $seconds |"
        done
    done
} > benches/results/methods.md
benches/assemble.sh
