"""Runs a core worker by hand: events in, actions out, nothing else."""

from random import Random

from edgesdk.core.events import Deliver, RunStage, Scores, StageDone, Submit
from edgesdk.core.exits import MaxProbability
from edgesdk.core.metrics import Metrics
from edgesdk.core.source import Source
from edgesdk.core.spec import Plan, Stage
from edgesdk.core.worker import Worker


def plan(exit_indices, segment_count=3):
    """A plan with stages that end at `exit_indices`, the last of them final."""
    assert exit_indices[-1] == segment_count - 1
    starts = [0] + [index + 1 for index in exit_indices[:-1]]
    return Plan(
        "full",
        tuple(Stage(s, e, e, "stage_{}.onnx".format(e)) for s, e in zip(starts, exit_indices)),
    )


class Core:
    """A worker, its source, and a list of everything it asked for."""

    def __init__(self, policy=None, part_count=1, max_batch=32, exits=(0, 1, 2), seed=0):
        policy = policy or MaxProbability(0.8)
        self.metrics = Metrics(3)
        self.source = Source(policy, part_count, self.metrics, Random(seed))
        self.worker = Worker([plan(exits)] * part_count, policy, self.source, max_batch)
        self.now_us = 1000
        self.actions = []

    def handle(self, event, after_us=10):
        """The actions about `event`, `after_us` later than the last."""
        self.now_us += after_us
        actions = self.worker.handle(event, self.now_us)
        self.actions += actions
        return actions

    def submit(self, *items, **options):
        """Submit `items` together, tagged "tag-ITEM"."""
        tags = tuple("tag-{}".format(item) for item in items)
        return self.handle(Submit(items, tags, self.now_us, **options))

    def done(self, run, *max_probabilities, **demanded):
        """The stage `run` has ended with these max probabilities, one per item; bytes among them
        are the feature of each."""
        feature = [value for value in max_probabilities if isinstance(value, bytes)]
        max_probabilities = max_probabilities[: len(max_probabilities) - len(feature)]
        scores = None
        if run.evaluate:
            values = max_probabilities * (len(run.items) if len(max_probabilities) == 1 else 1)
            assert len(values) == len(run.items)
            scores = [Scores(3, value, 0.5, 0.1, **demanded) for value in values]
        features = feature * len(run.items) or None
        return self.handle(StageDone(run.part, run.stage, run.items, scores, features))

    @property
    def outcomes(self):
        """Every outcome delivered so far."""
        return [action.outcome for action in self.actions if isinstance(action, Deliver)]


def only(kind, actions):
    """The one action of `kind` among `actions`."""
    found = [action for action in actions if isinstance(action, kind)]
    assert len(found) == 1, actions
    return found[0]


def stage_run(actions):
    """The RunStage among `actions`, which stands at their end."""
    assert isinstance(actions[-1], RunStage), actions
    return only(RunStage, actions)
