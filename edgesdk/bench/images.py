"""The images that `bench pipeline` is measured on: those that no network of the project saw."""

from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Sequence

import numpy as np

from .. import digits
from ..errors import BackendUnavailable, ConfigError


class LabelledImages(NamedTuple):
    """`images`: uint8 [H,W] or [H,W,3] each; `labels`: int64 [n]; `name` for people."""

    images: List[np.ndarray]
    labels: np.ndarray
    name: str


def read_test_images(data: Optional[str], labels: Sequence[str]) -> LabelledImages:
    """The test images of the data set at path `data`, by default the digits scans.

    `data` is what `python -m edgesdk.train fit --data` takes. `labels` are the classes that the
    network knows. Raises ConfigError if the classes differ, or what the readers raise.
    """
    if data is None or data == "digits":
        scans = digits.load_digits_split("test")
        names, found = digits.LABELS, LabelledImages(list(scans.images), scans.labels, "digits")
    else:
        image_set = _read(Path(data))
        names = image_set.class_names
        found = LabelledImages(list(image_set.test.images), image_set.test.labels, Path(data).name)
    if tuple(names) != tuple(labels):
        raise ConfigError(
            "data: found the classes {}, expected those of the bundle, {}; name the data set that "
            "it was trained on".format(_listed(names), _listed(labels))
        )
    return found


def _read(path: Path) -> Any:
    """The image set at `path`, by the readers of training: they need Pillow, but no torch."""
    try:
        from ..train.cifar_batches import is_batches, read_batches
        from ..train.image_files import read_image_files
    except (ImportError, TypeError, SyntaxError) as error:  # the latter two: Python below 3.9
        raise BackendUnavailable(
            "--data is read by edgesdk.train, which cannot be imported ({}); it needs Python 3.9 "
            'and: pip install "edgesdk[train]"'.format(error)
        ) from None
    if not path.exists():
        raise ConfigError(
            "data: found nothing at {}; expected an image folder, cifar-10-batches-py, or a tar of "
            "either".format(path)
        )
    return read_batches(path) if is_batches(path) else read_image_files(path)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
