"""Golden values for what the pre-training methods compute beyond the losses of LightlySSL.

    python3 -m venv torch && torch/bin/pip install torch
    torch/bin/python tests/golden/make_methods.py tests/golden

writes method_losses.json, method_parts.json and method_steps.json. Seeds are fixed: the same PyTorch gives the same files.
"""

import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

SOURCE = f"torch {torch.__version__.split('+')[0]}"


def tensor(x):
    x = x.detach()
    return {"shape": list(x.shape), "data": [float(f"{v:.9g}") for v in x.flatten().tolist()]}


def case(name, source, params, inputs, outputs, grads=()):
    """The gradient of the first output, summed, with respect to the inputs named in `grads`."""
    first = next(iter(outputs.values()))
    found = torch.autograd.grad(first.sum(), [inputs[g] for g in grads]) if grads else []
    return {
        "case": name,
        "source": f"{SOURCE}, {source}",
        "params": params,
        "inputs": {k: tensor(v) for k, v in inputs.items()},
        "outputs": {k: tensor(v) for k, v in outputs.items()},
        "grads": {k: tensor(v) for k, v in zip(grads, found)},
    }


def normal(*shape):
    return torch.randn(*shape).requires_grad_()


def losses():
    found, target = normal(6, 20), torch.randn(6, 20)
    mask = (torch.rand(6, 20) < 0.4).float()
    masked = (mask * (found - target) ** 2).sum() / mask.sum()
    logits = (3 * torch.randn(12, 1)).requires_grad_()
    real = torch.tensor([0.9] * 6 + [0.0] * 6).reshape(12, 1)
    classes, labels, weights = normal(9, 5), torch.randint(0, 5, (9,)), torch.rand(9)
    weights[2] = 0
    weighted = (weights * F.cross_entropy(classes, labels, reduction="none")).sum() / weights.sum()
    z, prototypes, targets = normal(8, 16), normal(12, 16), F.softmax(3 * torch.randn(8, 12), 1)
    scores = F.normalize(z, dim=1) @ F.normalize(prototypes, dim=1).T
    predicted = -(targets * F.log_softmax(scores / 0.1, 1)).sum(1).mean()
    unlikely = (30 * torch.randn(10, 8)).requires_grad_(), (30 * torch.randn(10, 8)).requires_grad_()
    p = [u.softmax(1) for u in unlikely]
    log_agreement = torch.logsumexp(unlikely[0].log_softmax(1) + unlikely[1].log_softmax(1), 1)
    mean = p[0].mean(0)
    scan = -log_agreement.mean() + 5 * (mean * mean.log()).sum()
    with torch.random.fork_rng():  # the cases after this one keep their numbers
        patches, guesses = 2 + 3 * torch.randn(10, 12), normal(10, 12)
    hidden = torch.tensor([1.0, 0, 1, 1, 0, 1, 1, 1, 0, 1])
    patches[3] = 0.25
    normalised = (patches - patches.mean(1, keepdim=True)) / (patches.var(1, keepdim=True) + 1e-6).sqrt()
    mae = (((guesses - normalised) ** 2).mean(1) * hidden).sum() / hidden.sum()
    return [
        case("reconstruction", "mse_loss", {}, {"found": found, "targets": target}, {"loss": F.mse_loss(found, target)}, ["found"]),
        case("reconstruction_masked", "context encoders' definition, weights are what was hidden", {}, {"found": found, "targets": target, "weights": mask}, {"loss": masked}, ["found"]),
        case("binary_cross_entropy", "binary_cross_entropy_with_logits", {}, {"logits": logits, "targets": real}, {"loss": F.binary_cross_entropy_with_logits(logits, real)}, ["logits"]),
        case("weighted_cross_entropy", "cross_entropy with a weight for each row (SCAN's self-labels)", {}, {"logits": classes, "labels": labels.float(), "weights": weights}, {"loss": weighted}, ["logits"]),
        case("prototype_prediction", "cosines to prototypes, then soft cross-entropy (SwAV's and DINO's last layer)", {"temperature": 0.1}, {"z": z, "prototypes": prototypes, "targets": targets}, {"loss": predicted}, ["z", "prototypes"]),
        case("scan", "SCAN's definition in log space, confident and opposed guesses", {"entropy_weight": 5.0}, {"anchor": unlikely[0], "neighbor": unlikely[1]}, {"loss": scan}, ["anchor", "neighbor"]),
        case("masked_patches", "MAE's published code: patches normalised with the unbiased variance, mean over the hidden ones, one of one colour", {}, {"found": guesses, "patches": patches, "hidden": hidden}, {"loss": mae}, ["found"]),
    ]


