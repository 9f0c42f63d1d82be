"""Charts of a report as SVG text that stands in a page: it takes the page's font and colours, by
day and by night. The only door to matplotlib."""

import io
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import BackendUnavailable
from . import words
from .facts import Facts
from .images import Spent
from .styles import DISTINCT
from .work import QueueCurve

WIDTH_INCHES = 5.2  # narrow: what fits a phone's window, where all is drawn smaller, can be read
HEIGHT_INCHES = 2.9
BINS = 48  # of the histogram
LINES_MAX = 6  # more workers than this share one line, their mean
MARKS_MAX = 60  # of troubles in a chart over time
LOG_FROM_RATIO = 30.0  # latencies that differ more than this get a logarithmic axis
LABEL_CHARS_MAX = 24

# What matplotlib is told, and what stands in the page instead; styles.py has the values.
INK, FAINT, PAPER, BAD, WARNING = "#010203", "#010204", "#010205", "#010206", "#010207"
SERIES = ["#0102{:02x}".format(16 + number) for number in range(8)]
_VARIABLES = {INK: "ink-2", FAINT: "line", PAPER: "card", BAD: "bad", WARNING: "warning"}
_VARIABLES.update({color: "c{}".format(number) for number, color in enumerate(SERIES)})

_SETTINGS = {
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud, and takes our font
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "path.simplify": True,
}
SPENT_PARTS = (  # field of Spent, words, place in SERIES
    ("computing_us", "computing at the source", 0),
    ("waiting_us", "waiting at the source", 2),
    ("computing_elsewhere_us", "computing elsewhere", 1),
    ("waiting_elsewhere_us", "waiting elsewhere", 4),
    ("away_us", "on the way", 3),
)


class Picture(NamedTuple):
    """`svg`: the element, without width and height. `title` stands above it, `caption` below it,
    plain texts."""

    name: str
    title: str
    caption: str
    svg: str


def pictures_of(facts: Facts) -> Dict[str, Picture]:
    """All charts that these facts have something for, by name. Raises BackendUnavailable without
    matplotlib."""
    drawn: List[Optional[Picture]] = []
    with matplotlib().rc_context(_SETTINGS):
        for draw in (_latencies, _over_time, _throughput, _queues, _exit_latencies, _spent):
            drawn.append(draw(facts))
    return {picture.name: picture for picture in drawn if picture is not None}


def matplotlib() -> Any:
    """The package. Raises BackendUnavailable, with what to install, where there is none."""
    try:
        import matplotlib
    except ImportError as error:
        raise BackendUnavailable(
            "the report's charts need matplotlib ({}); install it with: "
            'pip install "edgesdk[demo]"'.format(error)
        ) from None
    return matplotlib


# --- each of them ---------------------------------------------------------------------------------


