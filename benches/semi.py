"""The runs of the semi-supervised workflows as one part of BENCHMARKS.md: their tables, and what their guesses were like.

    semi.py FOLDER_OF_RUNS
"""
import json
import pathlib
import re
import statistics
import sys

WORKFLOWS = ["semi_zoo", "cost_of_an_answer", "open_set", "long_tail"]
# How many guesses are kept, how many of those on known classes are right, how many of the kept are of foreign images, the largest share of one class.
GUESSES = [("kept", "kept, %"), ("precision", "right, %"), ("kept_unknown", "foreign among the kept, %"), ("largest", "the commonest class, %")]


def guesses(nodes):
    """Rows of the means over draws, of each training that guesses."""
    groups = {}
    for node in nodes:
        metrics = node.get("metrics") or {}
        if node["kind"] == "finetune" and "kept" in metrics:
            variables = ", ".join(part for part in re.findall(r"[a-z_]+=[^,\]]+", node["name"]) if not part.startswith("seed="))
            name = node["name"].split("[")[0] + (f" ({variables})" if variables else "")
            largest = max(value for key, value in metrics.items() if key.startswith("guessed."))
            groups.setdefault(name, []).append({**metrics, "largest": largest})
    for name, rows in groups.items():
        means = [statistics.mean(row[key] for row in rows) if key in rows[0] else None for key, _ in GUESSES]
        yield name, means


def part(run):
    """One run: how long it took, its answer, its guesses."""
    summary = json.loads((run / "summary.json").read_text())
    nodes = summary["nodes"]
    ran = sum(node["status"] == "ran" for node in nodes)
    minutes = (summary["finished_unix_ms"] - summary["started_unix_ms"]) / 60_000
    processor = sum((node.get("cost") or {}).get("wall_s", 0) * (node.get("cost") or {}).get("threads", 1) for node in nodes if node["status"] == "ran") / 60
    print(f"### `flow run workflows/{summary['workflow']}.toml`\n")
    print(f"{summary['question']}\n")
    others = "" if ran == len(nodes) else ", the others were in the cache"
    print(f"{ran} of {len(nodes)} nodes ran{others}: {minutes:.1f} minutes; their threads worked {processor:.0f} minutes in all.\n")
    for name in ("verdict.md", "zoo.md"):
        if (run / name).exists():
            print(re.sub(r"^# .*\n+", "", (run / name).read_text()).strip() + "\n")
    rows = list(guesses(nodes))
    if rows:
        shown = [i for i in range(len(GUESSES)) if any(means[i] is not None for _, means in rows)]
        print("What was guessed of unlabelled images at the end of training, mean over draws:\n")
        print("| training | " + " | ".join(GUESSES[i][1] for i in shown) + " |")
        print("| --- |" + " ---: |" * len(shown))
        for name, means in rows:
            print(f"| {name} | " + " | ".join("" if means[i] is None else f"{100 * means[i]:.0f}" for i in shown) + " |")
        print()


def main():
    print("## Semi-supervised learning, at equal budgets\n")
    for workflow in WORKFLOWS:
        for run in sorted(pathlib.Path(sys.argv[1]).glob(f"*-{workflow}-*"))[:1]:
            part(run)


main()
