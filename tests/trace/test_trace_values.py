"""Values on disk: exact there and back, one text each, and nothing unknown."""

import enum
import json
import math
from collections import namedtuple
from zlib import crc32

import pytest
import trace_golden
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.core.events import Deliver, Keep, Outcome, Release, Submit, Timer
from edgesdk.errors import ConfigError
from edgesdk.trace.values import CLASSES, TAG_CHARS_MAX, decode, digest, encode, plain_tag

VALUES = (
    trace_golden.EVENTS
    + trace_golden.ACTIONS
    + (trace_golden.SPEC.admission, trace_golden.SPEC.replanning, (), [], "", b"")
)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()
)
nested = st.recursive(leaves, lambda inner: st.lists(inner) | st.lists(inner).map(tuple))


def again(value):
    return decode(json.loads(encode(value)))


class TestThereAndBack:
    @pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
    def test_values_of_the_core_come_back_as_they_were(self, value):
        back = again(value)
        assert repr(back) == repr(value) and type(back) is type(value)

    @given(nested)
    def test_so_does_whatever_is_made_of_plain_values(self, value):
        assert again(value) == value and type(again(value)) is type(value)

    @given(st.floats())
    def test_floats_are_exact(self, value):
        back = again(value)
        assert (back == value and math.copysign(1, back) == math.copysign(1, value)) or (
            back != back and value != value
        )

    def test_the_text_is_strict_json_in_ascii(self):
        def refuse(name):
            raise AssertionError(name)

        for value in VALUES:
            assert encode(value).encode("ascii")
            json.loads(encode(value), parse_constant=refuse)

    def test_the_golden_values_use_every_class_of_events_and_actions(self):
        used = {name for name in CLASSES if any('"' + name + '"' in encode(v) for v in VALUES)}
        assert set(CLASSES) - used == {"Identity", "Offloading", "Plan", "Stage"}


class TestUnknownClasses:
    Point = namedtuple("Point", "x y")
    Kind = enum.IntEnum("Kind", "A B")

    @pytest.mark.parametrize(
        "value",
        [{}, {1}, object(), Point(1, 2), Kind.A, 1j, range(3), Timer(Kind.A), (Point(1, 2),)],
    )
    def test_are_refused(self, value):
        with pytest.raises(ConfigError, match=r"found a value of the class .*expected one that"):
            encode(value)


class TestDigest:
    def test_is_the_crc_of_the_text(self):
        assert digest([Keep(-2), Release(0)]) == crc32(b'[{"Keep":[-2]},{"Release":[0]}]')
        assert digest([]) == crc32(b"[]") == digest(())

    def test_differs_with_the_order_and_every_field(self):
        assert len({digest(trace_golden.ACTIONS[n:]) for n in range(13)}) == 13
        assert digest([Keep(1), Release(0)]) != digest([Release(0), Keep(1)])
        assert digest([Keep(1)]) != digest([Release(1)]) != digest([Release(2)])

    def test_ignores_what_is_not_recorded_of_a_tag(self):
        tag = object()
        for given_tag in (tag, [1, 2], "x" * 1000):
            outcome = Outcome(0, given_tag, "expired", "deadline", None, 5)
            kept = outcome._replace(tag=plain_tag(given_tag))
            assert digest([Deliver(outcome)]) == digest([Deliver(kept)])


class Rude:
    def __repr__(self):
        raise RuntimeError("no")


class TestTags:
    @pytest.mark.parametrize("tag", [None, True, 0, -(2**63) + 1, 2.5, "", "a" * TAG_CHARS_MAX])
    def test_plain_ones_are_kept(self, tag):
        assert plain_tag(tag) is tag

    @pytest.mark.parametrize(
        ("tag", "kept"),
        [
            ((1, "a"), "(1, 'a')"),
            (b"x", "b'x'"),
            (2**63, str(2**63)),
            ("b" * 500, "b" * TAG_CHARS_MAX),
            (list(range(1000)), repr(list(range(1000)))[:TAG_CHARS_MAX]),
            (Rude(), "<Rude>"),
            (10**5000, None),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_others_are_their_repr(self, tag, kept):
        found = plain_tag(tag)
        assert found == kept or kept is None
        assert type(found) is str and plain_tag(found) == found

    def test_those_of_a_submit_are_plain(self):
        event = Submit((0, 1), (b"x", None), 5)
        assert again(event) == event._replace(tags=("b'x'", None))


WRONG = [
    ({"Nothing": []}, "found 'Nothing', expected a class of the core"),
    ({"Timer": [1], "Cancel": [2]}, "expected an object with one key"),
    ({}, "expected an object with one key"),
    ({"Timer": 5}, "or the fields of a class in a list"),
    ({"Timer": []}, "Timer: found 0 fields, expected 1"),
    ({"Timer": [1, 2]}, "Timer: found 2 fields, expected 1"),
    ({"Timer": ["a"]}, "Timer.item: found 'a', expected <class 'int'>"),
    ({"Timer": [None]}, "Timer.item: found None"),
    ({"Submit": [[0], [1], 5, "soon"]}, "Submit.deadline_us: found 'soon'"),
    ({"Submit": [["a"], [1], 5]}, "Submit.items: found ('a',)"),
    ({"Submit": [[0], [1]]}, "Submit: found 2 fields, expected 6"),
    ({"StageDone": [0, 0, [0], {"list": [5]}]}, "StageDone.scores: found [5]"),
    ({"MessageReceived": [1, 5]}, "MessageReceived.envelope: found 5"),
    ({"Envelope": [1, 2, {"Timer": [1]}]}, "Envelope.message: found Timer(item=1)"),
    ({"Keep": [{"float": "NaN"}]}, "found {'float': 'NaN'}"),
    ({"bytes": "0g"}, "found '0g', expected hexadecimal digits"),
    ({"bytes": 5}, "found {'bytes': 5}"),
    (float("nan"), "found the number nan"),
]


class TestDecoding:
    @pytest.mark.parametrize(("document", "message"), WRONG, ids=lambda value: str(value)[:40])
    def test_what_is_wrong_is_named(self, document, message):
        with pytest.raises(ConfigError) as raised:
            decode(document)
        assert message in str(raised.value)

    def test_a_field_that_came_later_has_its_default(self):
        assert decode({"Submit": [[0], [1], 5]}) == Submit((0,), (1,), 5)

    def test_so_have_the_codecs_of_an_identity_and_a_greeting(self):
        for value in (trace_golden.IDENTITY, trace_golden.GREETING):
            assert again(value) == value and value.codecs == ("raw", "lz4")
            name, fields = next(iter(json.loads(encode(value)).items()))
            assert decode({name: fields[:-1]}) == value._replace(codecs=("raw",))

    def test_a_task_has_two_numbers_of_policy_state(self):
        text = encode(trace_golden.TASK).replace("[-1,2147483647]", "[-1]")
        with pytest.raises(ConfigError, match=r"Task\.policy_state: found"):
            decode(json.loads(text))
