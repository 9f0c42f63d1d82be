"""Cores that talk to each other over a wire made of a list: no simulator, every message in hand."""

import heapq
from random import Random

from helpers import plan

from edgesdk.core.events import (
    Classified,
    MessageReceived,
    PeerFound,
    Scores,
    StageDone,
    StageFailed,
    Submit,
    Timer,
)
from edgesdk.core.exits import MaxProbability
from edgesdk.core.fleet import FleetWorker
from edgesdk.core.messages import Task
from edgesdk.core.metrics import Metrics
from edgesdk.core.neighbours import Identity
from edgesdk.core.source import Source
from edgesdk.core.tasks import FleetTask

MODEL, PLAN = b"m" * 16, b"p" * 16
STAGES = ((0, 0), (0, 1), (0, 2))


def places(core):
    """Where every task that somebody wants is: {(item, part): [place, ...]}."""
    found = {}

    def put(task, place):
        if core._is_wanted(task):
            found.setdefault((task.item, task.part), []).append(place)

    for task in core._queue.values():
        put(task, "input queue")
    for task in core._running.values():
        put(task, "running")
    for task in core._output:
        put(task, "output queue")
    for lease in core._exchange.leases._leases.values():
        put(lease.task, "away")
    for peer in core._neighbours.peers.values():
        for seq, sent in peer.link.unsettled.items():
            if sent.payload.__class__ is FleetTask:
                assert sent.payload.sent == (peer.worker, seq)
                if sent.payload.guest is not None:
                    put(sent.payload, "sent")
    return found


def chain(count):
    """The pairs of a line of workers: 1 - 2 - 3 - ..."""
    return {(a, b) for a in range(1, count + 1) for b in (a - 1, a + 1) if 1 <= b <= count}


