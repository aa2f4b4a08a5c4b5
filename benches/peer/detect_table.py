"""The detectors of benches/detect.sh side by side, as a Markdown table: detect_table.py FOLDER"""
import json, pathlib, statistics, sys
import torch

folder = pathlib.Path(sys.argv[1])
read = lambda name: [json.loads(file.read_text()) for file in sorted(folder.glob(f"{name}.*.json"))]
peer, scores, detectors = read("peer"), read("score"), read("detector")
rows = {"AP": "ap", "AP50": "ap50", "AP75": "ap75"}
steps = detectors[0]["components"]["param.steps"]
mean, deviation = statistics.mean, lambda values: statistics.stdev(values) if len(values) > 1 else float("nan")

print("## Detection: the detector of `workflows/detect.toml`, and the same in PyTorch\n")
print(f"`benches/detect.sh`: the same network, images, views, budget and schedule, {len(peer)} seeds in turn; flow's AP beside pycocotools' of PyTorch {torch.__version__}'s "
      "boxes. AP in percent, mean ± standard deviation over seeds, and the difference with its standard error. A step has its views in it.\n")
print("| | flow | PyTorch | flow - PyTorch |")
print("| --- | ---: | ---: | ---: |")
for name, key in rows.items():
    a, b = ([100 * r[key] for r in some] for some in ([s["metrics"] for s in scores], peer))
    error = (deviation(a) ** 2 / len(a) + deviation(b) ** 2 / len(b)) ** 0.5
    print(f"| {name} | {mean(a):.1f} ± {deviation(a):.1f} | {mean(b):.1f} ± {deviation(b):.1f} | {mean(a) - mean(b):+.1f} ± {error:.1f} |")
ours, theirs = ([1000 * s / steps for s in some] for some in ([d["cost"]["wall_s"] for d in detectors], [p["train_s"] for p in peer]))
print(f"| ms a step, median of the seeds' means | {statistics.median(ours):.1f} | {statistics.median(theirs):.1f} | {statistics.median(theirs) / statistics.median(ours):.2f} times as fast |")
