"""JSON lines of equal_budget.py beside a main job's verdict.json, as a Markdown table.
usage: equal_budget_table.py LINES VERDICT"""
import json, statistics, sys
from collections import defaultdict
import torch

NAMES = {"scratch": "scratch", "tuned": "simclr_tuned", "selftrain": "selftrain", "freematch": "freematch"}
theirs, seconds = defaultdict(list), defaultdict(list)
for line in open(sys.argv[1]):
    r = json.loads(line)
    theirs[r["labels"], NAMES[r["arm"]]].append(r["accuracy"])
    seconds[r["labels"], NAMES[r["arm"]]].append(r["s"])
verdict = json.load(open(sys.argv[2]))["verdict"]
ours = {(int(cell["budget"]), arm["arm"]): arm["by_run"] for cell in verdict["cells"] for arm in cell["arms"]}

print("## The main job's arms in PyTorch\n")
print(f"`benches/equal_budget.sh`: the same recipes in PyTorch {torch.__version__} (`benches/peer/equal_budget.py`) at the same budget on the same "
      f"{verdict['images']} test images, each with class-balanced label draws of its own; accuracy in percent, mean ± standard deviation over draws, "
      "and the difference with its standard error.\n")
print("| labels | arm | flow | draws | PyTorch | draws | flow - PyTorch |")
print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
for labels, arm in sorted(theirs):
    if (labels, arm) not in ours:
        continue
    a, b = ([100 * v for v in values] for values in (ours[labels, arm], theirs[labels, arm]))
    deviation = lambda values: statistics.stdev(values) if len(values) > 1 else float("nan")
    error = (deviation(a) ** 2 / len(a) + deviation(b) ** 2 / len(b)) ** 0.5
    print(f"| {labels} | {arm} | {statistics.mean(a):.1f} ± {deviation(a):.1f} | {len(a)} | {statistics.mean(b):.1f} ± {deviation(b):.1f} | {len(b)} "
          f"| {statistics.mean(a) - statistics.mean(b):+.1f} ± {error:.1f} |")
