#!/usr/bin/env python3
"""Times flow and its peers on the same graphs, side by side, and prints the tables of benches/results/graphs.md.

usage: time.py FLOW [SCALE]

FLOW is the program; ninja, snakemake, dvc and redun are taken from PATH, and left out where they are not there. SCALE (1) divides all
sizes, to try the script. Times are of whole processes; where several are compared they alternate, and the median counts. After each
cold run the log that the nodes write (for nodes in flow's own process: the run's events) must hold each node once.
"""
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import make

FLOW = os.path.abspath(sys.argv[1])
SCALE = int(sys.argv[2]) if len(sys.argv) > 2 else 1
SHAPES = {"chain": 10_000, "fan": 10_000, "grid": 10_000, "bipartite": 200}

RUN = {
    "flow": [FLOW, "run", "graph.toml", "--quiet"],
    "flow_command": [FLOW, "run", "graph.toml", "--quiet"],
    "ninja": ["ninja", "--quiet"],
    "snakemake": ["snakemake", "--quiet", "all", "--cores", str(os.cpu_count())],
    "dvc": ["dvc", "repro", "--quiet"],
    "redun": ["redun", "run", "graph.py", "main"],
}
PLAN = {
    "flow": [FLOW, "plan", "graph.toml"],
    "flow_command": [FLOW, "plan", "graph.toml"],
    "ninja": ["ninja", "-n"],
    "snakemake": ["snakemake", "--quiet", "all", "--dry-run"],
    "dvc": ["dvc", "status", "--quiet"],
}
SHOWN = {"flow": "flow, in its process", "flow_command": "flow, `command` nodes", "ninja": "ninja", "snakemake": "Snakemake", "dvc": "DVC", "redun": "redun"}


def happened(events):
    """The seconds and events of a run's log; a line that is being written is left out."""
    lines = (json.loads(line) for line in events.read_text().splitlines() if line.endswith("}"))
    return [(line["unix_ms"] / 1e3, line["what"]) for line in lines]


def there(tools):
    return [tool for tool in tools if tool.startswith("flow") or shutil.which(tool)]


class Bench:
    """One graph for one tool, in a folder of its own."""

    def __init__(self, shape, nodes, tool, root):
        self.tool, self.nodes = tool, make.graph(shape, nodes)
        self.folder = Path(root) / tool
        self.folder.mkdir(parents=True)
        (self.folder / "leaf.txt").write_text("leaf\n")
        make.TOOLS[tool](self.nodes, self.folder)
        if tool == "dvc":
            subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=self.folder, check=True)

    def time(self, command):
        begun = time.perf_counter()
        done = subprocess.run(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        took = time.perf_counter() - begun
        # `dvc status --quiet` says by its exit status that something changed.
        if done.returncode and command[:2] != ["dvc", "status"]:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr.decode()[-2000:]}")
        return took

    def cold(self):
        took = self.time(RUN[self.tool])
        made = self.made()
        if sorted(made) != sorted(make.name(i) for i in range(len(self.nodes))):
            sys.exit(f"{self.tool} did other work: {len(made)} lines for {len(self.nodes)} nodes")
        return took

    def made(self):
        if self.tool != "flow":
            return (self.folder / "log").read_text().split()
        events = max((self.folder / ".flow/runs").glob("*/events.jsonl"))
        return [what["node"] for _, what in happened(events) if what["event"] == "node_finished"]

    def change(self, count):
        (self.folder / "leaf.txt").write_text(f"leaf {count}\n")


def alternate(times, *each):
    """The medians of several things that are timed in turns."""
    taken = [[] for _ in each]
    for _ in range(times):
        for one, list_ in zip(each, taken):
            list_.append(one())
    return [statistics.median(list_) for list_ in taken]


def ms(seconds):
    return f"{seconds * 1e3:,.0f} ms" if seconds < 10 else f"{seconds:,.1f} s"


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*cells):
    print()
    row(*cells)
    row(*["---"] + ["---:"] * (len(cells) - 1))


