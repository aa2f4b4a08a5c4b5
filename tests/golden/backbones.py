"""Makes backbones.json: whole ResNets of torchvision and vision transformers of timm on two images, forward in evaluation; of the
transformers also gradients of the features' product with linspace(-1, 1).
usage: python tests/golden/backbones.py > tests/golden/backbones.json   (needs torch, torchvision, timm)

Weights are not stored but computed: value i of a tensor is sin(0.37 i + n) times a scale, where n is the number of bytes of its name;
see `fill`. Whoever reads the case fills a network of the same shape in the same way."""
import json, math
import timm, torch, torchvision
from timm.models.vision_transformer import VisionTransformer

torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)

def fill(name, tensor):
    i = torch.arange(tensor.numel(), dtype=torch.float64)
    wave = torch.sin(.37 * i + len(name.encode())).reshape(tensor.shape)
    if tensor.dim() == 4: return wave * math.sqrt(2 / (tensor.shape[0] * tensor.shape[2] * tensor.shape[3]))
    if name.endswith("running_var") or (name.endswith("weight") and tensor.dim() == 1): return 1 + .1 * wave
    return .1 * wave

def tensor(t): return {"shape": list(t.shape), "data": [float(f"{v:.9g}") for v in t.detach().double().flatten().tolist()]}

cases = []
for name, stem, side in (("resnet18", "small", 16), ("resnet18", "imagenet", 48), ("resnet34", "small", 16), ("resnet50", "small", 16)):
    net = getattr(torchvision.models, name)()
    if stem == "small":
        net.conv1, net.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()
    net.fc = torch.nn.Identity()
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if value.is_floating_point(): value.copy_(fill(key, value))
    x = torch.sin(torch.arange(2 * 3 * side * side, dtype=torch.float64) * .11).reshape(2, 3, side, side).float()
    net.eval()
    features = net(x)
    cases.append({"case": "resnet_features", "source": f"torchvision {torchvision.__version__}", "params": {"backbone": name, "stem": stem},
                  "inputs": {"x": tensor(x)}, "outputs": {"features": tensor(features)}, "grads": {}})

# Beyond a grid of 1, which is timm's, the patches' tokens are averaged over cells, and features are cell by cell.
for pool, grid, patch, side in (("token", 1, 4, (16, 12)), ("mean", 1, 2, (8, 8)), ("mean", 2, 4, (16, 12))):
    sizes = {"patch": patch, "dim": 24, "depth": 3, "heads": 3, "mlp_ratio": 2.0}
    timms = {"global_pool": "avg", "fc_norm": False} if pool == "mean" else {}
    net = VisionTransformer(img_size=side, patch_size=patch, num_classes=0, embed_dim=24, depth=3, num_heads=3, mlp_ratio=2.0, **timms)
    with torch.no_grad():
        for key, value in net.state_dict().items(): value.copy_(fill(key, value))
    x = torch.sin(torch.arange(2 * 3 * side[0] * side[1], dtype=torch.float64) * .11).reshape(2, 3, *side).float().requires_grad_()
    net.eval()
    features = net(x)
    if grid > 1:
        maps = net.forward_features(x)[:, 1:].transpose(1, 2).unflatten(2, (side[0] // patch, side[1] // patch))
        features = torch.nn.functional.adaptive_avg_pool2d(maps, grid).permute(0, 2, 3, 1).flatten(1)
    (features * torch.linspace(-1, 1, features.numel(), dtype=torch.float64).float().reshape(features.shape)).sum().backward()
    grads = {name: tensor(p.grad) for name, p in net.named_parameters() if name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.1.attn.qkv.weight", "norm.weight")}
    cases.append({"case": "vit_features", "source": f"timm {timm.__version__}", "params": {"backbone": "vit", **sizes, "pool": pool, "grid": grid},
                  "inputs": {"x": tensor(x)}, "outputs": {"features": tensor(features)}, "grads": {"x": tensor(x.grad), **grads}})
print(json.dumps(cases))
