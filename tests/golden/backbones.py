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

def whole(case, source, net, params, side, chosen):
    """Features in evaluation; gradients in training mode if the batch's statistics are used there."""
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if value.is_floating_point(): value.copy_(fill(key, value))
    x = torch.sin(torch.arange(2 * 3 * side * side, dtype=torch.float64) * .11).reshape(2, 3, side, side).float().requires_grad_()
    take = lambda: net(x, only_feat=True) if hasattr(net, "extract") else net(x)
    net.eval()
    features = take().detach()
    net.train()
    learnt = take()
    (learnt * torch.linspace(-1, 1, learnt.numel(), dtype=torch.float64).float().reshape(learnt.shape)).sum().backward()
    grads = {name: tensor(p.grad) for name, p in net.named_parameters() if name in chosen}
    cases.append({"case": case, "source": source, "params": params, "inputs": {"x": tensor(x)}, "outputs": {"features": tensor(features)}, "grads": {"x": tensor(x.grad), **grads}})

# semilearn's network is a file of its own; the package around it imports much that is not needed.
import importlib.util, sys, types
found = importlib.util.find_spec("semilearn")
sys.modules["semilearn"], sys.modules["semilearn.nets"] = types.ModuleType("semilearn"), types.ModuleType("semilearn.nets")
utils = types.ModuleType("semilearn.nets.utils"); utils.load_checkpoint = None; sys.modules["semilearn.nets.utils"] = utils
spec = importlib.util.spec_from_file_location("wrn", found.submodule_search_locations[0] + "/nets/wrn/wrn.py")
wrn = importlib.util.module_from_spec(spec); spec.loader.exec_module(wrn)
whole("wrn_features", "semilearn 0.3.2", wrn.wrn_28_2(num_classes=2), {"backbone": "wrn-28-2"}, 16, ("block1.layer.0.conv1.weight", "block1.layer.0.bn1.weight", "block2.layer.0.convShortcut.weight", "bn1.weight"))
convnext = timm.models.ConvNeXt(num_classes=0, depths=(3, 3, 9, 3), dims=(8, 8, 16, 16))
whole("convnext_features", f"timm {timm.__version__}", convnext, {"backbone": "convnext-tiny", "widths": [8, 8, 16, 16], "stem": "imagenet"}, 32, ("stem.0.bias", "stages.0.blocks.1.gamma", "stages.1.downsample.1.weight", "stages.2.blocks.4.conv_dw.weight", "head.norm.weight"))
print(json.dumps(cases))
