"""Golden values of whole steps of semi-supervised methods, by semilearn's own `train_step` on a small vision transformer of timm.

    python3 -m venv venv && venv/bin/pip install torch timm numpy && venv/bin/pip install --no-deps semilearn==0.3.2
    venv/bin/python tests/golden/make_semi.py > tests/golden/semi_steps.json

semilearn imports data sets, trackers and more on the way, which no step needs: what is not installed is replaced with a stub.
Weights and views are not stored but computed: see `fill` and `view`. Each case takes some steps of SGD without momentum.

Where a published paper and semilearn differ, cases keep to what both say: UDA has a temperature of 1 (semilearn 0.3.2 does not
sharpen), SimMatch one step (semilearn normalises its memory across images)."""
import contextlib
import importlib.abc
import importlib.machinery
import inspect
import json
import math
import sys
import types
from unittest.mock import MagicMock

import numpy as np

# What is imported says this and that; only the cases go to standard output.
FOUND, sys.stdout = sys.stdout, sys.stderr
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402


class Stub(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what nothing else finds."""

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        return module

    def exec_module(self, module):
        pass


class Unwanted(Stub):
    """Finds what is there and not wanted."""

    def find_spec(self, name, path=None, target=None):
        unwanted = ("semilearn.datasets", "semilearn.lighting", "semilearn.nets", "torch.utils.tensorboard")
        return super().find_spec(name) if name.startswith(unwanted) else None


sys.meta_path.insert(0, Unwanted())
sys.meta_path.append(Stub())
import semilearn.algorithms as algorithms  # noqa: E402
from semilearn.algorithms.flexmatch.utils import FlexMatchThresholdingHook  # noqa: E402
from semilearn.algorithms.freematch.utils import FreeMatchThresholdingHook  # noqa: E402
from semilearn.algorithms.hooks import DistAlignEMAHook, DistAlignQueueHook, FixedThresholdingHook, PseudoLabelingHook  # noqa: E402
from semilearn.algorithms.softmatch.utils import SoftMatchWeightingHook  # noqa: E402
from semilearn.core.criterions import CELoss, ConsistencyLoss  # noqa: E402
from semilearn.core.utils.misc import EMA, Bn_Controller  # noqa: E402

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
torch.Tensor.cuda = lambda self, *where: self
CLASSES, SIDE, LABELLED, RATIO, POOL, TOTAL, LR = 3, 8, 4, 2, 10, 4, 0.02
# Matrices of the rule are small; with these factors guesses are of all classes, and some confident.
SPREAD = {"encoder": 8.0, "head": 6.0}
NET = {"patch": 4, "dim": 8, "depth": 1, "heads": 2, "mlp_ratio": 2.0}
# What the mixtures of MixMatch draw: `Stream::new(step, "golden")`, children `mixed` and `order`.
MIXED = [
    (0.9359435, [15, 17, 7, 2, 8, 16, 12, 10, 3, 5, 9, 18, 14, 19, 11, 1, 0, 6, 4, 13]),
    (0.5775057, [6, 7, 13, 18, 8, 5, 10, 1, 2, 0, 12, 9, 4, 15, 11, 19, 17, 14, 3, 16]),
    (0.27700022, [14, 5, 6, 18, 19, 4, 12, 7, 8, 17, 10, 9, 15, 16, 1, 0, 2, 11, 13, 3]),
]


def wave(name, shape):
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(0.37 * i + len(name.encode())).reshape(shape)


def fill(name, shape):
    if len(shape) == 4:
        return wave(name, shape) * math.sqrt(2 / (shape[0] * shape[2] * shape[3]))
    return 1 + 0.1 * wave(name, shape) if name.endswith("weight") and len(shape) == 1 else 0.1 * wave(name, shape)


def view(kind, step, count):
    i = torch.arange(count * SIDE * SIDE, dtype=torch.float64)
    return torch.sin(0.11 * i * (1 + kind) + 3 * step + kind).reshape(count, 1, SIDE, SIDE).float().double()


class Net(torch.nn.Module):
    def __init__(self, projects):
        super().__init__()
        self.encoder = VisionTransformer(img_size=SIDE, patch_size=4, in_chans=1, num_classes=0, embed_dim=8, depth=1, num_heads=2, mlp_ratio=2.0)
        self.head = torch.nn.Linear(8, CLASSES)
        self.projector = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 6)) if projects else None
        with torch.no_grad():
            for name, value in self.named_parameters():
                spread = SPREAD.get(name.split(".")[0], 1.0) if value.dim() == 2 else 1.0
                value.copy_(spread * fill(name.removeprefix("encoder."), tuple(value.shape)).float())

    def forward(self, x):
        features = self.encoder(x)
        logits = self.head(features)
        if self.projector:
            features = F.normalize(self.projector(features), dim=1)
        return {"logits": logits, "feat": features}


def algorithm(name, total, **settings):
    """semilearn's algorithm without its data, logs and trackers."""
    module = getattr(algorithms, name.lower())
    kind = getattr(getattr(module, name.lower(), module), name)
    self = object.__new__(kind)
    net = Net(name == "SimMatch")
    self.model, self.num_classes, self.num_train_iter, self.epoch, self.gpu = net, CLASSES, TOTAL, 1, None
    self.ce_loss, self.consistency_loss = CELoss(), ConsistencyLoss()
    self.bn_controller, self.amp_cm, self.use_cat, self.distributed = Bn_Controller(), contextlib.nullcontext, True, False
    self.ema = EMA(net, 0.0)
    self.ema.register()
    self.args = types.SimpleNamespace(device="cpu")
    self.hooks_dict = {}
    for key, value in settings.items():
        setattr(self, key, value)
    return self


def hook(self, **hooks):
    for name, value in hooks.items():
        self.hooks_dict[name] = value
    self.registered_hook = lambda name: name in self.hooks_dict
    self.call_hook = lambda fn, name, *a, **k: getattr(self.hooks_dict[name], fn)(self, *a, **k)
    return self


def tensor(t):
    return {"shape": list(t.shape), "data": [float(f"{v:.9g}") for v in t.detach().double().flatten().tolist()]}


def places(step):
    return torch.tensor([(5 * step + 3 * i) % POOL for i in range(LABELLED * RATIO)])


def steps(self, settings, count, ema=0.0):
    """Losses of each step, and weights after the first."""
    losses, shares = [], []
    for step in range(count):
        self.it = step
        y = torch.arange(LABELLED) % CLASSES
        given = {"x_lb": view(0, step, LABELLED), "y_lb": y, "x_ulb_w": view(1, step, LABELLED * RATIO), "x_ulb_s": view(2, step, LABELLED * RATIO),
                 "idx_ulb": places(step), "idx_lb": torch.arange(LABELLED)}
        wanted = inspect.signature(self.train_step).parameters
        out, log = self.train_step(**{name: given[name] for name in wanted})
        self.model.zero_grad()
        out["loss"].backward()
        with torch.no_grad():
            for p in self.model.parameters():
                if p.grad is not None:
                    p -= LR * p.grad
        if step == 0:
            weights = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.ema.decay = min(ema, 1 - 1 / (step + 1))
        self.ema.update()
        losses += [out["loss"].item(), log["train/unsup_loss"]]
        shares.append(log.get("train/util_ratio", 1.0))
    kept = {name: tensor(weights[name]) for name in ("head.weight", "encoder.patch_embed.proj.weight", "encoder.blocks.0.attn.qkv.weight")}
    return {"case": "semi_step", "source": "semilearn 0.3.2", "params": {"semi": settings, "steps": count},
            "inputs": {}, "outputs": {"losses": tensor(torch.tensor(losses, dtype=torch.float64)), "kept": tensor(torch.tensor(shares, dtype=torch.float64)), **kept}, "grads": {}}


def mixing(self):
    """MixMatch with the numbers that are drawn here."""
    drawn = iter(MIXED)

    def step(**given):
        number, order = next(drawn)
        beta, permutation = np.random.beta, torch.randperm
        np.random.beta, torch.randperm = lambda *a: number, lambda n: torch.tensor(order)
        try:
            return type(self).train_step(self, **given)
        finally:
            np.random.beta, torch.randperm = beta, permutation

    self.train_step = lambda x_lb, y_lb, x_ulb_w, x_ulb_s: step(x_lb=x_lb, y_lb=y_lb, x_ulb_w=x_ulb_w, x_ulb_s=x_ulb_s)
    return self


def named(method, **settings):
    return {"method": method, "ratio": RATIO, "ema": 0.9, **settings}


def cases():
    fixed = lambda: {"MaskingHook": FixedThresholdingHook(), "PseudoLabelingHook": PseudoLabelingHook()}
    common = {"T": 0.5, "use_hard_label": True}
    yield steps(hook(algorithm("PseudoLabel", TOTAL, p_cutoff=0.5, unsup_warm_up=0.4, lambda_u=1.0), **fixed()), named("pseudo-label", threshold=0.5), 3)
    yield steps(hook(algorithm("PiModel", TOTAL, unsup_warm_up=0.4, lambda_u=10.0)), named("pi-model"), 3)
    yield steps(hook(algorithm("MeanTeacher", TOTAL, unsup_warm_up=0.4, lambda_u=50.0)), named("mean-teacher"), 4, 0.9)
    yield steps(hook(algorithm("UDA", TOTAL, T=1.0, p_cutoff=0.45, tsa_schedule="linear", lambda_u=1.0), **fixed()), named("uda", threshold=0.45, temperature=1.0, annealing="linear"), 3)
    yield steps(mixing(hook(algorithm("MixMatch", TOTAL, T=0.5, unsup_warm_up=0.5, mixup_alpha=0.75, mixup_manifold=False, lambda_u=75.0))), named("mixmatch", ramp=0.5), 3)
    yield steps(hook(algorithm("FixMatch", TOTAL, p_cutoff=0.5, lambda_u=1.0, **common), **fixed()), named("fixmatch", threshold=0.5), 3)
    flex = FlexMatchThresholdingHook(ulb_dest_len=POOL, num_classes=CLASSES, thresh_warmup=True)
    yield steps(hook(algorithm("FlexMatch", TOTAL, p_cutoff=0.5, thresh_warmup=True, lambda_u=1.0, **common), MaskingHook=flex, PseudoLabelingHook=PseudoLabelingHook()), named("flexmatch", threshold=0.5), 4)
    free = FreeMatchThresholdingHook(num_classes=CLASSES, momentum=0.5)
    yield steps(hook(algorithm("FreeMatch", TOTAL, use_quantile=False, clip_thresh=False, lambda_u=1.0, lambda_e=0.05, **common), MaskingHook=free, PseudoLabelingHook=PseudoLabelingHook()), named("freematch", momentum=0.5, fairness=0.05), 3)
    soft = SoftMatchWeightingHook(num_classes=CLASSES, n_sigma=2, momentum=0.5)
    align = DistAlignEMAHook(num_classes=CLASSES, momentum=0.5)
    yield steps(hook(algorithm("SoftMatch", TOTAL, lambda_u=1.0, **common), MaskingHook=soft, DistAlignHook=align, PseudoLabelingHook=PseudoLabelingHook()), named("softmatch", momentum=0.5), 3)
    sim = algorithm("SimMatch", TOTAL, T=0.1, p_cutoff=0.5, proj_size=6, K=LABELLED, smoothing_alpha=0.9, lambda_u=1.0, lambda_in=1.0, use_ema_teacher=False, ema_bank=0.7)
    sim.mem_bank = F.normalize((0.1 * wave("memory", (LABELLED, 6))).float().double(), dim=1).t().contiguous()
    sim.labels_bank = torch.arange(LABELLED) % CLASSES
    yield steps(hook(sim, MaskingHook=FixedThresholdingHook(), DistAlignHook=DistAlignQueueHook(num_classes=CLASSES, queue_length=256)), named("simmatch", threshold=0.5, projection=6), 1)


if __name__ == "__main__":
    json.dump(list(cases()), FOUND)
