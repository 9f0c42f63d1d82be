"""Writing a file whole or not at all."""

import contextlib
import os
from functools import partial
from typing import Union

from .errors import EdgeError

PRIVATE_MODE = 0o600


def write_atomically(
    path: Union[str, "os.PathLike[str]"], content: bytes, private: bool = False
) -> None:
    """Replace the file `path` by `content`, and make its folder if need be.

    Whoever reads, and whoever looks after this process was killed, finds the old file or the new.
    A `private` file can be read by its owner only, from its first byte.
    Raises EdgeError if the file system refuses (full, read-only); the old file is then untouched
    and no temporary file is left.
    """
    path = os.fspath(path)
    temporary = path + ".tmp"  # always one name: what a kill left is written over
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        if private:  # what a kill left may be open to others
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary)
        opener = partial(os.open, mode=PRIVATE_MODE) if private else None
        with open(temporary, "xb" if private else "wb", opener=opener) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise EdgeError(
            "{}: cannot be written ({}); what was there before is untouched; free some space or "
            "choose another place".format(path, error.strerror or error)
        ) from error
