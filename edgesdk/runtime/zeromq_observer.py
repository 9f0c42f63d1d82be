"""Looking at a cluster from outside: asks its workers how they are, and can do nothing else.

An observer connects to the control lane of every worker by a DEALER socket; nobody connects to it,
so it may be anywhere, such as behind a router or at the end of an SSH tunnel.
"""

import os
from time import monotonic
from types import TracebackType
from typing import Any, Dict, List, Optional, Sequence, Tuple, Type

import zmq

from ..cluster import OBSERVER, Cluster
from ..errors import ConfigError, PeerError
from ..key_files import has_secret, read_secret, secret_path
from ..telemetry.status import ANSWER_BYTES_MAX, QUESTION, read_answer
from .zeromq import OBSERVER_LETTER
from .zeromq_link import AT_ONCE
from .zeromq_options import CURVE_BYTES_MAX, LINK_OPTIONS, set_options
from .zeromq_security import check_curve

_RANDOM_BYTES = 8  # in a routing id: two observers must not have the same
_OPTIONS = LINK_OPTIONS + (("MAXMSGSIZE", ANSWER_BYTES_MAX + CURVE_BYTES_MAX), ("RCVHWM", 16))


class Observer:
    """Asks the workers `names` of `cluster`, or all. For one thread at a time.

    Uses the keys of `observer` (`python -m edgesdk.keys` makes them), where the cluster has keys.
    Raises ConfigError without them, BackendUnavailable without CURVE.
    """

    def __init__(self, cluster: Cluster, names: Sequence[str] = ()) -> None:
        entries = [cluster.worker(name) for name in names] or list(cluster.workers)
        keys = _keys(cluster)
        self._number = 0
        self._context = zmq.Context()
        self._outlets: Dict[str, Any] = {}
        try:
            for entry in entries:
                outlet = self._context.socket(zmq.DEALER)
                self._outlets[entry.name] = outlet
                set_options(outlet, _OPTIONS)
                outlet.setsockopt(zmq.IPV6, "[" in entry.control_address)
                outlet.setsockopt(zmq.IDENTITY, OBSERVER_LETTER + os.urandom(_RANDOM_BYTES))
                if keys is not None:
                    _lock(outlet, keys[0], keys[1][entry.name])
                outlet.connect(entry.control_address)
        except BaseException:
            self.close()
            raise

    def ask(self, timeout_s: float = 1.0) -> Dict[str, Optional[Dict[str, Any]]]:
        """What every worker says of itself now, by name: `Pipeline.stats(buckets=True)` as JSON
        has it, or None for one that has not answered after `timeout_s`."""
        self._number += 1
        question = QUESTION + str(self._number).encode("ascii")
        found: Dict[str, Optional[Dict[str, Any]]] = dict.fromkeys(self._outlets)
        poller = zmq.Poller()
        names = {outlet: name for name, outlet in self._outlets.items()}
        for outlet in names:
            poller.register(outlet, zmq.POLLIN)
            _ask(outlet, question)
        until_s = monotonic() + timeout_s
        open_count = len(names)
        while open_count:
            ready = poller.poll(max(0, int((until_s - monotonic()) * 1000)))
            if not ready:
                break
            for outlet, _ in ready:
                document = _read(outlet, question)
                if document is not None:
                    found[names[outlet]] = document
                    poller.unregister(outlet)
                    open_count -= 1
        return found

    def close(self) -> None:
        """Let go of the sockets. Idempotent."""
        for outlet in self._outlets.values():
            outlet.close(0)
        self._outlets.clear()
        self._context.term()

    def __enter__(self) -> "Observer":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()


def _keys(cluster: Cluster) -> Optional[Tuple[str, Dict[str, str]]]:
    """The secret of observers, and the public key of every worker; None where there are no keys."""
    if cluster.security.insecure:
        return None
    check_curve()
    folder = cluster.security.keys
    if not has_secret(folder, OBSERVER):
        raise ConfigError(
            "{}: found no such file, expected the key of those who look at the cluster; run "
            "`python -m edgesdk.keys {}` where the other keys were made, copy observer.secret to "
            "this machine and observer.public to every worker's, and start the workers anew".format(
                secret_path(folder, OBSERVER), cluster.path
            )
        )
    return read_secret(folder, OBSERVER), cluster.public_keys()


def _lock(outlet: Any, secret: str, server: str) -> None:
    outlet.setsockopt(zmq.CURVE_SECRETKEY, secret.encode("ascii"))
    outlet.setsockopt(zmq.CURVE_PUBLICKEY, zmq.curve_public(secret.encode("ascii")))
    outlet.setsockopt(zmq.CURVE_SERVERKEY, server.encode("ascii"))


def _ask(outlet: Any, question: bytes) -> None:
    try:
        outlet.send(question, AT_ONCE)
    except zmq.Again:  # questions pile up: it has not been there for long
        return


def _read(outlet: Any, question: bytes) -> Optional[Dict[str, Any]]:
    """The answer to `question`, or None for one that came late or is none."""
    frames: List[bytes] = outlet.recv_multipart(AT_ONCE)
    try:
        return read_answer(frames, question)
    except PeerError:
        return None
