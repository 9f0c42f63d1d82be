"""Watches a simulation for its report: how every item ended, how queues grow, how far it is."""

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..core.events import Action, Deliver, Event
from .body import Body
from .simulator import Simulator
from .world import Observer


class Ended(NamedTuple):
    """How one item of `source` ended, at `at_us` of virtual time. `exit_index` is None, and
    `right` False, where there was no answer."""

    source: str
    at_us: int
    status: str
    reason: str
    exit_index: Optional[int]
    right: bool
    latency_us: int


class Recorder(Observer):
    """`ended`: in the order of time. `queue_samples`: (at_us, waiting tasks of each node), about
    every `sample_us`; `on_sample(now_us)` is called as often."""

    def __init__(
        self, sample_us: int, on_sample: Callable[[int], None] = lambda now_us: None
    ) -> None:
        self.ended: List[Ended] = []
        self.queue_samples: List[Tuple[int, Sequence[int]]] = []
        self._bodies: Dict[str, Body] = {}
        self._sample_us = sample_us
        self._next_us = 0
        self._on_sample = on_sample

    def watch(self, simulator: Simulator) -> None:
        """Look into the nodes of `simulator`, which has this as its observer, before it runs."""
        self._bodies = {body.name: body for body in simulator.bodies}

    def on_event(self, node: str, event: Event, actions: List[Action], now_us: int) -> None:
        """Keep the outcomes among `actions`; take a sample if it is time."""
        if now_us >= self._next_us:
            self._sample(now_us)
        for action in actions:
            if isinstance(action, Deliver):
                self._end(self._bodies[node], action, now_us)

    def _end(self, body: Body, action: Deliver, now_us: int) -> None:
        outcome = action.outcome
        self.ended.append(
            Ended(
                body.name,
                now_us,
                outcome.status,
                outcome.reason,
                None if outcome.answer is None else outcome.answer.exit_index,
                body.is_right(outcome),
                outcome.latency_us,
            )
        )

    def _sample(self, now_us: int) -> None:
        self._next_us = now_us + self._sample_us
        lengths = [
            0 if body.worker is None else body.worker.queue_length for body in self._bodies.values()
        ]
        self.queue_samples.append((now_us, lengths))
        self._on_sample(now_us)
