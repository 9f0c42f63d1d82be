"""Replay: a fresh core is told what a trace tells; does it do the same?"""

import traceback
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple

from ..core.events import Action, Event, MessageReceived
from ..core.fleet import FleetWorker
from ..core.metrics import Metrics
from ..core_spec import new_core
from .file import Record, Trace
from .values import digest


class Difference(NamedTuple):
    """Where a core does not do what it did when `record` was written: now it asks for `actions`,
    or raises `error`."""

    record: Record
    actions: Tuple[Action, ...]
    error: str


class Replayed(NamedTuple):
    """`kinds`: how many events of each class, messages by theirs. `ended`: how many items, by
    status and reason. `difference`: the first, or None. `raised`: the traceback where the core
    raised last, or nothing. `is_complete`: see `Trace`; False where the replay stopped at a
    difference."""

    event_count: int
    kinds: Dict[str, int]
    duration_us: int
    ended: Dict[str, int]
    is_complete: bool
    raised: str
    difference: Optional[Difference]


def stop(difference: Difference) -> bool:
    """Do not go on behind a difference."""
    return False


def replay(
    trace: Trace,
    on_difference: Callable[[Difference], bool] = stop,
    on_record: Callable[[Record], None] = lambda record: None,
    on_actions: Callable[[Record, Sequence[Action]], None] = lambda record, actions: None,
    on_core: Callable[[FleetWorker, Metrics], None] = lambda core, metrics: None,
) -> Replayed:
    """Tell a fresh core the events of `trace`, at their times, and compare what it does.

    `on_core` is given the core and what it counts in, to look at. `on_record` is told of every
    event before the core is, `on_actions` afterwards what the core asked for, if that was the same,
    `on_difference` says whether to go on. Raises ConfigError for a malformed trace.
    """
    core, metrics = new_core(trace.spec)
    on_core(core, metrics)
    kinds: Dict[str, int] = {}
    first_us = last_us = None
    first: Optional[Difference] = None
    raised = ""
    for record in trace.records():
        on_record(record)
        kind = kind_of(record.event)
        kinds[kind] = kinds.get(kind, 0) + 1
        last_us = record.now_us
        first_us = last_us if first_us is None else first_us
        difference, actions, text = _again(core, record)
        raised = text or raised
        if difference is not None:
            first = first or difference
            if not on_difference(difference):
                break
        elif not text:
            on_actions(record, actions)
    return Replayed(
        sum(kinds.values()),
        kinds,
        (last_us or 0) - (first_us or 0),
        dict(metrics.ended),
        trace.is_complete,
        raised,
        first,
    )


def _again(core: FleetWorker, record: Record) -> Tuple[Optional[Difference], Sequence[Action], str]:
    """What is different about one event, what the core asks for, the traceback if it raised."""
    try:
        actions = core.handle(record.event, record.now_us)
    except Exception as error:  # a bug of the core may be just what the trace is about
        is_same = type(error).__name__ == record.error
        text = "{}: {}".format(type(error).__name__, error)
        difference = None if is_same else Difference(record, (), text)
        return difference, (), traceback.format_exc()
    if digest(actions) == record.digest:
        return None, actions, ""
    return Difference(record, tuple(actions), ""), actions, ""


def kind_of(event: Event) -> str:
    """The class of an event, and that of the message in it."""
    name = type(event).__name__
    if isinstance(event, MessageReceived):
        name += " " + type(event.envelope.message).__name__
    return name
