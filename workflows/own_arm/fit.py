"""Learns from the labelled images and writes the class probabilities of the test images. usage: fit.py DATA_NPZ OUT_CSV SEED

With scikit-learn a forest of extremely randomised trees on pixels; with PyTorch alone a small convolutional network.
"""
import csv, sys

import numpy as np

data, out, seed = np.load(sys.argv[1]), sys.argv[2], int(sys.argv[3])
images = lambda split: data[f"x_{split}"].astype(np.float32) / 255
has_label = data["y_train"] >= 0
x, y, test = images("train")[has_label], data["y_train"][has_label], images("test")
classes = [str(name) for name in data["class_names"]]


def forest():
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(300, random_state=seed, n_jobs=1).fit(x.reshape(len(x), -1), y)
    p = np.zeros((len(test), len(classes)))
    p[:, model.classes_] = model.predict_proba(test.reshape(len(test), -1))
    return p


def network():
    import torch
    from torch import nn

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    layers, channels = [], x.shape[-1]
    for width in (16, 32, 64):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(9 * channels, len(classes)))
    optimizer = torch.optim.AdamW(model.parameters(), 0.003, weight_decay=0.01)
    tensor = lambda a: torch.from_numpy(a).permute(0, 3, 1, 2).contiguous()
    xs, ys, steps = tensor(x), torch.from_numpy(y), 300
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        batch = torch.randint(len(xs), (64,))
        loss = nn.functional.cross_entropy(model(xs[batch]), ys[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {steps}, loss {loss.item():.3f}")
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part).softmax(1) for part in tensor(test).split(500)]).double().numpy()


try:
    p = forest()
except ImportError:
    try:
        p = network()
    except ImportError:
        sys.exit("this python has neither scikit-learn nor torch: `pip install scikit-learn`")
with open(out, "w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["image", *classes])
    table.writerows([place, *map(float, row)] for place, row in enumerate(p))
print(f"learnt from {len(x)} images")
