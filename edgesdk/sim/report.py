"""What a simulation came to, as numbers for tables, plots and JSON.

Counts are of the whole run. Rates, latencies, accuracy and exits leave out a warm-up, in which
queues fill and admission looks for its rate. Beside each throughput stands a bound that nothing
exceeds in the long run, however the work is shared: min(1 / t_0, N / m).
"""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..core.metrics import percentile
from .bound import bound_per_s
from .recorder import Ended
from .spec import Scenario
from .totals import SourceTotals, Totals

WARMUP_SHARE = 0.2  # of the duration
NOTHING = "-"


class Run(NamedTuple):
    """One simulation of `scenario`. `queue_samples`: (at_us, waiting tasks of each node)."""

    scenario: Scenario
    totals: Totals
    ended: Sequence[Ended]
    queue_samples: Sequence[Tuple[int, Sequence[int]]] = ()


class SourceReport(NamedTuple):
    """One source, or all together. Values that nothing gives are None. `lost_count` items went with
    the process of the source; `open_count` had no end when the simulation stopped. Of an ensemble,
    `degraded_count` of the results lack a student, and `exit_shares` are of the deepest student;
    `part_exit_shares` has them for each."""

    name: str
    admitted_count: int
    result_count: int
    expired_count: int
    failed_count: int
    lost_count: int
    open_count: int
    items_per_s: float
    bound_per_s: Optional[float]
    accuracy: Optional[float]
    p50_us: Optional[float]
    p95_us: Optional[float]
    p99_us: Optional[float]
    exit_shares: Dict[int, float]
    latencies_us: Sequence[int]
    degraded_count: int
    part_exit_shares: Sequence[Dict[int, float]]


class Report(NamedTuple):
    """`sources`, and `total` of them. `warmup_us` to `end_us` is what rates are of."""

    run: Run
    warmup_us: int
    end_us: int
    sources: Sequence[SourceReport]
    total: SourceReport


def summarise(run: Run, warmup_us: Optional[int] = None) -> Report:
    """The report of one run. `warmup_us`: by default a fifth of the duration."""
    end_us = _end_us(run)
    if warmup_us is None:
        warmup_us = int(run.scenario.duration_us * WARMUP_SHARE)
    window_us = (min(warmup_us, end_us), end_us)
    by_source: Dict[str, List[Ended]] = {each.name: [] for each in run.totals.sources}
    for ended in run.ended:
        by_source[ended.source].append(ended)
    sources = [
        _source_report(run, each.name, [each], by_source[each.name], window_us)
        for each in run.totals.sources
    ]
    total = _source_report(run, "all", run.totals.sources, run.ended, window_us)
    return Report(run, window_us[0], end_us, sources, total)


def _end_us(run: Run) -> int:
    """The scenario's end; the last outcome if every workload ends on its own before."""
    scenario = run.scenario
    if not run.ended or any(
        workload.item_count is None and not workload.times_us for workload in scenario.workloads
    ):
        return scenario.duration_us
    return min(scenario.duration_us, max(ended.at_us for ended in run.ended))


def _source_report(
    run: Run,
    name: str,
    sources: Sequence[SourceTotals],
    all_ended: Sequence[Ended],
    window_us: Tuple[int, int],
) -> SourceReport:
    counts = {"result": 0, "expired": 0, "failed": 0, "degraded": 0}
    answers = []
    for ended in all_ended:
        counts[ended.status] += 1
        counts["degraded"] += ended.reason == "degraded"
        if ended.status == "result" and ended.at_us >= window_us[0]:
            answers.append(ended)
    count = len(answers)
    within = sum(answer.at_us <= window_us[1] for answer in answers)
    latencies_us = sorted(answer.latency_us for answer in answers)
    p50_us, p95_us, p99_us = (
        percentile(latencies_us, share) if count else None for share in (0.50, 0.95, 0.99)
    )
    parts = range(len(run.scenario.model.parts))
    exits = [answer.exits or (answer.exit_index,) for answer in answers]
    part_exit_shares = [_shares([each[part] for each in exits]) for part in parts]
    return SourceReport(
        name=name,
        admitted_count=sum(source.submitted_count for source in sources),
        result_count=counts["result"],
        expired_count=counts["expired"],
        failed_count=counts["failed"],
        lost_count=sum(source.lost_count for source in sources),
        open_count=sum(source.open_count for source in sources),
        items_per_s=within * 1e6 / (window_us[1] - window_us[0]) if within else 0.0,
        bound_per_s=bound_per_s(
            run.scenario, sorted(source.name for source in sources), part_exit_shares
        ),
        accuracy=sum(answer.right for answer in answers) / count if count else None,
        p50_us=p50_us,
        p95_us=p95_us,
        p99_us=p99_us,
        exit_shares=_shares([answer.exit_index for answer in answers]),
        latencies_us=latencies_us,
        degraded_count=counts["degraded"],
        part_exit_shares=part_exit_shares,
    )


