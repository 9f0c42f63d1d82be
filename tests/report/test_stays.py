"""Where items were, from moment to moment."""

from recorded_runs import came, item, recording, sent, stage

from edgesdk.report.stays import AWAY, COMPUTING, WAITING, stays_of

MS = 1000


def stays(*spans):
    """(item, state, begin and length in ms, batch) of each stay."""
    found = stays_of(recording(spans))
    columns = [found.key, found.state, found.begin_us / MS, found.length_us / MS, found.batch]
    return sorted(tuple(int(value) for value in row) for row in zip(*columns))


def test_an_item_waits_and_is_computed():
    assert stays(stage(0, 5, 9, 0), stage(1, 12, 20, 0), item(0, 2, 20)) == [
        (0, WAITING, 2, 3, 0),
        (0, WAITING, 9, 3, 1),
        (0, COMPUTING, 5, 4, 0),
        (0, COMPUTING, 12, 8, 1),
    ]


def test_one_that_was_accepted_elsewhere_is_away_until_its_end():
    found = stays(stage(0, 0, 5, 0), sent(0, 1, 6, 9), item(0, 0, 30))
    assert found == [
        (0, WAITING, 0, 0, 0),  # it was begun at once
        (0, WAITING, 5, 1, -1),
        (0, COMPUTING, 0, 5, 0),
        (0, AWAY, 6, 24, -1),
    ]


def test_one_that_was_refused_waits_here_again():
    found = stays(
        stage(0, 0, 5, 0), sent(0, 1, 5, 9, "refused"), stage(1, 12, 20, 0), item(0, 0, 20)
    )
    assert (0, AWAY, 5, 4, -1) in found and (0, WAITING, 9, 3, 1) in found


def test_one_that_comes_back_waits_again():
    found = stays(sent(0, 1, 5, 7), came(0, 2, 10), stage(2, 12, 20, 0), item(0, 0, 20))
    assert (0, AWAY, 5, 5, -1) in found and (0, WAITING, 10, 2, 0) in found


def test_a_stage_that_runs_on_behind_the_end_counts_up_to_it():
    found = stays(stage(0, 5, 30, 0), item(0, 0, 20, None, status="expired", reason="deadline"))
    assert found == [(0, WAITING, 0, 5, 0), (0, COMPUTING, 5, 15, 0)]


def test_a_guest_is_here_from_its_arrival_to_its_last_stage():
    assert stays(came(0, 1, 40), stage(1, 50, 80, 0)) == [
        (0, WAITING, 40, 10, 0),
        (0, COMPUTING, 50, 30, 0),
    ]


def test_a_guest_that_comes_twice_was_away_in_between():
    found = stays(came(0, 1, 0), stage(1, 0, 10, 0), came(0, 1, 500), stage(1, 505, 510, 0))
    assert (0, AWAY, 10, 490, -1) in found and (0, WAITING, 500, 5, 1) in found


def test_a_stage_that_took_no_time_is_no_stay():
    assert stays(stage(0, 5, 5, 0), stage(1, 7, 9, 0), item(0, 5, 9)) == [
        (0, WAITING, 5, 2, 1),
        (0, COMPUTING, 7, 2, 1),
    ]


def test_of_nothing_there_are_none():
    assert stays() == []