def palette(size, side):
    """A square of bins around gray, with frequencies that fall with the distance."""
    axis = (torch.arange(side) - side // 2) * size
    bins = torch.cartesian_prod(axis, axis).float()
    frequencies = (-bins.norm(dim=1) / size).exp()
    return bins, frequencies / frequencies.sum()


def colorization(logits, colours, bins, p, size, share):
    """Zhang et al.: five nearest bins under a Gaussian of half a bin, each place weighted by its nearest bin."""
    distance, nearest = torch.cdist(colours, bins).topk(5, largest=False)
    soft = (-(distance**2) / (2 * (size / 2) ** 2)).exp()
    target = torch.zeros(len(colours), len(bins)).scatter_(1, nearest, soft / soft.sum(1, keepdim=True))
    v = 1 / ((1 - share) * p + share / len(bins))
    v = v / (p * v).sum()
    return -(v[nearest[:, 0]] * (target * logits.log_softmax(1)).sum(1)).mean()


def more_losses():
    """Losses of both directions, and with state: in a list of their own, so that the others' values stay."""
    p1, p2, z1, z2 = normal(7, 12), normal(7, 12), torch.randn(7, 12), torch.randn(7, 12)
    cos = lambda p, z: F.cosine_similarity(p, z, dim=1).mean()
    views = {"p1": p1, "p2": p2, "z1": z1, "z2": z2}
    both = lambda: cos(p1, z2) + cos(p2, z1)
    bins, frequencies = palette(20, 7)
    logits, colours = normal(15, 49), 40 * torch.randn(15, 2)
    colour = colorization(logits, colours, bins, frequencies, 20, 0.5)
    annealed = (logits / 0.38).softmax(1) @ bins
    student, teacher, centre = normal(10, 14), torch.randn(10, 14), torch.randn(14) / 4
    swapped = torch.cat([teacher[5:], teacher[:5]])
    dino = -(((swapped - centre) / 0.04).softmax(1) * (student / 0.1).log_softmax(1)).sum(1).mean()
    rows, labels = normal(18, 5), torch.randint(0, 5, (6, 3))
    sela = F.cross_entropy(rows, labels.reshape(18))
    real, fake = (2 * torch.randn(9, 1)).requires_grad_(), (2 * torch.randn(9, 1)).requires_grad_()
    bce = F.binary_cross_entropy_with_logits
    gan = (bce(real, torch.full((9, 1), 0.9)) + bce(fake, torch.zeros(9, 1))) / 2
    return [
        case("simsiam", "cosine_similarity, both directions", {}, views, {"loss": -both() / 2}, ["p1", "p2"]),
        case("byol", "cosine_similarity, both directions", {}, views, {"loss": 2 - both()}, ["p1", "p2"]),
        case("colorization", "Zhang et al.'s soft encoding and rebalancing", {"size": 20.0, "rebalance": 0.5}, {"logits": logits, "colours": colours, "bins": bins, "frequencies": frequencies}, {"loss": colour}, ["logits"]),
        case("annealed_mean", "Zhang et al.'s reading of a distribution", {"temperature": 0.38, "size": 20.0}, {"logits": logits, "bins": bins}, {"colours": annealed}),
        case("dino_two_views", "each view of the student meets the centred teacher's of the other", {"teacher_temperature": 0.04, "student_temperature": 0.1}, {"student": student, "teacher": teacher, "center": centre}, {"loss": dino}, ["student"]),
        case("sela_heads", "cross_entropy, mean over images and heads", {}, {"logits": rows, "labels": labels.float()}, {"loss": sela}, ["logits"]),
        case("gan_discriminator", "binary_cross_entropy_with_logits, smoothed real targets", {"label_smoothing": 0.1}, {"real": real, "fake": fake}, {"loss": gan}, ["real", "fake"]),
    ]


def rank_me(x):
    s = torch.linalg.svdvals(x.double())
    p = s / s.sum() + 1e-7
    return torch.exp(-(p * p.log()).sum())


def balanced(logits, sharpness, rounds):
    """SeLa's Q from P^lambda, in double precision, columns then rows, run far beyond its tolerance."""
    q = F.log_softmax(logits.double(), 1) * sharpness
    for _ in range(rounds):
        q = q - torch.logsumexp(q, 0, keepdim=True)
        q = q - torch.logsumexp(q, 1, keepdim=True)
    return q.exp()




def parts():
    wide, tall = torch.randn(12, 30) @ torch.diag(torch.linspace(3, 0.1, 30)), torch.randn(40, 9)
    logits = torch.randn(40, 6)
    x = normal(2, 3, 4, 5)
    up = F.interpolate(x, scale_factor=2, mode="nearest")
    weight = torch.randn_like(up)
    rows = torch.randn(50, 16) + torch.arange(16) / 4
    unit = F.normalize(rows, dim=1)
    upsample = case("upsample_nearest", "interpolate, gradient of the weighted sum", {"factor": 2}, {"x": x, "weight": weight}, {"y": up})
    upsample["grads"] = {"x": tensor(torch.autograd.grad((up * weight).sum(), x)[0])}
    return [
        case("rank_me", "RankMe's definition by svdvals, wide", {}, {"x": wide}, {"rank": rank_me(wide)}),
        case("rank_me", "RankMe's definition by svdvals, tall", {}, {"x": tall}, {"rank": rank_me(tall)}),
        case("embedding_deviation", "mean of the deviations of normalised rows, biased", {}, {"x": rows}, {"deviation": unit.std(0, unbiased=False).mean()}),
        case("balanced_assignment", "SeLa's definition", {"lambda": 10.0}, {"logits": logits}, {"q": balanced(logits, 10.0, 3000)}),
        upsample,
    ]


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(5)
    for name, cases in [("method_losses", losses()), ("method_parts", parts()), ("method_steps", more_losses())]:
        (folder / f"{name}.json").write_text(json.dumps(cases, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
