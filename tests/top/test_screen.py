"""The screen: exactly as many lines as the terminal has, with what matters in them."""

import io
import re

import pytest
from documents import link, status

pytest.importorskip("rich")

from edgesdk.top.controls import EXITS, HELP, KEYS, LINKS, WORKERS, Shown
from edgesdk.top.history import History
from edgesdk.top.screen import Console, Frame, draw

FRAME = Frame("robots.toml", 2.0, "12:00:00", 3)


def picture(count=3):
    """All but the last answer."""
    names = ["robot-{}".format(number) for number in range(count)]
    history = History(names)
    for seconds in (10, 12):
        answer = status(seconds, (seconds, 5), neighbours={n: link() for n in names})
        history.add(dict.fromkeys(names[:-1], answer), float(seconds), 0.0)
    return history.picture()


def lines(shown=None, count=3, width=80, height=24, picture=picture, colour=False):
    out = io.StringIO()
    system = "standard" if colour else None
    console = Console(
        file=out, width=width, height=height, force_terminal=colour, color_system=system
    )
    view = picture(count) if picture else None
    console.print(draw(view, shown or Shown(), FRAME, width, height))
    return out.getvalue().split("\n")[:-1]


@pytest.mark.parametrize("view", [WORKERS, EXITS, LINKS, HELP])
@pytest.mark.parametrize("size", [(80, 24), (200, 50), (40, 10), (80, 7), (132, 43)])
def test_it_fills_the_screen_and_no_more(view, size):
    width, height = size
    found = lines(Shown(view), count=12, width=width, height=height)
    assert len(found) == height
    assert max(map(len, found)) <= width
    assert found[0].startswith("robots.toml") and found[-1].startswith("q quit  p pause")


@pytest.mark.parametrize("view", [WORKERS, EXITS, LINKS, HELP])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (200, 3), (5, 100)])
def test_no_size_is_too_small_to_draw(view, size):
    assert lines(Shown(view), width=size[0], height=size[1])


def test_every_worker_is_named_and_the_silent_one_is_noted():
    text = "\n".join(lines())
    for name in ("robot-0", "robot-1", "robot-2", "silent", "all", "2 of 3 answer"):
        assert name in text
    assert "robot-2 has not answered yet" in text


def test_all_keys_are_shown_in_80_columns():
    last = lines()[-1]
    assert all("{} {}".format(key, what) in last for key, what in KEYS.items())


def test_before_the_first_answer():
    assert "asking 3 workers ..." in lines(picture=None)


def test_more_rows_than_lines_can_be_scrolled_to_the_last():
    first, last = lines(Shown(LINKS), 8), lines(Shown(LINKS, first_row=1000), 8)
    assert "rows 1-" in first[0] and "of 56" in first[0]
    assert first[3].startswith("robot-0 robot-0")
    assert any(line.startswith("robot-6 robot-7") for line in last)
    assert len(first) == len(last) == 24


def test_many_notes_leave_room_for_rows():
    def nobody(count):
        history = History(["robot-{}".format(number) for number in range(count)])
        history.add({}, 0.0, 0.0)
        return history.picture()

    found = lines(count=30, picture=nobody)
    assert sum(line.startswith("robot-") and "silent" in line for line in found) > 10
    assert "and more: 30 notes in all" in "\n".join(found)


def test_a_pause_and_an_order_are_said():
    title = lines(Shown(is_paused=True, sort=1))[0]
    assert "PAUSED" in title and "by ans/s" in title


def test_colours_stand_beside_words():
    """What a state's colour says is in the text too: without colours the lines are the same."""
    colourful = lines(colour=True)
    assert any("\x1b[" in line for line in colourful)
    plain = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in colourful]
    assert plain == lines()
