"""A scenario of the simulator, played by real processes on loopback.

    played = play(read_scenario("crash.toml"), folder)
    played.run                # what a simulation gives too: outcomes and totals
    played.traces             # of every process that was there

Its nodes are workers that are paced, but for the one source, which is the test itself. Times are
the scenario's own, counted from when all that are there from the beginning know each other. Item n
is an image that leaves at the exit at which image n of the model does. `check_playable` says what
of a scenario cannot be played.
"""

import contextlib
import heapq
import threading
import time
from itertools import count, islice
from typing import Dict, List, NamedTuple

import zmq
from fleet import answer, left_overs, nothing_is_left_since, wait_for
from live_fleet import Network, Workers, refusal

import edgesdk
from edgesdk.core.metrics import Histogram
from edgesdk.runtime.zeromq import send_uncopied_once
from edgesdk.sim.faults import end_us
from edgesdk.sim.recorder import Ended
from edgesdk.sim.report import Run
from edgesdk.sim.scenario_faults import link_name
from edgesdk.sim.totals import NodeTotals, SourceTotals, Totals
from edgesdk.sim.workload import ADMISSION, TIMES
from edgesdk.sim.world import stream

IN_FLIGHT_MAX = 4096
START_S = 60.0


class Played(NamedTuple):
    """`run`: as a simulation gives it, but with totals of the source only; an item is `right` if
    its answer is that of one process alone, bit for bit. `traces`: files by node, one for each of
    its processes. `died`: nodes whose processes were killed, in order."""

    run: Run
    traces: Dict[str, List[str]]
    died: List[str]


def play(scenario, folder, seed=0):
    """Play `scenario`; arrivals are those that the simulator draws with `seed`. Nothing is left of
    it afterwards but files in `folder`. Raises ConfigError for one that cannot be played."""
    check_playable(scenario)
    network = Network(scenario.model, str(folder))
    with zmq.Context() as context:  # else what pyzmq keeps from it would look like a leak
        send_uncopied_once(context)
    before = left_overs()
    source = scenario.workloads[0].source
    workers = Workers(scenario, source, network, str(folder))
    try:
        player = _Player(scenario, source, network, workers, seed)
        played = player.play()
    except BaseException:
        for name, text in workers.said().items():
            print("--- {} said:\n{}".format(name, text))
        raise
    finally:
        workers.stop()
    for name, text in workers.said().items():
        assert "Traceback" not in text, "{}: {}".format(name, text)
    del player
    nothing_is_left_since(before)
    return played


def check_playable(scenario):
    """Raise ConfigError, with what it is and why, for what real processes cannot do."""
    for text in _unplayable(scenario):
        raise refusal(text)


def _unplayable(scenario):
    """A sentence for each thing in `scenario` that cannot be played."""
    source = scenario.workloads[0].source
    if scenario.mode != "tcp":
        yield 'mode: found "chaos", but between real processes is TCP, which loses no message'
    if scenario.model.features is not None:
        yield "model: found an ensemble, but the networks of the test are plain"
    if scenario.model.policy.kind == "random":
        yield 'model.policy: found "random", but then one process alone answers otherwise'
    if scenario.admission.kind == "threshold":
        yield 'admission.kind: found "threshold", but then answers depend on the load'
    for node in scenario.nodes:
        if node.drift_ppm or node.clock_offset_us:
            yield "node {}: its clock drifts or is set wrong, but here all have one clock".format(
                node.name
            )
        if node.name == source and (node.join_us or node.leave_us is not None):
            yield "node {}: the source joins later or leaves, but it is the test itself".format(
                node.name
            )
    for workload in scenario.workloads:
        if workload.source != source:
            yield "workload: found sources {} and {}, but only the test itself can be one".format(
                source, workload.source
            )
        if workload.best_at_deadline:
            yield 'workload: found on_deadline "best", but then answers depend on the load'
    for link in scenario.links:
        for text in _unplayable_link(link):
            yield "link {}: {}".format(link_name(link), text)
    for fault in scenario.faults:
        if fault.kind in ("leave", "slow", "fail", "loss"):
            yield "fault {} of {}: nobody can do that to a process from outside".format(
                fault.kind, fault.where
            )
        if fault.where == source:
            yield "fault {} of {}: it is the source, and that is the test itself".format(
                fault.kind, fault.where
            )


def _unplayable_link(link):
    if link.loss or link.duplication or link.reordering:
        yield "loses, doubles or reorders packets, which nobody can do inside of TCP"
    if link.medium is not None:
        yield "shares the medium {}, but each proxy has a rate of its own".format(link.medium)
    if not link.offload:
        yield "nobody offloads along it, but then a cluster file does not know it"


