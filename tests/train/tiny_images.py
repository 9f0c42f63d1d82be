"""Image folders, tars and CIFAR-10 batches small enough for tests, written as their makers do."""

import io
import pickle
import tarfile

import numpy as np
from PIL import Image

COLORS = {"cat": (200, 40, 40), "dog": (40, 200, 40), "emu": (40, 40, 200)}


def pixels(name, number, size=(32, 32)):
    """uint8 [H, W, 3]: noise around the colour of the class; every image another."""
    random = np.random.default_rng([number, *name.encode()])
    noise = random.integers(-40, 40, (*size, 3))
    return np.clip(np.array(COLORS.get(name, (90, 90, 90))) + noise, 0, 255).astype(np.uint8)


def encoded(image, form="JPEG"):
    """The content of an image file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form)
    return buffer.getvalue()


def files(names=tuple(COLORS), train=10, test=4, size=(32, 32)):
    """{"train/cat/0000.jpg": content, ...}."""
    return {
        f"{split}/{name}/{index:04}.jpg": encoded(pixels(name, index + offset, size))
        for split, count, offset in (("train", train, 0), ("test", test, 1000))
        for name in names
        for index in range(count)
    }


def write_folder(path, contents):
    """`contents` (name -> bytes) as files below `path`, which is returned."""
    for name, content in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_tar(path, contents, mode="w:xz"):
    """`contents` as a tar, which is returned."""
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def batch(count=20, offset=0, **changes):
    """One CIFAR-10 batch, as a dict with keys of bytes: labels 0, 1, 2, 0, 1, ..."""
    names = sorted(COLORS)
    labels = [index % len(names) for index in range(count)]
    planes = [pixels(names[k], offset + i).transpose(2, 0, 1) for i, k in enumerate(labels)]
    found = {
        b"batch_label": b"some batch",
        b"labels": labels,
        b"data": np.stack(planes).reshape(count, -1),
        b"filenames": [f"{names[k]}_{offset + i:06}.png".encode() for i, k in enumerate(labels)],
    }
    return {**found, **{key.encode(): value for key, value in changes.items()}}


def batches():
    """File name -> bytes of a complete, tiny `cifar-10-batches-py`."""
    contents = {
        f"data_batch_{number}": python2_pickle(batch(offset=100 * number)) for number in range(1, 6)
    }
    contents["test_batch"] = python2_pickle(batch(9, offset=900))
    contents["batches.meta"] = python2_pickle(
        {b"label_names": [name.encode() for name in sorted(COLORS)], b"num_vis": 3072}
    )
    return {f"cifar-10-batches-py/{name}": content for name, content in contents.items()}


class _Python2Pickler(pickle._Pickler):
    """Python 3 writes bytes as a call in protocol 2; Python 2 wrote them, and texts, as strings."""

    def save_string(self, value):
        content = value if isinstance(value, bytes) else value.encode()
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(value)


_Python2Pickler.dispatch = {
    **pickle._Pickler.dispatch,
    bytes: _Python2Pickler.save_string,
    str: _Python2Pickler.save_string,
}


def python2_pickle(value):
    """`value` as Python 2 and the numpy of its day pickle it with protocol 2."""
    buffer = io.BytesIO()
    _Python2Pickler(buffer, 2).dump(value)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
