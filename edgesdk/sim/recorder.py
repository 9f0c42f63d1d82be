"""Watches a simulation for its report: how every item ended, how queues grow, how far it is."""

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..core.events import Action, Deliver, Event
from .body import Body
from .spec import Image
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
        self._images: Sequence[Image] = ()
        self._bodies: Dict[str, Body] = {}
        self._sample_us = sample_us
        self._next_us = 0
        self._on_sample = on_sample

    def watch(self, images: Sequence[Image], bodies: Sequence[Body]) -> None:
        """To be called with the images of the model and the bodies of the simulator before it
        runs."""
        self._images = images
        self._bodies = {body.name: body for body in bodies}

    def on_event(self, node: str, event: Event, actions: List[Action], now_us: int) -> None:
        """Keep the outcomes among `actions`; take a sample if it is time."""
        if now_us >= self._next_us:
            self._sample(now_us)
        for action in actions:
            if isinstance(action, Deliver):
                self._end(self._bodies[node], action, now_us)

    def _end(self, body: Body, action: Deliver, now_us: int) -> None:
        outcome = action.outcome
        exit_index, right = None, False
        if outcome.answer is not None:
            exit_index = outcome.answer.exit_index
            index = body.image_index((body.worker_id, body.epoch, outcome.item))
            right = outcome.answer.scores.class_index == self._images[index].label
        self.ended.append(
            Ended(
                body.name,
                now_us,
                outcome.status,
                outcome.reason,
                exit_index,
                right,
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
