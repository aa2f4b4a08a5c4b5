"""Views by torchvision's v2 transforms, one image at a time on one thread, as a data loader's worker makes them: the peer for
`flow bench augment`. Operations and settings are those of flow's recipes of the same names.
usage: augment.py --recipe simclr|simclr-gray --image CxHxW
Prints one JSON line: {"recipe", "image", "mode", "median_us", "views_per_s"}."""
import argparse, json, time
import torch
from torchvision.transforms import v2
from torchvision import tv_tensors

p = argparse.ArgumentParser()
p.add_argument("--recipe", default="simclr")
p.add_argument("--image", default="3x32x32")
p.add_argument("--batch", type=int, default=256)
p.add_argument("--repeats", type=int, default=7)
a = p.parse_args()
torch.set_num_threads(1)
torch.manual_seed(0)
C, H, W = map(int, a.image.split("x"))
gray = a.recipe == "simclr-gray"
jitter = v2.ColorJitter(.4, .4) if gray else v2.ColorJitter(.4, .4, .4, .1)
ops = [v2.RandomResizedCrop((H, W), scale=(.3 if gray else .2, 1.), antialias=True), v2.RandomHorizontalFlip(), v2.RandomApply([jitter], .8)]
if not gray:
    ops.append(v2.RandomGrayscale(.2))
recipe = v2.Compose(ops + [v2.ToDtype(torch.float32, scale=True), v2.Normalize([.5] * C, [.25] * C)])
images = [tv_tensors.Image(torch.randint(0, 256, (C, H, W), dtype=torch.uint8)) for _ in range(a.batch)]
times = []
for r in range(a.repeats + 1):
    t = time.perf_counter()
    for image in images:
        recipe(image)
    times.append((time.perf_counter() - t) / a.batch)
m = sorted(times[1:])[a.repeats // 2]
print(json.dumps({"recipe": a.recipe, "image": a.image, "mode": "torchvision v2", "median_us": round(m * 1e6, 2), "views_per_s": round(1 / m, 1)}))
