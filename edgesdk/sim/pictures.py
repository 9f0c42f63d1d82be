"""Simulations as pictures: one run (latencies, exits, queues), or a sweep over one value."""

from typing import Any, List, Optional, Sequence, Tuple

from ..figures import png, side_by_side
from .report import Report, SourceReport, value_text

SIZE_INCHES = (13.0, 4.2)
LINES_MAX = 10  # more workers than this share one line, their mean; more sources, that of all
QUEUE_POINTS = 80  # of a queue's line; samples in between are averaged
ACCURACY_SPAN = 5.0  # percent points that the axis shows at least: smaller moves are chance
LOG_FROM_RATIO = 30.0  # latencies that differ more than this get a logarithmic axis


def run_picture(report: Report) -> bytes:
    """A PNG of one run: how many items were answered how fast, which exits answered, and, where
    queues were sampled, how long they were."""
    run = report.run
    figure, axes = side_by_side(SIZE_INCHES, 3 if run.queue_samples else 2)
    figure.suptitle(
        "{}, seed {}: {:.1f} items/s".format(
            run.scenario.name, run.totals.seed, report.total.items_per_s
        )
        + _bound_text(report)
    )
    _latencies(axes[0], report)
    _exits(axes[1], report)
    if run.queue_samples:
        _queues(axes[2], report)
    return _png(figure)


def sweep_picture(key: str, values: Sequence[Any], reports: Sequence[Report]) -> bytes:
    """A PNG of throughput, accuracy and latency of all sources against `values` of `key`."""
    figure, (throughput, accuracy, latency) = side_by_side(SIZE_INCHES, 3)
    first = reports[0].run
    figure.suptitle("{}, seed {}".format(first.scenario.name, first.totals.seed))
    total = [report.total for report in reports]
    places, ticks = _places(values)
    _line(throughput, places, [t.items_per_s for t in total], "simulated", "C0")
    _line(throughput, places, [t.bound_per_s for t in total], "bound", "0.5", "--")
    throughput.set(ylabel="answers per second", ylim=(0, None))
    throughput.legend()
    _line(accuracy, places, [_percent(t.accuracy) for t in total], "", "C2")
    accuracy.set(ylabel="accuracy of the answers (%)")
    _widen(accuracy, ACCURACY_SPAN)
    for name, color in (("p50_us", "C0"), ("p95_us", "C1"), ("p99_us", "C3")):
        milliseconds = [_ms(getattr(t, name)) for t in total]
        _line(latency, places, milliseconds, name[:3], color)
    latency.set(ylabel="latency (ms)")
    found_us = [us for t in total for us in (t.p50_us, t.p99_us) if us]
    if found_us and max(found_us) > LOG_FROM_RATIO * min(found_us):
        latency.set_yscale("log")
        latency.yaxis.set_major_formatter("{x:g}")
    else:
        latency.set_ylim(0, None)
    latency.legend()
    for each in (throughput, accuracy, latency):
        each.set_xlabel(key)
        if ticks:
            each.set_xticks(places)
            each.set_xticklabels(ticks, fontsize="small")
            each.margins(x=0.2)  # room for the words
    return _png(figure)


def _png(figure: Any) -> bytes:
    for axes in figure.axes:
        axes.grid(True, alpha=0.3)
        axes.set_axisbelow(True)
    figure.tight_layout(rect=(0, 0, 1, 1.02))
    return png(figure)


def _bound_text(report: Report) -> str:
    bound = report.total.bound_per_s
    return "" if bound is None else " (bound {:.1f})".format(bound)


def _latencies(axes: Any, report: Report) -> None:
    """The share of answers within a time, one line per source, up to the slowest hundredth."""
    slowest_ms = 0.0
    for source in _shown(report):
        if not source.latencies_us:
            continue
        count = len(source.latencies_us)
        shares = [100 * (rank + 1) / count for rank in range(count)]
        label = "{}: p50 {:.0f}, p95 {:.0f} ms".format(
            source.name, _ms(source.p50_us), _ms(source.p95_us)
        )
        axes.step([us / 1000 for us in source.latencies_us], shares, where="post", label=label)
        slowest_ms = max(slowest_ms, _ms(source.p99_us) or 0.0)
    axes.set(xlabel="latency (ms)", ylabel="answers within it (%)", ylim=(0, 101))
    if slowest_ms:
        axes.set_xlim(0, slowest_ms * 1.1)
        axes.legend(loc="lower right", fontsize="small")