def measure(shape, nodes, tools, times):
    """Rows of one graph: cold, no-op, plan with one file changed, of each tool."""
    with tempfile.TemporaryDirectory() as root:
        benches = [Bench(shape, nodes, tool, root) for tool in there(tools)]
        cold = [bench.cold() for bench in benches]
        again = alternate(times, *[lambda b=b: b.time(RUN[b.tool]) for b in benches])
        for bench in benches:
            bench.change(1)
        planning = [bench for bench in benches if bench.tool in PLAN]
        plans = dict(zip((b.tool for b in planning), alternate(times, *[lambda b=b: b.time(PLAN[b.tool]) for b in planning])))
        for bench, first, noop in zip(benches, cold, again):
            plan = plans.get(bench.tool)
            count = len(bench.nodes)
            row(shape, f"{count:,}", SHOWN[bench.tool], ms(first), f"{first / count * 1e3:.2f} ms", ms(noop), ms(plan) if plan else "-")


def large(nodes):
    """flow alone as the graph grows: no-op, memory, and a query over all records."""
    for count in (nodes // 4, nodes // 2, nodes):
        with tempfile.TemporaryDirectory() as root:
            bench = Bench("grid", count, "flow", root)
            bench.cold()
            [noop] = alternate(3, lambda: bench.time(RUN["flow"]))
            peak = peak_mib(RUN["flow"], bench.folder)
            query = [FLOW, "cache", "query", "kind = concat and size >= 64 order by finished desc limit 10"]
            [asked] = alternate(5, lambda: bench.time(query))
            row(f"{len(bench.nodes):,}", ms(noop), f"{peak:,.0f} MiB", ms(asked))


def peak_mib(command, folder):
    """The most memory that a command holds; measured by a process that has no other child."""
    script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);" \
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    return int(subprocess.run([sys.executable, "-c", script, *command], cwd=folder, check=True, capture_output=True).stdout) / 1024


def watch(nodes, edits):
    """Seconds from saving the workflow (a node's text is another) to the start of the first node of the next run."""
    with tempfile.TemporaryDirectory() as root:
        bench = Bench("grid", nodes, "flow", root)
        bench.cold()
        path, runs = bench.folder / "graph.toml", bench.folder / ".flow/runs"
        text = path.read_text()
        process = subprocess.Popen([FLOW, "watch", "graph.toml"], cwd=bench.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        taken = []
        for edit in range(edits):
            while "watching" not in process.stderr.readline():
                pass
            time.sleep(0.5)
            beside = path.with_suffix(".new")
            beside.write_text(text.replace('text = "n000000\\n"', f'text = "edit {edit}\\n"'))
            saved = time.time()
            beside.rename(path)
            started = None
            while started is None:
                time.sleep(0.05)
                events = max(runs.glob("*/events.jsonl"))
                at = [second for second, what in happened(events) if what["event"] == "node_started"]
                started = min((t for t in at if t > saved - 0.002), default=None)
            taken.append(started - saved)
        process.terminate()
        process.wait()
        row(f"{len(bench.nodes):,}", ms(statistics.median(taken)), ms(max(taken)))


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    print("## Graphs")
    print("\nA trivial node that joins its inputs; the graphs are made by `benches/graphs/make.py`, this table by `benches/graphs.sh`. Whole")
    print("processes, medians of alternating runs. *Plan* is what says what would run after the one input file changed (`flow plan`,")
    print("`ninja -n`, `snakemake -n`, `dvc status`). flow hashes contents and proves what it finds; ninja compares times.")
    head("graph", "nodes", "tool", "cold run", "per node", "no-op run", "plan, one file changed")
    for shape, nodes in SHAPES.items():
        measure(shape, max(nodes // SCALE, 20), ["flow", "ninja"], 7)
    measure("grid", 2_500 // SCALE, ["flow_command", "ninja"], 5)
    measure("grid", 225 // SCALE, ["flow", "flow_command", "ninja", "snakemake", "dvc", "redun"], 1)
    print("\nflow alone, as the graph (a grid) grows; the query is over all records, by columns of the index:")
    head("nodes", "no-op run", "peak memory", "`flow cache query`")
    large(100_000 // SCALE)
    print("\n`flow watch` on a grid, from saving the workflow to the start of the first node of the next run:")
    head("nodes", "median of 9", "slowest")
    watch(1_000 // SCALE, 9)
    with tempfile.TemporaryDirectory() as root:
        bench = Bench("chain", 2, "flow", root)
        [shown] = alternate(21, lambda: bench.time([FLOW, "--help"]))
        print(f"\n`flow --help`: {shown * 1e3:.1f} ms.")


main()
