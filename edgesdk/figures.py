"""Pictures of axes side by side, drawn by matplotlib without a display."""

import io
from typing import Any, Tuple

from .errors import BackendUnavailable

DPI = 110


def side_by_side(size_inches: Tuple[float, float], count: int) -> Tuple[Any, Any]:
    """A figure and its `count` axes. Raises BackendUnavailable without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendUnavailable(
            "the picture needs matplotlib ({}); install it with: "
            'pip install "edgesdk[demo]"'.format(error)
        ) from None
    figure = Figure(figsize=size_inches)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, count)


def png(figure: Any) -> bytes:
    """A figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, dpi=DPI)
    return content.getvalue()
