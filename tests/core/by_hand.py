"""A worker whose neighbours are played by the test: every message in and out is written by hand."""

from random import Random

from helpers import plan

from edgesdk.core.events import (
    WAKE,
    Deliver,
    MessageReceived,
    PeerFound,
    Scores,
    Send,
    StageDone,
    Submit,
    Timer,
)
from edgesdk.core.exits import MaxProbability
from edgesdk.core.fleet import FleetWorker
from edgesdk.core.messages import (
    Ack,
    Envelope,
    Greeting,
    Hello,
    ItemId,
    Load,
    ResultMessage,
    Task,
    Welcome,
)
from edgesdk.core.metrics import Metrics
from edgesdk.core.neighbours import Identity
from edgesdk.core.source import Source

MODEL, PLAN = b"m" * 16, b"p" * 16
STAGES = ((0, 0), (0, 1), (0, 2))
RAW = ("raw",)
NAN = float("nan")


def greeting(worker, stages=STAGES, epoch=1, **options):
    """The greeting of a neighbour that fits."""
    return Greeting(worker, epoch, MODEL, PLAN, stages, **options)


class Played:
    """What the test knows of a neighbour that it plays."""

    def __init__(self, worker, session):
        self.worker, self.session, self.other_session = worker, session, 0
        self.report = 0
        self.seq = 0


class ByHand:
    """A FleetWorker, worker 1, at `now_us`. Neighbours are numbers from 2."""

    def __init__(
        self,
        policy=None,
        stages=STAGES,
        part_count=1,
        max_batch=1,
        seed=0,
        codecs=RAW,
        **options,
    ):
        policy = policy or MaxProbability(0.8)
        self.metrics = Metrics(3)
        self.source = Source(policy, part_count, self.metrics, Random(seed))
        self.core = FleetWorker(
            Identity(1, 7, MODEL, PLAN, tuple(stages), codecs),
            [plan((0, 1, 2))] * part_count,
            policy,
            self.source,
            max_batch,
            **options,
        )
        self.now_us = 1_000_000
        self.actions = []
        self.played = {}

    def handle(self, event, after_us=0):
        """The actions about `event`, `after_us` later than the last."""
        self.now_us += after_us
        actions = self.core.handle(event, self.now_us)
        self.actions += actions
        return actions

    def wake(self, after_us=0):
        """The timer rings, `after_us` later."""
        return self.handle(Timer(WAKE), after_us)

    def submit(self, *items, **options):
        return self.handle(Submit(items, (None,) * len(items), self.now_us, **options))

    def done(self, run, max_probability=0.5, after_us=1_000):
        """A stage has ended with this max probability for everybody."""
        scores = [Scores(1, max_probability, 0.1, 0.1)] * len(run.items) if run.evaluate else None
        return self.handle(StageDone(run.part, run.stage, run.items, scores), after_us)

    # --- the neighbours ---

    def meet(self, worker, stages=STAGES, offload=True, epoch=1, codecs=RAW, **load):
        """`worker` greets, is welcomed and reports."""
        self.handle(PeerFound(worker, offload))
        played = self.played[worker] = Played(worker, 100 * worker + epoch)
        hello = Hello(greeting(worker, stages, epoch, codecs=codecs))
        actions = self.handle(MessageReceived(worker, Envelope(played.session, 0, hello)))
        played.other_session = next(
            action.envelope.from_session
            for action in actions
            if isinstance(action, Send) and isinstance(action.envelope.message, Welcome)
        )
        return self.report(worker, **load)

    def tell(self, worker, message):
        """`worker` says `message`."""
        played = self.played[worker]
        envelope = Envelope(played.session, played.other_session, message)
        return self.handle(MessageReceived(worker, envelope))

    def report(self, worker, queue_length=0, delay_us=1_000, task_limit=8, **options):
        """`worker` sends a Load."""
        played = self.played[worker]
        played.report += 1
        load = Load(played.report, queue_length, delay_us, task_limit, self.now_us, **options)
        return self.tell(worker, load)

    def send_task(self, worker, number, source=9, stage=1, part=0, **options):
        """`worker` sends a task of item `number` of `source` (epoch 1)."""
        played = self.played[worker]
        played.seq += 1
        values = {
            "seq": played.seq,
            "oldest": 1,
            "item": ItemId(source, 1, number),
            "part": part,
            "stage": stage,
            "attempt": 0,
            "hop": 1,
            "deadline_us": 0,
            "threshold": NAN,
            "policy_state": (0, 0),
        }
        values.update(options)
        return self.tell(worker, Task(**values))

    def send_result(self, worker, number, answer=None, reason="threshold", **options):
        """`worker` sends the result of item `number` of ours."""
        played = self.played[worker]
        played.seq += 1
        values = {
            "seq": played.seq,
            "oldest": 1,
            "item": ItemId(1, 7, number),
            "part": 0,
            "attempt": 0,
            "hop": 1,
            "reason": reason,
            "answer": answer,
        }
        values.update(options)
        return self.tell(worker, ResultMessage(**values))

    def settle(self, worker, *seqs, **options):
        """`worker` accepts our messages `seqs`, or refuses them with accepted=False."""
        played = self.played[worker]
        played.report += 1
        bits = sum(1 << (seq - 1) for seq in seqs)
        both = (bits, 0) if options.pop("accepted", True) else (0, bits)
        values = {"queue_length": 0, "delay_us": 1_000, "task_limit": 8}
        values.update(options)
        return self.tell(worker, Ack(1, both[0], both[1], seqs[-1], 0, played.report, **values))

    @property
    def outcomes(self):
        """Every outcome delivered so far."""
        return [action.outcome for action in self.actions if isinstance(action, Deliver)]

    def counter(self, name):
        """How often something happened between workers."""
        return self.metrics.counters.get(name, 0)


def said(kind, actions, worker=None):
    """The messages of `kind` that `actions` send, to `worker` if that is given."""
    return [
        action.envelope.message
        for action in actions
        if isinstance(action, Send) and isinstance(action.envelope.message, kind)
        if worker in (None, action.peer)
    ]