def _shown(report: Report) -> Sequence[SourceReport]:
    return report.sources if len(report.sources) <= LINES_MAX else [report.total]


def _exits(axes: Any, report: Report) -> None:
    model = report.run.scenario.model
    indices, is_ensemble = list(model.exit_indices), model.features is not None
    sources = _shown(report)
    width = 0.8 / len(sources)
    for number, source in enumerate(sources):
        left = [i - 0.4 + width * (number + 0.5) for i in range(len(indices))]
        shares = [100 * source.exit_shares.get(index, 0.0) for index in indices]
        label = "{}: {} right".format(source.name, _percent_text(source.accuracy))
        axes.bar(left, shares, width, label=label)
    axes.set_xticks(range(len(indices)))
    axes.set_xticklabels([str(index) for index in indices])
    whose = "deepest exit of the students" if is_ensemble else "exit"
    axes.set(xlabel="{} ({} is the final one)".format(whose, indices[-1]))
    axes.set(ylabel="answers that left there (%)")
    _legend_above(axes)


def _queues(axes: Any, report: Report) -> None:
    """One line per worker: the mean over a few samples, for single ones jump up and down."""
    samples = report.run.queue_samples
    group = max(1, len(samples) // QUEUE_POINTS)
    seconds, means = [], []
    for first in range(0, len(samples), group):
        within = samples[first : first + group]
        seconds.append(within[0][0] / 1e6)
        means.append([sum(column) / len(within) for column in zip(*(q for _, q in within))])
    names = [node.name for node in report.run.totals.nodes]
    if len(names) > LINES_MAX:
        means = [[sum(row) / len(row)] for row in means]
        names = ["mean of {} workers".format(len(names))]
    for index, name in enumerate(names):
        axes.plot(seconds, [row[index] for row in means], linewidth=1.2, label=name)
    axes.axvline(report.warmup_us / 1e6, color="0.5", linestyle=":", label="end of the warm-up")
    axes.set(xlabel="virtual time (s)", ylabel="tasks waiting (mean of {} samples)".format(group))
    _legend_above(axes)


def _legend_above(axes: Any) -> None:
    """A legend in the upper part of the axes, which nothing else reaches."""
    entries = len(axes.get_legend_handles_labels()[1])
    rows = (entries + 1) // 2
    top = axes.get_ylim()[1]
    axes.set_ylim(0, top * (1 + 0.08 * rows) if top > 0 else 1)
    axes.legend(loc="upper center", ncol=2, fontsize="small")


def _widen(axes: Any, span: float) -> None:
    """Let the axis show at least `span`."""
    low, high = axes.get_ylim()
    if high - low < span:
        axes.set_ylim((low + high - span) / 2, (low + high + span) / 2)


def _places(values: Sequence[Any]) -> Tuple[List[float], List[str]]:
    """Where the values stand: numbers at themselves, everything else side by side with a tick."""
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return [float(value) for value in values], []
    return [float(i) for i in range(len(values))], [
        value_text(value).replace(" ", "\n") for value in values
    ]


def _line(
    axes: Any,
    places: Sequence[float],
    values: Sequence[Optional[float]],
    label: str,
    color: str,
    style: str = "-",
) -> None:
    nan = float("nan")
    heights = [nan if value is None else value for value in values]
    axes.plot(places, heights, style, marker="o", markersize=4, color=color, label=label)


def _ms(value_us: Optional[float]) -> float:
    return float("nan") if value_us is None else value_us / 1000


def _percent(share: Optional[float]) -> Optional[float]:
    return None if share is None else 100 * share


def _percent_text(share: Optional[float]) -> str:
    return "nothing" if share is None else "{:.1f} %".format(100 * share)
