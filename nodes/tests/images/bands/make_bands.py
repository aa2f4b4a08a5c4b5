"""TIFF files of five bands: `python3 make_bands.py` writes them beside itself. Needs NumPy and tifffile.

Band b of the pixel in row y and column x is (31 y + 7 x + 13 b) mod 251, in the file of 16 bits 200 times that.
"""

import pathlib

import numpy as np
import tifffile

HERE = pathlib.Path(__file__).parent
y, x, b = np.mgrid[0:12, 0:10, 0:5]
bands = (31 * y + 7 * x + 13 * b) % 251
options = dict(photometric="minisblack", compression="zlib", metadata=None)
tifffile.imwrite(HERE / "sixteen-bit.tif", (200 * bands).astype(np.uint16), planarconfig="contig", **options)
tifffile.imwrite(HERE / "planar.tif", np.moveaxis(bands, -1, 0).astype(np.uint8), planarconfig="separate", **options)
tifffile.imwrite(HERE / "float.tif", bands.astype(np.float32), planarconfig="contig", **options)
