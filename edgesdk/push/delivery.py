"""One bundle to one place: look there, bring what is missing, check it there, give it its name.

Until the last step nothing at the place looks like a bundle; after it the bundle is whole. Whoever
is killed on the way goes on by delivering again.
"""

import os
import posixpath
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..addresses import parse_address
from ..bundle import MANIFEST, Bundle
from ..cluster import Cluster, WorkerEntry
from ..errors import BundleError, ConfigError, EdgeError, TransportError
from ..manifest import sha256
from .machine import Machine

DELIVERED, THERE, WOULD_BE_SENT, FAILED = "delivered", "already there", "would be sent", "failed"
DEFAULT_FOLDER = "edgesdk"  # of the home folder


class Place(NamedTuple):
    """Where a bundle goes. `workers`: names of those that live there. `host`: as ssh takes it, None
    for this machine. `folder`: that of the cluster file there."""

    workers: Tuple[str, ...]
    host: Optional[str]
    folder: str


class Cargo(NamedTuple):
    """A verified bundle, and what it consists of: [bytes, sha256] of each file, by name; `to`: its
    path from the folder of the cluster file."""

    bundle: Bundle
    files: Dict[str, List[Any]]
    to: str

    @property
    def manifest_sha256(self) -> str:
        """Of the manifest's bytes, which name every other file's."""
        return str(self.files[MANIFEST][1])


class Delivery(NamedTuple):
    """What became of it. `path`: of the bundle there. `model_id`: what was found there at the end.
    `sent_bytes`: over the network, or would be. `problem`: why it failed, and what to do."""

    workers: Tuple[str, ...]
    host: str
    state: str
    path: Optional[str] = None
    sent_bytes: Optional[int] = None
    seconds: float = 0.0
    model_id: Optional[str] = None
    problem: Optional[str] = None


def places(cluster: Cluster, names: Sequence[str] = ()) -> List[Place]:
    """Where the workers `names`, or all, live; those that share a place are named together.

    Raises ConfigError for a name that the file lacks.
    """
    chosen = {cluster.worker(name).name for name in names}
    found: Dict[Tuple[Optional[str], str], List[str]] = {}
    for entry in cluster.workers:
        if not chosen or entry.name in chosen:
            found.setdefault(_place(cluster, entry), []).append(entry.name)
    return [Place(tuple(workers), *place) for place, workers in found.items()]


def _place(cluster: Cluster, entry: WorkerEntry) -> Tuple[Optional[str], str]:
    if entry.ssh is None and parse_address(entry.address).is_loopback:
        beside = os.path.dirname(os.path.abspath(cluster.path))
        return None, os.path.join(beside, os.path.expanduser(entry.folder or ""))
    return entry.ssh or entry.host, entry.folder or DEFAULT_FOLDER


def cargo(bundle: Bundle, cluster: Cluster, to: Optional[str] = None) -> Cargo:
    """What is to be delivered, and where to: as here, from the folder of the cluster file, unless
    `to` says otherwise. Raises ConfigError where that has no answer, BundleError."""
    if to is None:
        beside = os.path.dirname(os.path.abspath(cluster.path))
        to = os.path.relpath(bundle.path, beside)
        if to.split(os.sep)[0] == os.pardir:
            raise ConfigError(
                "{}: found outside {}, the folder of the cluster file; expected it inside, for "
                "it is delivered to the same place there; or say --to engines/NAME/VERSION".format(
                    bundle.path, beside
                )
            )
    to = posixpath.normpath(to)
    if posixpath.basename(to) in ("", ".", "..") or not to.isprintable():
        raise ConfigError("--to: found {!r}, expected engines/NAME/VERSION".format(to))
    listed = bundle.manifest.document["files"]
    files = {name: [listed[name]["bytes"], listed[name]["sha256"]] for name in listed}
    try:
        with open(bundle.file(MANIFEST), "rb") as file:
            content = file.read()
    except OSError as error:
        raise BundleError("{}: cannot be read ({})".format(bundle.path, error.strerror)) from None
    files[MANIFEST] = [len(content), sha256(content)]
    return Cargo(bundle, files, to)


