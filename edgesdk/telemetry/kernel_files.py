"""Small files in which the kernel and the system say how they are: below /proc, /sys and /etc.

Whatever is missing, unreadable or odd is empty here: who looks must not stop for a file.
"""

import glob
import os
import re
from typing import List, Optional

SMALL_BYTES_MAX = 100
TEXT_BYTES_MAX = 16_000_000  # of the longest file that is read: the list of installed packages


def text(path: str, bytes_max: int = SMALL_BYTES_MAX) -> str:
    """What a file says, without what surrounds it; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(bytes_max).decode("utf-8", "replace").strip(" \t\r\n\0")
    except (OSError, ValueError):  # a name that no file can have is no file either
        return ""


def whole(path: str) -> Optional[int]:
    """The integer that a file consists of; None where it is none."""
    try:
        return int(text(path))
    except ValueError:
        return None


def lines(path: str) -> List[str]:
    """The lines of a file of any length."""
    return text(path, TEXT_BYTES_MAX).splitlines()


def found(folder: str, pattern: str) -> List[str]:
    """The paths below `folder` that match, zone 2 before zone 10."""
    paths = glob.glob(os.path.join(glob.escape(folder), pattern))
    return sorted(paths, key=lambda path: ([int(n) for n in re.findall("[0-9]+", path)], path))
