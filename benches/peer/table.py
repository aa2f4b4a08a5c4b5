"""JSON lines of benches/train_step.sh to Markdown tables: medians over the rounds, and flow's ratio to the best of PyTorch's modes.
usage: table.py LINES"""
import json, statistics, sys
from collections import defaultdict
import torch, torchvision

steps, views = defaultdict(list), defaultdict(list)
for line in open(sys.argv[1]):
    r = json.loads(line)
    if "backbone" in r:
        mode = "flow_bf16" if r.get("products") == "bf16" else r["mode"]
        steps[r["backbone"], r["task"], r["batch"], r["threads"], mode].append((r["median_ms"], r["peak_rss_mib"]))
    else:
        views[r["recipe"], r["image"], r["mode"]].append(r["median_us"])
ms = {k: statistics.median(v[0] for v in vs) for k, vs in steps.items()}
mib = {k: max(v[1] for v in vs) for k, vs in steps.items()}
rounds = max(len(v) for v in steps.values())
modes = ["eager", "channels_last", "compile"]
print("## One training step, and PyTorch's\n")
print(f"`benches/train_step.sh {rounds}`: forward, backward and optimiser in fp32 on given images, {rounds} rounds in turn, medians in "
      f"milliseconds; PyTorch {torch.__version__}, torchvision {torchvision.__version__}. Times faster is against the best of PyTorch's three.\n")
print("| case | threads | flow | eager | channels_last | compile | times faster | lowest of a round | peak MiB, flow | PyTorch, least |")
print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
for key in dict.fromkeys(k[:4] for k in steps):
    backbone, task, batch, threads = key
    best = min(ms[key + (m,)] for m in modes)
    by_round = [min(steps[key + (m,)][r][0] for m in modes) / steps[key + ("flow",)][r][0] for r in range(len(steps[key + ("flow",)]))]
    print(f"| {backbone}, {task}, batch {batch} | {threads} | {ms[key + ('flow',)]:.1f} | " + " | ".join(f"{ms[key + (m,)]:.1f}" for m in modes)
          + f" | {best / ms[key + ('flow',)]:.2f} | {min(by_round):.2f} | {mib[key + ('flow',)]} | {min(mib[key + (m,)] for m in modes)} |")
print("\nTwo threads over one, flow: " + ", ".join(
    f"{b} {t} {ms[b, t, n, 1, 'flow'] / ms[b, t, n, 2, 'flow']:.2f}" for b, t, n in dict.fromkeys(k[:3] for k in steps)) + ".\n")
halves = [k for k in dict.fromkeys(k[:4] for k in steps) if k + ("flow_bf16",) in ms and k + ("bf16",) in ms]
if halves:
    print("The same with factors of bf16 (`precision = \"bf16\"`), against PyTorch's autocast to bf16 on the CPU; the losses of both stay fp32.\n")
    print("| case | threads | flow, bf16 | PyTorch, bf16 | times faster | flow, fp32 over bf16 |\n| --- | --- | --- | --- | --- | --- |")
for key in halves:
    backbone, task, batch, threads = key
    ours, theirs = ms[key + ("flow_bf16",)], ms[key + ("bf16",)]
    print(f"| {backbone}, {task}, batch {batch} | {threads} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.2f} | {ms[key + ('flow',)] / ours:.2f} |")
if halves:
    print()
print("## One augmented view, and torchvision's\n")
print("Microseconds on one core, medians; the same operations with the same settings.\n")
print("| recipe | flow | torchvision v2 | times faster |\n| --- | --- | --- | --- |")
for recipe, image in dict.fromkeys(k[:2] for k in views):
    ours, theirs = (statistics.median(views[recipe, image, m]) for m in ("flow", "torchvision v2"))
    print(f"| {recipe}, {image} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.1f} |")
