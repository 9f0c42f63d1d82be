"""When do the answers of an item's parts make one answer?"""

from edgesdk.core.events import Answer, Scores
from edgesdk.core.gather import Gather, Gathered


def answer(exit_index):
    return Answer(exit_index, Scores(0, 0.9, 0.8, 0.1), bytes([exit_index]))


class TestOnePart:
    def test_its_answer_is_the_items(self):
        gather = Gather(1)
        gather.note(0, answer(0))
        assert gather.leave(0, answer(2), "threshold") == Gathered((answer(2),), "threshold")

    def test_at_the_deadline_the_latest_exit_counts(self):
        gather = Gather(1)
        assert gather.at_deadline() is None
        gather.note(0, answer(0))
        gather.note(0, answer(1))
        assert gather.at_deadline() == Gathered((answer(1),), "deadline")

    def test_if_it_fails_nothing_is_left(self):
        gather = Gather(1)
        gather.note(0, answer(0))
        assert gather.fail(0) is None and gather.is_lost


class TestEnsemble:
    def test_waits_for_every_part_whatever_their_order(self):
        gather = Gather(3)
        assert gather.leave(2, answer(1), "threshold") is None
        assert gather.leave(0, answer(4), "threshold") is None
        gathered = Gathered((answer(4), answer(6), answer(1)), "final")
        assert gather.leave(1, answer(6), "final") == gathered

    def test_a_second_answer_of_a_part_is_ignored(self):
        gather = Gather(2)
        gather.leave(0, answer(1), "threshold")
        assert gather.leave(0, answer(6), "final") is None
        gathered = gather.leave(1, answer(2), "forced")
        assert gathered == Gathered((answer(1), answer(2)), "forced")
        assert gather.leave(1, answer(3), "final") is None

    def test_what_a_part_notes_after_its_end_is_ignored(self):
        gather = Gather(3)
        gather.leave(0, answer(4), "threshold")
        gather.fail(1)
        gather.note(0, answer(1))
        gather.note(1, answer(1))
        gathered = Gathered((answer(4), None, answer(2)), "degraded")
        assert gather.leave(2, answer(2), "forced") == gathered

    def test_at_the_deadline_a_missing_part_degrades_the_answer(self):
        gather = Gather(3)
        gather.leave(2, answer(1), "threshold")
        gather.note(0, answer(0))
        assert gather.at_deadline() == Gathered((answer(0), None, answer(1)), "degraded")

    def test_at_the_deadline_provisional_answers_of_all_parts_are_complete(self):
        gather = Gather(2)
        gather.note(0, answer(0))
        gather.leave(1, answer(3), "threshold")
        assert gather.at_deadline() == Gathered((answer(0), answer(3)), "deadline")

    def test_a_part_that_failed_is_not_waited_for_whatever_the_order(self):
        gather = Gather(2)
        gather.note(0, answer(0))
        assert gather.fail(0) is None and not gather.is_lost
        assert gather.fail(0) is None  # another attempt has failed too
        gathered = gather.leave(1, answer(3), "threshold")
        assert gathered == Gathered((None, answer(3)), "degraded")
        gather = Gather(2)
        gather.leave(1, answer(3), "threshold")
        assert gather.fail(0) == Gathered((None, answer(3)), "degraded")

    def test_of_parts_that_all_failed_nothing_is_left(self):
        gather = Gather(2)
        assert gather.fail(1) is None and not gather.is_lost
        assert gather.fail(0) is None and gather.is_lost
