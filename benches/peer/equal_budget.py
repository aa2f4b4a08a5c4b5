"""The main job's arms in PyTorch, at the same budget and with the same recipes: scratch, self-training, FreeMatch and SimCLR then fine-tune.
Label draws are the script's own, class-balanced as flow's. Views are torchvision's v2, made on the CPU.
usage: equal_budget.py FOLDER [--budget 100000] [--labels 40,100,1000] [--draws 0,1,2] [--arms scratch,selftrain,freematch,tuned] [--split test]
FOLDER: train.images and test.images of the node `images` (benches/equal_budget.sh links them); prints one JSON line for each arm, label budget and draw."""
import argparse, copy, json, math, struct, time
import numpy as np
import torch, torch.nn as nn, torch.nn.functional as F
from torchvision.transforms import v2

p = argparse.ArgumentParser()
p.add_argument("folder")
p.add_argument("--budget", type=int, default=100_000)
p.add_argument("--labels", default="40,100,1000")
p.add_argument("--draws", default="0,1,2")
p.add_argument("--arms", default="scratch,selftrain,freematch,tuned")
p.add_argument("--split", default="test")
p.add_argument("--threads", type=int, default=1)
a = p.parse_args()
torch.set_num_threads(a.threads)


def read(name):
    raw = open(f"{a.folder}/{name}.images", "rb").read()
    n, h, w, c = struct.unpack_from("<4I", raw, 8)
    labels = np.frombuffer(raw, "<u2", n, 24).astype(np.int64)
    pixels = np.frombuffer(raw, np.uint8, n * h * w * c, 24 + 2 * n).reshape(n, h, w, c)
    return torch.tensor(pixels.copy()).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


(X, Y), (XT, YT) = read("train"), read(a.split)
mean, std = (X.float() / 255).mean().item(), (X.float() / 255).std().item()
plain = lambda x: (x.float() / 255 - mean) / std


def shift(x, most=2):
    dx, dy = (int(v) for v in torch.randint(-most, most + 1, (2,)))
    return F.pad(x.float()[None], (most,) * 4, mode="reflect")[0, :, most + dy:most + dy + x.shape[1], most + dx:most + dx + x.shape[2]].to(torch.uint8)


def cutout(x, p, size):
    if torch.rand(()) >= p:
        return x
    h, w = x.shape[1:]
    side = float(torch.empty(()).uniform_(*size)) * h
    cy, cx = float(torch.rand(())) * h, float(torch.rand(())) * w
    x = x.clone()
    x[:, max(0, round(cy - side / 2)):max(0, round(cy + side / 2)), max(0, round(cx - side / 2)):max(0, round(cx + side / 2))] = 127
    return x


flip, crop = v2.RandomHorizontalFlip(), v2.RandomResizedCrop(28, scale=(0.2, 1.0), antialias=True)
jitter = v2.RandomApply([v2.ColorJitter(0.6, 0.6)], 0.8)
rand = lambda x, n: v2.RandAugment(n, int(torch.randint(0, 31, ())))(x)
mild = lambda x: cutout(rand(shift(flip(x)), 1), 0.5, (0.0, 0.4))
strong = lambda x: cutout(rand(shift(flip(x), 3), 2), 1.0, (0.0, 0.5))
contrast = lambda x: jitter(flip(crop(x)))
views = lambda of, i, images=X: plain(torch.stack([of(images[j]) for j in i]))


def encoder():
    block = lambda i, o, s: nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))
    return nn.Sequential(block(X.shape[1], 16, 1), block(16, 32, 2), block(32, 64, 2), nn.AdaptiveAvgPool2d(3), nn.Flatten())


classifier = lambda: nn.Sequential(encoder(), nn.Linear(576, 10))


class Draws:
    """Positions of an endless run of permutations."""
    def __init__(self, of): self.of, self.left = torch.as_tensor(of), torch.tensor([], dtype=torch.long)
    def take(self, n):
        while len(self.left) < n:
            self.left = torch.cat([self.left, self.of[torch.randperm(len(self.of))]])
        out, self.left = self.left[:n], self.left[n:]
        return out


def optimiser(net, lr, steps, warmup=20):
    decayed = [q for q in net.parameters() if q.ndim > 1]
    rest = [q for q in net.parameters() if q.ndim <= 1]
    opt = torch.optim.SGD([{"params": decayed, "weight_decay": 5e-4}, {"params": rest, "weight_decay": 0.0}], lr=lr, momentum=0.9, nesterov=True)
    rate = lambda k: (k + 1) / warmup if k < warmup else 0.5 * (1 + math.cos(math.pi * (k - warmup) / max(1, steps - warmup)))
    return opt, torch.optim.lr_scheduler.LambdaLR(opt, rate)


