#!/usr/bin/env bash
# Puts the results that the other scripts left in benches/results together as BENCHMARKS.md.
set -euo pipefail
cd "$(dirname "$0")/.."
flow="${FLOW:-./target/release/flow}"
{
    echo "# Benchmarks"
    echo
    echo "Put together by \`benches/assemble.sh\` from what the scripts in \`benches/\` wrote; nothing in here is typed by hand."
    echo "Put together on $(date -u +%F); each part was measured when \`git log benches/results\` says that it changed, on this machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores," \
        "kernels: $("$flow" doctor --json | sed 's/.*"vectors":"\([^"]*\)".*/\1/'); $(rustc --version)."
    for part in benches/results/*.md; do
        echo
        cat "$part"
    done
} > BENCHMARKS.md
