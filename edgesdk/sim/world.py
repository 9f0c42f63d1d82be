"""What all parts of one simulation share, and how they come by chance."""

from hashlib import blake2b
from random import Random
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..core.events import Action, Event
from .events import Scheduler
from .spec import Scenario
from .trace import Trace


def stream(seed: int, purpose: str) -> Random:
    """The generator for one purpose, such as "net:a->b": a new draw elsewhere does not shift it."""
    digest = blake2b("{} {}".format(seed, purpose).encode("utf-8"), digest_size=16).digest()
    return Random(int.from_bytes(digest, "big"))


class Observer:
    """Watches a simulation, to check it. `now_us` is true time; `node` a name."""

    def on_start(self, node: str, epoch: int, now_us: int) -> None:
        """A process starts at `node`."""

    def on_crash(self, node: str, now_us: int) -> None:
        """The process at `node` has died; its items are lost with it."""

    def on_event(self, node: str, event: Event, actions: List[Action], now_us: int) -> None:
        """The core at `node` was told `event`, and what it asked for has been done."""


class World:
    """One simulation in progress.

    `open_count`: items admitted and not ended. `on_idle` is called when that becomes 0.
    `scores[(part, stage)]` and `labels`: of every image. `neighbours`: of each node, and whether it
    may send tasks there.
    `new_worker(scenario, node, epoch, rng, metrics)` makes a core worker.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        new_worker: Callable[..., Any],
        trace: Optional[Trace] = None,
        observer: Optional[Observer] = None,
    ) -> None:
        self.scenario = scenario
        self.seed = seed
        self.new_worker = new_worker
        self.trace = trace
        self.observer = observer
        self.scheduler = Scheduler()
        model = scenario.model
        self.scores = {
            (part, stage): [image.scores[part][exit_index] for image in model.images]
            for part, spec in enumerate(model.parts)
            for stage, exit_index in enumerate(spec.exit_indices)
        }
        self.labels = [image.label for image in model.images]
        self.neighbours: Dict[str, List[Tuple[str, bool]]] = {n.name: [] for n in scenario.nodes}
        for link in scenario.links:
            self.neighbours[link.first].append((link.second, link.first in link.offload))
            self.neighbours[link.second].append((link.first, link.second in link.offload))
        self.open_count = 0
        self.on_idle: Callable[[], None] = _nothing

    def stream(self, purpose: str) -> Random:
        """The generator for one purpose of this simulation."""
        return stream(self.seed, purpose)

    def close_items(self, count: int) -> None:
        """`count` items have ended, or are lost with their source."""
        self.open_count -= count
        if not self.open_count:
            self.on_idle()


def _nothing() -> None:
    pass
