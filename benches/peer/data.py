"""Makes a folder of JPEGs, or reads it as torchvision does: data.py make FOLDER N [--first I] | read FOLDER (seconds) | views FOLDER (images/s)"""

import argparse
import pathlib
import random
import time

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["make", "read", "views"])
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("images", type=int, nargs="?", default=0)
parser.add_argument("--first", type=int, default=0)
args = parser.parse_args()


def make():
    from PIL import Image

    for i in range(args.first, args.first + args.images):
        random.seed(i)
        # A few colours, scaled up: as smooth as photographs, and as large in bytes.
        small = Image.frombytes("RGB", (50, 38), random.randbytes(50 * 38 * 3))
        folder = args.folder / f"class{i % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        small.resize((500, 375), Image.BICUBIC).save(folder / f"{i:06}.jpg", quality=85)


def through(transform, most=None):
    """Seconds that a pass takes, and images."""
    import torch
    from torchvision.datasets import ImageFolder

    began = time.time()
    images = ImageFolder(args.folder, transform)
    some = images if most is None else torch.utils.data.Subset(images, range(0, len(images), -(-len(images) // most)))
    loader = torch.utils.data.DataLoader(some, batch_size=256, num_workers=2)
    count = sum(len(labels) for _, labels in loader)
    return time.time() - began, count


def read():
    from torchvision.transforms import v2

    print(f"{through(v2.Compose([v2.Resize(96, antialias=True), v2.CenterCrop(96), v2.PILToTensor()]))[0]:.2f}")


def views():
    import torch
    from torchvision.transforms import v2

    # The recipe `simclr` of flow.
    view = v2.Compose([
        v2.RandomResizedCrop(96, scale=(0.2, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        v2.RandomGrayscale(0.2),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
    ])
    # Part of an epoch, as each image takes as long as the others.
    seconds, images = through(lambda image: (view(image), view(image)), most=4000)
    print(f"{images / seconds:.0f}")


{"make": make, "read": read, "views": views}[args.what]()
