"""Where a build is put together: beside the set that it will replace, under a lock.

Until the last step nothing at the set's place changes; whoever is killed leaves `.building-*`,
which nobody reads and the next build takes away.
"""

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
from typing import Iterator

from ..engine_store import FOLDER, Engine, EngineSet, folder_of, write_set
from ..errors import EngineError
from ..files import replace_folder

LOCK = ".lock"


@contextlib.contextmanager
def workshop(bundle: str) -> Iterator[str]:
    """An empty folder in the bundle in folder `bundle`, of this process alone; it goes at the end.

    Raises EngineError if somebody else builds there, or if nothing can be written.
    """
    compiled = os.path.join(bundle, FOLDER)
    try:
        os.makedirs(compiled, exist_ok=True)
        lock = os.open(os.path.join(compiled, LOCK), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise EngineError(
            "{}: cannot be written ({}); engines are kept in their bundle: copy it to where you "
            "may write".format(compiled, error.strerror)
        ) from None
    try:
        try:
            # The system takes it back when this process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EngineError(
                "{}: found another build at work, expected to be alone; wait for its end".format(
                    compiled
                )
            ) from None
        for left in glob.glob(os.path.join(glob.escape(compiled), ".building-*")):
            shutil.rmtree(left, ignore_errors=True)
        folder = tempfile.mkdtemp(prefix=".building-", dir=compiled)
        os.chmod(folder, 0o755)  # mkdtemp's 0700 is for secrets
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def keep(bundle: str, built: EngineSet, engine: Engine, folder: str) -> None:
    """Bring the files of an engine that is there already into `folder`."""
    there = folder_of(bundle, built.key)
    for name in (engine.file, engine.golden):
        if name is None:
            continue
        source, target = (os.path.join(place, *name.split("/")) for place in (there, folder))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # a file system without links
            shutil.copy2(source, target)


def finish(bundle: str, built: EngineSet, folder: str) -> str:
    """Make of `folder`, where all files are, the set that others find; return its place."""
    write_set(folder, built)
    place = folder_of(bundle, built.key)
    replace_folder(folder, place)
    return place
