"""The detector of `workflows/detect.toml` in PyTorch: the same network, data, views, budget and schedule, judged by pycocotools.

    detect.py FOLDER [--seed S] [--steps N] [--threads N]   FOLDER: the files of flow's data set, as a command node is handed them

Prints one JSON line: {"seed", "ap", "ap50", "ap75", "train_s", "ms_per_step"}; a step's time is the median, its views included."""
import argparse, contextlib, io, json, pathlib, statistics, time
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.numpy import load_file
from torchvision.ops import batched_nms

p = argparse.ArgumentParser()
p.add_argument("folder", type=pathlib.Path)
for n, d in (("seed", 0), ("steps", 4000), ("batch", 16), ("warmup", 50), ("threads", 2)): p.add_argument("--" + n, type=int, default=d)
p.add_argument("--lr", type=float, default=.006)
a = p.parse_args()
torch.set_num_threads(a.threads); torch.manual_seed(a.seed)
random = np.random.default_rng(a.seed)
WIDTHS, SHIFT, RADIUS, FARTHEST, STEEPEST, ALPHA = (16, 32, 64, 128), 4, 1.5, 8., 6., .25


def split(name):
    """Images `[n][c][h][w]` in 0 to 1, and of each its things: class, left, top, right, bottom, area, whether it is left out."""
    raw = (a.folder / f"{name}.images").read_bytes()
    assert raw[:8] == b"flowimg1"
    n, h, w, c = np.frombuffer(raw, "<u4", 4, 8)
    pixels = np.frombuffer(raw, np.uint8, offset=24 + 2 * int(n)).reshape(n, h, w, c)
    boxes = load_file(a.folder / f"{name}.boxes.safetensors")
    ends = np.cumsum(boxes["counts"].astype(int))[:-1]
    return pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255, np.split(boxes["objects"], ends)


(images, things), (test_images, test_things) = split("train"), split("test")
CLASSES = json.loads((a.folder / "dataset.json").read_text())["class_names"]
K, (N, C, H, W) = len(CLASSES), images.shape
mean, std = images.mean((0, 2, 3), keepdims=True)[0], images.std((0, 2, 3), keepdims=True)[0]


def kaiming(conv):
    nn.init.normal_(conv.weight, std=(2 / (conv.kernel_size[0] ** 2 * conv.out_channels)) ** .5)
    if conv.bias is not None: nn.init.zeros_(conv.bias)
    return conv


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        conv = lambda i, o, k=3, s=1, bias=False: kaiming(nn.Conv2d(i, o, k, s, k // 2, bias=bias))
        self.stages, before = nn.ModuleList(), C
        for i, width in enumerate(WIDTHS):
            self.stages.append(nn.Sequential(conv(before, width, 3, 1 if i == 0 else 2), nn.BatchNorm2d(width), nn.ReLU(inplace=True)))
            before = width
        channels = min(before, 64)
        self.laterals = nn.ModuleList(nn.Sequential(conv(width, channels, 1), nn.BatchNorm2d(channels)) for width in WIDTHS[1:])
        self.tower = nn.ModuleList(conv(channels, channels) for _ in range(2))
        self.norms = nn.ModuleList(nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2)) for _ in WIDTHS[1:])
        self.values = conv(channels, K + 5, bias=True)
        nn.init.normal_(self.values.weight, std=.01)
        with torch.no_grad(): self.values.bias[:K] = -np.log(99)

    def forward(self, x):
        maps = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i: maps.append(x)
        pyramid = [None] * 3
        for i in (2, 1, 0):
            pyramid[i] = self.laterals[i](maps[i])
            if i < 2: pyramid[i] = pyramid[i] + F.interpolate(pyramid[i + 1], scale_factor=2)
        out = []
        for x, norms in zip(pyramid, self.norms):
            for layer, norm in zip(self.tower, norms): x = F.relu(norm(layer(x)))
            out.append(self.values(x).flatten(2).transpose(1, 2))
        return torch.cat(out, 1)