def _latencies(facts: Facts) -> Optional[Picture]:
    """A histogram, and where p50, p95 and p99 are."""
    if facts.latency is None:
        return None
    values = [max(us, 1) / 1000 for us in facts.latencies_us]
    low, high = min(values), max(values)
    logarithmic = high > LOG_FROM_RATIO * low
    figure, axes = _figure()
    if logarithmic:
        edges = [low * (high / low) ** (number / BINS) for number in range(BINS + 1)]
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        width = (high - low or 1.0) / BINS
        edges = [low + number * width for number in range(BINS + 1)]
    edges[-1] = max(edges[-1], high)
    axes.hist(values, bins=edges, color=SERIES[0])
    top = axes.get_ylim()[1]
    for place, name in enumerate(("p50", "p95", "p99")):
        at = getattr(facts.latency, name + "_us") / 1000
        axes.axvline(at, color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
        height = top * (1.18 - 0.09 * place)
        axes.annotate(name, (at, height), (3, 0), textcoords="offset points", va="top")
    axes.set(xlabel="latency (ms)", ylabel="images", ylim=(0, top * 1.2))
    caption = "p50 {}, p95 {}, p99 {}, the slowest {}.".format(
        *(words.milliseconds(us) for us in facts.latency[3:])
    )
    return _picture("latency", "How long answers took", caption, figure)


def _exit_latencies(facts: Facts) -> Optional[Picture]:
    """For each exit a line from p5 to p95 with p50 on it."""
    if not facts.exits:
        return None
    figure, axes = _figure(1.2 + 0.24 * len(facts.exits))
    for place, row in enumerate(facts.exits):
        span = [row.latency.p5_us / 1000, row.latency.p95_us / 1000]
        axes.plot(span, [place] * 2, color=_distinct(place), linewidth=7, solid_capstyle="butt")
        axes.plot([row.latency.p50_us / 1000], [place], "o", color=INK, markersize=5)
    axes.set_yticks(range(len(facts.exits)))
    axes.set_yticklabels(["exit {}".format(row.exit_index) for row in facts.exits])
    axes.set_ylim(len(facts.exits) - 0.4, -0.6)
    axes.set(xlabel="latency (ms)", xlim=(0, None))
    caption = "Bars reach from p5 to p95; the dot is p50."
    return _picture("exit-latency", "How long answers of each exit took", caption, figure)


def _over_time(facts: Facts) -> Optional[Picture]:
    """p50, p95 and p99 of what ended in each interval."""
    rows = [row for row in facts.intervals if row.p50_us is not None]
    if len(rows) < 2:
        return None
    figure, axes = _figure()
    seconds = [_middle_s(row.begin_us, facts) for row in rows]
    for name, color in (("p99", 3), ("p95", 1), ("p50", 0)):
        times = [getattr(row, name + "_us") / 1000 for row in rows]
        axes.plot(seconds, times, color=SERIES[color], linewidth=1.6, label=name)
    axes.set(xlabel="time (s)", ylabel="latency (ms)", ylim=(0, None), xlim=_whole(facts))
    marked = _mark(axes, facts)
    _legend(axes, 3)
    caption = "Of the answers in each {}.{}".format(_interval_text(facts), marked)
    return _picture("latency-over-time", "Latency over time", caption, figure)


def _throughput(facts: Facts) -> Optional[Picture]:
    """Answers per second, by exit, and images without one."""
    if len(facts.intervals) < 2:
        return None
    figure, axes = _figure()
    width_s = facts.interval_us / 1e6
    seconds = [_middle_s(row.begin_us, facts) for row in facts.intervals]
    bottom = [0.0] * len(seconds)
    layers: List[Tuple[str, str, List[float]]] = []
    for place, row in enumerate(facts.exits):
        counts = [each.exit_counts.get(row.exit_index, 0) for each in facts.intervals]
        name = "exit {}".format(row.exit_index)
        layers.append((name, _distinct(place), [count / width_s for count in counts]))
    counts = [each.unanswered_count for each in facts.intervals]
    if any(counts):
        layers.append(("no answer", BAD, [count / width_s for count in counts]))
    for name, color, heights in layers:
        axes.bar(seconds, heights, width_s, bottom=bottom, color=color, label=name)
        bottom = [below + height for below, height in zip(bottom, heights)]
    axes.set(xlabel="time (s)", ylabel="images per second", xlim=_whole(facts))
    marked = _mark(axes, facts)
    _legend(axes, 4)
    caption = "What ended in each {}, by the exit that answered.{}".format(
        _interval_text(facts), marked
    )
    return _picture("throughput", "Throughput over time", caption, figure)


def _queues(facts: Facts) -> Optional[Picture]:
    """Tasks that wait at each worker."""
    curves = [curve for curve in facts.queues if len(curve.waiting) > 1]
    if not curves:
        return None
    figure, axes = _figure()
    several = len(curves) > LINES_MAX
    for place, curve in enumerate(curves):
        color = FAINT if several else _distinct(place)
        axes.plot(*_queue_line(curve), color=color, linewidth=1.3, label=_label(curve.worker))
    axes.set(xlabel="time (s)", ylabel="tasks waiting", ylim=(0, None), xlim=_whole(facts))
    marked = _mark(axes, facts)
    if not several:
        _legend(axes, 2)
    caption = "Tasks in the input and the output queue, as means.{}{}".format(
        " Each of the {} workers is a line.".format(len(curves)) if several else "", marked
    )
    return _picture("queues", "Queues over time", caption, figure)


def _queue_line(curve: QueueCurve) -> Tuple[List[float], List[float]]:
    seconds = [moment.at_us / 1e6 for moment in curve.waiting]
    return seconds, [a.mean + b.mean for a, b in zip(curve.waiting, curve.leaving)]


def _spent(facts: Facts) -> Optional[Picture]:
    """Where the time of all answers, and of the slow ones, went."""
    if facts.spent is None or facts.spent_slow is None:
        return None
    figure, axes = _figure(2.0)
    rows = (("all", facts.spent), ("slowest 5 %", facts.spent_slow))
    for place, (_, spent) in enumerate(rows):
        left = 0.0
        for field, words_of, color in SPENT_PARTS:
            width = getattr(spent, field) / 1000
            label = words_of if place == 0 and _is_there(field, facts) else None
            axes.barh(place, width, 0.55, left=left, color=SERIES[color], label=label)
            left += width
    axes.set_yticks([0, 1])
    axes.set_yticklabels([name for name, _ in rows])
    axes.set_ylim(1.5, -0.5)
    axes.set(xlabel="mean time of an image (ms)")
    _legend(axes, 2)
    caption = (
        "The mean image took {}, one of the slowest twentieth {}. On the way: from the decision to "
        "send until it was there, and the result's way back{}."
    ).format(
        words.milliseconds(sum(facts.spent)),
        words.milliseconds(sum(facts.spent_slow)),
        "; also all time at workers without a trace" if facts.unrecorded else "",
    )
    return _picture("spent", "Where the time of an image went", caption, figure)


def _is_there(field: str, facts: Facts) -> bool:
    """Whether any of it is wide enough to be seen."""
    both: Sequence[Optional[Spent]] = (facts.spent, facts.spent_slow)
    return any(each is not None and getattr(each, field) > 0.002 * sum(each) for each in both)


# --- what they share ------------------------------------------------------------------------------


def _figure(height_inches: float = HEIGHT_INCHES) -> Tuple[Any, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height_inches))
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    return figure, axes


