"""Stages of an ensemble that nobody holds: given up after a while, at once from then on."""

from edgesdk.core.missing import MISSING_US, Missing

BOTH = {(0, 0), (1, 0)}
ONE = {(0, 0)}


def test_what_is_held_is_not_missing():
    missing = Missing(BOTH)
    missing.look(BOTH, 0)
    assert not missing and not missing.is_given_up((1, 0), 10 * MISSING_US)


def test_what_nobody_holds_is_given_up_after_a_while_and_only_that():
    missing = Missing(BOTH)
    missing.look(ONE, 100)
    missing.look(ONE, 200)  # it counts from the first time
    assert missing
    assert not missing.is_given_up((1, 0), 100 + MISSING_US - 1)
    assert missing.is_given_up((1, 0), 100 + MISSING_US)
    assert not missing.is_given_up((0, 0), 100 + MISSING_US)


def test_what_came_back_is_waited_for_again():
    missing = Missing(BOTH)
    missing.look(ONE, 0)
    missing.look(BOTH, MISSING_US)
    assert not missing and not missing.is_given_up((1, 0), 5 * MISSING_US)
    missing.look(ONE, 5 * MISSING_US)
    assert not missing.is_given_up((1, 0), 5 * MISSING_US + 1)
