"""Small vision transformers of timm and torchvision, with the features that they give at another image size, for the tests of weights from outside.

    python3 -m venv venv && venv/bin/pip install torch torchvision timm && venv/bin/python nodes/tests/weights/make_weights.py
"""
import pathlib

import timm
import torch
import torchvision
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parent


def disturbed(net, seed):
    """Every parameter away from what it begins as, so that none can be left out unseen."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return net.eval()


def timm_vit(side):
    return timm.models.vision_transformer.VisionTransformer(
        img_size=side, patch_size=4, embed_dim=16, depth=2, num_heads=2, mlp_ratio=4, num_classes=3)


small = disturbed(timm_vit(16), 1)
save_file(small.state_dict(), FOLDER / "timm_vit.safetensors")

sizes = {}
for side in (16, 24, 12):
    other = timm_vit(side).eval()
    state = dict(small.state_dict())
    state["pos_embed"] = timm.layers.resample_abs_pos_embed(state["pos_embed"], [side // 4, side // 4])
    other.load_state_dict(state)
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(side))
    with torch.no_grad():
        features = other.forward_head(other.forward_features(images), pre_logits=True)
    sizes |= {f"images_{side}": images, f"timm_{side}": features}

vit = disturbed(torchvision.models.VisionTransformer(
    image_size=16, patch_size=4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=64, num_classes=3), 2)
save_file(vit.state_dict(), FOLDER / "torchvision_vit.safetensors")
vit.heads = torch.nn.Identity()
with torch.no_grad():
    sizes["torchvision_16"] = vit(sizes["images_16"])
save_file({name: tensor.contiguous() for name, tensor in sizes.items()}, FOLDER / "expected.safetensors")
