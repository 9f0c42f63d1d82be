"""What a simulation came to, as numbers for tables, plots and JSON.

Counts are of the whole run. Rates, latencies, accuracy and exits leave out a warm-up, in which
queues fill and admission looks for its rate. Beside each throughput stands a bound that nothing
exceeds in the long run, however the work is shared: min(1 / t_0, N / m).
"""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..core.metrics import percentile
from .recorder import Ended
from .spec import Node, Scenario
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
    the process of the source; `open_count` had no end when the simulation stopped."""

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
    sources = [_source_report(run, each.name, [each], window_us) for each in run.totals.sources]
    total = _source_report(run, "all", run.totals.sources, window_us)
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
    run: Run, name: str, sources: Sequence[SourceTotals], window_us: Tuple[int, int]
) -> SourceReport:
    names = {source.name for source in sources}
    counts = {"result": 0, "expired": 0, "failed": 0}
    answers = []
    for ended in run.ended:
        if ended.source in names:
            counts[ended.status] += 1
            if ended.status == "result" and ended.at_us >= window_us[0]:
                answers.append(ended)
    count = len(answers)
    within = sum(answer.at_us <= window_us[1] for answer in answers)
    latencies_us = sorted(answer.latency_us for answer in answers)
    p50_us, p95_us, p99_us = (
        percentile(latencies_us, share) if count else None for share in (0.50, 0.95, 0.99)
    )
    exit_shares = _exit_shares(answers)
    return SourceReport(
        name=name,
        admitted_count=sum(source.submitted_count for source in sources),
        result_count=counts["result"],
        expired_count=counts["expired"],
        failed_count=counts["failed"],
        lost_count=sum(source.lost_count for source in sources),
        open_count=sum(source.open_count for source in sources),
        items_per_s=within * 1e6 / (window_us[1] - window_us[0]) if within else 0.0,
        bound_per_s=bound_per_s(run.scenario, sorted(names), exit_shares),
        accuracy=sum(answer.right for answer in answers) / count if count else None,
        p50_us=p50_us,
        p95_us=p95_us,
        p99_us=p99_us,
        exit_shares=exit_shares,
        latencies_us=latencies_us,
    )


def _exit_shares(answers: Sequence[Ended]) -> Dict[int, float]:
    counts: Dict[int, int] = {}
    for answer in answers:
        if answer.exit_index is not None:
            counts[answer.exit_index] = counts.get(answer.exit_index, 0) + 1
    return {exit_index: counts[exit_index] / len(answers) for exit_index in sorted(counts)}


def bound_per_s(
    scenario: Scenario, sources: Sequence[str], exit_shares: Dict[int, float]
) -> Optional[float]:
    """The most items per second that any way of sharing the work can answer.

    m is the compute of an item that leaves as `exit_shares` say, N the sum of the speeds of all
    nodes, t_0 the time of stage 0, which sources compute themselves unless they may send inputs.
    Nodes that batch count with their largest batch. None where nobody left.
    """
    model = scenario.model
    until, total_us = {}, 0
    for exit_index, stage_us in zip(model.exit_indices, model.stage_us):
        total_us += stage_us
        until[exit_index] = total_us
    mean_us = sum(share * until[exit_index] for exit_index, share in exit_shares.items())
    if mean_us <= 0:
        return None
    rate = {node.name: _rate(node, model.batch_share) for node in scenario.nodes}
    bound = sum(rate[n.name] for n in scenario.nodes if n.stages != ()) * 1e6 / mean_us
    if not scenario.offloading.offload_inputs:
        bound = min(bound, sum(rate[name] for name in sources) * 1e6 / model.stage_us[0])
    return bound


def _rate(node: Node, batch_share: float) -> float:
    """Items per time of one item at speed 1, in full batches."""
    return node.speed * node.max_batch / (1 + (node.max_batch - 1) * batch_share)


# --- for people -----------------------------------------------------------------------------------

SOURCE_HEADER = ["source", "admitted", "results", "expired", "failed", "lost", "open"]
SOURCE_HEADER += ["items/s", "bound", "accuracy", "p50 ms", "p95 ms", "p99 ms"]


def source_rows(report: Report) -> List[Tuple[str, ...]]:
    """One row per source, and one for all if there are several."""
    several = len(report.sources) > 1
    return [_source_row(each) for each in list(report.sources) + [report.total] * several]


def _source_row(source: SourceReport) -> Tuple[str, ...]:
    milliseconds = [
        NOTHING if us is None else "{:.1f}".format(us / 1000)
        for us in (source.p50_us, source.p95_us, source.p99_us)
    ]
    return (
        source.name,
        str(source.admitted_count),
        str(source.result_count),
        str(source.expired_count),
        str(source.failed_count),
        str(source.lost_count),
        str(source.open_count),
        "{:.1f}".format(source.items_per_s),
        NOTHING if source.bound_per_s is None else "{:.1f}".format(source.bound_per_s),
        percent(source.accuracy),
    ) + tuple(milliseconds)


def exit_header(report: Report) -> Tuple[str, ...]:
    """The columns of `exit_rows`."""
    indices = report.run.scenario.model.exit_indices
    return ("left at exit",) + tuple(str(index) for index in indices)


def exit_rows(report: Report) -> List[Tuple[str, ...]]:
    """What share of each source's answers came from which exit."""
    indices = report.run.scenario.model.exit_indices
    return [
        (source.name,) + tuple(percent(source.exit_shares.get(index, 0.0)) for index in indices)
        for source in report.sources
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