def deliver(
    cargo: Cargo,
    place: Place,
    ssh: Sequence[str] = ("ssh",),
    dry_run: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Delivery:
    """Bring `cargo` to `place`, over the command `ssh`; never raises EdgeError: what went wrong is
    the `problem`. With `dry_run` only look. `say` is told on the way what is done."""
    begin_s = time.monotonic()
    machine = Machine(place.host, ssh)
    delivery = Delivery(place.workers, machine.name, FAILED)
    try:
        delivery = _deliver(cargo, place, machine, delivery, dry_run, say)
    except EdgeError as error:
        delivery = delivery._replace(problem=str(error))
    return delivery._replace(seconds=time.monotonic() - begin_s)


def _deliver(
    cargo: Cargo,
    place: Place,
    machine: Machine,
    delivery: Delivery,
    dry_run: bool,
    say: Callable[[str], None],
) -> Delivery:
    model_id = cargo.bundle.manifest.model_id
    order: Dict[str, Any] = {"folder": place.folder, "to": cargo.to}
    order.update(manifest=cargo.manifest_sha256, files=cargo.files)
    there = machine.ask(dict(order, verb="look"))
    delivery = delivery._replace(path=there["path"])
    if _is_there(cargo, there["found"], there):
        return delivery._replace(state=THERE, sent_bytes=0, model_id=there["found"]["model_id"])
    missing_bytes = sum(cargo.files[name][0] for name in there["missing"])
    _check_machine(cargo, there)
    if dry_run:
        return delivery._replace(state=WOULD_BE_SENT, sent_bytes=missing_bytes)
    say(
        "{} of {} files to send, {:,} bytes".format(
            len(there["missing"]), len(cargo.files), missing_bytes
        )
    )
    machine.ask(dict(order, verb="prepare"))
    base = None if there["base"] is None else "../" + there["base"]
    source = cargo.bundle.path
    try:
        sent_bytes = machine.send(source, sorted(cargo.files), there["temporary"], base)
    except TransportError:
        if machine.ask(dict(order, verb="look"))["found"]["state"] == "same":
            return delivery._replace(state=THERE, model_id=model_id)  # another one was faster
        raise
    end = machine.ask(dict(order, verb="finish"))
    if not _is_there(cargo, end["found"], there):
        raise TransportError(
            "{}: found other contents than here after it was sent; run this again, and if that "
            "does not help, look after that disk".format(", ".join(end["wrong"]))
        )
    return delivery._replace(
        state=DELIVERED, sent_bytes=sent_bytes, model_id=end["found"]["model_id"]
    )


def _is_there(cargo: Cargo, found: Dict[str, Any], there: Dict[str, Any]) -> bool:
    """Whether the bundle is there already. Raises ConfigError if something else is."""
    state, path = found["state"], there["path"]
    if state == "damaged":
        raise ConfigError(
            "{}: found this bundle damaged ({}); move it away there, and run this again".format(
                path, ", ".join(found["wrong"])
            )
        )
    if state == "something else":
        raise ConfigError("{}: found something that is no bundle; say --to another".format(path))
    if state != "another":
        return bool(state == "same")
    ours = cargo.bundle.manifest.model_id
    what = "another model, {}".format(found["model_id"])
    if found["model_id"] == ours:
        what = "the same model with other policies, plans or codecs"
    next_path = posixpath.join(posixpath.dirname(cargo.to), str(there["next_version"]))
    raise ConfigError(
        "{}: found {}, expected this bundle or nothing: a version stays what it is. Deliver this "
        "one as the next version: --to {}".format(path, what, next_path)
    )


def _check_machine(cargo: Cargo, there: Dict[str, Any]) -> None:
    if not there["rsync"]:
        raise TransportError("rsync: not found there; install it: apt-get install rsync")
    needed = sum(size for size, _ in cargo.files.values()) - there["held_bytes"]
    if there["free_bytes"] < needed:
        raise TransportError(
            "{}: found {:,} bytes free, expected {:,}: free some space, and run this again".format(
                os.path.dirname(there["path"]), there["free_bytes"], needed
            )
        )
