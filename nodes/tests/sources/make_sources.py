"""Small sets of images in every format that holds many: `python3 make_sources.py` writes them beside itself, and expected.json.

Needs NumPy, h5py, PyArrow and Pillow. What is expected is computed from the arrays, not read back from the files.
"""

import gzip
import io
import json
import pathlib
import pickle
import shutil
import tarfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

HERE = pathlib.Path(__file__).parent
EXPECTED = {}


def images(n, h, w, c, seed, most=255):
    """Smooth pictures, so that they pack well, each of its own slope."""
    y, x, z = np.mgrid[0:h, 0:w, 0:c].astype(np.float64)
    rows = [(0.5 + 0.5 * np.sin((seed + i + 1) * (x + 2 * y) / (w + h) + z)) * most for i in range(n)]
    return np.round(np.stack(rows)).astype(np.uint16 if most > 255 else np.uint8)


def expect(path, split, pixels, labels, depth=8):
    """`pixels` is [n][h][w][c]; a label is a name or None."""
    for image, label in zip(pixels, labels):
        eight = image.astype(np.float64) if depth == 8 else np.floor((image.astype(np.int64) + 128) / 257)
        of = [eight[..., min(c, image.shape[2] - 1)].mean() for c in range(3)]
        line = {"label": label, "split": split, "width": image.shape[1], "height": image.shape[0]}
        EXPECTED.setdefault(path, []).append(line | {"channels": image.shape[2], "depth": depth, "mean": of})


def fresh(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def npz():
    folder = fresh("npz")
    train, test = images(12, 8, 8, 3, 1), images(6, 8, 8, 3, 50)
    y, y_test = np.array([0, 1, 10] * 4), np.array([10, 0, 1] * 2)
    np.savez(folder / "plain.npz", x_train=train, y_train=y, x_test=test, y_test=y_test.reshape(-1, 1))
    expect("npz/plain.npz", "train", train, [str(v) for v in y])
    expect("npz/plain.npz", "test", test, [str(v) for v in y_test])
    floats = np.asfortranarray(train.astype(np.float32) / 255)
    np.savez_compressed(folder / "fortran.npz", x=floats, y=np.array(["cat", "dog", ""] * 4))
    expect("npz/fortran.npz", None, train, ["cat", "dog", None] * 4)
    np.savez(folder / "planar.npz", train_images=train.transpose(0, 3, 1, 2).astype(">i4"), train_labels=y - 1)
    expect("npz/planar.npz", "train", train, [str(v) if v >= 0 else None for v in y - 1])
    deep = images(12, 8, 8, 5, 3, most=65535)
    np.savez_compressed(folder / "deep.npz", images=deep, labels=np.array([0, 1] * 6, dtype=np.uint8))
    expect("npz/deep.npz", None, deep, ["0", "1"] * 6, depth=16)


def hdf5():
    folder = fresh("hdf5")
    train, test = images(12, 8, 8, 3, 1), images(6, 8, 8, 3, 50)
    y, y_test = np.array([0, 1, 10] * 4), np.array([10, 0, 1] * 2)
    with h5py.File(folder / "plain.h5", "w") as file:
        file["train/x"], file["train/y"] = train, y
        file["test/x"], file["test/y"] = test, y_test.reshape(-1, 1)
    # Groups come in the order of their names.
    expect("hdf5/plain.h5", "test", test, [str(v) for v in y_test])
    expect("hdf5/plain.h5", "train", train, [str(v) for v in y])
    names = ["cat", "dög", ""] * 4
    with h5py.File(folder / "packed.hdf5", "w", libver="latest") as file:
        chunks = {"chunks": (5, 3, 8, 2), "compression": "gzip", "shuffle": True, "fletcher32": True}
        file.create_dataset("images", data=train, **chunks)
        file.create_dataset("labels", data=names, dtype=h5py.string_dtype(), chunks=(5,), compression="gzip")
    expect("hdf5/packed.hdf5", None, train, [name or None for name in names])
    deep = images(12, 8, 8, 5, 3, most=65535)
    with h5py.File(folder / "deep", "w") as file:
        file.create_dataset("x", data=deep.astype(">u2"), chunks=True, compression="gzip")
        file["y"] = np.array([b"a", b"b"] * 6)
    expect("hdf5/deep", None, deep, ["a", "b"] * 6, depth=16)
    with h5py.File(folder / "floats.h5", "w") as file:
        file["x"] = train.astype(np.float32) / 255
        file["other"] = h5py.ExternalLink("elsewhere.h5", "/x")
    expect("hdf5/floats.h5", None, train, [None] * 12)
    with h5py.File(folder / "bool.h5", "w") as file:
        file["x"] = train[..., 0] > 127
    with h5py.File(folder / "records.h5", "w") as file:
        file["x"] = np.zeros((2, 8, 8), dtype=[("a", "u1"), ("b", "f4")])
    expect("hdf5/bool.h5", None, (train[..., :1] > 127).astype(np.uint8) * 255, [None] * 12)


def planes(pixels):
    return pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)