class Rig:
    """Workers 1..count that compute a stage in `stage_us`, all neighbours of each other, or of
    those in `pairs`: (from, to) for who may send to whom.

    `copies(from, to, message)` says how many copies of a message arrive. Features are the pairs
    (item id, stage) that a stage expects, by part, so a wrong tensor is an AssertionError.
    """

    def __init__(
        self,
        count=2,
        stage_us=5_000,
        delay_us=300,
        seed=0,
        pairs=None,
        part_count=1,
        stages=None,
        **options,
    ):
        self.now_us = 1_000_000
        self.delay_us, self.stage_us = delay_us, stage_us
        self.options = dict({"policy": MaxProbability(0.8)}, **options)
        self.seed = seed
        self.pairs, self.part_count = pairs, part_count
        self.scores = lambda worker, item, stage: 0.5
        self.fails = lambda worker, item, stage: False
        self.copies = lambda source, target, message: 1
        self.stages = stages or {}
        self.queue, self.counter = [], 0
        self.cores, self.outcomes, self.ran, self.held, self.admits = {}, [], [], {}, []
        self.generation, self.timers = {}, {}
        self.sent, self.classified, self.ended = [], [], []
        self.deliver = lambda call: self.at(self.delay_us, call)
        for worker in range(1, count + 1):
            self.start(worker)

    def start(self, worker, meet=True):
        options = dict(self.options)
        policy = options.pop("policy")
        self.generation[worker] = self.generation.get(worker, 0) + 1
        metrics = Metrics(3)
        rng = Random("{}:{}:{}".format(self.seed, worker, self.generation[worker]))
        source = Source(policy, self.part_count, metrics, rng)
        every = tuple((part, stage) for part in range(self.part_count) for _, stage in STAGES)
        stages = self.stages.get(worker, every)
        identity = Identity(worker, self.generation[worker], MODEL, PLAN, stages)
        plans = [plan((0, 1, 2))] * self.part_count
        self.cores[worker] = FleetWorker(identity, plans, policy, source, 1, **options)
        self.held[worker] = {}
        if meet:
            for other in list(self.cores):
                if other != worker and self.may_talk(worker, other):
                    self.handle(worker, PeerFound(other))
                    self.handle(other, PeerFound(worker))

    def may_talk(self, source, target):
        return self.pairs is None or (source, target) in self.pairs

    def kill(self, worker):
        del self.cores[worker]
        self.generation[worker] += 1

    def at(self, delay_us, call):
        self.counter += 1
        heapq.heappush(self.queue, (self.now_us + delay_us, self.counter, call))

    def repeated(self):
        """How often a stage was computed that had been computed before."""
        done = [(item, stage) for _, item, stage in self.ran]
        return len(done) - len(set(done))

    def submit(self, worker, *items, **options):
        for item in items:
            id_ = (worker, self.cores[worker].identity.epoch, item)
            self.held[worker][item] = dict.fromkeys(range(self.part_count), (id_, 0))
            self.handle(worker, Submit((item,), (None,), self.now_us, **options))

    def run(self, seconds):
        end_us = self.now_us + int(seconds * 1e6)
        while self.queue and self.queue[0][0] <= end_us:
            self.now_us, _, call = heapq.heappop(self.queue)
            call()
        self.now_us = end_us

    def handle(self, worker, event, features=None):
        core = self.cores.get(worker)
        if core is None:
            return
        for action in core.handle(event, self.now_us):
            getattr(self, "_" + type(action).__name__)(worker, action, event, features)
        self.check(worker)

    def check(self, worker):
        """Features are held exactly for what is here, and every task is in one place."""
        core = self.cores[worker]
        open_items = set(core._source.open_items())
        assert set(self.held[worker]) == open_items | set(core._guests), worker
        where = places(core)
        for key, found in where.items():
            assert len(found) == 1, (worker, key, found)
        if self.part_count == 1:
            assert {item for item, _ in where} == set(self.held[worker]), (worker, where)

    def _RunStage(self, worker, action, event, features):
        held = self.held[worker]
        for item in action.items:
            assert held[item][action.part][1] == action.stage
        generation = self.generation[worker]

        def done():
            if worker not in self.cores or self.generation[worker] != generation:
                return
            scores, failed = [], False
            for item in action.items:
                if item not in held:
                    scores.append(Scores(1, 0.5, 0.1, 0.1))
                    continue
                id_ = held[item][action.part][0]
                failed = failed or self.fails(worker, id_, action.stage)
                stage = action.stage if self.part_count == 1 else (action.part, action.stage)
                self.ran.append((worker, id_, stage))
                if not failed:
                    held[item][action.part] = (id_, action.stage + 1)
                scores.append(Scores(1, self.scores(worker, id_, action.stage), 0.1, 0.1))
            if failed:
                failure = StageFailed(action.part, action.stage, action.items, "it broke")
                self.handle(worker, failure)
            else:
                scores = scores if action.evaluate else None
                features = None
                if scores and self.part_count > 1:
                    features = ["part {}".format(action.part).encode()] * len(action.items)
                self.handle(
                    worker,
                    StageDone(action.part, action.stage, action.items, scores, features),
                )

        self.at(self.stage_us, done)

    def _Send(self, worker, action, event, features):
        message = action.envelope.message
        carried = None
        if isinstance(message, Task):
            features_of_part = self.held[worker][action.item][message.part]
            assert features_of_part == (tuple(message.item), message.stage)
            carried = (message.part, features_of_part)
        self.sent.append((worker, action.peer, message))
        if not self.may_talk(worker, action.peer):
            return
        received = MessageReceived(worker, action.envelope)
        for _ in range(self.copies(worker, action.peer, message)):
            self.deliver(lambda: self.handle(action.peer, received, carried))

    def _Keep(self, worker, action, event, features):
        part, features_of_part = features
        self.held[worker].setdefault(action.item, {})[part] = features_of_part

    def _Release(self, worker, action, event, features):
        del self.held[worker][action.item]

    def _Deliver(self, worker, action, event, features):
        self.outcomes.append((worker, action.outcome))
        self.ended.append((worker, self.cores[worker].identity.epoch, action.outcome.item))

    def _Classify(self, worker, action, event, features):
        self.classified.append((worker, action))
        sure = Scores(1, 1.0, 1.0, 0.0)
        self.at(0, lambda: self.handle(worker, Classified(action.item, sure)))

    def _SetTimer(self, worker, action, event, features):
        armed = (self.generation[worker], action.at_us)
        self.timers[(worker, action.item)] = armed

        def ring():
            is_armed = self.timers.get((worker, action.item)) == armed
            if is_armed and self.generation[worker] == armed[0]:
                del self.timers[(worker, action.item)]
                self.handle(worker, Timer(action.item))

        self.at(max(0, action.at_us - self.now_us), ring)

    def _CancelTimer(self, worker, action, event, features):
        self.timers.pop((worker, action.item), None)

    def _OpenLink(self, worker, action, event, features):
        pass

    def _CloseLink(self, worker, action, event, features):
        pass

    def _Admit(self, worker, action, event, features):
        self.admits.append((self.now_us, action))


def ready(count=2, **options):
    """Workers that know each other and have had credit."""
    rig = Rig(count, **options)
    rig.run(1.5)
    return rig


def answered(rig, *expected, **options):
    """Every item of `expected` (worker, count) has one outcome, by default a result."""
    status = options.get("status", "result")
    found = sorted((worker, outcome.item) for worker, outcome in rig.outcomes)
    assert found == sorted((w, item) for w, count in expected for item in range(count))
    assert {outcome.status for _, outcome in rig.outcomes} == {status}
    for core in rig.cores.values():
        assert len(core._guests) == 0 and core.output_length == 0 == core.queue_length
        assert len(core._exchange.leases) == 0
    return True


def counter(rig, name):
    """How often something happened, at all workers."""
    return sum(core._source.metrics.counters.get(name, 0) for core in rig.cores.values())


def sent(rig, kind):
    return [message for _, _, message in rig.sent if isinstance(message, kind)]


def until(rig, condition):
    """Run until `condition()`, which must come about within ten seconds."""
    for _ in range(1000):
        if condition():
            return
        rig.run(0.01)
    raise AssertionError("it did not come about")


def workers_of(rig):
    return {worker for worker, _, _ in rig.ran}
