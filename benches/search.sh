#!/usr/bin/env bash
# Runs the search for the main job's settings, and writes its table, the best trial of each arm marked, to benches/results/search.md.
# usage: benches/search.sh [TABLE]   TABLE: the table that an earlier run of the workflow printed; the workflow is run if left out
set -euo pipefail
cd "$(dirname "$0")/.."
table="${1:-}"
if [ -z "$table" ]; then
    table="$(mktemp)"
    "${FLOW:-./target/release/flow}" run workflows/search/simclr_vs_selftrain.toml --quiet > "$table"
fi
{
    echo "## The search for the main job's settings: \`flow run workflows/search/simclr_vs_selftrain.toml\`"
    echo
    echo "Accuracy on 1,000 validation images in percent at 40, 100 and 1,000 labels, mean of two draws, after 100,000 images forward and backward."
    echo "Twelve trials of each arm, what they are stands in the workflow; the best mean of each arm (**bold**) is what the main job uses."
    echo
    echo "| trial | 40 | 100 | 1000 | mean |"
    echo "| --- | ---: | ---: | ---: | ---: |"
    sed -n 's/^| *\([a-z]*[0-9]\{1,2\}\) *| *\([0-9.]*\)[^|]*| *\([0-9.]*\)[^|]*| *\([0-9.]*\).*/\1 \2 \3 \4/p' "$table" |
        awk '{
            arm = $1; sub(/[0-9]+$/, "", arm); number = substr($1, length(arm) + 1); mean = ($2 + $3 + $4) / 3
            if (!(arm in best) || mean > best[arm]) { best[arm] = mean; which[arm] = $1 }
            line[++n] = sprintf("%s %02d %s %s %s %s %.2f", arm, number, $1, $2, $3, $4, mean)
        } END { for (i = 1; i <= n; i++) { split(line[i], f, " "); print line[i], (which[f[1]] == f[3]) } }' |
        sort -k1,1 -k2,2 |
        awk '{ b = $8 ? "**" : ""; printf "| %s%s%s | %s | %s | %s | %s%s%s |\n", b, $3, b, $4, $5, $6, b, $7, b }'
} > benches/results/search.md