def cifar():
    train, test = images(3, 32, 32, 3, 7), images(2, 32, 32, 3, 70)
    y, y_test, names = [2, 0, 1], [1, 2], ["airplane", "automobile", "bird"]
    for path in ["cifar-10-batches-bin", "cifar-10-batches-py", "cifar-10-old", "cifar-100.tar.gz"]:
        expect(path, "train", train, [names[v] for v in y])
        expect(path, "test", test, [names[v] for v in y_test])

    def binary(pixels, labels):
        return b"".join(bytes([v]) + row.tobytes() for v, row in zip(labels, planes(pixels)))

    folder = fresh("cifar-10-batches-bin")
    (folder / "data_batch_1.bin").write_bytes(binary(train, y))
    (folder / "test_batch.bin").write_bytes(binary(test, y_test))
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    # Protocol 2 with texts for bytes is what Python 2 wrote and is published; 4 is what most would write today.
    for name, protocol in [("cifar-10-batches-py", 4), ("cifar-10-old", 2)]:
        folder = fresh(name)
        key = (lambda text: text.encode()) if protocol == 4 else (lambda text: text)
        for file, pixels, labels in [("data_batch_1", train, y), ("test_batch", test, y_test)]:
            batch = {key("batch_label"): key("some"), key("labels"): labels, key("data"): planes(pixels)}
            batch[key("filenames")] = [key(f"{i}.png") for i in labels]
            (folder / file).write_bytes(pickle.dumps(batch, protocol=protocol))
        meta = {key("num_cases_per_batch"): 3, key("label_names"): [key(n) for n in names], key("num_vis"): 3072}
        (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=protocol))

    def member(tar, name, value):
        data = pickle.dumps(value, protocol=2)
        info = tarfile.TarInfo(f"cifar-100-python/{name}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))

    with gzip.GzipFile(HERE / "cifar-100.tar.gz", "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        member(tar, "meta", {"fine_label_names": names, "coarse_label_names": ["x"]})
        for name, pixels, labels in [("test", test, y_test), ("train", train, y)]:
            coarse = [0] * len(labels)
            member(tar, name, {"fine_labels": labels, "coarse_labels": coarse, "data": planes(pixels)})


def stl10():
    folder = fresh("stl10_binary")
    names = ["airplane", "bird", "car"]
    (folder / "class_names.txt").write_text("\n".join(names) + "\n")
    parts = [("train", [1, 3, 2], "train"), ("unlabeled", [None] * 2, "train"), ("test", [2, 1], "test")]
    for i, (name, labels, split) in enumerate(parts):
        pixels = images(len(labels), 96, 96, 3, 11 * (i + 1))
        with gzip.GzipFile(folder / f"{name}_X.bin.gz", "wb", mtime=0) as file:
            file.write(pixels.transpose(0, 3, 2, 1).tobytes())
        if labels[0]:
            (folder / f"{name}_y.bin").write_bytes(bytes(labels))
        expect("stl10_binary", split, pixels, [names[v - 1] if v else None for v in labels])


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    return file.getvalue()


def parquet():
    folder = fresh("parquet")
    names = ["zebra", "ant"]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    shards = [("test-00000-of-00001", "test", 2), ("train-00000-of-00002", "train", 3), ("train-00001-of-00002", "train", 4)]
    (folder / "data").mkdir()
    for i, (name, split, n) in enumerate(shards):
        pixels, labels = images(n, 9 + i, 12, 3, 20 * (i + 1)), [(j + i) % 2 for j in range(n)]
        if split == "train":
            labels[-1] = -1 if i == 1 else None
        struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        column = pa.array([{"bytes": png(image), "path": f"{j}.png"} for j, image in enumerate(pixels)], struct)
        schema = pa.schema([("image", struct), ("label", pa.int64())], metadata=metadata)
        table = pa.table([column, pa.array(labels, pa.int64())], schema=schema)
        pq.write_table(table, folder / "data" / f"{name}.parquet", compression=["snappy", "zstd", "gzip"][i])
        expect("parquet", split, pixels, [names[v] if v is not None and v >= 0 else None for v in labels])


def webdataset():
    folder = fresh("webdataset")
    shards = [("set-test-000.tar", "test", 2), ("set-train-000.tar", "train", 3), ("set-train-001.tar.gz", "train", 3)]
    for i, (name, split, n) in enumerate(shards):
        pixels, labels = images(n, 10, 7 + i, 3, 30 * (i + 1)), [(j + i) % 2 for j in range(n)]
        shown = [str(v) for v in labels]
        opened = gzip.GzipFile(folder / name, "wb", mtime=0) if name.endswith("gz") else open(folder / name, "wb")
        with opened as file, tarfile.open(fileobj=file, mode="w") as tar:
            for j, image in enumerate(pixels):
                members = {"png": png(image), "json": json.dumps({"label": labels[j], "text": "x"}).encode()}
                if i == 0:
                    members = {"cls": str(labels[j]).encode(), "png": png(image)}
                if (i, j) == (2, 1):
                    members, shown[j] = {"png": png(image), "txt": b"a caption"}, None
                for ending, data in members.items():
                    info = tarfile.TarInfo(f"part.{i}/{j:04}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        expect("webdataset", split, pixels, shown)


for make in [npz, hdf5, cifar, stl10, parquet, webdataset]:
    make()
(HERE / "expected.json").write_text(json.dumps(EXPECTED, indent=1) + "\n")
