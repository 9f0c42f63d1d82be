"""Writing a file whole or not at all; or bit by bit, beside a worker that must not notice."""

import contextlib
import logging
import os
import shutil
import tempfile
from functools import partial
from typing import BinaryIO, List, Optional, Tuple, Union

from .errors import ConfigError, EdgeError

PRIVATE_MODE = 0o600
FLUSH_US = 1_000_000  # what a killed process may leave unwritten
FLUSH_CHARS = 1 << 16
FILES_MAX = 1000  # of one name: a worker that fails, and is started again and again


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


def replace_folder(new: str, path: str) -> None:
    """Rename the folder `new` to `path`, beside it. A folder cannot be replaced in one step: what
    was there steps aside, into ".old-*", and goes. Raises OSError, and then it is there still."""
    if not os.path.exists(path):
        os.rename(new, path)
        return
    aside = tempfile.mkdtemp(prefix=".old-", dir=os.path.dirname(path))
    old = os.path.join(aside, "folder")
    try:
        os.rename(path, old)
        os.rename(new, path)
    finally:
        if not os.path.lexists(path):
            os.rename(old, path)  # should even this fail, what was there stays in `aside`
        shutil.rmtree(aside, ignore_errors=True)


class GrowingFile:
    """A new file of ASCII text that grows while a worker runs. For one thread at a time.

    `path`: its name; where there is such a file already, of the process before this one, the name
    gets a number at its end, and `self.path` tells. `what` it is, for people: "trace". `first` is
    there at once. Raises ConfigError if the file cannot be made. Later nothing is raised: a disk
    that is full, or `bytes_max`, ends the file with one logged warning.
    """

    def __init__(self, path: str, what: str, first: str, bytes_max: int) -> None:
        self.path, file = _new_file(path, what)
        self._file: Optional[BinaryIO] = file
        self._what = what
        self.entry_count = 0
        self._bytes_left = bytes_max
        self._texts: List[str] = [first]
        self._char_count = len(first)
        self._flush_us: Optional[int] = None
        self.flush()

    @property
    def is_open(self) -> bool:
        """Whether it still grows."""
        return self._file is not None

    def add(self, now_us: int, text: str) -> None:
        """One more entry. It is on disk about FLUSH_US later, by the clock of `now_us`."""
        self.entry_count += 1
        self._texts.append(text)
        self._char_count += len(text)
        if self._flush_us is None:
            self._flush_us = now_us + FLUSH_US
        if self._char_count >= FLUSH_CHARS:
            self.flush()
        else:
            self.flush_if_due(now_us)

    def flush_if_due(self, now_us: int) -> None:
        """Hand over what has waited for FLUSH_US."""
        if self._flush_us is not None and now_us >= self._flush_us:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the system: a process that is killed then loses nothing of it."""
        content = "".join(self._texts).encode("ascii")
        self._texts.clear()
        self._char_count, self._flush_us = 0, None
        if self._file is None:
            return
        self._bytes_left -= len(content)
        if self._bytes_left < 0:
            self.end("it has reached its limit")
            return
        try:
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            self.end(error.strerror or str(error))

    def end(self, reason: str) -> None:
        """It cannot go on: say so, once."""
        if self._close():
            logging.getLogger("edgesdk").warning(
                "the %s %s ends after about %d entries (%s); the worker goes on without",
                self._what,
                self.path,
                self.entry_count,
                reason,
            )

    def close(self, last: str = "") -> None:
        """Write what is left, and `last`. Idempotent."""
        self._texts.append(last)
        self.flush()
        self._close()

    def _close(self) -> bool:
        file, self._file = self._file, None
        if file is None:
            return False
        with contextlib.suppress(OSError):  # what it still holds cannot be written either
            file.close()
        return True


def _new_file(path: str, what: str) -> Tuple[str, BinaryIO]:
    """A file that was not there before, and its name."""
    for number in range(1, FILES_MAX + 1):
        name = path if number == 1 else "{}.{}".format(path, number)
        try:
            return name, open(name, "xb")
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(
                "{}: the {} cannot be written ({}); choose another place".format(
                    name, what, error.strerror or error
                )
            ) from None
    raise ConfigError("{}: found {} files of this name; take some away".format(path, FILES_MAX))
