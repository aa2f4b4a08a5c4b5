"""The runs of the workflows of localisation as one part of BENCHMARKS.md: the paper's two tables, its claims, and labels saved.

    tasks.py FOLDER_OF_RUNS
"""
import json
import pathlib
import re
import sys

TASKS = {"segment": "Segmentation", "detect": "Detection"}
# Of Zoph et al. 2020: an arm that should do so, and what it is held against.
PRE_TRAINED, SELF_TRAINED = ["supervised", "simclr"], ["selftrain"]


def newest(folder, workflow):
    runs = sorted(pathlib.Path(folder).glob(f"*-{workflow}-*"))
    return [(run, json.loads((run / "summary.json").read_text())) for run in runs if (run / "summary.json").exists()]


def took(summary):
    ran = sum(node["status"] == "ran" for node in summary["nodes"])
    minutes = (summary["finished_unix_ms"] - summary["started_unix_ms"]) / 60_000
    others = "" if ran == len(summary["nodes"]) else ", the others were in the cache"
    return f"{ran} of {len(summary['nodes'])} nodes ran{others}: {minutes:.1f} minutes."


def gain(arm):
    """What an arm is above scratch, bold where that is significant after Holm's correction."""
    said = arm["baseline"]
    if said is None:
        return ""
    d = said["difference"]
    text = f"{100 * d['mean']:+.1f} ({100 * d['low']:+.1f} to {100 * d['high']:+.1f})"
    return f"**{text}**" if said["significant"] else text


def rethinking(run, summary):
    verdicts = {}
    for file in sorted(run.glob("verdict*.json")):
        found = re.search(r"task=(\w+),views=(\w+)", file.name)
        if found and not file.name.endswith(".figures.json"):
            verdicts[found[1], found[2]] = json.loads(file.read_text())["verdict"]
    print(f"### `flow run workflows/{summary['workflow']}.toml`\n\n{summary['question']}\n\n{took(summary)}\n")
    for task, title in TASKS.items():
        rows = [(views, cell) for (of, views), verdict in sorted(verdicts.items()) if of == task for cell in verdict["cells"]]
        if not rows:
            continue
        arms = [arm["arm"] for arm in rows[0][1]["arms"]]
        metric = verdicts[task, rows[0][0]]["metric"]
        print(f"{title}, {metric} in percent: scratch, and what the other arms are above it with its 95 % interval; bold where that is significant (Holm, in each row).\n")
        print("| augmentation | labels | " + " | ".join(arms) + " |")
        print("| --- | ---: |" + " ---: |" * len(arms))
        for views, cell in rows:
            shown = [f"{100 * arm['figure']['mean']:.1f}" if arm["baseline"] is None else gain(arm) for arm in cell["arms"]]
            print(f"| {views.upper()} | {cell['budget']} | " + " | ".join(shown) + " |")
        print()
        claims(rows)


def mean(values):
    return sum(values) / len(values)


def claims(rows):
    """The paper's three claims in numbers."""
    of = lambda cell, arm: next(a for a in cell["arms"] if a["arm"] == arm)
    above = lambda cell, arm: 100 * of(cell, arm)["baseline"]["difference"]["mean"]
    budgets = sorted({int(cell["budget"]) for _, cell in rows})
    few, all_labels = ([cell for _, cell in rows if int(cell["budget"]) == budget] for budget in (budgets[0], budgets[-1]))
    names = sorted({views for views, _ in rows})
    weak, strong = ([cell for views, cell in rows if views == name] for name in (names[0], names[-1]))
    scratch = lambda cells: mean([100 * of(cell, "scratch")["figure"]["mean"] for cell in cells])
    print(f"- scratch itself: on average {scratch(few):.1f} with {budgets[0]} labels and {scratch(all_labels):.1f} with {budgets[-1]}, {scratch(weak):.1f} with "
          f"{names[0].upper()} and {scratch(strong):.1f} with {names[-1].upper()}. Where more labels gain it nothing, trainings are too short to tell what labels are worth.")
    for arm in PRE_TRAINED + SELF_TRAINED + ["both"]:
        significant = sum(of(cell, arm)["baseline"]["significant"] for _, cell in rows)
        better = sum(above(cell, arm) > 0 for _, cell in rows)
        by = lambda cells: f"{mean([above(cell, arm) for cell in cells]):+.1f}"
        print(f"- {arm}: above scratch in {better} of {len(rows)} rows, {significant} of all differences are significant; on average {by(few)} with {budgets[0]} labels "
              f"and {by(all_labels)} with {budgets[-1]}, {by(weak)} with {names[0].upper()} and {by(strong)} with {names[-1].upper()}.")
    best = sum(max(cell["arms"], key=lambda a: a["figure"]["mean"])["arm"] == "both" for _, cell in rows)
    print(f"- both is the best arm in {best} of {len(rows)} rows.\n")


def savings(run, summary):
    print(f"### `flow run workflows/{summary['workflow']}.toml`, {', '.join(summary.get('overrides') or []) or 'as it is'}\n\n{took(summary)}\n")
    print(re.sub(r"^# .*\n+", "", (run / "verdict.md").read_text()).strip() + "\n")


def main():
    print("## Localisation: the article's question, and labels saved\n")
    for run, summary in newest(sys.argv[1], "rethinking_pretraining")[-1:]:
        rethinking(run, summary)
    for run, summary in newest(sys.argv[1], "label_savings"):
        savings(run, summary)


main()
