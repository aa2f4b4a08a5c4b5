"""Golden values of RandAugment's operations, by torchvision's transforms.v2.

    python3 -m venv venv && venv/bin/pip install torch torchvision
    venv/bin/python tests/golden/make_augment.py > tests/golden/rand_augment.json

Each operation at two strengths, on a colour image of bytes (0 to 255); posterising and equalising are torchvision's of bytes, all others of floats."""
import json

import torch
import torchvision
from torchvision.transforms import InterpolationMode, v2

torch.set_num_threads(1)
SOURCE = f"torchvision {torchvision.__version__.split('+')[0]} transforms.v2"


def tensor(t):
    return {"shape": list(t.shape), "data": [float(f"{v:.5g}") for v in t.flatten().tolist()]}


def cases():
    make = v2.RandAugment(interpolation=InterpolationMode.BILINEAR)
    height, width = 10, 28
    i = torch.arange(3 * height * width, dtype=torch.float64).reshape(3, height, width)
    image = (110 + 60 * torch.sin(0.13 * i) + 40 * torch.sin(0.029 * i)).round().to(torch.uint8)
    for name, (space, signed) in make._AUGMENTATION_SPACE.items():
        levels = space(31, height, width)
        for bin in (9, 30):
            for sign in (1, -1) if signed else (1,):
                magnitude = 0.0 if levels is None else sign * float(levels[bin])
                bytes = name in ("Posterize", "Equalize")
                given = image if bytes else image.float() / 255
                found = make._apply_image_or_video_transform(given, name, magnitude, interpolation=InterpolationMode.BILINEAR, fill={type(given): None})
                found = found.float() / 255 if bytes else found
                yield {"case": "rand_augment_op", "source": SOURCE, "params": {"op": name, "strength": sign * bin / 30},
                       "inputs": {"image": tensor(image.float())}, "outputs": {"image": tensor(found)}, "grads": {}}
            if levels is None:
                break


if __name__ == "__main__":
    print(json.dumps(list(cases())))
