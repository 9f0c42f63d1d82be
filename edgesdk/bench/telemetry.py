"""`python -m edgesdk.bench telemetry`: what it costs to look at workers, in images per second.

Every way of looking has two workers of its own, this process and another one, on one core: what
looking takes from either, images do not get. A short turn in which nobody looks stands before and
behind each turn of the others, and what counts is the ratio to the mean of these two: the median of
ratios, and where that is with 95 % certainty, by their order alone. Others may use the core as
well, so images per second of processor time are compared too. LOOKS_PER_S times a second is more
than anybody looks, so that the cost stands out. The looker runs in this process. "off, again" has
nothing on: what is found there, this machine cannot tell.
"""

import argparse
import itertools
import math
import os
import socket
import statistics
import tempfile
import threading
import time
from collections import deque
from random import Random
from typing import Any, Callable, Deque, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .. import cli
from ..addresses import free_port_pairs
from ..bundle import read_plain_bundle
from ..cluster import local_cluster_text, read_cluster
from ..errors import Failed, TransportError
from ..pipeline import Pipeline
from ..runtime.zeromq_observer import Observer
from .images import read_test_images
from .link_process import Child
from .timing import Interval, median_of

TURN_S = 0.5  # long beside a look, short beside what others do to this machine
LOOKS_PER_S = 10
WINDOW = 64  # images in flight: both workers always have some
ANSWER_S = 30.0
ROUNDS_MIN = 3
LOST_PERCENT_MAX = 2.0  # by one look a second
ALONE_COUNT = 10
SOURCE, WORKER = "source", "worker"
SEED = 0
SCRAPE = b"GET /metrics HTTP/1.0\r\n\r\n"


class Way(NamedTuple):
    """What is on: metrics that are scraped, an observer that asks, files that are written (options
    of `Pipeline.open` and of `edgesdk.worker` by the same name). `target`: percent that one look a
    second may cost."""

    name: str
    metrics: bool = False
    observer: bool = False
    files: Tuple[str, ...] = ()
    target: Optional[float] = None

    @property
    def looks(self) -> bool:
        """Whether somebody comes and looks."""
        return self.metrics or self.observer


OFF, AGAIN = Way("off"), Way("off, again")
WAYS = (
    OFF,
    AGAIN,
    Way("metrics scraped", metrics=True),
    Way("metrics and observer", metrics=True, observer=True, target=LOST_PERCENT_MAX),
    Way("timeline=", files=("timeline",)),
    Way("trace=", files=("trace",)),
)


class Rate(NamedTuple):
    """Images per second, and per second of processor time."""

    per_s: float
    per_processor_s: float


class Turn(NamedTuple):
    """One turn of a way that is on, and those before and behind it in which nothing was."""

    on: Rate
    before: Rate
    behind: Rate


Turns = Dict[Way, List[Turn]]


