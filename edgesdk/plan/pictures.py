"""A placement as a picture: what keeps whom busy, and how it compares."""

from typing import Any, List, Sequence

from ..core.placement import stages_of
from ..core.placement_cases import Case
from ..figures import png, side_by_side
from .preview import THIS, Preview, ranges

WIDTH_INCHES = 13.0
ROW_INCHES, HEIGHT_MIN_INCHES = 0.35, 3.6
WORKER, LINK, OTHER = "C0", "C1", "0.6"


def picture(found: Preview) -> bytes:
    """A PNG: how long an image keeps each worker and link busy; latency and throughput beside those
    of other placements. Raises BackendUnavailable without matplotlib."""
    names = [site.name for site in found.problem.sites]
    links = [name for name in found.expected.busy_us if name not in names]
    cases = [Case(THIS, found.placement, found.expected)] + list(found.others)
    height = max(HEIGHT_MIN_INCHES, 1.2 + ROW_INCHES * len(names + links))
    figure, (busy, latency, throughput) = side_by_side((WIDTH_INCHES, height), 3)
    _busy(busy, found, names, sorted(links))
    _compared(latency, cases, [case.expected.latency_us / 1e3 for case in cases])
    latency.set(xlabel="latency of one image (ms)")
    _compared(throughput, cases, [case.expected.throughput_per_s for case in cases])
    throughput.set(xlabel="images per second, at most")
    throughput.set_yticklabels([])
    figure.tight_layout()
    return png(figure)


def _busy(axes: Any, found: Preview, names: Sequence[str], links: Sequence[str]) -> None:
    """A bar for each worker, with its stages, then one for each link or medium."""
    held = stages_of(found.placement, len(names))
    labels = [
        "{}\nstages {}".format(name, ranges(stages)) if stages else name
        for name, stages in zip(names, held)
    ]
    values = [found.expected.busy_us.get(name, 0.0) / 1e3 for name in list(names) + list(links)]
    colors = [WORKER] * len(names) + [LINK] * len(links)
    _bars(axes, labels + list(links), values, colors)
    axes.set(xlabel="busy for one image (ms); the longest bar sets the pace")


def _compared(axes: Any, cases: Sequence[Case], values: Sequence[float]) -> None:
    labels = [case.name.replace(", ", ",\n").replace(" to ", " to\n") for case in cases]
    _bars(axes, labels, values, [WORKER] + [OTHER] * (len(cases) - 1))


def _bars(axes: Any, labels: Sequence[str], values: Sequence[float], colors: Sequence[str]) -> None:
    places: List[int] = list(range(len(labels)))
    finite = [value if value != float("inf") else 0.0 for value in values]
    axes.barh(places, finite, color=list(colors))
    for place, value in zip(places, finite):
        axes.annotate(" {:.3g}".format(value), (value, place), va="center", fontsize="small")
    axes.set_yticks(places)
    axes.set_yticklabels(list(labels), fontsize="small")
    axes.invert_yaxis()
    axes.set_xlim(0, (max(finite) or 1.0) * 1.18)  # room for the numbers
    axes.grid(True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
