"""Golden values for texts: masked-token prediction's loss, and a small transformer encoder with padding.

    python3 -m venv torch && torch/bin/pip install torch
    torch/bin/python tests/golden/make_texts.py > tests/golden/texts.json

The encoder is torch.nn.TransformerEncoder behind an embedding of words and places. Its weights are not stored but computed: value i of a
tensor is .1 sin(.37 i + n), where n is the number of bytes of its name, and 1 more for a norm's weight (as in backbones.py).
"""

import json

import torch
import torch.nn as nn
import torch.nn.functional as F

SOURCE = f"torch {torch.__version__.split('+')[0]}"
PARTS = {
    "attn.qkv.weight": "self_attn.in_proj_weight",
    "attn.qkv.bias": "self_attn.in_proj_bias",
    "attn.proj.weight": "self_attn.out_proj.weight",
    "attn.proj.bias": "self_attn.out_proj.bias",
    **{f"mlp.fc{i}.{kind}": f"linear{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")},
    **{f"norm{i}.{kind}": f"norm{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")},
}


def tensor(x):
    return {"shape": list(x.shape), "data": [float(f"{v:.9g}") for v in x.detach().flatten().tolist()]}


def fill(name, parameter):
    wave = torch.sin(0.37 * torch.arange(parameter.numel(), dtype=torch.float64) + len(name)).reshape(parameter.shape)
    around = 1 if parameter.dim() == 1 and name.endswith("weight") else 0
    with torch.no_grad():
        parameter.copy_(around + 0.1 * wave)


def masked_token():
    tokens, words, bias = [torch.randn(*shape).requires_grad_() for shape in ((12, 8), (20, 8), (1, 20))]
    labels = torch.randint(4, 20, (12,))
    labels[[0, 1, 3, 4, 6, 9, 11]] = -100
    loss = F.cross_entropy(F.linear(tokens, words, bias[0]), labels, ignore_index=-100)
    inputs = {"tokens": tokens, "words": words, "bias": bias}
    grads = torch.autograd.grad(loss, list(inputs.values()))
    return {
        "case": "masked_token",
        "source": f"{SOURCE}, cross_entropy with ignore_index on tied words; -100 marks what was not selected",
        "params": {},
        "inputs": {k: tensor(v) for k, v in [*inputs.items(), ("labels", labels.float())]},
        "outputs": {"loss": tensor(loss)},
        "grads": {k: tensor(v) for k, v in zip(inputs, grads)},
    }


def text_encoder():
    vocabulary, length, dim, depth, heads = 11, 7, 12, 2, 3
    texts = torch.tensor([[2, 5, 4, 9, 10, 4, 1], [2, 6, 6, 3, 0, 0, 0], [2, 7, 0, 0, 0, 0, 0]])
    layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, 0.0, F.gelu, 1e-6, batch_first=True, norm_first=True)
    net = nn.TransformerEncoder(layer, depth, nn.LayerNorm(dim, 1e-6), enable_nested_tensor=False)
    words, places = nn.Parameter(torch.empty(vocabulary, dim)), nn.Parameter(torch.empty(length, dim))
    theirs = dict(net.named_parameters())
    ours = {"words.weight": words, "places.weight": places, "norm.weight": theirs["norm.weight"], "norm.bias": theirs["norm.bias"]}
    for i in range(depth):
        ours |= {f"blocks.{i}.{our}": theirs[f"layers.{i}.{their}"] for our, their in PARTS.items()}
    assert len(ours) == len(theirs) + 2
    for name, parameter in ours.items():
        fill(name, parameter)
    padding = texts == 0
    tokens = net(F.embedding(texts, words) + places, src_key_padding_mask=padding)
    kept = (~padding).unsqueeze(-1)
    features = (tokens * kept).sum(1) / kept.sum(1)
    weights = torch.linspace(-1, 1, features.numel()).reshape(features.shape)
    grads = torch.autograd.grad((features * weights).sum(), list(ours.values()))
    return {
        "case": "text_encoder",
        "source": f"{SOURCE}, TransformerEncoder(norm_first=True) and a mean without padding; gradients of the sum weighted by linspace(-1, 1)",
        "params": {"vocabulary": vocabulary, "dim": dim, "depth": depth, "heads": heads},
        "inputs": {"texts": tensor(texts.float())},
        "outputs": {"features": tensor(features)},
        "grads": {k: tensor(v) for k, v in zip(ours, grads)},
    }


torch.manual_seed(11)
print(json.dumps([masked_token(), text_encoder()], separators=(",", ":")))
