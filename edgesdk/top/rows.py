"""From two status documents of a worker to what happened between them. Pure.

A status document is what `Pipeline.stats(buckets=True)` returns, as JSON. How long lies between two
is told by the worker's own clock (`uptime_us`), so a rate is right however late an answer came.
Counts only grow; where one has become smaller the worker was started again, and what it has counted
since then holds.

None is a number that is not known: the worker has not answered, or has answered only once.
"""

import math
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

Document = Dict[str, Any]
Counts = Dict[float, int]

UP, RESTARTED, LEAVING, SILENT = "up", "restarted", "leaving", "silent"
# A rail that feeds the whole board (POM_5V_IN, VDD_IN): others are parts of what flows there.
INPUT_RAIL = "_IN"


class WorkerRow(NamedTuple):
    """What one worker does. Rates are those of the last interval, shares are 0..1.

    `state`: UP, RESTARTED, LEAVING (as its neighbours say) or SILENT; `heard_ago_s`: since when.
    `exit_counts`: answers of the interval by trained exit, and `all_exit_counts` since the worker
    was started; they, `answers_per_s` and latencies count where images come from, as does
    `in_flight_count`. `busy_share`: of the time, that stages were computed. `cpu_share`: of one
    processor, that the process used. `power_w`: of the board.
    """

    name: str
    state: str
    heard_ago_s: Optional[float] = None
    uptime_s: Optional[float] = None
    answers_per_s: Optional[float] = None
    exit_counts: Tuple[int, ...] = ()
    all_exit_counts: Tuple[int, ...] = ()
    p50_us: Optional[float] = None
    p95_us: Optional[float] = None
    in_flight_count: Optional[float] = None
    waiting_count: Optional[float] = None
    leaving_count: Optional[float] = None
    computed_per_s: Optional[float] = None
    busy_share: Optional[float] = None
    sent_per_s: Optional[float] = None
    received_per_s: Optional[float] = None
    temperature_c: Optional[float] = None
    power_w: Optional[float] = None
    resident_bytes: Optional[float] = None
    cpu_share: Optional[float] = None


class LinkRow(NamedTuple):
    """From one worker to a neighbour, as the first sees it. `delay_us`: how long a task takes
    there, as the neighbour says; `link_delay_us`: to travel there, and
    `round_trip_us`: of small messages. `reason`: why it was lost last."""

    source: str
    target: str
    state: str
    delay_us: Optional[float] = None
    link_delay_us: Optional[float] = None
    unsettled_count: Optional[float] = None
    sent_per_s: Optional[float] = None
    bytes_per_s: Optional[float] = None
    reason: Optional[str] = None
    round_trip_us: Optional[float] = None


class Totals(NamedTuple):
    """All workers together; percentiles are those of all answers of the interval."""

    worker_count: int
    up_count: int
    answers_per_s: Optional[float]
    exit_counts: Tuple[int, ...]
    p50_us: Optional[float]
    p95_us: Optional[float]
    waiting_count: Optional[int]
    leaving_count: Optional[int]
    computed_per_s: Optional[float]
    sent_per_s: Optional[float]
    received_per_s: Optional[float]
    links_sent_per_s: Optional[float]
    bytes_per_s: Optional[float]
    power_w: Optional[float]


class Change:
    """What happened at a worker from the document `before`, None if there is none, to `after`,
    `seconds` later."""

    def __init__(self, before: Optional[Document], after: Document, seconds: float) -> None:
        self.after = after
        self.has_restarted = before is not None and _has_restarted(before, after, seconds)
        self.before: Document = before if before is not None and not self.has_restarted else {}
        self.elapsed_s: Optional[float] = None
        if before is not None:
            passed_us = number(after, "uptime_us") - number(self.before, "uptime_us")
            self.elapsed_s = passed_us / 1e6 if passed_us > 0 else None

    def per_s(self, *path: str) -> Optional[float]:
        """How fast the number at `path` grows; one that is not there is 0."""
        return self.rate(number(self.after, *path) - number(self.before, *path))

    def rate(self, amount: float) -> Optional[float]:
        """`amount` of the interval, in a second."""
        return None if self.elapsed_s is None else amount / self.elapsed_s

    def stages_per_s(self, name: str) -> Optional[float]:
        """How fast `name` grows over all stages."""
        after, before = (
            sum(number(stage, name) for stage in document.get("stages", []))
            for document in (self.after, self.before)
        )
        return self.rate(after - before)

    def exits(self) -> Tuple[int, ...]:
        """Answers of the interval at each trained exit."""
        if self.elapsed_s is None:
            return ()
        after = exit_counts(self.after)
        before = exit_counts(self.before) or (0,) * len(after)
        return tuple(max(0, now - then) for now, then in zip(after, before))

    def latencies(self) -> Counts:
        """How many answers of the interval took how long: by the upper end of a bucket in us."""
        counts: Counts = {}
        for document, sign in ((self.after, 1), (self.before, -1)):
            for upper_us, count in document.get("latency", {}).get("buckets", []):
                counts[upper_us] = counts.get(upper_us, 0) + sign * count
        if self.elapsed_s is None:
            return {}
        return {upper_us: count for upper_us, count in counts.items() if count > 0}


