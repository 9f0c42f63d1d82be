"""What a delivery asks of the machine that it goes to.

The text of this file is sent there and run by that machine's own Python, 3.6 or newer, which need
not have edgesdk: nothing but the standard library here. What is there is neither changed nor
deleted, but pieces of the delivery itself. Paths are bytes, whatever the locale is.

An order is a table: `verb`; `folder` and `to`, which together say where the bundle shall be;
`manifest`, the sha256 of its manifest; `files`, [bytes, sha256] by relative path, that of the
manifest included.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from typing import Any, Dict, Iterator, List, Optional, Tuple

MANIFEST = b"manifest.json"
MARK = "edgesdk-push: "  # before an answer: shells and profiles may say something of their own
BLOCK_BYTES = 1024 * 1024

Order = Dict[str, Any]


def look(order: Order) -> Dict[str, Any]:
    """What is there: `path` where the bundle shall be and what is `found` at it; `temporary` where
    it is received; the files that are `missing` there and in `base`, the version beside it that has
    most of them; `held_bytes` that came before; whether there is an `rsync`, and room."""
    target = _target(order)
    parent, temporary = os.path.dirname(target), _temporary(order)
    versions = {name: _document(os.path.join(parent, name)) for name in _names(parent)}
    base, shared = _base(order, {name: files for name, files in versions.items() if files})
    held = {name: _size(_inside(temporary, name)) for name in order["files"]}
    missing = [
        name
        for name, (size, _) in order["files"].items()
        if name not in shared and held[name] != size
    ]
    numbers = [int(name) for name in _names(parent) if name.isdigit()]
    return {
        "path": _text(target),
        "temporary": _text(temporary),
        "found": _found(order),
        "base": None if base is None else _text(base),
        "missing": missing,
        "held_bytes": sum(size or 0 for size in held.values()),
        "next_version": max(numbers + [0]) + 1,
        "rsync": shutil.which("rsync") is not None,
        "free_bytes": _free_bytes(parent),
    }


def prepare(order: Order) -> Dict[str, Any]:
    """Make the folder that receives the files; what came before stays in it."""
    os.makedirs(_temporary(order), exist_ok=True)
    return {}


def finish(order: Order) -> Dict[str, Any]:
    """Check every file that was received. If none is `wrong`, they are moved away from whatever a
    connection that was lost may still write, put on the disk for good, and get their name in one
    step. `found`: what is at the place now."""
    target, temporary = _target(order), _temporary(order)
    with _alone_in(os.path.dirname(target)):
        found, wrong = _found(order), []
        if found["state"] == "nothing":
            wrong = _wrong(temporary, order)
            if not wrong:
                _name(order, temporary, target)
                found = {"state": "same", "model_id": _manifest(target).get("model_id")}
    return {"wrong": wrong, "found": found}


def _name(order: Order, temporary: bytes, target: bytes) -> None:
    """Give the files of the order, which are good, their place."""
    ready = temporary + b"-ready"
    for name in order["files"]:
        os.makedirs(os.path.dirname(_inside(ready, name)), mode=0o755, exist_ok=True)
        os.replace(_inside(temporary, name), _inside(ready, name))
    for folder, _, names in os.walk(ready, topdown=False):
        os.chmod(folder, 0o755)  # whatever umask is there: no secret is inside
        for name in names:
            _sync(os.path.join(folder, name))
        _sync(folder)
    os.rename(ready, target)
    _sync(os.path.dirname(target))
    shutil.rmtree(temporary, ignore_errors=True)  # what other attempts left of the same bundle


@contextlib.contextmanager
def _alone_in(folder: bytes) -> Iterator[None]:
    """Two deliveries of one bundle end one after the other."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def answer(text: str) -> str:
    """Carry out an order in JSON; the line that answers it."""
    order = json.loads(text)
    try:
        result = {"look": look, "prepare": prepare, "finish": finish}[order["verb"]](order)
    except OSError as error:
        place = error.filename or b""
        place = place if isinstance(place, str) else _text(place)
        result = {"error": error.strerror or str(error), "place": place}
    return MARK + json.dumps(result)


# --- paths ----------------------------------------------------------------------------------------


def _target(order: Order) -> bytes:
    folder = os.path.expanduser(order["folder"].encode("utf-8"))
    return os.path.abspath(os.path.join(folder, order["to"].encode("utf-8")))


def _temporary(order: Order) -> bytes:
    """Beside the target; the same for the same bundle, so that a broken delivery goes on. A name
    that begins with a dot is no version."""
    parent, name = os.path.split(_target(order))
    mark = order["manifest"][:12].encode("ascii")
    return os.path.join(parent, b".push-" + name + b"-" + mark)


def _inside(folder: bytes, relative: str) -> bytes:
    return os.path.join(folder, *relative.encode("utf-8").split(b"/"))


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


# --- what is there --------------------------------------------------------------------------------


def _found(order: Order) -> Dict[str, Any]:
    """`state` of the target: nothing, same, damaged, another bundle, or something else."""
    target = _target(order)
    if not os.path.lexists(target):
        return {"state": "nothing"}
    document = _manifest(target)
    if not document:
        return {"state": "something else"}
    if _sha256(os.path.join(target, MANIFEST)) != order["manifest"]:
        return {"state": "another", "model_id": str(document.get("model_id"))}
    wrong = _wrong(target, order)
    state = "damaged" if wrong else "same"
    return {"state": state, "wrong": wrong, "model_id": document.get("model_id")}


def _wrong(folder: bytes, order: Order) -> List[str]:
    """The files that are missing or not what they should be."""
    return [
        name
        for name, (_, expected) in order["files"].items()
        if _sha256(_inside(folder, name)) != expected
    ]


def _base(order: Order, versions: Dict[bytes, Dict[str, str]]) -> Tuple[Optional[bytes], List[str]]:
    """The version whose manifest has most bytes in common with the order, and those files."""
    best: Optional[bytes] = None
    best_files: List[str] = []
    best_bytes = 0
    for name in sorted(versions):
        shared = [
            file for file, (_, sha) in order["files"].items() if versions[name].get(file) == sha
        ]
        shared_bytes = sum(order["files"][file][0] for file in shared)
        if shared_bytes > best_bytes:
            best, best_files, best_bytes = name, shared, shared_bytes
    return best, best_files


def _document(folder: bytes) -> Dict[str, str]:
    """sha256 by file, as the manifest in `folder` says; empty if there is none."""
    files = _manifest(folder).get("files")
    if not isinstance(files, dict):
        return {}
    entries = {name: entry for name, entry in files.items() if isinstance(entry, dict)}
    return {name: str(entry.get("sha256")) for name, entry in entries.items()}


def _manifest(folder: bytes) -> Dict[str, Any]:
    try:
        with open(os.path.join(folder, MANIFEST), "rb") as file:
            document = json.loads(file.read().decode("utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _names(parent: bytes) -> List[bytes]:
    try:
        return [name for name in os.listdir(parent) if not name.startswith(b".")]
    except OSError:
        return []


def _sha256(path: bytes) -> Optional[str]:
    """None if the file cannot be read."""
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(BLOCK_BYTES), b""):
                found.update(block)
    except OSError:
        return None
    return found.hexdigest()


def _size(path: bytes) -> Optional[int]:
    try:
        return os.path.getsize(path)
    except OSError:
        return None


def _free_bytes(folder: bytes) -> int:
    """Room on the disk where `folder` is, or will be made."""
    while not os.path.exists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _sync(path: bytes) -> None:
    """What is written there outlives a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
