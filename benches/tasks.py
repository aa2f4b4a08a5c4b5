"""The runs of the workflows of localisation as one part of BENCHMARKS.md: the paper's two tables, its claims, labels saved, and self-training
with few labels.

    tasks.py FOLDER_OF_RUNS
"""
import json
import pathlib
import re
import sys

TASKS = {"segment": "Segmentation", "detect": "Detection"}
# The arms that the claims of Zoph et al. 2020 are about.
PRE_TRAINED, SELF_TRAINED = ["supervised", "simclr"], "selftrain"
# 97.5 % quantile of Student's t, by degrees of freedom.
STUDENT = [None, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]


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


def interval(values):
    """Mean and half of its 95 % interval (Student's t), in points."""
    n = len(values)
    middle = mean(values)
    spread = (sum((v - middle) ** 2 for v in values) / (n - 1)) ** 0.5
    return 100 * middle, 100 * STUDENT[n - 1] * spread / n**0.5


def told(values):
    middle, half = interval(values)
    return f"{middle:+.1f} ({middle - half:+.1f} to {middle + half:+.1f})"


def holds(parts):
    """Whether something that should be above zero is, in each of its parts."""
    found = [interval(values) for values in parts]
    if all(middle - half > 0 for middle, half in found):
        return "yes"
    if any(middle + half < 0 for middle, half in found):
        return "no"
    return "not shown, an interval includes zero"


def claims(rows):
    """The paper's three claims, each a mean over rows of the table for every seed, with its interval over seeds."""
    budgets = sorted({int(cell["budget"]) for _, cell in rows})
    names = sorted({views for views, _ in rows})
    arms = {(views, int(cell["budget"]), arm["arm"]): arm["by_run"] for views, cell in rows for arm in cell["arms"]}
    seeds = range(len(next(iter(arms.values()))))

    def of(first, second="scratch", views=names, labels=budgets):
        """For each seed, what an arm is above another, averaged over rows."""
        return [mean([arms[v, n, first][seed] - arms[v, n, second][seed] for v in views for n in labels]) for seed in seeds]

    def less(first, second):
        return [a - b for a, b in zip(first, second)]

    few, many, weak, strong = budgets[:1], budgets[-1:], names[:1], names[-1:]
    print("Over all rows, above scratch: " + "; ".join(f"{arm} {told(of(arm))}" for arm in PRE_TRAINED + [SELF_TRAINED, "both"]) + ".\n")
    print("The paper's claims, here (means over rows, 95 % intervals over seeds):\n")
    for arm in PRE_TRAINED:
        by_labels = less(of(arm, labels=few), of(arm, labels=many))
        by_views = less(of(arm, views=weak), of(arm, views=strong))
        print(f"- Is {arm} worth less as labels grow? {holds([by_labels]).capitalize()}: its gain is {told(of(arm, labels=few))} with {few[0]} labels and "
              f"{told(of(arm, labels=many))} with {many[0]}, a difference of {told(by_labels)}. As augmentation grows? {holds([by_views]).capitalize()}: "
              f"{told(of(arm, views=weak))} with {weak[0].upper()} and {told(of(arm, views=strong))} with {strong[0].upper()}, a difference of {told(by_views)}.")
    parts = [of(SELF_TRAINED, labels=few), of(SELF_TRAINED, labels=many), of(SELF_TRAINED, views=weak), of(SELF_TRAINED, views=strong)]
    print(f"- Does self-training help all the same? {holds(parts).capitalize()}: {told(parts[0])} with {few[0]} labels, {told(parts[1])} with {many[0]}, "
          f"{told(parts[2])} with {weak[0].upper()} and {told(parts[3])} with {strong[0].upper()}.")
    parts = [of("both", "supervised"), of("both", SELF_TRAINED)]
    print(f"- Are both together best? {holds(parts).capitalize()}: {told(parts[0])} over supervised pre-training and {told(parts[1])} over self-training.\n")


def whole(run, summary):
    print(f"### `flow run workflows/{summary['workflow']}.toml`, {', '.join(summary.get('overrides') or []) or 'as it is'}\n\n{took(summary)}\n")
    print(re.sub(r"^# .*\n+", "", (run / "verdict.md").read_text()).strip() + "\n")


def main():
    print("## Localisation: the article's question, and labels saved\n")
    for run, summary in newest(sys.argv[1], "rethinking_pretraining")[-1:]:
        rethinking(run, summary)
    for workflow in ["label_savings", "segment_selftrain"]:
        for run, summary in newest(sys.argv[1], workflow):
            whole(run, summary)


main()