def worker_row(name: str, change: Change) -> WorkerRow:
    """What the worker `name`, which has answered, did."""
    after, exits, latencies = change.after, change.exits(), change.latencies()
    is_source = number(after, "admitted_count") > 0
    busy_us, cpu_us = change.stages_per_s("busy_us"), change.per_s("board", "cpu_us")
    return WorkerRow(
        name=name,
        state=RESTARTED if change.has_restarted else UP,
        heard_ago_s=0.0,
        uptime_s=number(after, "uptime_us") / 1e6,
        answers_per_s=change.rate(sum(exits)) if is_source else None,
        exit_counts=exits,
        all_exit_counts=exit_counts(after),
        p50_us=percentile_of(latencies, 0.50),
        p95_us=percentile_of(latencies, 0.95),
        in_flight_count=known(after, "in_flight_count") if is_source else None,
        waiting_count=known(after, "queue", "waiting_count"),
        leaving_count=known(after, "queue", "leaving_count"),
        computed_per_s=change.stages_per_s("item_count"),
        # A stage counts when it ends: one that is longer than an interval is in the next one.
        busy_share=None if busy_us is None else min(1.0, busy_us / 1e6),
        sent_per_s=change.per_s("counters", "tasks_sent"),
        received_per_s=change.per_s("counters", "tasks_received"),
        temperature_c=max(_sensors(after, "temperature_c").values(), default=None),
        power_w=input_w(_sensors(after, "power_w")),
        resident_bytes=known(after, "board", "resident_bytes"),
        cpu_share=None if not cpu_us else cpu_us / 1e6,
    )


def link_rows(name: str, change: Change) -> List[LinkRow]:
    """The links from the worker `name`, which has answered, in the order of its neighbours."""
    rows = []
    for target, link in change.after.get("neighbours", {}).items():
        row = LinkRow(
            source=name,
            target=target,
            state=str(link.get("state", "?")),
            sent_per_s=change.per_s("neighbours", target, "sent_count"),
            bytes_per_s=change.per_s("neighbours", target, "sent_bytes"),
            reason=str(link.get("lost_because") or "") or None,
        )
        if row.state in (UP, LEAVING):  # otherwise what it said is from another life
            row = row._replace(
                delay_us=known(link, "delay_us"),
                link_delay_us=known(link, "link_delay_us"),
                unsettled_count=known(link, "unsettled_count"),
                round_trip_us=known(link, "round_trip_us"),
            )
        rows.append(row)
    return rows


def totals(
    rows: Sequence[WorkerRow], links: Sequence[LinkRow], changes: Sequence[Change]
) -> Totals:
    """`changes` are those of the workers that have answered."""
    latencies: Counts = {}
    for change in changes:
        for upper_us, count in change.latencies().items():
            latencies[upper_us] = latencies.get(upper_us, 0) + count
    exits = [row.exit_counts for row in rows]
    return Totals(
        worker_count=len(rows),
        up_count=sum(row.state != SILENT for row in rows),
        answers_per_s=_sum(row.answers_per_s for row in rows),
        exit_counts=tuple(
            sum(counts[i] for counts in exits if i < len(counts))
            for i in range(max(map(len, exits), default=0))
        ),
        p50_us=percentile_of(latencies, 0.50),
        p95_us=percentile_of(latencies, 0.95),
        waiting_count=_sum(row.waiting_count for row in rows),
        leaving_count=_sum(row.leaving_count for row in rows),
        computed_per_s=_sum(row.computed_per_s for row in rows),
        sent_per_s=_sum(row.sent_per_s for row in rows),
        received_per_s=_sum(row.received_per_s for row in rows),
        links_sent_per_s=_sum(link.sent_per_s for link in links),
        bytes_per_s=_sum(link.bytes_per_s for link in links),
        power_w=_sum(row.power_w for row in rows),
    )


def percentile_of(counts: Counts, share: float) -> Optional[float]:
    """The upper end of the bucket that holds the percentile `share` (nearest rank), or None."""
    remaining = math.ceil(share * sum(counts.values()))
    for upper_us in sorted(counts):
        remaining -= counts[upper_us]
        if remaining <= 0:
            return upper_us
    return None


def input_w(rails: Dict[str, float]) -> Optional[float]:
    """The power of a board: what flows in, where that is measured, or else the sum of its rails."""
    inputs = [watts for rail, watts in rails.items() if rail.endswith(INPUT_RAIL)]
    return _sum(inputs or rails.values())


def known(document: Document, *path: str) -> Optional[float]:
    """The number at `path`, None if there is none."""
    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def number(document: Document, *path: str) -> float:
    """The same, 0 if there is none."""
    return known(document, *path) or 0


def exit_counts(document: Document) -> Tuple[int, ...]:
    """Answers at each trained exit since the worker was started."""
    return tuple(int(count) for count in document.get("exit_counts", ()))


def _sensors(document: Document, what: str) -> Dict[str, float]:
    sensors = document.get("board", {}).get(what, {})
    return {name: number(sensors, name) for name in sensors if known(sensors, name) is not None}


def _sum(values: Iterable[Optional[float]]) -> Any:
    """Of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _has_restarted(before: Document, after: Document, seconds: float) -> bool:
    """Whether the worker was started after `before`: it has not run for so long, or its counts are
    smaller."""
    if number(after, "uptime_us") < max(number(before, "uptime_us"), seconds * 1e6):
        return True
    grows = [("admitted_count",)] + [("counters", name) for name in before.get("counters", {})]
    return any(number(after, *path) < number(before, *path) for path in grows)
