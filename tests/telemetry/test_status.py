"""Status documents: questions, answers, and what is refused."""

import json

import pytest

from edgesdk.errors import PeerError
from edgesdk.telemetry.status import (
    ANSWER_BYTES_MAX,
    QUESTION,
    QUESTIONS_AT_ONCE,
    QUESTIONS_PER_S,
    Answering,
    plain,
    read_answer,
)

NAN = float("nan")


class TestPlain:
    @pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
    def test_json_has_no_such_number(self, value):
        found = plain({"a": [value, 1.5, (value, "x")], "b": {"c": value}})
        assert found == {"a": [None, 1.5, [None, "x"]], "b": {"c": None}}


class TestAnswering:
    def test_the_question_comes_back_with_the_document(self):
        question = QUESTION + b"7"
        frames = Answering(lambda: {"mean_us": NAN, "count": 3})(question, 0)
        assert frames[0] == question
        assert json.loads(frames[1].decode()) == {"mean_us": None, "count": 3}
        assert read_answer(frames, question) == {"mean_us": None, "count": 3}

    @pytest.mark.parametrize("question", [b"", b"edgesdk", QUESTION + b"x" * 17, b"x" + QUESTION])
    def test_what_is_no_question_is_refused(self, question):
        with pytest.raises(PeerError, match=r"question: found .*, expected"):
            Answering(dict)(question, 0)

    def test_who_asks_too_often_gets_no_answer_for_a_while(self):
        asked = []
        answering = Answering(lambda: asked.append(1) or {})
        frames = [answering(QUESTION, 1_000_000) for _ in range(100)]
        assert sum(map(bool, frames)) == len(asked) == QUESTIONS_AT_ONCE
        soon_us = 1_000_000 + int(1e6 / QUESTIONS_PER_S) + 1
        assert answering(QUESTION, soon_us) and not answering(QUESTION, soon_us)
        later = [answering(QUESTION, 100_000_000) for _ in range(100)]
        assert sum(map(bool, later)) == QUESTIONS_AT_ONCE  # what is saved up has an end


class TestReadAnswer:
    @pytest.mark.parametrize(
        "frames",
        [
            [],
            [b"{}"],
            [QUESTION, b"{}", b""],
            [b"another", b"{}"],
            [QUESTION, b"[]"],
            [QUESTION, b"no JSON"],
            [QUESTION, b"\xff"],
            [QUESTION, b"[" * 100_000],
            [QUESTION, b"1" * (ANSWER_BYTES_MAX + 1)],
        ],
        ids=range(9),
    )
    def test_what_is_none_is_refused(self, frames):
        with pytest.raises(PeerError, match="found"):
            read_answer(frames, QUESTION)
