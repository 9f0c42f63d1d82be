"""Image files in `train/CLASS/` and `test/CLASS/`, in a folder or in a tar of one, as arrays.

A tar is read as a stream: nothing is unpacked to the disk, links are never followed, and sizes
are limited. Every image is decoded once, to uint8 [H, W, 3] in RGB.
"""

import io
import lzma
import tarfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from ..errors import ConfigError

SPLITS = ("train", "test")
SUFFIXES = (".jpg", ".jpeg", ".png")
FILE_BYTES_MAX = 64 << 20  # of one file
PIXEL_BYTES_MAX = 8 << 30  # of all decoded images: they stay in memory
TRAIN_COUNT_MIN = 2  # of each class: one to train on, one for the calibration split
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")  # 8 bits per channel or fewer
LAYOUT = "expected train/CLASS/*.jpg (or .png) and test/CLASS/*.jpg"


class Labelled(NamedTuple):
    """One split, ordered by class and file name: `images` uint8 [H, W, 3] each, `labels` int64
    [n]."""

    images: list[np.ndarray]
    labels: np.ndarray


class ImageSet(NamedTuple):
    """`class_names[label]`, and the two splits."""

    class_names: tuple[str, ...]
    train: Labelled
    test: Labelled


Found = dict[str, dict[str, list[tuple[str, np.ndarray]]]]  # split -> class -> (file name, image)


def read_image_files(path: Path) -> ImageSet:
    """The images of a folder, or of a tar (also .gz, .xz, .bz2) of one.

    Raises ConfigError for a damaged or unreadable file (named), for other layouts, and what
    `collected` raises.
    """
    found: Found = {split: {name: [] for name in _class_folders(path / split)} for split in SPLITS}
    total_bytes = 0
    entries = _folder_entries(path) if path.is_dir() else tar_files(path, _is_image)
    for name, content in tqdm(entries, "reading images", unit=" images", disable=None, leave=False):
        split, class_name, file_name = _place(name, path)
        image = decoded(content, f"{path}: {name}")
        total_bytes += image.nbytes
        if total_bytes > PIXEL_BYTES_MAX:
            raise ConfigError(
                f"{path}: found more than {PIXEL_BYTES_MAX} bytes of decoded pixels, too many to "
                "hold in memory; make the images smaller, or use fewer"
            )
        found[split].setdefault(class_name, []).append((file_name, image))
    return collected(found, str(path))


def collected(found: Found, where: str) -> ImageSet:
    """`found` in the order of class and file name.

    Raises ConfigError if a split has no images, a class has too few, there is a single class, or
    the classes of the splits differ.
    """
    for split in SPLITS:
        if not any(found[split].values()):
            raise ConfigError(f"{where}: found no images in {split}/; {LAYOUT}")
    train, test = set(found["train"]), set(found["test"])
    if train != test:
        raise ConfigError(
            f"{where}: found classes only in train/: {_listed(train - test)}, only in test/: "
            f"{_listed(test - train)}; expected the same classes in both; rename the folders or "
            "add the missing images"
        )
    if len(train) < 2:
        raise ConfigError(f"{where}: found the single class {_listed(train)}, expected at least 2")
    for split, least in (("train", TRAIN_COUNT_MIN), ("test", 1)):
        for name, images in sorted(found[split].items()):
            if len(images) < least:
                raise ConfigError(
                    f"{where}: found {len(images)} images in {split}/{name}, expected at least "
                    f"{least}; add images or take the class away from both splits"
                )
    names = tuple(sorted(train))
    return ImageSet(names, *(_ordered(found[split], names) for split in SPLITS))


def _ordered(by_class: dict[str, list[tuple[str, np.ndarray]]], names: tuple[str, ...]) -> Labelled:
    images, labels = [], []
    for label, name in enumerate(names):
        members = sorted(by_class[name], key=lambda member: member[0])
        images += [image for _, image in members]
        labels += [label] * len(members)
    return Labelled(images, np.array(labels, np.int64))


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "") or "none"


def _place(name: str, path: Path) -> tuple[str, str, str]:
    """(split, class, file name) of `train/CLASS/FILE`, which may stand below one more folder."""
    parts = PurePosixPath(name).parts
    if not 3 <= len(parts) <= 4 or parts[-3] not in SPLITS:
        raise ConfigError(f"{path}: found the image {name}; {LAYOUT}; move it or take it away")
    return parts[-3], parts[-2], parts[-1]


def _is_image(name: str) -> bool:
    is_hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
    return name.lower().endswith(SUFFIXES) and not is_hidden


def _class_folders(split: Path) -> list[str]:
    """A class that has a folder but no images should be complained about, not overlooked."""
    if not split.is_dir():
        return []
    return [f.name for f in split.iterdir() if f.is_dir() and not f.name.startswith(".")]


def _folder_entries(path: Path) -> Iterator[tuple[str, bytes]]:
    for split in SPLITS:
        for file in sorted((path / split).rglob("*")):
            name = file.relative_to(path).as_posix()
            if _is_image(name) and file.is_file():
                _check_size(f"{path}: {name}", file.stat().st_size)
                try:
                    content = file.read_bytes()
                except OSError as error:
                    raise ConfigError(
                        f"{path}: {name}: cannot be read ({error.strerror}); expected a readable "
                        "image; change its permissions or take it away"
                    ) from error
                yield name, content


def tar_files(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the regular files of a tar whose name is `wanted`, in its order.

    Raises ConfigError if it is no tar, or a damaged one, or a file is larger than
    `FILE_BYTES_MAX`.
    """
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                if member.isfile() and wanted(member.name):
                    _check_size(f"{path}: {member.name}", member.size)
                    yield member.name, _content(archive, member)
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise ConfigError(
            f"{path}: cannot be read as a tar ({error}); expected a whole tar, tar.gz or tar.xz; "
            "copy or download it again"
        ) from error


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # a regular file always has content
    return file.read()


def _check_size(where: str, size: int) -> None:
    if size > FILE_BYTES_MAX:
        raise ConfigError(
            f"{where}: found {size} bytes, expected at most {FILE_BYTES_MAX}; make it smaller"
        )


def decoded(content: bytes, where: str) -> np.ndarray:
    """An image file as uint8 [H, W, 3], RGB. Raises ConfigError, naming `where`, if it cannot."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
                if image.mode not in MODES:
                    raise ValueError(f"its pixels are of Pillow's mode {image.mode}")
                return np.array(image.convert("RGB"))
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,  # Pillow's word for a broken PNG
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise ConfigError(
            f"{where}: cannot be decoded ({error}); expected a whole JPEG or PNG image with 8 bits "
            "per channel; replace it or take it away"
        ) from error
