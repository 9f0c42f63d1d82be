"""Cores that talk to each other over a wire made of a list: no simulator, every message in hand."""

import heapq
from random import Random

from helpers import plan

from edgesdk.core.events import (
    WAKE,
    Admit,
    CancelTimer,
    CloseLink,
    Deliver,
    Keep,
    MessageReceived,
    OpenLink,
    PeerFound,
    Release,
    RunStage,
    Scores,
    Send,
    SetTimer,
    StageDone,
    Submit,
    Timer,
)
from edgesdk.core.exits import MaxProbability
from edgesdk.core.fleet import Fleet
from edgesdk.core.messages import Task
from edgesdk.core.metrics import Metrics
from edgesdk.core.neighbours import Identity
from edgesdk.core.source import Source

MODEL, PLAN = b"m" * 16, b"p" * 16
STAGES = ((0, 0), (0, 1), (0, 2))


class Rig:
    """Workers 1..count, all neighbours of each other, that compute a stage in `stage_us`.

    `filter(from, to, message)` returns how many copies of a message arrive. Features are the pairs
    (item id, stage) that a stage expects, so a wrong tensor is an AssertionError.
    """

    def __init__(self, count=2, stage_us=5_000, delay_us=300, seed=0, **options):
        self.now_us = 1_000_000
        self.delay_us, self.stage_us = delay_us, stage_us
        self.options = dict({"policy": MaxProbability(0.8)}, **options)
        self.seed = seed
        self.scores = lambda worker, item, stage: 0.5
        self.copies = lambda source, target, message: 1
        self.stages = {}
        self.queue, self.counter = [], 0
        self.cores, self.outcomes, self.ran, self.held, self.admits = {}, [], [], {}, []
        self.generation, self.timers = {}, {}
        self.sent = []
        for worker in range(1, count + 1):
            self.start(worker)

    def start(self, worker, meet=True):
        options = dict(self.options)
        policy = options.pop("policy")
        self.generation[worker] = self.generation.get(worker, 0) + 1
        metrics = Metrics(3)
        rng = Random("{}:{}:{}".format(self.seed, worker, self.generation[worker]))
        source = Source(policy, 1, metrics, rng)
        stages = self.stages.get(worker, STAGES)
        identity = Identity(worker, self.generation[worker], MODEL, PLAN, stages)
        self.cores[worker] = Fleet(identity, [plan((0, 1, 2))], policy, source, 1, **options)
        self.held[worker] = {}
        if meet:
            for other in list(self.cores):
                if other != worker:
                    self.handle(worker, PeerFound(other))
                    self.handle(other, PeerFound(worker))

    def kill(self, worker):
        del self.cores[worker]
        self.generation[worker] += 1

    def at(self, delay_us, call):
        self.counter += 1
        heapq.heappush(self.queue, (self.now_us + delay_us, self.counter, call))

    def submit(self, worker, *items, **options):
        for item in items:
            id_ = (worker, self.cores[worker].identity.epoch, item)
            self.held[worker][item] = (id_, 0)
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
        """Features are held exactly for what is here."""
        core = self.cores[worker]
        open_items = set(core._source.open_items())
        assert set(self.held[worker]) == open_items | {task.item for task in core._guests}, worker

    def _RunStage(self, worker, action, event, features):
        for item in action.items:
            assert self.held[worker][item][1] == action.stage
        generation = self.generation[worker]

        def done():
            if worker in self.cores and self.generation[worker] == generation:
                scores = []
                for item in action.items:
                    if item in self.held[worker]:
                        id_ = self.held[worker][item][0]
                        self.held[worker][item] = (id_, action.stage + 1)
                        self.ran.append((worker, id_, action.stage))
                        scores.append(Scores(1, self.scores(worker, id_, action.stage), 0.1, 0.1))
                    else:
                        scores.append(Scores(1, 0.5, 0.1, 0.1))
                scores = scores if action.evaluate else None
                self.handle(worker, StageDone(action.part, action.stage, action.items, scores))

        self.at(self.stage_us, done)

    def _Send(self, worker, action, event, features):
        message = action.envelope.message
        carried = None
        if isinstance(message, Task):
            carried = self.held[worker][action.item]
            assert carried == (tuple(message.item), message.stage)
        self.sent.append((worker, action.peer, message))
        for _ in range(self.copies(worker, action.peer, message)):
            received = MessageReceived(worker, action.envelope)
            self.at(self.delay_us, lambda: self.handle(action.peer, received, carried))

    def _Keep(self, worker, action, event, features):
        assert features is not None
        self.held[worker][action.item] = features

    def _Release(self, worker, action, event, features):
        del self.held[worker][action.item]

    def _Deliver(self, worker, action, event, features):
        self.outcomes.append((worker, action.outcome))

    def _SetTimer(self, worker, action, event, features):
        armed = (self.generation[worker], action.at_us)
        self.timers[(worker, action.item)] = armed

        def ring():
            if self.timers.get((worker, action.item)) == armed:
                if self.generation[worker] == armed[0]:
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
