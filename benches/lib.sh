# What the scripts that time whole runs have in common; to be sourced from the project's root.

flow=./target/release/flow

# The folder of an earlier run from an empty cache, or a new one that goes away at the end; runs use its cache from then on.
# usage: use_folder [FOLDER]
use_folder() {
    cargo build --release --locked
    if [ $# -gt 0 ]; then
        folder="$1/.flow"
    else
        folder="$(mktemp -d)"
        trap 'rm -rf "$folder"' EXIT
    fi
    export FLOW_CACHE="$folder/cache" FLOW_RUNS="$folder/runs"
}

# Takes a run's summary: how many nodes ran, in how many seconds.
# usage: summarise RUN_FOLDER
summarise() {
    summary="$("$flow" runs show "$(basename "$1")" --json)"
    ran="$(grep -c '"status": "ran"' <<< "$summary")"
    seconds="$(awk -v a="$(field started_unix_ms)" -v b="$(field finished_unix_ms)" 'BEGIN { printf "%.0f", (b - a) / 1000 }')"
}

# Refuses a run that found something in the cache, of a workflow without equal nodes.
# usage: must_be_cold RUN_FOLDER
must_be_cold() {
    if grep -q '"status": "cached"' <<< "$summary"; then
        echo "$1 did not begin with an empty cache" >&2
        exit 1
    fi
}

# The median of the numbers on standard input.
median() { sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

# A whole number of the summary.
field() { sed -n "s/^ *\"$1\": \([0-9]*\),*$/\1/p" <<< "$summary"; }