def _distinct(place: int) -> str:
    return SERIES[int(DISTINCT[place % len(DISTINCT)][1:])]


def _middle_s(begin_us: int, facts: Facts) -> float:
    return (begin_us + facts.interval_us / 2) / 1e6


def _whole(facts: Facts) -> Tuple[float, float]:
    """The axis of time: all of the run, the same in every chart."""
    return 0.0, max(facts.duration_us / 1e6, 1e-3)


def _interval_text(facts: Facts) -> str:
    return words.milliseconds(facts.interval_us)


def _mark(axes: Any, facts: Facts) -> str:
    """Vertical lines where something bad happened, as far as it is known when that was on this
    axis; a sentence on them, if there are any."""
    times = [
        at_us
        for trouble in facts.troubles
        if trouble.level == words.BAD and trouble.workers
        for at_us in trouble.times_us
    ]
    for at_us in times[:MARKS_MAX]:
        axes.axvline(at_us / 1e6, color=BAD, linewidth=1.1, linestyle=(0, (2, 2)))
    return " Red lines: a neighbour was lost, or turned away." if times else ""


def _legend(axes: Any, columns: int) -> None:
    """Above the axes, where nothing else is."""
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncol=min(columns, max(1, len(labels))),
        borderaxespad=0.2,
        handlelength=1.2,
        columnspacing=1.2,
    )


def _label(text: str) -> str:
    """A foreign text as a label: matplotlib reads formulas between dollars, and leaves out what
    begins with an underscore."""
    clipped = text if len(text) <= LABEL_CHARS_MAX else text[: LABEL_CHARS_MAX - 1] + "…"
    return clipped.replace("$", r"\$").lstrip("_") or "?"


_PREAMBLE = re.compile(r"\A.*?(?=<svg )", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_SIZE = re.compile(r' (?:width|height)="[^"]*pt"')
_NAMES = re.compile(r'(\bid="|href="#|url\(#)')


def _picture(name: str, title: str, caption: str, figure: Any) -> Picture:
    content = io.BytesIO()
    figure.savefig(content, format="svg", bbox_inches="tight", pad_inches=0.05)
    svg = _METADATA.sub("", _PREAMBLE.sub("", content.getvalue().decode("utf-8")))
    opening, rest = svg.split(">", 1)
    opening = _SIZE.sub("", opening)
    svg = _NAMES.sub(lambda found: found.group(1) + name + "-", opening + ">" + rest)
    return Picture(name, title, caption, _in_colors(svg))


def _in_colors(svg: str) -> str:
    """Colours as the page's variables; an attribute knows no variables, a style does."""
    return re.sub(
        "|".join(_VARIABLES), lambda found: "var(--{})".format(_VARIABLES[found.group(0)]), svg
    )
