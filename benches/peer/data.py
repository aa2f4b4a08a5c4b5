"""Makes a folder of JPEGs, or reads it as torchvision does: data.py make FOLDER N [--first I] | data.py read FOLDER"""

import argparse
import pathlib
import random
import time

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["make", "read"])
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


def read():
    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    fitted = [v2.Resize(96, antialias=True), v2.CenterCrop(96), v2.PILToTensor()]
    began = time.time()
    data = ImageFolder(args.folder, v2.Compose(fitted))
    count = sum(len(batch) for batch, _ in torch.utils.data.DataLoader(data, batch_size=256, num_workers=2))
    print(f"| torchvision: first pass of {count}, ImageFolder and DataLoader of 2 workers | {time.time() - began:.2f} s |")


{"make": make, "read": read}[args.what]()
