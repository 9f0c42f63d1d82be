"""The stages that a node's process has loaded, and how others come and go while it runs."""

from typing import Any, Callable, Dict, Tuple, Type

from ..core.events import Event, KeepStages, LoadStages, StagesLoaded
from .cores import stage_times
from .events import Scheduler
from .spec import Model, Node

LOAD_US = 100_000  # of any number of stages


class Loading:
    """What a process has loaded: `stage_us`, by (part, stage), what each takes there for one item.
    `tell` hands an event to the process."""

    def __init__(
        self, model: Model, node: Node, scheduler: Scheduler, tell: Callable[[Event], None]
    ) -> None:
        self.stage_us: Dict[Tuple[int, int], float] = {}
        self._model, self._node = model, node
        self._scheduler, self._tell = scheduler, tell
        self._process_count = 0

    def begin(self) -> None:
        """A process starts, with the stages that the scenario gives it."""
        self._process_count += 1
        self.stage_us = stage_times(self._model, self._node)

    def verbs(self) -> Dict[Type[Any], Callable[[Any], None]]:
        """What to do for each action."""
        return {LoadStages: self._load, KeepStages: self._keep}

    def _load(self, action: LoadStages) -> None:
        load = (self._process_count, action)
        self._scheduler.at(self._scheduler.now_us + LOAD_US, self._loaded, load)

    def _loaded(self, load: Tuple[int, LoadStages]) -> None:
        process, action = load
        if process == self._process_count:
            every_us = stage_times(self._model, self._node._replace(stages=None))
            self.stage_us.update({place: every_us[place] for place in action.stages})
            self._tell(StagesLoaded(action.stages))

    def _keep(self, action: KeepStages) -> None:
        kept = {place: us for place, us in self.stage_us.items() if place in action.stages}
        self.stage_us = kept
