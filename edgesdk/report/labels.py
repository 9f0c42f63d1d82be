"""What the images really show: a file of labels, by the tags of the items."""

import csv
import io
import json
import os
from typing import Any, Dict, List, Sequence, Tuple

from ..errors import ConfigError

Pairs = List[Tuple[str, Any, int]]  # tag, label, line or place in the file from 1
EXPECTED = (
    "expected JSON (an object of tag to label, or a list by tag), CSV with the columns tag and "
    "label, or a text file with one label per line, the first for tag 0"
)


class Labels:
    """Class indices by tag, which is compared as text."""

    def __init__(self, classes: Dict[str, int]) -> None:
        self._classes = classes

    def __len__(self) -> int:
        return len(self._classes)

    def of(self, tag: Any) -> int:
        """The class that an item with this tag shows, or -1 if that is not known."""
        return self._classes.get(str(tag), -1)


def read_labels(path: str, class_names: Sequence[str]) -> Labels:
    """The labels in file `path`: indices of classes, or names where `class_names` has them.

    .json and .csv are read as such, everything else as text. Raises ConfigError, with the line,
    for what is none of these.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError("{}: cannot be read ({}); {}".format(path, reason, EXPECTED)) from None
    readers = {".json": _pairs_of_json, ".csv": _pairs_of_csv}
    read = readers.get(os.path.splitext(path)[1].lower(), _pairs_of_text)
    indices = {name: index for index, name in enumerate(class_names)}
    classes: Dict[str, int] = {}
    for tag, label, line in read(path, text):
        where = "{}:{}".format(path, line)
        if tag in classes:
            raise ConfigError("{}: found the tag {} again, expected it once".format(where, tag))
        classes[tag] = _class_of(label, indices, where)
    return Labels(classes)


def _class_of(label: Any, indices: Dict[str, int], where: str) -> int:
    """A name of a class, where there is one; else an index."""
    text = str(label).strip()
    if text in indices:
        return indices[text]
    if (
        text.isdecimal()
        and not isinstance(label, bool)
        and (not indices or int(text) < len(indices))
    ):
        return int(text)
    expected = "the index of a class; for names of classes, give --bundle too"
    if indices:
        expected = "one of {}, or an index below {}".format(_some(list(indices)), len(indices))
    raise ConfigError("{}: found the label {!r:.60}, expected {}".format(where, text, expected))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def _pairs_of_json(path: str, text: str) -> Pairs:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError("{}: not JSON ({}); {}".format(path, error, EXPECTED)) from None
    if isinstance(document, dict):
        return [(tag, label, n) for n, (tag, label) in enumerate(document.items(), start=1)]
    if isinstance(document, list):
        return [(str(tag), label, tag + 1) for tag, label in enumerate(document)]
    raise ConfigError("{}: found {:.60}; {}".format(path, repr(document), EXPECTED))


def _pairs_of_csv(path: str, text: str) -> Pairs:
    pairs: Pairs = []
    try:
        for line, row in enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), start=1):
            if not row or (line == 1 and row[0].strip().lower() == "tag"):
                continue
            if len(row) != 2:
                message = "{}:{}: found {} columns, expected two: tag and label"
                raise ConfigError(message.format(path, line, len(row)))
            pairs.append((row[0].strip(), row[1], line))
    except csv.Error as error:
        raise ConfigError("{}: not CSV ({}); {}".format(path, error, EXPECTED)) from None
    return pairs


def _pairs_of_text(path: str, text: str) -> Pairs:
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return [(str(number), line, number + 1) for number, line in enumerate(lines)]
