"""Pictures: a file with matplotlib, and that of a fleet over time."""

import io
from typing import Any, List, Sequence, Tuple

from ..errors import BackendUnavailable
from ..files import write_atomically
from .story import FULL, KILLED, LEAVE, UP
from .stream import SAMPLE_S, Mark, Stream

DPI = 110
SIZE_INCHES = (11.0, 4.2)
# The source in grey, then workers; none is red, which is for the one that dies.
_HUES = ("blue", "orange", "green", "purple", "brown", "pink", "olive", "cyan")
COLORS = ("0.65",) + tuple("tab:" + hue for hue in _HUES)


def pyplot() -> Any:
    """matplotlib's pyplot, drawing to files. Raises BackendUnavailable without it."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise BackendUnavailable(
            "the picture needs matplotlib ({}); install it with: "
            'pip install "edgesdk[demo]"'.format(error)
        ) from None
    return pyplot


def save(figure: Any, path: str) -> str:
    """Write `figure` as the PNG `path`, which is returned. Raises EdgeError if it cannot be."""
    content = io.BytesIO()
    figure.savefig(content, dpi=DPI, bbox_inches="tight")
    pyplot().close(figure)
    write_atomically(path, content.getvalue())
    return path


def draw_fleet(
    stream: Stream, source: str, names: Sequence[str], alone_per_s: float, path: str
) -> str:
    """Who answered how much, over time, and what happened; the path of the picture."""
    figure, axis = pyplot().subplots(figsize=SIZE_INCHES)
    times, layers = _layers(stream, names)
    axis.stackplot(times, *layers, labels=[source] + list(names), step="post", colors=COLORS)
    level = {"color": "black", "linestyle": "--", "linewidth": 1}
    axis.axhline(SAMPLE_S * alone_per_s, label="{} alone".format(source), **level)
    for mark in stream.marks:
        _draw_mark(axis, mark, len(names))
    axis.set(xlim=(0, times[-1]), ylim=(0, None), xlabel="seconds")
    axis.set_ylabel("images answered in {:.0f} ms".format(1000 * SAMPLE_S))
    handles, labels = axis.get_legend_handles_labels()
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False}
    axis.legend(handles[::-1], labels[::-1], **beside)
    figure.suptitle("Who answered {} images".format(len(stream.answers)), y=1.03)
    return save(figure, path)


def _layers(stream: Stream, names: Sequence[str]) -> Tuple[List[float], List[List[float]]]:
    """Times of the samples, and what the source and each worker answered from each to the next."""
    layers: List[List[float]] = [[] for _ in range(len(names) + 1)]
    times = []
    for before, after in zip(stream.samples, stream.samples[1:]):
        scale = SAMPLE_S / (after.at_s - before.at_s)  # samples come a little late
        counts = [after.answered[name] - before.answered[name] for name in names]
        own = max(0, after.total - before.total - sum(counts))
        for layer, count in zip(layers, [own] + counts):
            layer.append(count * scale)
        times.append(before.at_s)
    return times, layers


def _draw_mark(axis: Any, mark: Mark, worker_count: int) -> None:
    """A line through the picture for what one should see, and what it is above it."""
    texts = {
        FULL: "{} workers up".format(worker_count),
        KILLED: "{} killed".format(mark.worker),
        UP: "{} back".format(mark.worker),
        LEAVE: "{} leaves".format(mark.worker),
    }
    if mark.what not in texts:
        return
    color = "red" if mark.what == KILLED else "black"
    axis.axvline(mark.at_s, color=color, linewidth=1.5)
    above = {"transform": axis.get_xaxis_transform(), "ha": "center", "va": "bottom"}
    axis.text(mark.at_s, 1.02, texts[mark.what], color=color, **above)