def _shares(exits: Sequence[Optional[int]]) -> Dict[int, float]:
    counts: Dict[int, int] = {}
    for exit_index in exits:
        if exit_index is not None:
            counts[exit_index] = counts.get(exit_index, 0) + 1
    return {exit_index: counts[exit_index] / len(exits) for exit_index in sorted(counts)}


# --- for people -----------------------------------------------------------------------------------

COUNT_HEADER = ("expired", "failed", "lost", "open")
VALUE_HEADER = ("items/s", "bound", "accuracy", "p50 ms", "p95 ms", "p99 ms")


def source_header(report: Report) -> Tuple[str, ...]:
    """The columns of `source_rows`; degraded answers are an ensemble's."""
    degraded = ("degraded",) if _is_ensemble(report) else ()
    return ("source", "admitted", "results") + degraded + COUNT_HEADER + VALUE_HEADER


def _is_ensemble(report: Report) -> bool:
    return report.run.scenario.model.features is not None


def source_rows(report: Report) -> List[Tuple[str, ...]]:
    """One row per source, and one for all if there are several."""
    several = len(report.sources) > 1
    sources = list(report.sources) + [report.total] * several
    return [_source_row(each, _is_ensemble(report)) for each in sources]


def _source_row(source: SourceReport, is_ensemble: bool) -> Tuple[str, ...]:
    milliseconds = [
        NOTHING if us is None else "{:.1f}".format(us / 1000)
        for us in (source.p50_us, source.p95_us, source.p99_us)
    ]
    counts = [source.admitted_count, source.result_count]
    counts += [source.degraded_count] if is_ensemble else []
    counts += [source.expired_count, source.failed_count, source.lost_count, source.open_count]
    return (
        source.name,
        *map(str, counts),
        "{:.1f}".format(source.items_per_s),
        NOTHING if source.bound_per_s is None else "{:.1f}".format(source.bound_per_s),
        percent(source.accuracy),
        *milliseconds,
    )


def exit_header(report: Report) -> Tuple[str, ...]:
    """The columns of `exit_rows`."""
    indices = report.run.scenario.model.exit_indices
    return ("left at exit",) + tuple(str(index) for index in indices)


def exit_rows(report: Report) -> List[Tuple[str, ...]]:
    """What share of each source's answers came from which exit; of an ensemble's, at which exit
    each student left."""
    rows: List[Tuple[str, Dict[int, float]]] = []
    for source in report.sources:
        rows.append((source.name, source.exit_shares))
        if _is_ensemble(report):
            for part, shares in enumerate(source.part_exit_shares):
                rows.append(("{}, student {}".format(source.name, part), shares))
    indices = report.run.scenario.model.exit_indices
    return [
        (name,) + tuple(percent(shares.get(index, 0.0)) for index in indices)
        for name, shares in rows
    ]


WORKER_HEADER = ("worker", "busy", "stage runs", "largest queue")


def worker_rows(report: Report) -> List[Tuple[str, ...]]:
    """How much each worker computed; shares are of the time until the last item ended."""
    totals = report.run.totals
    return [
        (
            node.name,
            percent(node.busy_us / totals.end_us),
            str(node.stage_run_count),
            str(node.queue_length_max),
        )
        for node in totals.nodes
    ]


LINK_HEADER = ("link", "messages", "lost", "MB", "utilised")


def link_rows(report: Report) -> List[Tuple[str, ...]]:
    """How much went each way of each link, and over each medium."""
    return [
        (
            link.name,
            str(link.message_count),
            str(link.lost_count),
            "{:.2f}".format(link.byte_count / 1e6),
            percent(link.utilisation),
        )
        for link in link_uses(report.run)
    ]


class LinkUse(NamedTuple):
    """One way of a link ("a->b"), or a medium with all of its links. `utilisation`: bytes handed
    over, of those that its rate allows until the last item ended; None without a rate."""

    name: str
    message_count: int
    lost_count: int
    byte_count: int
    utilisation: Optional[float]


