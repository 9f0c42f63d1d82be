"""CIFAR-10 as its authors publish it: `cifar-10-batches-py`, a folder or a tar.gz of it.

Each file is a pickle of a dict: `data` uint8 [10000, 3072] (red, green, blue planes, row by row),
`labels` 10000 integers 0..9, `filenames`. A pickle can name any function to be called while it is
read, so these are read by an unpickler that knows three names only, those with which numpy writes
an array, and answers them with the stand-ins below: nothing of numpy, or of anything else, runs.
"""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..errors import ConfigError
from .image_files import Found, ImageSet, collected, tar_files

TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE, NAMES_FILE = "test_batch", "batches.meta"
FOLDER = "cifar-10-batches-py"
SIZE = 32
IMAGE_BYTES = 3 * SIZE * SIZE
REMEDY = (
    "unpack or download cifar-10-python.tar.gz again (CIFAR-100 and the binary version have "
    "another form)"
)


def is_batches(path: Path) -> bool:
    """Whether `path` is such a folder (or the one around it), or a tar that begins with one."""
    if path.is_dir():
        return any((_folder(path) / name).is_file() for name in (*TRAIN_FILES, TEST_FILE))
    first = next(tar_files(path, lambda name: True), ("", b""))[0]
    return PurePosixPath(first).parent.name == FOLDER


def read_batches(path: Path) -> ImageSet:
    """The images of all six files, ordered as any other image set: by class, then by file name.

    Raises ConfigError for a file that is missing, damaged, or of another form.
    """
    contents = dict(_folder_files(path) if path.is_dir() else _tar_files(path))
    wanted = (*TRAIN_FILES, TEST_FILE, NAMES_FILE)
    missing = [name for name in wanted if name not in contents]
    if missing:
        raise ConfigError(
            f"{path}: found no {', '.join(missing)}; expected {', '.join(wanted)}; {REMEDY}"
        )
    names = _class_names(contents[NAMES_FILE], f"{path}: {NAMES_FILE}")
    found: Found = {split: {name: [] for name in names} for split in ("train", "test")}
    for file in (*TRAIN_FILES, TEST_FILE):
        split = "test" if file == TEST_FILE else "train"
        where = f"{path}: {file}"
        for label, name, image in _images(contents[file], len(names), where):
            found[split][names[label]].append((name, image))
    return collected(found, str(path))


def _folder(path: Path) -> Path:
    return path / FOLDER if (path / FOLDER).is_dir() else path


def _folder_files(path: Path) -> Iterator[tuple[str, bytes]]:
    for name in (*TRAIN_FILES, TEST_FILE, NAMES_FILE):
        if (_folder(path) / name).is_file():
            yield name, (_folder(path) / name).read_bytes()


def _tar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    for name, content in tar_files(path, lambda name: PurePosixPath(name).parent.name == FOLDER):
        yield PurePosixPath(name).name, content


def _class_names(content: bytes, where: str) -> list[str]:
    names = _unpickled(content, where).get(b"label_names")
    if not isinstance(names, list) or not names or not all(isinstance(n, bytes) for n in names):
        raise ConfigError(f"{where}: found no list label_names; {REMEDY}")
    return [name.decode("ascii", "replace") for name in names]


def _images(content: bytes, class_count: int, where: str) -> Iterator[tuple[int, str, np.ndarray]]:
    """(label, file name, uint8 [32, 32, 3]) of every image of one file."""
    batch = _unpickled(content, where)
    pixels, labels, names = (batch.get(key) for key in (b"data", b"labels", b"filenames"))
    if (
        not isinstance(pixels, _Array)
        or not isinstance(labels, list)
        or not isinstance(names, list)
    ):
        raise ConfigError(
            f"{where}: found {_keys(batch)}; expected data, labels and filenames; {REMEDY}"
        )
    planes = pixels.values(where)
    if not len(planes) == len(labels) == len(names):
        raise ConfigError(
            f"{where}: found {len(planes)} images, {len(labels)} labels and {len(names)} file "
            f"names; expected as many of each; {REMEDY}"
        )
    for label, name, values in zip(labels, names, planes):
        if type(label) is not int or not 0 <= label < class_count or not isinstance(name, bytes):
            raise ConfigError(
                f"{where}: found the label {label!r} of {name!r}, expected 0..{class_count - 1}; "
                f"{REMEDY}"
            )
        image = np.ascontiguousarray(values.reshape(3, SIZE, SIZE).transpose(1, 2, 0))
        yield label, name.decode("ascii", "replace"), image


def _keys(batch: dict[Any, Any]) -> str:
    return ", ".join(k.decode("ascii", "replace") for k in batch if isinstance(k, bytes)) or "{}"


class _DataType:
    """Stands for numpy.dtype."""

    def __init__(self, code: object = None, *_flags: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Byte order and the like: nothing that single bytes have."""


class _Array:
    """Stands for a numpy array: holds what the pickle says of it, unchecked."""

    def __setstate__(self, state: object) -> None:
        self._state = state

    def values(self, where: str) -> np.ndarray:
        """uint8 [n, 3072] (a view), or ConfigError if the pickle says anything else."""
        state = getattr(self, "_state", None)
        if isinstance(state, tuple) and len(state) == 5:
            _, shape, data_type, is_fortran, content = state
            is_bytes = isinstance(data_type, _DataType) and data_type.code == b"u1"
            if is_bytes and not is_fortran and isinstance(content, bytes):
                count = len(content) // IMAGE_BYTES
                if shape == (count, IMAGE_BYTES) and len(content) == count * IMAGE_BYTES:
                    return np.frombuffer(content, np.uint8).reshape(shape)
        raise ConfigError(
            f"{where}: found data of another form, expected uint8 [n, {IMAGE_BYTES}]; {REMEDY}"
        )


def _reconstruct(*_arguments: object) -> _Array:
    """Stands for numpy.core.multiarray._reconstruct."""
    return _Array()


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DataType,
}


class _Unpickler(pickle.Unpickler):
    """Dicts, lists, tuples, bytes, texts, numbers, and the names of `STAND_INS`."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of that name. Raises UnpicklingError for every other name."""
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return STAND_INS[module, name]


def _unpickled(content: bytes, where: str) -> dict[Any, Any]:
    try:
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise ConfigError(f"{where}: cannot be read ({error}); {REMEDY}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: found a {type(found).__name__}, expected a dict; {REMEDY}")
    return found