def fit(net, labelled, budget, lr, smoothing=0.0, guesses=None, batch=64):
    steps = round(budget / batch)
    opt, sched = optimiser(net, lr, steps)
    own, other = Draws(labelled), Draws(guesses[0]) if guesses else None
    for _ in range(steps):
        i = own.take(batch // 2 if guesses else batch)
        target = F.one_hot(Y[i], 10).float() * (1 - smoothing) + smoothing / 10
        if guesses:
            j = other.take(batch - batch // 2)
            i, target = torch.cat([i, j]), torch.cat([target, guesses[1][j]])
        loss = F.cross_entropy(net(views(mild, i)), target)
        opt.zero_grad(); loss.backward(); opt.step(); sched.step()
    return net


@torch.no_grad()
def predict(net, x):
    net.eval(); out = torch.cat([F.softmax(net(plain(part)), 1) for part in x.split(500)]); net.train()
    return out


def selftrain(labelled):
    net = fit(classifier(), labelled, 0.5 * a.budget, 0.1)
    probabilities, pool = predict(net, X), torch.ones(len(X), dtype=torch.bool)
    pool[labelled] = False
    kept = (pool & (probabilities.max(1).values >= 0.8)).nonzero()[:, 0]
    return fit(net_with_new_head(net), labelled, 0.5 * a.budget - len(X) / 3, 0.05, guesses=(kept, probabilities))


def net_with_new_head(net):
    fresh = classifier(); fresh[0].load_state_dict(net[0].state_dict())
    return fresh


def freematch(labelled, batch=32, m=0.99, ema=0.99, fairness=0.01, lr=0.05):
    net = classifier(); average = copy.deepcopy(net)
    steps = round(a.budget / (batch * (2 + 1 / 3)))
    opt, sched = optimiser(net, lr, steps)
    pool = torch.ones(len(X), dtype=torch.bool); pool[labelled] = False
    own, other = Draws(labelled), Draws(pool.nonzero()[:, 0])
    tau, shares, hist = torch.tensor(0.1), torch.full((10,), 0.1), torch.full((10,), 0.1)
    for _ in range(steps):
        i, j = own.take(batch), other.take(batch)
        out = net(torch.cat([views(mild, i), views(mild, j), views(strong, j)]))
        x, weak, hard = out[:batch], out[batch:2 * batch].detach(), out[2 * batch:]
        q = F.softmax(weak, 1); top, guess = q.max(1)
        tau, shares = m * tau + (1 - m) * top.mean(), m * shares + (1 - m) * q.mean(0)
        hist = m * hist + (1 - m) * F.one_hot(guess, 10).float().mean(0)
        mask = top >= tau * (shares / shares.max())[guess]
        loss = F.cross_entropy(x, Y[i]) + (F.cross_entropy(hard, guess, reduction="none") * mask).mean()
        if mask.any():
            s = F.softmax(hard[mask], 1); sh = F.one_hot(s.argmax(1), 10).float().mean(0)
            scaled = lambda v, h: (lambda r: r / r.sum())(v * torch.where(h > 0, 1 / h.clamp(min=1e-12), torch.ones_like(h)))
            loss = loss + fairness * (scaled(shares, hist) * torch.log(scaled(s.mean(0), sh) + 1e-12)).sum()
        opt.zero_grad(); loss.backward(); opt.step(); sched.step()
        with torch.no_grad():
            for own_value, value in zip(average.state_dict().values(), net.state_dict().values()):
                own_value.copy_(value if not value.is_floating_point() else ema * own_value + (1 - ema) * value)
    return average


def tuned(labelled, batch=128, temperature=0.5):
    net, head = encoder(), nn.Sequential(nn.Linear(576, 128), nn.BatchNorm1d(128), nn.ReLU(inplace=True), nn.Linear(128, 64))
    steps = int(0.3 * a.budget / (2 * batch))
    opt = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=3e-3)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda k: 0.5 * (1 + math.cos(math.pi * k / steps)))
    order = Draws(torch.arange(len(X)))
    for _ in range(steps):
        i = order.take(batch)
        z = F.normalize(head(net(torch.cat([views(contrast, i), views(contrast, i)]))), dim=1)
        logits = (z @ z.T / temperature).fill_diagonal_(-1e9)
        loss = F.cross_entropy(logits, (torch.arange(2 * batch) + batch) % (2 * batch))
        opt.zero_grad(); loss.backward(); opt.step(); sched.step()
    return fit(nn.Sequential(net, nn.Linear(576, 10)), labelled, 0.7 * a.budget, 0.1)


arms = {"scratch": lambda l: fit(classifier(), l, a.budget, 0.1, smoothing=0.1), "selftrain": selftrain, "freematch": freematch, "tuned": tuned}
for draw in map(int, a.draws.split(",")):
    for labels in map(int, a.labels.split(",")):
        rng = np.random.default_rng(1000 + draw)
        labelled = torch.tensor(np.concatenate([rng.permutation(np.where(Y.numpy() == c)[0])[:labels // 10] for c in range(10)]))
        for arm in a.arms.split(","):
            torch.manual_seed(draw); start = time.time()
            net = arms[arm](labelled)
            accuracy = (predict(net, XT).argmax(1) == YT).float().mean().item()
            print(json.dumps({"arm": arm, "labels": labels, "draw": draw, "accuracy": round(accuracy, 4), "s": round(time.time() - start)}), flush=True)
