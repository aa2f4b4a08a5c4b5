"""Golden values of localisation: losses, transforms of places, metrics, encodings of masks.

    python3 -m venv venv && venv/bin/pip install numpy torch torchvision pycocotools
    venv/bin/python tests/golden/make_local.py > tests/golden/localisation.json

Losses are written in torch's operations as their papers have them (gradients are autograd's), places are moved by torchvision's transforms.v2 on `tv_tensors`,
average precision and run-length encodings are pycocotools', suppression is torchvision's, mean IoU and the boundary's F are numpy's by their definitions."""
import contextlib
import io
import json
import math

import numpy as np
import torch
import torchvision
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision import tv_tensors
from torchvision.ops import generalized_box_iou_loss, nms, sigmoid_focal_loss
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

torch.set_num_threads(1)
TORCHVISION = f"torchvision {torchvision.__version__.split('+')[0]}"


def tensor(t, digits=9):
    t = torch.as_tensor(np.asarray(t.detach() if torch.is_tensor(t) else t))
    return {"shape": list(t.shape), "data": [None if math.isnan(v) else float(f"{v:.{digits}g}") for v in t.flatten().double().tolist()]}


def exact(values):
    values = np.asarray(values, dtype=np.float64)
    return {"shape": list(values.shape), "data": [None if math.isnan(v) else v for v in values.flatten().tolist()]}


def case(name, source, params, inputs, outputs, grads=None):
    return {"case": name, "source": source, "params": params, "inputs": inputs, "outputs": outputs, "grads": grads or {}}


def segmentation_losses():
    """Cross-entropy and Dice, with pixels that count nowhere and a class that does not occur."""
    generator = torch.Generator().manual_seed(1)
    for weight, ignored in ((1.0, True), (0.0, True), (0.5, False), (1.0, None)):
        logits = torch.randn(60, 5, generator=generator, dtype=torch.float64, requires_grad=True)
        labels = torch.randint(0, 4, (60,), generator=generator)
        if ignored is None:
            labels[:] = 255
        elif ignored:
            labels[torch.randperm(60, generator=generator)[:13]] = 255
        counted = labels != 255
        loss = torch.nn.functional.cross_entropy(logits[counted], labels[counted], reduction="sum") / max(1, int(counted.sum()))
        if weight and counted.any():
            p = logits.softmax(1)[counted]
            t = torch.nn.functional.one_hot(labels[counted], 5).double()
            dice = (2 * (p * t).sum(0) + 1) / (p.sum(0) + t.sum(0) + 1)
            loss = loss + weight * (1 - dice[t.sum(0) > 0].mean())
        loss.backward()
        yield case("segmentation", "torch", {"dice": weight}, {"logits": tensor(logits), "labels": tensor(labels)}, {"loss": tensor(loss)}, {"logits": tensor(logits.grad)})


