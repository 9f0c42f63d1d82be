"""A worker with something wrong with it: `python odd_worker.py FAULT ... --cluster ...`, with the
arguments of `python -m edgesdk.worker` behind the faults. `FAULTS` says which there are.

A poisoned image, which only some faults mind, is the darkest of `busy_bundle.images`.
"""

import os
import resource
import signal
import sys
import threading
import time

from edgesdk import worker
from edgesdk.core import guests, neighbours
from edgesdk.runtime.executor import Executor

POISON_MEAN = 0.038  # of the features of the darkest image; the others are brighter


def main():
    arguments = sys.argv[1:]
    while arguments and not arguments[0].startswith("-"):
        name, _, value = arguments.pop(0).partition("=")
        FAULTS[name](float(value or 0))
    parsed = worker._arguments(arguments)
    return worker.cli.run(worker.main, parsed)


def around_compute(before=None, after=None):
    """Have something happen before or after every stage that is computed."""
    compute = Executor.compute

    def changed(self, run):
        if before is not None:
            before(run)
        compute(self, run)
        if after is not None:
            after(run)

    Executor.compute = changed


def is_poisoned(run):
    """Whether the batch has a poisoned item in it."""
    features = run.features  # which are gathered in `compute`
    rows = [buffer.array[row] for buffer, row in features.sources] or features.array
    return any(row[0].mean() < POISON_MEAN for row in rows)


def slow(seconds):
    """Every stage takes so much longer."""
    around_compute(before=lambda run: time.sleep(seconds))


def tires(seconds):
    """From SIGUSR1 on, every stage takes so much longer."""
    is_tired = threading.Event()
    signal.signal(signal.SIGUSR1, lambda number, frame: is_tired.set())

    def before(run):
        if is_tired.is_set():
            time.sleep(seconds)

    around_compute(before=before)


def raises(stage):
    """That stage raises."""

    def before(run):
        if run.action.stage == stage:
            raise ValueError("this stage is broken")

    around_compute(before=before)


def gives_nan(_):
    """Every head says NaN."""

    def after(run):
        if run.found is not None:
            for column in run.found[1:4]:
                column[...] = float("nan")

    around_compute(after=after)


def hangs(seconds):
    """From so many seconds after the start on, no stage ever ends."""
    begin_s = time.monotonic()

    def before(run):
        if time.monotonic() - begin_s >= seconds:
            threading.Event().wait()

    around_compute(before=before)


def chokes(_):
    """Raises at a poisoned item."""

    def before(run):
        if is_poisoned(run):
            raise ValueError("this image cannot be computed")

    around_compute(before=before)


def crashes(_):
    """A poisoned item ends the process, as a fault in a driver would."""

    def before(run):
        if is_poisoned(run):
            os.abort()

    around_compute(before=before)


def forgets(seconds):
    """Tasks of others are dropped after so many seconds."""
    guests.STAY_US_MAX = int(seconds * 1e6)


def speaks(version):
    """Another version of the protocol."""

    def greeting(self):
        return neighbours.Greeting(version=int(version), **self.identity._asdict())

    neighbours.PROTOCOL_VERSION = int(version)
    neighbours.Neighbours._greeting = greeting


def few_files(count):
    """It may have only so many descriptors open."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(count), int(count)))


def wrong_clock(hours):
    """The wall clock is wrong by so many hours, and jumps by as much all the time."""
    real = time.time
    time.time = lambda: real() + 3600 * hours * (1 - 2 * (int(real() * 10) % 2))


def holds_the_loop(seconds):
    """Two seconds after the start, whoever drives the loop sleeps for so long, once."""
    from edgesdk.runtime.network import Network

    receive, begin_s, done = Network.receive, time.monotonic(), []

    def slow_receive(self, now_us):
        if not done and time.monotonic() - begin_s > 2.0:
            done.append(True)
            time.sleep(seconds)
        return receive(self, now_us)

    Network.receive = slow_receive


FAULTS = {
    fault.__name__: fault
    for fault in (
        slow,
        tires,
        raises,
        gives_nan,
        hangs,
        chokes,
        crashes,
        forgets,
        few_files,
        speaks,
        wrong_clock,
        holds_the_loop,
    )
}

if __name__ == "__main__":
    sys.exit(main())