def link_uses(run: Run) -> List[LinkUse]:
    """Every direction in the order of the totals, then every medium."""
    links = {}
    for link in run.scenario.links:
        links["{}->{}".format(link.first, link.second)] = link
        links["{}->{}".format(link.second, link.first)] = link
    uses = []
    by_medium: Dict[str, List[LinkUse]] = {medium.name: [] for medium in run.scenario.media}
    for direction in run.totals.directions:
        link = links[direction.name]
        use = LinkUse(
            direction.name,
            sum(direction.messages.values()),
            sum(direction.lost.values()),
            sum(direction.bytes.values()),
            _utilisation(run, sum(direction.bytes.values()), link.bytes_per_s),
        )
        uses.append(use)
        if link.medium is not None:
            by_medium[link.medium].append(use)
    for medium in run.scenario.media:
        within = by_medium[medium.name]
        byte_count = sum(use.byte_count for use in within)
        uses.append(
            LinkUse(
                medium.name,
                sum(use.message_count for use in within),
                sum(use.lost_count for use in within),
                byte_count,
                _utilisation(run, byte_count, medium.bytes_per_s),
            )
        )
    return uses


def _utilisation(run: Run, byte_count: int, bytes_per_s: Optional[float]) -> Optional[float]:
    return None if bytes_per_s is None else byte_count * 1e6 / bytes_per_s / run.totals.end_us


def value_text(value: Any) -> str:
    """A value of a sweep: of a table, such as a policy, the values say enough."""
    return " ".join(str(each) for each in value.values()) if isinstance(value, dict) else str(value)


def percent(share: Optional[float]) -> str:
    """ "12.3 %", or a dash."""
    return NOTHING if share is None or math.isnan(share) else "{:.1f} %".format(100 * share)


# --- for programs ---------------------------------------------------------------------------------

Figure = Tuple[str, float, str]


def figures(report: Report) -> List[Figure]:
    """(name, value, unit) of everything that has a value."""
    found: List[Tuple[str, Optional[float], str]] = []
    several = len(report.sources) > 1
    for source in list(report.sources) + [report.total] * several:
        found += _source_figures(source)
        if _is_ensemble(report):
            found += _student_figures(source)
    for node in report.run.totals.nodes:
        found += [
            (node.name + ": busy", node.busy_us / report.run.totals.end_us, "share"),
            (node.name + ": stage runs", node.stage_run_count, "count"),
            (node.name + ": largest queue", node.queue_length_max, "count"),
        ]
    for link in link_uses(report.run):
        found += [
            (link.name + ": messages", link.message_count, "count"),
            (link.name + ": messages lost", link.lost_count, "count"),
            (link.name + ": bytes", link.byte_count, "bytes"),
            (link.name + ": utilised", link.utilisation, "share"),
        ]
    return [(name, value, unit) for name, value, unit in found if value is not None]


def _student_figures(source: SourceReport) -> List[Tuple[str, Optional[float], str]]:
    found: List[Tuple[str, Optional[float], str]] = [
        ("{}: degraded".format(source.name), source.degraded_count, "count")
    ]
    for part, shares in enumerate(source.part_exit_shares):
        for exit_index, share in shares.items():
            name = "{}: student {} left at exit {}".format(source.name, part, exit_index)
            found.append((name, share, "share"))
    return found


def _source_figures(source: SourceReport) -> List[Tuple[str, Optional[float], str]]:
    values: List[Tuple[str, Optional[float], str]] = [
        ("admitted", source.admitted_count, "count"),
        ("results", source.result_count, "count"),
        ("expired", source.expired_count, "count"),
        ("failed", source.failed_count, "count"),
        ("lost", source.lost_count, "count"),
        ("open", source.open_count, "count"),
        ("throughput", source.items_per_s, "items/s"),
        ("bound of the throughput", source.bound_per_s, "items/s"),
        ("accuracy", source.accuracy, "share"),
        ("latency p50", source.p50_us, "us"),
        ("latency p95", source.p95_us, "us"),
        ("latency p99", source.p99_us, "us"),
    ]
    for exit_index, share in source.exit_shares.items():
        values.append(("left at exit {}".format(exit_index), share, "share"))
    return [("{}: {}".format(source.name, name), value, unit) for name, value, unit in values]