class _Player:
    """One run."""

    def __init__(self, scenario, source, network, workers, seed):
        self._scenario, self._source, self._seed = scenario, source, seed
        self._network, self._workers = network, workers
        self._numbers = count()
        self._items = []  # [number, when it was submitted, its outcome]
        self._begin_s = 0.0
        self._pipe = None

    def play(self):
        """Open the source and let it all happen."""
        workers = self._workers
        self._pipe = edgesdk.Pipeline.open(
            cluster=workers.path(self._source, "toml"),
            name=self._source,
            backend="onnxruntime",
            in_flight_max=IN_FLIGHT_MAX,
            pace=workers.path(self._source, "json"),
            trace=workers.path(self._source, "trace"),
        )
        with contextlib.closing(self._pipe):
            self._start()
            paced = [self._start_paced(w) for w in self._scenario.workloads if w.kind == ADMISSION]
            for at_us, _, call, arguments in heapq.merge(*self._events()):
                time.sleep(max(0.0, at_us / 1e6 - self._now_s()))
                call(*arguments)
            for thread in paced:
                thread.join(self._scenario.duration_us / 1e6 + START_S)
                assert not thread.is_alive()
            self._wait_until_done()
            stats, end_us_ = self._pipe.stats(), round(self._now_s() * 1e6)
        workers.ask_all_to_leave()
        run = Run(self._scenario, self._totals(stats, end_us_), self._ended())
        names = [node.name for node in self._scenario.nodes]
        return Played(run, {name: workers.traces(name) for name in names}, workers.died)

    def _now_s(self):
        return time.monotonic() - self._begin_s

    def _start(self):
        """All that are there from the beginning know each other; then time begins."""
        first = [node.name for node in self._scenario.nodes if not node.join_us]
        for name in first:
            if name != self._source:
                self._workers.start(name)
        known = [name for name in self._workers.neighbours(self._source) if name in first]

        def states():
            return {name: self._pipe.stats()["neighbours"][name]["state"] for name in known}

        wait_for(lambda: set(states().values()) <= {"up"}, START_S, states)
        self._workers.wait_until_all_know_each_other()
        self._begin_s = time.monotonic()

    # --- what happens when ---

    def _events(self):
        """Iterators of (at_us, order among equals, call, arguments), each in the order of time."""
        order = count()
        planned = []
        for node in self._scenario.nodes:
            if node.join_us:
                planned.append((node.join_us, self._workers.start, (node.name,)))
            if node.leave_us is not None:
                planned.append((node.leave_us, self._workers.leave, (node.name,)))
        for fault in self._scenario.faults:
            planned.append((fault.at_us, self._workers.begin, (fault,)))
            if fault.duration_us is not None:
                planned.append((end_us(fault), self._workers.end, (fault,)))
        yield sorted((what[0], next(order)) + what[1:] for what in planned)
        for index, workload in enumerate(self._scenario.workloads):
            if workload.kind != ADMISSION:
                yield self._arrivals(index, workload)

    def _arrivals(self, index, workload):
        """Those of the simulator."""
        rng = stream(self._seed, "workload:{}:{}".format(workload.source, index))
        for at_us in islice(TIMES[workload.kind](workload, rng), workload.item_count):
            if at_us >= self._scenario.duration_us:
                return
            yield at_us, 1_000_000 + index, self._submit, (workload,)

    # --- items ---

    def _submit(self, workload):
        number = next(self._numbers)
        image, _ = self._network.image(number)
        item = [number, self._now_s(), None]
        self._items.append(item)
        deadline_ms = None if workload.deadline_us is None else workload.deadline_us / 1000
        future = self._pipe.submit(image, deadline_ms=deadline_ms, latest=workload.latest)
        future.add_done_callback(
            lambda done: item.__setitem__(2, done.exception() or done.result())
        )

    def _start_paced(self, workload):
        thread = threading.Thread(target=self._run_paced, args=(workload,), name="paced")
        thread.start()
        return thread

    def _run_paced(self, workload):
        """Algorithm 3 says when the next one is taken."""
        taken = []

        def images():
            time.sleep(max(0.0, workload.start_us / 1e6 - self._now_s()))
            while len(taken) != workload.item_count:
                if self._now_s() >= self._scenario.duration_us / 1e6:
                    return
                number = next(self._numbers)
                item = [number, 0.0, None]
                taken.append(item)
                self._items.append(item)
                yield self._network.image(number)[0]
                item[1] = self._now_s()  # who asks for the next one has submitted this one

        deadline_ms = None if workload.deadline_us is None else workload.deadline_us / 1000
        outcomes = self._pipe.map(images(), deadline_ms, "expire", IN_FLIGHT_MAX)
        for outcome in outcomes:
            taken[outcome.tag][2] = outcome

    def _open_count(self):
        return sum(item[2] is None for item in self._items)

    def _wait_until_done(self):
        wait_for(
            lambda: not self._open_count(),
            self._scenario.grace_us / 1e6,
            lambda: "{} of {} items are open; {}".format(
                self._open_count(), len(self._items), self._pipe.stats()
            ),
        )

    # --- what it came to ---

    def _ended(self):
        """How every item ended, in the order of time."""
        found = [self._one_ended(*item) for item in self._items]
        return sorted(found, key=lambda ended: ended.at_us)

    def _one_ended(self, number, submitted_s, outcome):
        at_us = round(submitted_s * 1e6) + outcome.latency_us
        if not outcome.ok:
            status = "expired" if isinstance(outcome, edgesdk.Expired) else "failed"
            return Ended(
                self._source, at_us, status, outcome.reason, None, False, outcome.latency_us
            )
        right = answer(outcome) == self._network.image(number)[1]
        return Ended(
            self._source,
            at_us,
            "result",
            outcome.reason,
            outcome.exit_index,
            right,
            outcome.latency_us,
        )

    def _totals(self, stats, end_us_):
        """As the core at the source counts."""
        ended, latency = self._ended(), Histogram()
        answered = [each for each in ended if each.status == "result"]
        for each in answered:
            latency.add(each.latency_us)
        source = SourceTotals(
            name=self._source,
            submitted_count=stats["admitted_count"],
            missed_count=0,
            open_count=stats["in_flight_count"],
            lost_count=0,
            ended=stats["ended"],
            exit_counts=tuple(stats["exit_counts"]),
            latency=latency,
            answered_count=len(answered),
            correct_count=sum(each.right for each in answered),
        )
        node = NodeTotals(self._source, 0, 0, 0, 0, 0, stats["counters"])
        return Totals(self._scenario.name, self._seed, end_us_, 0, (source,), (node,), (), "")
