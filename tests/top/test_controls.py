"""Keys, also in pieces, and what they do."""

import pytest

from edgesdk.top.controls import HELP, KEYS, LINKS, WORKERS, Shown, keys_of, pressed


@pytest.mark.parametrize(
    ("typed", "keys", "begun"),
    [
        ("q", ["quit"], ""),
        ("Q", ["quit"], ""),
        ("pl", ["pause", "links"], ""),
        ("x7 \x00", [], ""),
        ("\x1b[A\x1b[B", ["up", "down"], ""),
        ("\x1bOA", ["up"], ""),
        ("\x1b[5~\x1b[6~", ["page up", "page down"], ""),
        ("\x1b[1;5Aq", ["quit"], ""),
        ("\x1b[", [], "\x1b["),
        ("s\x1b", ["sort"], "\x1b"),
        ("\x1b[5", [], "\x1b[5"),
        ("\xff\xe9q", ["quit"], ""),
    ],
)
def test_keys(typed, keys, begun):
    assert keys_of(typed) == (keys, begun)


def test_a_key_that_comes_in_pieces_is_one():
    begun, found = "", []
    for piece in ("\x1b", "[", "6", "~", "q"):
        keys, begun = keys_of(begun + piece)
        found += keys
    assert found == ["page down", "quit"]


def test_what_is_begun_does_not_grow_for_ever():
    _, begun = keys_of("\x1b[" + "1" * 1000)
    assert len(begun) < 100


class TestWhatKeysDo:
    def test_q_quits(self):
        assert pressed(Shown(), "quit") is None

    def test_the_key_of_a_view_leads_there_and_back(self):
        links = pressed(Shown(sort=3, first_row=7), LINKS)
        assert links == Shown(LINKS)
        assert pressed(links, LINKS) == Shown(WORKERS)
        assert pressed(links, HELP) == Shown(HELP)

    def test_pausing_ends_by_the_same_key(self):
        paused = pressed(Shown(), "pause")
        assert paused.is_paused and not pressed(paused, "pause").is_paused
        assert pressed(paused, LINKS).is_paused

    def test_scrolling_ends_at_the_top(self):
        shown = pressed(pressed(Shown(), "page down"), "up")
        assert shown.first_row == 9
        assert pressed(shown, "page up").first_row == 0

    def test_sorting(self):
        assert pressed(Shown(), "sort").sort == 1

    def test_every_key_that_is_shown_does_something(self):
        for what in KEYS.values():
            assert pressed(Shown(view=LINKS), what) != Shown(view=LINKS)
