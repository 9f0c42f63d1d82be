"""A cluster on this machine for the demonstration: its file, its keys, its worker processes.

Every process that was started here is ended here, whatever happens: an error, Ctrl-C, SIGTERM.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import Any, Dict, Iterator, Optional, Sequence

from ..cluster import local_cluster_text, read_cluster
from ..errors import EdgeError
from ..files import write_atomically
from ..keys import make_keys

END_S_MAX = 15.0  # for ending what is there (`worker --drain`), and then the process itself
LAST_LINES = 10  # of standard error, where a worker has failed


def write_cluster(folder: str, bundle: str, names: Sequence[str], max_batch: int) -> str:
    """Write a cluster file of workers `names` on free ports of this machine into `folder`, and
    their keys beside it; its path."""
    each = ["max_batch = {}".format(max_batch)]
    text = local_cluster_text(bundle, dict.fromkeys(names, each))
    path = os.path.join(folder, "cluster.toml")
    write_atomically(path, text.encode("utf-8"))
    make_keys(read_cluster(path))
    return path


def trace_path(folder: str, name: str) -> str:
    """Where the worker `name` writes its trace; again, with a number at the end."""
    return os.path.join(folder, name + ".trace")


class Processes:
    """Worker processes of the cluster file `cluster`, all paced by the profile in file `pace`.

    With `traces`, each writes its trace beside the cluster file. Use it in a `with` block of the
    main thread, which ends them all.
    """

    def __init__(
        self, cluster: str, pace: str, backend: Optional[str], traces: bool = False
    ) -> None:
        self._traces = traces
        self._cluster = cluster
        self._pace = pace
        self._backend = backend
        self._folder = os.path.dirname(cluster)
        self._running: Dict[str, "subprocess.Popen[bytes]"] = {}
        self._log_count = 0
        self._logs: Dict[str, str] = {}  # where a worker's standard output and error are
        self._previous: Dict[int, Any] = {}  # what signals did before
        self._holds_interrupts = self._was_interrupted = False

    def start(self, name: str) -> None:
        """Start the worker `name`, which does not run."""
        assert name not in self._running
        self._log_count += 1
        log = self._logs[name] = os.path.join(self._folder, str(self._log_count))
        command = [sys.executable, "-m", "edgesdk.worker", "--json", "--name", name]
        command += ["--cluster", self._cluster, "--pace", self._pace]
        if self._backend is not None:
            command += ["--backend", self._backend]
        if self._traces:
            command += ["--trace", trace_path(self._folder, name)]
        with self._uninterrupted(), open(log + ".out", "wb") as out, open(
            log + ".err", "wb"
        ) as err:
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=_environment()
            )

    def kill(self, name: str) -> None:
        """End the worker `name` at once, as a loss of power does."""
        with self._uninterrupted():
            _end(self._running.pop(name))

    def tell_to_leave(self, name: str) -> None:
        """Tell the worker `name` to end what it has, and go."""
        self._running[name].terminate()

    def report(self, name: str) -> Dict[str, Any]:
        """Wait until the worker `name`, which was told to leave, has ended: what it says it did.

        Raises EdgeError with its last words if it does not end in time or not well.
        """
        process = self._running[name]
        try:
            status = process.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            raise self.failure(name, "has not left after {:.0f} s".format(END_S_MAX)) from None
        del self._running[name]
        if status:
            raise self.failure(name, "left with status {}, expected 0".format(status))
        with open(self._logs[name] + ".out", encoding="utf-8") as file:
            report: Dict[str, Any] = json.load(file)
        return report

    def check(self) -> None:
        """Raise EdgeError if one has ended that was not told to, with its last words."""
        for name, process in self._running.items():
            status = process.poll()
            if status:  # 0: it was told to leave, and has
                raise self.failure(name, "has ended with status {}".format(status))

    def failure(self, name: str, what: str) -> EdgeError:
        """The error that the worker `name` `what`, with its last words."""
        with open(self._logs[name] + ".err", encoding="utf-8", errors="replace") as file:
            last = file.read().splitlines()[-LAST_LINES:]
        said = "\n".join("  " + line for line in last) or "  nothing"
        return EdgeError("worker {} {}; it said last:\n{}".format(name, what, said))

    @contextlib.contextmanager
    def _uninterrupted(self) -> Iterator[None]:
        """An interrupt waits until the block is done: no process is started, or forgotten, that
        nobody would end."""
        self._holds_interrupts = True
        try:
            yield
        finally:
            self._holds_interrupts = False
            if self._was_interrupted:
                self._was_interrupted = False
                raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: Any) -> None:
        if not self._holds_interrupts:
            raise KeyboardInterrupt
        self._was_interrupted = True

    def __enter__(self) -> "Processes":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: Any) -> None:
        with self._uninterrupted():
            for process in self._running.values():
                _end(process)
            self._running.clear()
            for number, handler in self._previous.items():
                signal.signal(number, handler)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def _environment() -> Dict[str, str]:
    """Ours, and the folder that this package was loaded from, wherever the worker is started."""
    root = os.path.abspath(__file__)
    for _ in range(3):
        root = os.path.dirname(root)
    paths = [root] + [path for path in [os.environ.get("PYTHONPATH")] if path]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(paths))
