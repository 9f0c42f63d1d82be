"""What a simulation adds up to, as plain values."""

from typing import Dict, NamedTuple, Tuple

from ..core.metrics import Histogram


class SourceTotals(NamedTuple):
    """Items of one source.

    `submitted_count` of them were handed over, `missed_count` met no process. They `ended` by
    "status.reason", are open at the end, or were lost with the process. `exit_counts` by trained
    exit. `answered_count` ended with an answer, `correct_count` with the right one.
    """

    name: str
    submitted_count: int
    missed_count: int
    open_count: int
    lost_count: int
    ended: Dict[str, int]
    exit_counts: Tuple[int, ...]
    latency: Histogram
    answered_count: int
    correct_count: int


class NodeTotals(NamedTuple):
    """One node. `counters`: what its core counted between workers, by name. `held_count`: features
    that it holds at the end."""

    name: str
    event_count: int
    stage_run_count: int
    busy_us: int
    queue_length_max: int
    held_count: int
    counters: Dict[str, int]


class DirectionTotals(NamedTuple):
    """One direction of a link, "a->b": messages and bytes handed over by kind of message, and
    messages lost by cause; those at the high-water mark are an alarm."""

    name: str
    messages: Dict[str, int]
    bytes: Dict[str, int]
    lost: Dict[str, int]


class Totals(NamedTuple):
    """One simulation, up to `end_us` of virtual time. `trace_hash` is empty if none was kept."""

    scenario: str
    seed: int
    end_us: int
    event_count: int
    sources: Tuple[SourceTotals, ...]
    nodes: Tuple[NodeTotals, ...]
    directions: Tuple[DirectionTotals, ...]
    trace_hash: str
