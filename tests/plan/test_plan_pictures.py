"""Pictures of placements: a bar for each worker and link; without matplotlib the reason."""

import io
import sys

import pytest
from placements import chain, pair

from edgesdk.core.placement import LATENCY, evaluate
from edgesdk.errors import BackendUnavailable
from edgesdk.figures import png
from edgesdk.plan import pictures
from edgesdk.plan.preview import preview


def shown(problem, placement):
    return preview(problem, placement, evaluate(problem, placement), LATENCY, 200.0)


def texts(monkeypatch, found):
    """What is written into the picture."""
    pytest.importorskip("matplotlib")
    figures = []
    monkeypatch.setattr(pictures, "png", lambda figure: figures.append(figure) or png(figure))
    assert pictures.picture(found).startswith(b"\x89PNG")
    axes = figures[0].axes
    return [label.get_text() for each in axes for label in each.get_yticklabels()]


def test_everybody_and_every_link_has_a_bar(monkeypatch):
    found = texts(monkeypatch, shown(pair(), (0, 1, 1)))
    assert found[:4] == [
        "robot\nstages 0",
        "server\nstages 1-2",
        "robot -> server",
        "server -> robot",
    ]
    assert found[4:7] == ["this placement", "local only", "full offload to\nserver"]


def test_who_holds_nothing_is_there_too(monkeypatch):
    assert texts(monkeypatch, shown(chain(2, 3), (0, 0)))[1:3] == ["w1", "w2"]


def test_many_workers_make_it_higher():
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    heights = []
    for count in (2, 40):
        found = shown(chain(count, count), tuple(range(count)))
        heights.append(image.open(io.BytesIO(pictures.picture(found))).size[1])
    assert heights[1] > 3 * heights[0]


def test_times_that_are_nothing_are_drawn():
    pytest.importorskip("matplotlib")
    free = pair(sites=tuple(s._replace(stage_us=(0.0, 0.0, 0.0)) for s in pair().sites))
    assert pictures.picture(shown(free, (0, 0, 0))).startswith(b"\x89PNG")


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(BackendUnavailable, match=r'pip install "edgesdk\[demo\]"'):
        pictures.picture(shown(pair(), (0, 1, 1)))
