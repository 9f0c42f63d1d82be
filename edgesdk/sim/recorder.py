"""Watches a simulation for its report: how every item ended, how queues grow, how far it is."""

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..core.events import Action, Classify, Deliver, Event
from ..features import Features
from .body import Body
from .gathering import exits_of
from .simulator import Simulator
from .world import Observer


class Ended(NamedTuple):
    """How one item of `source` ended, at `at_us` of virtual time. `exit_index` is None, and
    `right` False, where there was no answer. `exits`: of an ensemble's answer, where each student
    left, None for one that was missing."""

    source: str
    at_us: int
    status: str
    reason: str
    exit_index: Optional[int]
    right: bool
    latency_us: int
    exits: Tuple[Optional[int], ...] = ()


class Recorder(Observer):
    """`ended`: in the order of time. `queue_samples`: (at_us, waiting tasks of each node), about
    every `sample_us`; `on_sample(now_us)` is called as often."""

    def __init__(
        self, sample_us: int, on_sample: Callable[[int], None] = lambda now_us: None
    ) -> None:
        self.ended: List[Ended] = []
        self.queue_samples: List[Tuple[int, Sequence[int]]] = []
        self._bodies: Dict[str, Body] = {}
        self._features: Optional[Features] = None
        self._gathered: Dict[Tuple[str, int], Tuple[Optional[int], ...]] = {}  # to be classified
        self._sample_us = sample_us
        self._next_us = 0
        self._on_sample = on_sample

    def watch(self, simulator: Simulator) -> None:
        """Look into the nodes of `simulator`, which has this as its observer, before it runs."""
        self._bodies = {body.name: body for body in simulator.bodies}
        self._features = simulator.scenario.model.features

    def on_event(self, node: str, event: Event, actions: List[Action], now_us: int) -> None:
        """Keep the outcomes among `actions`; take a sample if it is time."""
        if now_us >= self._next_us:
            self._sample(now_us)
        for action in actions:
            if isinstance(action, Deliver):
                self._end(self._bodies[node], action, now_us)
            elif isinstance(action, Classify):
                self._gather(self._bodies[node], action)

    def _gather(self, body: Body, action: Classify) -> None:
        assert self._features is not None  # or the core would not ask
        self._gathered[(body.name, action.item)] = exits_of(
            self._features, body.image_of(action.item), action.features
        )

    def _end(self, body: Body, action: Deliver, now_us: int) -> None:
        outcome = action.outcome
        exits = self._gathered.pop((body.name, outcome.item), ())
        self.ended.append(
            Ended(
                body.name,
                now_us,
                outcome.status,
                outcome.reason,
                None if outcome.answer is None else outcome.answer.exit_index,
                body.is_right(outcome),
                outcome.latency_us,
                exits,
            )
        )

    def _sample(self, now_us: int) -> None:
        self._next_us = now_us + self._sample_us
        lengths = [
            0 if body.worker is None else body.worker.queue_length for body in self._bodies.values()
        ]
        self.queue_samples.append((now_us, lengths))
        self._on_sample(now_us)