def places():
    """Of all places: x, y, stride, and the least and most that what they learn may reach."""
    rows = []
    for level, side in enumerate((H // 2, H // 4, H // 8)):
        stride = H / side
        y, x = np.divmod(np.arange(side * side), side)
        least, most = (0 if level == 0 else FARTHEST / 2 * stride), (np.inf if level == 2 else FARTHEST * stride)
        rows.append(np.stack([(x + .5) * stride, (y + .5) * stride, *(np.full(side * side, v) for v in (stride, least, most))]))
    return np.concatenate(rows, 1).astype(np.float32)


X, Y, STRIDE, LEAST, MOST = places()


def assigned(objects):
    """What each place learns: its class (-1 for nothing, -2 for left out), how far it reaches, how near the centre is."""
    kind, reaches, near = np.full(len(X), -1), np.zeros((len(X), 4), np.float32), np.zeros(len(X), np.float32)
    smallest = np.full(len(X), np.inf)
    for klass, left, top, right, bottom, _, ignored in objects:
        reach = np.stack([X - left, Y - top, right - X, bottom - Y], 1)
        inside = (reach > 0).all(1)
        if ignored:
            kind[inside & (kind == -1)] = -2
            continue
        farthest = reach.max(1)
        close = (abs(X - (left + right) / 2) < RADIUS * STRIDE) & (abs(Y - (top + bottom) / 2) < RADIUS * STRIDE)
        takes = inside & close & (farthest > LEAST) & (farthest <= MOST) & ((right - left) * (bottom - top) < smallest)
        smallest[takes], kind[takes], reaches[takes] = (right - left) * (bottom - top), klass, reach[takes]
        share = lambda i, j: np.minimum(reach[:, i], reach[:, j]) / np.maximum(reach[:, i], reach[:, j])
        with np.errstate(invalid="ignore"): near[takes] = np.sqrt(share(0, 2) * share(1, 3))[takes]
    return kind, reaches, near


def view(i):
    """A flip and a shift of an image whose border is mirrored, of its things too."""
    image, objects = images[i], things[i].copy()
    if random.random() < .5:
        image = image[:, :, ::-1]
        objects[:, [1, 3]] = W - objects[:, [3, 1]]
    down, right = random.integers(-SHIFT, SHIFT + 1, 2)
    image = np.pad(image, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), "reflect")[:, SHIFT - down:SHIFT - down + H, SHIFT - right:SHIFT - right + W]
    objects[:, [1, 3]] = (objects[:, [1, 3]] + right).clip(0, W)
    objects[:, [2, 4]] = (objects[:, [2, 4]] + down).clip(0, H)
    objects = objects[(objects[:, 3] - objects[:, 1] >= 1) & (objects[:, 4] - objects[:, 2] >= 1)]
    return (image - mean) / std, assigned(objects)


def loss_of(values, kind, reaches, near):
    positive = kind >= 0
    count = max(int(positive.sum()), 1)
    truth = torch.zeros_like(values[..., :K])
    truth[positive] = F.one_hot(kind[positive], K).float()
    logits = values[..., :K]
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    doubt = torch.where(truth > 0, torch.sigmoid(-logits), torch.sigmoid(logits))
    alpha = torch.where(truth > 0, ALPHA, 1 - ALPHA)
    loss = (alpha * doubt ** 2 * entropy * (kind != -2)[..., None]).sum() / count
    if not positive.any(): return loss
    stride = torch.from_numpy(STRIDE).expand(len(values), -1)[positive]
    found = values[..., K:K + 4][positive].clamp(-STEEPEST, STEEPEST).exp()
    true, near = reaches[positive] / (2 * stride[:, None]), near[positive]
    area = lambda r: (r[:, 0] + r[:, 2]) * (r[:, 1] + r[:, 3])
    both, around = area(torch.minimum(found, true)), area(torch.maximum(found, true)) + 1e-7
    union = area(found) + area(true) - both + 1e-7
    overlap = both / union - (around - union) / around
    return loss + ((1 - overlap) * near).sum() / near.sum() + F.binary_cross_entropy_with_logits(values[..., K + 4][positive], near)


@torch.no_grad()
def detections(net):
    net.eval()
    for first in range(0, len(test_images), 64):
        values = net(torch.from_numpy((test_images[first:first + 64] - mean) / std).float())
        x, y, stride = map(torch.from_numpy, (X, Y, STRIDE))
        reach = 2 * stride[:, None] * values[..., K:K + 4].clamp(-STEEPEST, STEEPEST).exp()
        boxes = torch.stack([x - reach[..., 0], y - reach[..., 1], x + reach[..., 2], y + reach[..., 3]], -1)
        boxes = torch.stack([boxes[..., 0].clamp(min=0), boxes[..., 1].clamp(min=0), boxes[..., 2].clamp(max=W), boxes[..., 3].clamp(max=H)], -1)
        scores = (values[..., :K].sigmoid() * values[..., K + 4:].sigmoid()).sqrt()
        for i in range(len(values)):
            at, klass = (scores[i] > .05).nonzero(as_tuple=True)
            score, box = scores[i][at, klass], boxes[i][at]
            order = score.argsort(descending=True)[:300]
            kept = order[batched_nms(box[order], score[order], klass[order], .6)][:100]
            for k in kept:
                l, t, r, b = box[k].tolist()
                yield {"image_id": first + i + 1, "category_id": int(klass[k]) + 1, "bbox": [l, t, r - l, b - t], "score": float(score[k])}


def judged(found):
    truth = COCO()
    annotations = [{"id": 0, "image_id": i + 1, "category_id": int(o[0]) + 1, "bbox": [float(o[1]), float(o[2]), float(o[3] - o[1]), float(o[4] - o[2])],
                    "area": float(o[5]), "iscrowd": int(o[6])} for i, objects in enumerate(test_things) for o in objects]
    for i, annotation in enumerate(annotations): annotation["id"] = i + 1
    truth.dataset = {"images": [{"id": i + 1} for i in range(len(test_images))], "annotations": annotations, "categories": [{"id": i + 1} for i in range(K)]}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate(); evaluation.accumulate(); evaluation.summarize()
    return [float(v) for v in evaluation.stats[:3]]


net = Detector()
decayed, plain = [w for w in net.parameters() if w.ndim > 1], [w for w in net.parameters() if w.ndim == 1]
optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": .01}, {"params": plain, "weight_decay": 0}], lr=a.lr)
rate = lambda s: (s + 1) / a.warmup if s < a.warmup else .5 * (1 + np.cos(np.pi * (s - a.warmup) / (a.steps - a.warmup)))
schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
order, times, began = np.array([], int), [], time.perf_counter()
for step in range(a.steps):
    start = time.perf_counter()
    if len(order) < a.batch: order = np.concatenate([order, random.permutation(N)])
    chosen, order = order[:a.batch], order[a.batch:]
    views, targets = zip(*map(view, chosen))
    kind, reaches, near = (torch.from_numpy(np.stack(column)) for column in zip(*targets))
    optimiser.zero_grad()
    loss_of(net(torch.from_numpy(np.stack(views)).float()), kind, reaches, near).backward()
    optimiser.step(); schedule.step()
    times.append(time.perf_counter() - start)
train_s = time.perf_counter() - began
ap, ap50, ap75 = judged(list(detections(net)))
print(json.dumps({"seed": a.seed, "ap": round(ap, 4), "ap50": round(ap50, 4), "ap75": round(ap75, 4), "train_s": round(train_s, 1), "ms_per_step": round(1000 * statistics.median(times), 2)}))
