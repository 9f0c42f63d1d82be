"""What the application sees of an outcome."""

import numpy as np
import pytest

from edgesdk.core.events import Answer, Outcome, Scores
from edgesdk.errors import Expired, Failed
from edgesdk.results import Result, to_public

LABELS = ("cat", "dog", "ship")
SCORES = Scores(class_index=1, max_probability=0.75, margin=0.5, entropy=0.7)
ANSWER = Answer(exit_index=2, scores=SCORES)


def outcome(status="result", reason="threshold", answer=ANSWER, detail=""):
    return Outcome(
        item=7,
        tag="frame 7",
        status=status,
        reason=reason,
        answer=answer,
        latency_us=1234,
        detail=detail,
    )


def public(*args, logits=None, **kwargs):
    return to_public(outcome(*args, **kwargs), LABELS, "robot-1", logits)


class TestAnswered:
    def test_every_field_is_passed_on(self):
        assert public() == Result(
            item=7,
            tag="frame 7",
            label="dog",
            class_index=1,
            max_probability=0.75,
            margin=0.5,
            entropy=0.7,
            exit_index=2,
            reason="threshold",
            degraded=False,
            latency_us=1234,
            worker="robot-1",
            logits=None,
        )

    @pytest.mark.parametrize("reason", ["threshold", "final", "forced", "deadline", "degraded"])
    def test_each_reason_is_an_answer(self, reason):
        result = public(reason=reason)
        assert result.ok is True
        assert result.reason == reason

    @pytest.mark.parametrize("reason", ["threshold", "final", "forced", "deadline"])
    def test_whole_answers_are_not_degraded(self, reason):
        assert public(reason=reason).degraded is False

    def test_an_ensemble_without_all_its_parts_is_degraded(self):
        assert public(reason="degraded").degraded is True

    @pytest.mark.parametrize("class_index", range(len(LABELS)))
    def test_the_label_is_that_of_the_class(self, class_index):
        answer = Answer(0, SCORES._replace(class_index=class_index))
        assert public(answer=answer).label == LABELS[class_index]

    def test_logits_are_handed_on_uncopied(self):
        logits = np.array([0.1, 2.0, 0.3], np.float32)
        assert public(logits=logits).logits is logits

    def test_is_immutable(self):
        with pytest.raises(AttributeError):
            public().label = "cat"


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        ("expired", "deadline", Expired),
        ("expired", "superseded", Expired),
        ("failed", "stage_failed", Failed),
        ("failed", "not_finite", Failed),
        ("failed", "cancelled", Failed),
        ("failed", "closed", Failed),
    ],
)
class TestUnanswered:
    def test_is_an_error_that_carries_the_item(self, status, reason, kind):
        found = public(status, reason, answer=None)
        assert type(found) is kind
        assert found.ok is False
        assert (found.item, found.tag, found.reason, found.latency_us) == (
            7,
            "frame 7",
            reason,
            1234,
        )

    def test_the_message_is_the_detail(self, status, reason, kind):
        found = public(status, reason, answer=None, detail="stage 1: out of memory")
        assert str(found) == "item 7 {}: stage 1: out of memory".format(status)

    def test_the_message_is_the_reason_where_there_is_no_more_to_say(self, status, reason, kind):
        assert str(public(status, reason, answer=None)) == "item 7 {}: {}".format(status, reason)