class Pair:
    """Two workers, and whoever looks at them in this way. `folder` is for their files."""

    def __init__(self, way: Way, bundle: str, folder: str, cores: Optional[List[int]]) -> None:
        self.way = way
        self._ports = free_port_pairs(2) if way.metrics else []
        path = os.path.join(folder, "cluster.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self._cluster_text(bundle))
        files: Dict[str, Any] = {name: os.path.join(folder, name) for name in way.files}
        arguments = [word for name in files for word in ("--" + name, files[name] + "-worker")]
        options = {"cluster": path, "name": WORKER, "arguments": arguments}
        self.pipe: Any = None
        self._observer: Any = None
        self._child = Child("edgesdk.bench.link_ours:serve", options, cores)
        try:
            self.pipe = Pipeline.open(cluster=path, name=SOURCE, **files)
            self._observer = Observer(read_cluster(path)) if way.observer else None
            self._wait_until_up()
        except BaseException:
            self.close()
            raise

    def turn(self, images: Iterator[Any], seconds: float) -> Rate:
        """How fast images are answered, looked at from beginning to end."""
        failures: List[Exception] = []
        is_over = threading.Event()
        looker = threading.Thread(target=self._look_until, args=(is_over, failures))
        waiting: Deque[Any] = deque()
        begin_s, begin_processor_s, count = time.monotonic(), self._processor_s(), 0
        looker.start()
        while time.monotonic() < begin_s + seconds:
            if len(waiting) == WINDOW:
                waiting.popleft().result(ANSWER_S)
            waiting.append(self.pipe.submit(next(images)))
            count += 1
        for future in waiting:
            future.result(ANSWER_S)
        is_over.set()
        looker.join()
        if failures:
            raise failures[0]
        processor_s = self._processor_s() - begin_processor_s
        return Rate(count / (time.monotonic() - begin_s), count / processor_s)

    def _look_until(self, is_over: threading.Event, failures: List[Exception]) -> None:
        try:
            while self.way.looks and not is_over.wait(1 / LOOKS_PER_S):
                self.look()
        except Exception as error:
            failures.append(error)

    def look(self) -> None:
        """Once at each of the two, in every way that is on."""
        for port in self._ports:
            scrape(port)
        if self._observer is not None:
            found = self._observer.ask(ANSWER_S)
            missing = [name for name, document in found.items() if not document]
            if missing:
                raise Failed("no answer to the observer from " + ", ".join(missing))

    def close(self) -> None:
        """End both workers."""
        for each in (self._observer, self.pipe):
            if each is not None:
                each.close()
        self._child.stop()

    def _processor_s(self) -> float:
        """Time that the processor has spent on both processes."""
        clocks = [(~number << 3) | 2 for number in (os.getpid(), self._child.process_id)]
        return sum(time.clock_gettime(clock) for clock in clocks)  # Linux: CPUCLOCK_SCHED

    def _cluster_text(self, bundle: str) -> str:
        lines = [["metrics_port = {}".format(port)] for port in self._ports] or [[], []]
        head = ["[security]", "insecure = true"]
        return local_cluster_text(bundle, dict(zip((SOURCE, WORKER), lines)), head)

    def _wait_until_up(self) -> None:
        """The other worker is a neighbour, and, a moment later, shows metrics."""
        until_s = time.monotonic() + ANSWER_S
        is_up = self.pipe.wait_until_up(timeout=ANSWER_S)
        for port in self._ports:
            while is_up and not _listens(port):
                is_up = time.monotonic() < until_s
                time.sleep(0.01)
        if not is_up:
            raise Failed("no second worker; " + self._child.explain())


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def scrape(port: int) -> int:
    """Read all that this machine's `port` says, as Prometheus would; its length. Raises
    TransportError for anything but metrics."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_S) as client:
        client.sendall(SCRAPE)
        chunks = list(iter(lambda: client.recv(65536), b""))
    page = b"".join(chunks)
    if b" 200 OK" not in page[:20] or b"\nedgesdk_info{" not in page:
        raise TransportError("port {}: found {!r}, expected metrics".format(port, page[:60]))
    return len(page)


def measure(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """Open a pair for each way, let them take turns, print the table, return the figures."""
    bundle = read_plain_bundle(arguments.bundle)
    images = itertools.cycle(read_test_images(arguments.data, bundle.manifest.labels).images)
    cli.banner(("onnxruntime", "zmq"), seed=SEED, as_json=arguments.json)
    pairs: List[Pair] = []
    with tempfile.TemporaryDirectory(prefix="edgesdk-telemetry-") as folder:
        try:
            for index, way in enumerate(WAYS):
                own = os.path.join(folder, str(index))
                os.mkdir(own)
                pairs.append(Pair(way, bundle.path, own, arguments.places.get("cores")))
            turns = take_turns(pairs, images, arguments.seconds)
            alone = _alone(pairs)
        finally:
            for pair in pairs:
                pair.close()
    cli.say("\n".join(cli.table(HEADER, rows(turns))), arguments.json)
    cli.say(
        "\nwith {} looks a second, {} turns each; alone:".format(LOOKS_PER_S, len(turns[WAYS[1]])),
        arguments.json,
    )
    for name, time_us in alone:
        cli.say("{:.0f} us  {}".format(time_us, name), arguments.json)
    return figures(turns) + [cli.figure(name, value, "us") for name, value in alone]


def take_turns(pairs: Sequence[Pair], images: Iterator[Any], seconds: float) -> Turns:
    """The turns of each way, those of the first of `pairs` between all others."""
    rng = Random(SEED)
    off, others = pairs[0], list(pairs[1:])
    turns: Turns = {pair.way: [] for pair in others}
    for pair in pairs:
        pair.turn(images, TURN_S)  # nobody is fast at first
    end_s = time.monotonic() + seconds
    before, rounds = off.turn(images, TURN_S), 0
    while rounds < ROUNDS_MIN or time.monotonic() < end_s:
        for pair in rng.sample(others, len(others)):
            rate, behind = pair.turn(images, TURN_S), off.turn(images, TURN_S)
            turns[pair.way].append(Turn(rate, before, behind))
            before = behind
        rounds += 1
    return turns


def lost_percent(turns: Sequence[Turn], column: int) -> Interval:
    """What is lost of one of the rates, against the turns around each: the median of turns."""
    return median_of(
        [
            100 * (1 - on[column] / (0.5 * (before[column] + behind[column])))
            for on, before, behind in turns
        ]
    )


def _alone(pairs: Sequence[Pair]) -> List[Tuple[str, float]]:
    """Each part of a look, at workers that rest: the fastest of some, in us."""
    both = next(pair for pair in pairs if pair.way.metrics and pair.way.observer)
    observer: Any = both._observer
    calls: List[Tuple[str, Callable[[], Any]]] = [
        ("stats(buckets=True)", lambda: both.pipe.stats(buckets=True)),
        ("a scrape of this worker", lambda: scrape(both._ports[0])),
        ("an observer's question to both", lambda: observer.ask(ANSWER_S)),
    ]
    times_us = [math.inf] * len(calls)
    for _ in range(ALONE_COUNT):
        for index, (_, call) in enumerate(calls):
            begin_s = time.perf_counter()
            call()
            times_us[index] = min(times_us[index], (time.perf_counter() - begin_s) * 1e6)
        time.sleep(1 / LOOKS_PER_S)  # workers answer a limited number of questions
    return [(name, time_us) for (name, _), time_us in zip(calls, times_us)]


HEADER = (
    "two workers on one core",
    "images/s",
    "us of processor",
    "lost images/s",
    "lost processor",
)


def rows(turns: Turns) -> List[Tuple[str, ...]]:
    """The table a person reads."""
    result = []
    for way, found in turns.items():
        cells = ["{:.0f}".format(value) for value in _medians([turn.on for turn in found])]
        for column in range(2):
            cells.append("{:.1f} % ({:.1f} to {:.1f})".format(*lost_percent(found, column)))
        result.append((way.name, *cells))
    return result


def _medians(rates: Sequence[Rate]) -> Tuple[float, float]:
    """Images per second, and us of processor time of an image."""
    per_s, per_processor_s = (statistics.median(column) for column in zip(*rates))
    return per_s, 1e6 / per_processor_s


def figures(turns: Turns) -> List[Dict[str, Any]]:
    """Rates, what is lost of each, and what one look a second would cost, with its target."""
    result = []
    for way, found in turns.items():
        per_s, processor_us = _medians([turn.on for turn in found])
        result.append(cli.figure(way.name + ": throughput", per_s, "images/s"))
        result.append(cli.figure(way.name + ": processor time of an image", processor_us, "us"))
        for column, of in enumerate(("throughput", "processor time")):
            lost = lost_percent(found, column)
            for name, value in zip(("lost", "lost, at least", "lost, at most"), lost):
                about = "{}: {} of {}".format(way.name, name, of)
                result.append(cli.figure(about, value, "%"))
            if way.looks:
                value = lost.value / LOOKS_PER_S
                about = "{}: {} lost by one look a second".format(way.name, of)
                ok = None if way.target is None else value <= way.target
                result.append(cli.figure(about, value, "%", way.target, ok))
    return result
