"""Figures are PNG files, and their lack of matplotlib is said."""

import sys

import pytest

from edgesdk.errors import BackendUnavailable
from edgesdk.figures import DPI, png, side_by_side


def test_axes_side_by_side_of_the_size_that_was_asked():
    pytest.importorskip("matplotlib")
    figure, axes = side_by_side((4.0, 2.0), 3)
    assert len(axes) == 3
    content = png(figure)
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20], "big") == 4 * DPI


def test_without_matplotlib_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(BackendUnavailable, match=r"needs matplotlib .*edgesdk\[demo\]"):
        side_by_side((4.0, 2.0), 1)