def detection_losses():
    generator = torch.Generator().manual_seed(2)
    logits = (3 * torch.randn(20, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    targets = torch.zeros(20, 4, dtype=torch.float64)
    for row, column in ((0, 1), (3, 2), (4, 0), (11, 3)):
        targets[row, column] = 1
    counted = (torch.rand(20, generator=generator) > 0.2).double()
    loss = (sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2.0, reduction="none") * counted[:, None]).sum() / 4
    loss.backward()
    yield case("focal", TORCHVISION, {"alpha": 0.25, "gamma": 2.0, "positives": 4}, {"logits": tensor(logits), "targets": tensor(targets), "counted": tensor(counted)},
               {"loss": tensor(loss)}, {"logits": tensor(logits.grad)})
    reach = (1 + 6 * torch.rand(9, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    truth = 1 + 6 * torch.rand(9, 4, generator=generator, dtype=torch.float64)
    weights = torch.rand(9, generator=generator, dtype=torch.float64)
    signs = torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    loss = (generalized_box_iou_loss(reach * signs, truth * signs, reduction="none", eps=0.0) * weights).sum() / weights.sum()
    loss.backward()
    yield case("giou", TORCHVISION, {}, {"found": tensor(reach), "truth": tensor(truth), "weights": tensor(weights)}, {"loss": tensor(loss)}, {"found": tensor(reach.grad)})


def moves():
    """A mask and boxes through the functional transforms: masks take the nearest pixel, boxes the rectangle around their corners, cut at the border."""
    h, w = 20, 28
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    mask = tv_tensors.Mask(((rows // 4 + columns // 5) % 6).to(torch.uint8)[None])
    boxes = tv_tensors.BoundingBoxes(torch.tensor([[2.0, 3, 9, 8], [15, 1, 27, 19], [0, 12, 6, 20]]), format="XYXY", canvas_size=(h, w))
    source = f"{TORCHVISION} transforms.v2"
    inputs = {"mask": tensor(mask[0]), "boxes": tensor(boxes)}

    def moved(name, params, transform):
        m, b = transform(mask), F.clamp_bounding_boxes(transform(boxes))
        return case(name, source, params, inputs, {"mask": tensor(m[0]), "boxes": tensor(b)})

    yield moved("move_flip", {}, F.horizontal_flip)
    for top, left, height, width in ((3, 5, 13, 17), (0, 0, 20, 9), (7, 11, 6, 6)):
        yield moved("move_crop", {"top": top, "left": left, "height": height, "width": width}, lambda x: F.resized_crop(x, top, left, height, width, [h, w], InterpolationMode.NEAREST))
    for degrees in (17.0, -30.0, 90.0):
        yield moved("move_rotate", {"degrees": degrees}, lambda x: F.rotate(x, degrees, InterpolationMode.NEAREST))
    for factor, top, left in ((1.7, 6, 4), (0.4, -7, -5), (1.0, 0, 0)):
        to = (round(h * factor), round(w * factor))

        def window(x):
            x = F.resize(x, list(to), InterpolationMode.NEAREST)
            if top < 0:
                pad = [-left, -top, w - to[1] + left, h - to[0] + top]
                return F.pad(x, pad, fill=255 if isinstance(x, tv_tensors.Mask) else 0)
            return F.crop(x, top, left, h, w)
        yield moved("move_window", {"height": to[0], "width": to[1], "top": top, "left": left}, window)


def boundaries(mask, label):
    edge = np.zeros(mask.shape, bool)
    h, w = mask.shape
    for y, x in zip(*np.nonzero(mask == label)):
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            if 0 <= y + dy < h and 0 <= x + dx < w and mask[y + dy, x + dx] != label:
                edge[y, x] = True
    return edge


def boundary_f(found, truth, label):
    found = np.where(truth == 255, 255, found)
    if not (found == label).any() and not (truth == label).any():
        return math.nan
    reach = max(1, round(0.0075 * math.hypot(*truth.shape)))
    a, b = np.argwhere(boundaries(found, label)), np.argwhere(boundaries(truth, label))
    if len(a) == 0 or len(b) == 0:
        return float(len(a) == len(b))
    distance = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    precision, recall = (distance.min(1) <= reach).mean(), (distance.min(0) <= reach).mean()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def masks():
    rng = np.random.default_rng(3)
    for n, h, w, classes in ((4, 14, 17, 4), (2, 150, 130, 3)):
        y, x = np.mgrid[:h, :w]
        truth = np.stack([((y + 3 * i) // (h // 3) + x // (w // 3)) % classes for i in range(n)]).astype(np.int64)
        found = np.roll(truth, (1, 2), axis=(1, 2))
        noise = rng.random(truth.shape) < 0.1
        found[noise] = rng.integers(0, classes, noise.sum())
        truth[rng.random(truth.shape) < 0.05] = 255
        truth[0][truth[0] == classes - 1] = 0
        told = truth != 255
        iou = [((found == c) & (truth == c) & told).sum() / max(1e-300, (((found == c) | (truth == c)) & told).sum()) for c in range(classes)]
        scores = [boundary_f(f, t, c) for f, t in zip(found, truth) for c in range(classes)]
        yield case("masks", "numpy", {"classes": classes}, {"found": exact(found), "truth": exact(truth)},
                   {"iou": exact(iou), "mean_iou": exact(np.mean(iou)), "pixel_accuracy": exact((found == truth)[told].mean()), "boundary_f": exact(np.nanmean(scores))})


def coco_case(name, images, truths, found):
    """`truths`: image, class, box (x, y, w, h), area, crowd; `found`: image, class, box, score."""
    categories = sorted({t[1] for t in truths} | {f[1] for f in found})
    annotations = [{"id": i + 1, "image_id": t[0] + 1, "category_id": t[1] + 1, "bbox": list(t[2]), "area": t[3], "iscrowd": int(t[4])} for i, t in enumerate(truths)]
    coco = COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        coco.dataset = {"info": {}, "images": [{"id": i + 1, "width": 640, "height": 640} for i in range(images)],
                        "categories": [{"id": c + 1, "name": str(c)} for c in categories], "annotations": annotations}
        coco.createIndex()
        results = coco.loadRes([{"image_id": f[0] + 1, "category_id": f[1] + 1, "bbox": list(f[2]), "score": f[3]} for f in found])
        evaluation = COCOeval(coco, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"]
    outputs = {n: exact(math.nan if v < 0 else v) for n, v in zip(names, evaluation.stats)}
    xyxy = lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]]
    return case("average_precision", "pycocotools", {"images": images, "classes": max(categories) + 1, "note": name},
                {"truths": exact([[t[0], t[1], *xyxy(t[2]), t[3], int(t[4])] for t in truths]).copy(), "found": exact([[f[0], f[1], *xyxy(f[2]), f[3]] for f in found])}, outputs)


def detections():
    # Coordinates are multiples of a quarter and scores of 1/64, so that floats of 32 bits hold them exactly.
    rng = np.random.default_rng(4)
    quarter = lambda v: round(4 * v) / 4
    for name, images, classes, crowds, empty, ties in (("plain", 6, 3, 0.0, 0, False), ("crowds", 6, 2, 0.3, 0, False), ("empty images", 8, 3, 0.1, 3, False),
                                                       ("ties", 6, 2, 0.1, 1, True), ("many", 4, 2, 0.1, 0, True)):
        truths, found = [], []
        for image in range(images - empty):
            for _ in range(int(rng.integers(1, 40 if name == "many" else 7))):
                size = float(rng.choice([14, 50, 150])) * rng.uniform(0.7, 1.4)
                w, h = quarter(size * rng.uniform(0.7, 1.4)), quarter(size)
                box = (quarter(rng.uniform(0, 400)), quarter(rng.uniform(0, 400)), w, h)
                label = int(rng.integers(classes))
                truths.append((image, label, box, quarter(w * h * rng.uniform(0.6, 1.0)), rng.random() < crowds))
                for _ in range(int(rng.integers(0, 8 if name == "many" else 4))):
                    jitter = rng.normal(0, 0.12, 4) * [w, h, w, h]
                    moved = tuple(quarter(v) for v in np.array(box) + jitter)
                    if moved[2] > 0.5 and moved[3] > 0.5:
                        score = rng.integers(1, 6) / 8 if ties else rng.integers(1, 64) / 64
                        found.append((image, label if rng.random() < 0.85 else int(rng.integers(classes)), moved, float(score)))
        for image in range(images):
            for _ in range(3):
                w, h = quarter(rng.uniform(10, 120)), quarter(rng.uniform(10, 120))
                found.append((image, int(rng.integers(classes)), (quarter(rng.uniform(0, 400)), quarter(rng.uniform(0, 400)), w, h), float(rng.integers(1, 64) / 64)))
        yield coco_case(name, images, truths, found)


def suppression():
    rng = np.random.default_rng(5)
    corners = rng.integers(0, 40, (30, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + rng.integers(6, 30, (30, 2))], 1).astype(np.float32)
    scores = rng.permutation(30).astype(np.float32) / 32
    for threshold in (0.3, 0.5, 0.7):
        kept = nms(torch.tensor(boxes), torch.tensor(scores), threshold)
        yield case("nms", TORCHVISION, {"iou": threshold}, {"boxes": exact(boxes), "scores": exact(scores)}, {"kept": exact(kept.numpy())})


def encodings():
    h, w = 23, 31
    rng = np.random.default_rng(6)
    mask = (rng.random((h, w)) < 0.3).astype(np.uint8)
    mask[4:15, 6:20] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    runs, value, count = [], 0, 0
    for v in mask.flatten(order="F"):
        if v != value:
            runs.append(count)
            value, count = v, 0
        count += 1
    runs.append(count)
    yield case("rle", "pycocotools", {"height": h, "width": w, "counts": rle["counts"].decode()}, {"runs": exact(runs)}, {"mask": exact(mask)})
    polygons = [[3.0, 2.0, 25.0, 4.5, 20.25, 19.0, 5.0, 16.5], [10.5, 1.5, 10.5, 20.5, 29.5, 11.0], [2.2, 3.7, 14.9, 3.1, 16.3, 8.8, 9.4, 21.6, 1.1, 14.2]]
    for polygon in polygons:
        drawn = coco_mask.decode(coco_mask.frPyObjects([polygon], h, w))[:, :, 0]
        yield case("polygon", "pycocotools", {"height": h, "width": w}, {"polygon": exact(polygon)}, {"mask": exact(drawn)})


def assignment():
    """FCOS' targets by its section 3.1 with centre sampling: a place learns the smallest thing whose centre is within 1.5 strides and whose farthest border is in its map's range."""
    rng = np.random.default_rng(7)
    side, maps = 64, (32, 16, 8)
    objects = []
    for i in range(14):
        w, h = rng.integers(3, 60, 2)
        x, y = rng.integers(0, side - w + 1), rng.integers(0, side - h + 1)
        objects.append([int(rng.integers(5)), x, y, x + w, y + h, i % 7 == 6])
    rows = []
    for level, cells in enumerate(maps):
        stride = side / cells
        low, high = 0 if level == 0 else 4 * stride, math.inf if level == 2 else 8 * stride
        for at in range(cells * cells):
            x, y = (at % cells + 0.5) * stride, (at // cells + 0.5) * stride
            row, smallest, crowded = [-1, 0, 0, 0, 0, 0], math.inf, False
            for label, left, top, right, bottom, ignore in objects:
                reach = [x - left, y - top, right - x, bottom - y]
                if min(reach) <= 0:
                    continue
                if ignore:
                    crowded = True
                    continue
                near = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2)) < 1.5 * stride
                area = (right - left) * (bottom - top)
                if near and low < max(reach) <= high and area < smallest:
                    smallest = area
                    nearness = math.sqrt(min(reach[0], reach[2]) / max(reach[0], reach[2]) * min(reach[1], reach[3]) / max(reach[1], reach[3]))
                    row = [label, *reach, nearness]
            rows.append([-2, 0, 0, 0, 0, 0] if row[0] == -1 and crowded else row)
    yield case("assignment", "numpy", {"side": side, "maps": list(maps), "classes": 5}, {"objects": exact(objects)}, {"places": tensor(np.array(rows))})


if __name__ == "__main__":
    parts = (assignment, segmentation_losses, detection_losses, moves, masks, detections, suppression, encodings)
    print(json.dumps([one for part in parts for one in part()]))
