#!/usr/bin/env bash
# How long it takes to plan a new node over a cache of many records: at once after the run that made them (the index takes them in), again, and
# over an empty cache.
# usage: benches/new_node.sh [RECORDS]
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${FLOW:-}" ]; then
    cargo build --release --locked
    FLOW=./target/release/flow
fi
flow="$(realpath "$FLOW")"
records="${1:-20000}"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unset FLOW_CACHE FLOW_RUNS
{
    printf '[workflow]\nname = "many"\n[matrix]\ni = ['
    seq -s, "$records"
    printf ']\n[nodes.n]\nkind = "concat"\ntext = "${i}\\n"\n'
} > many.toml
new() { printf '[workflow]\nname = "new"\n[nodes.fresh]\nkind = "concat"\ntext = "%s"\n' "$1" > new.toml; }
timed() {
    local began=$(date +%s%N)
    "$flow" "$@" > /dev/null
    printf '%6d ms' $((($(date +%s%N) - began) / 1000000))
}
"$flow" run many.toml -q
for round in 1 2 3; do
    # What the index has not seen: all records, as after the run that made them.
    rm -rf .flow/cache/index
    new "$round"
    printf 'round %s: first %s, again %s, over an empty cache %s\n' \
        "$round" "$(timed plan new.toml)" "$(timed plan new.toml)" "$(timed plan new.toml --cache "$folder/empty-$round")"
done
