"""Odd image files, and what Pillow makes of them: `python3 make_images.py` writes them beside itself, and expected.json.

Needs Pillow and NumPy. The files are small; those in the usual formats the tests write themselves.
"""

import json
import pathlib

import numpy as np
import PIL
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent


def picture(w, h):
    """A smooth colour picture with an edge, so that orientation and resampling show."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    r = 255 * x / (w - 1)
    g = 255 * y / (h - 1)
    b = 128 + 100 * np.sin(x / 5) * np.cos(y / 7)
    b[: h // 3, : w // 4] = 250
    return Image.fromarray(np.stack([r, g, b], -1).round().astype(np.uint8))


def save(name, image, **options):
    image.save(HERE / name, **options)


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


base = picture(48, 32)
for orientation in range(1, 9):
    save(f"exif-{orientation}.jpg", base, quality=95, subsampling=0, exif=exif(orientation))
save("progressive.jpg", base, quality=95, subsampling=0, progressive=True)
save("gray.jpg", base.convert("L"), quality=95)
save("cmyk.jpg", base.convert("CMYK"), quality=95, subsampling=0)
save("palette.png", base.quantize(16))
save("one-bit.png", base.convert("1"))
save("sixteen-bit.png", Image.fromarray((np.asarray(base.convert("L")).astype(np.uint16) * 257)))
save("frames.gif", base.quantize(32), save_all=True, append_images=[Image.new("RGB", base.size).quantize(2)])
save("lossless.webp", base, lossless=True)
save("plain.bmp", base)
save("lzw.tif", base, compression="tiff_lzw")
save("deflate.tif", base, compression="tiff_adobe_deflate")

expected = {"pillow": PIL.__version__, "decoded": {}, "fitted": {}}
for path in sorted(HERE.iterdir()):
    if path.suffix in (".py", ".json"):
        continue
    image = Image.open(path)
    if path.name == "sixteen-bit.png":
        rgb = np.repeat((np.asarray(image).astype(np.uint32) // 257)[..., None], 3, -1).astype(np.float64)
    else:
        rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.float64)
    expected["decoded"][path.name] = {
        "width": rgb.shape[1],
        "height": rgb.shape[0],
        "mean": rgb.mean((0, 1)).tolist(),
        # Means of the four quarters tell orientations apart.
        "quarters": [
            rgb[ys, xs].mean((0, 1)).tolist()
            for ys in (slice(None, rgb.shape[0] // 2), slice(rgb.shape[0] // 2, None))
            for xs in (slice(None, rgb.shape[1] // 2), slice(rgb.shape[1] // 2, None))
        ],
    }

# As torchvision's Resize(side), CenterCrop(side) on a PIL image.
for name in ("lossless.webp", "exif-6.jpg"):
    image = ImageOps.exif_transpose(Image.open(HERE / name)).convert("RGB")
    w, h = image.size
    for side in (8, 17, 40):
        short = (side, side * h // w) if w <= h else (side * w // h, side)
        scaled = image.resize(short, Image.Resampling.BILINEAR)
        left, top = round((short[0] - side) / 2), round((short[1] - side) / 2)
        crop = scaled.crop((left, top, left + side, top + side))
        squash = image.resize((side, side), Image.Resampling.BILINEAR)
        pad = ImageOps.pad(image, (side, side), Image.Resampling.BILINEAR)
        for fit, result in (("crop", crop), ("squash", squash), ("pad", pad)):
            expected["fitted"][f"{name} {fit} {side}"] = np.asarray(result).reshape(-1).tolist()

(HERE / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
