"""What a stream of images notes, and what is read off it afterwards."""

from concurrent.futures import Future

import pytest

from edgesdk.demo import stream as module
from edgesdk.demo.stream import IN_FLIGHT, Answer, Sample, Stream
from edgesdk.errors import EdgeError, Failed


class ByHand:
    """A pipeline that answers what the test says; board-1 answers every third image."""

    def __init__(self):
        self.futures = []

    def submit(self, image, tag):
        future = Future()
        self.futures.append((image, tag, future))
        return future

    def answer(self, count):
        for image, _, future in self.futures[:count]:
            future.set_result("a {}".format(image))
        del self.futures[:count]

    def stats(self):
        return {"neighbours": {"board-1": {"answered_count": 0, "state": "up"}}}


def streamed(turns, pipe):
    """The stream of letters that ends after `turns` turns of a story."""
    stream = Stream(pipe, ["a", "b"])
    story = iter([None] * turns)
    stream.run(story, 1.0, lambda: pipe.answer(10))
    return stream


def noted(times, marks=(), samples=()):
    """A stream that has noted answers at these times, by tag."""
    stream = Stream(ByHand(), [])
    stream.answers = [Answer(tag, at_s, None) for tag, at_s in enumerate(times)]
    stream.marks = [module.Mark(at_s, what, "") for what, at_s in marks]
    stream.samples = [Sample(*each) for each in samples]
    return stream


class TestRun:
    def test_keeps_a_number_of_images_under_way(self):
        pipe = ByHand()
        stream = Stream(pipe, ["a", "b"])
        found = []
        stream.run(
            iter([None] * 3), 1.0, lambda: (found.append(stream.in_flight_count), pipe.answer(10))
        )
        assert found[:3] == [IN_FLIGHT] * 3

    def test_waits_for_the_last_answer(self):
        stream = streamed(2, ByHand())
        assert stream.in_flight_count == 0
        assert [answer.tag for answer in stream.answers] == list(range(IN_FLIGHT + 10))
        assert [answer.outcome for answer in stream.answers[:3]] == ["a a", "a b", "a a"]
        assert stream.samples[-1].total == IN_FLIGHT + 10

    def test_does_not_wait_for_ever(self):
        with pytest.raises(EdgeError, match="64 of 64 images have no answer"):
            Stream(ByHand(), ["a"]).run(iter([None]), 0.02, lambda: None)

    def test_notes_what_came_instead_of_an_answer(self):
        pipe = ByHand()
        stream = Stream(pipe, ["a"])
        stream._submit()
        pipe.futures[0][2].set_exception(Failed("no", 0))
        assert isinstance(stream.answers[0].outcome, Failed)


class TestReadOff:
    def test_rate_between_two_marks(self):
        stream = noted([0.5, 1.0, 1.5, 3.0, 3.5], [("begin", 1.0), ("end", 3.0)])
        assert stream.rate("begin", "end") == (2.0, 1.0)

    def test_the_longest_pause_counts_from_the_mark(self):
        marks = [("killed", 1.0), ("back", 5.0)]
        assert noted([0.9, 2.5, 3.0, 4.5], marks).pause_s("killed", "back") == 1.5
        assert noted([0.9, 5.5], marks).pause_s("killed", "back") == 4.0

    def test_what_was_under_way_may_be_answered_late_and_out_of_order(self):
        marks = [("killed", 1.0)]
        assert noted([0.5, 0.9], marks).overdue_s("killed") == 0.0
        stream = noted([0.5] * 10 + [1.2] * IN_FLIGHT + [9.0], marks)
        assert stream.overdue_s("killed") == pytest.approx(0.2)
        stream.answers.append(stream.answers.pop(12)._replace(at_s=4.0))
        assert stream.overdue_s("killed") == pytest.approx(3.0)

    def test_who_answered_until_when(self):
        samples = [(1.0, 5, {"b": 2}), (2.0, 9, {"b": 4}), (3.0, 20, {"b": 8})]
        stream = noted([], samples=samples)
        assert stream.answered_by("b") == 8
        assert stream.answered_by("b", until_s=2.5) == 4
        assert stream.answered_by("nobody") == 0
