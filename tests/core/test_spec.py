"""Segments, exits, stages, plans, parts: which parts can be run."""

import pytest

from edgesdk.core.spec import (
    Bottleneck,
    Exit,
    Part,
    Plan,
    Preprocessing,
    Segment,
    Stage,
    check_part,
)
from edgesdk.errors import BundleError

SHAPES = ((3, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8))
SEGMENTS = tuple(Segment(SHAPES[i], SHAPES[i + 1], 10 ** (i + 1)) for i in range(3))
EXITS = tuple(Exit("fused", "heads/exit_{}.npz".format(i), i + 1) for i in range(3))


def stage(first, last, exit_index):
    return Stage(first, last, exit_index, "onnx/{}_{}.onnx".format(first, last))


FULL = (stage(0, 0, 0), stage(1, 1, 1), stage(2, 2, 2))


def part(segments=SEGMENTS, exits=EXITS, **plans):
    plans = plans or {"full": FULL}
    return Part("main", segments, exits, {name: Plan(name, plans[name]) for name in plans})


def with_codes(*borders, shape=(2, 8, 8)):
    codes = tuple(Bottleneck(border, "e.onnx", "d.onnx", shape, 1, 1) for border in borders)
    return part()._replace(bottlenecks=codes)


def refusal(wrong):
    with pytest.raises(BundleError) as caught:
        check_part(wrong, "parts[0]")
    return str(caught.value)


class TestPartsThatRun:
    def test_one_stage_per_segment(self):
        check_part(part(), "parts[0]")

    @pytest.mark.parametrize(
        "stages",
        [
            [stage(0, 2, 2)],
            [stage(0, 0, 0), stage(1, 2, 2)],
            [stage(0, 1, 1), stage(2, 2, 2)],
            [stage(0, 1, None), stage(2, 2, 2)],
            [stage(0, 0, None), stage(1, 1, None), stage(2, 2, 2)],
        ],
        ids=["one stage", "1+2", "2+1", "no early exit", "cuts without exits"],
    )
    def test_merged_plans_beside_the_full_one(self, stages):
        check_part(part(full=FULL, merged=tuple(stages)), "parts[0]")

    def test_a_bottleneck_stands_before_the_stages_that_begin_at_its_border(self):
        coded = with_codes(1, 2)
        check_part(coded, "parts[0]")
        borders = [coded.bottleneck_before(each) for each in FULL]
        assert [each and each.border for each in borders] == [None, 1, 2]
        assert coded.bottleneck_before(stage(0, 2, 2)) is None

    def test_a_single_segment(self):
        check_part(part(SEGMENTS[:1], EXITS[:1], full=FULL[:1]), "parts[0]")


class TestPartsThatAreRefused:
    @pytest.mark.parametrize("borders", [(0,), (3,), (1, 1)])
    def test_borders_without_features_and_two_bottlenecks_at_one(self, borders):
        message = refusal(with_codes(*borders))
        expected = "parts[0].bottlenecks: found the borders {}, expected different ones from 1 to 2"
        assert message.startswith(expected.format(list(borders)))

    @pytest.mark.parametrize("shape", [(32, 16, 16), (65536,), (1, 1, 1, 1, 1)])
    def test_a_code_that_is_not_smaller_or_that_no_message_carries(self, shape):
        message = refusal(with_codes(2, shape=shape))
        assert message == (
            "parts[0].bottlenecks[0].code_shape: found {}, expected fewer values than the 8192 of "
            "the features [32, 16, 16], in at most 4 axes".format(list(shape))
        )

    @pytest.mark.parametrize(("segment_count", "exit_count"), [(3, 2), (2, 3), (0, 0), (0, 1)])
    def test_every_segment_has_an_exit(self, segment_count, exit_count):
        message = refusal(part(SEGMENTS[:segment_count], EXITS[:exit_count]))
        assert message == (
            "parts[0]: found {} segments and {} exits; expected at least one segment and one exit "
            "behind each".format(segment_count, exit_count)
        )

    def test_neighbouring_segments_agree_on_shapes(self):
        odd = SEGMENTS[1]._replace(input_shape=(16, 31, 32))
        assert refusal(part((SEGMENTS[0], odd, SEGMENTS[2]))) == (
            "parts[0].segments[1].input_shape: found [16, 31, 32], expected [16, 32, 32], the "
            "output of the segment before"
        )

    def test_the_full_plan_always_exists(self):
        assert refusal(part(merged=FULL)) == 'parts[0].plans: expected a plan named "full"'

    @pytest.mark.parametrize(
        ("stages", "place", "expected"),
        [
            ([], "", "all 3 segments"),
            ([stage(0, 0, 0)], "", "ends after segment 0"),
            ([stage(0, 1, 1)], "", "ends after segment 1"),
            ([stage(0, 2, None)], "", "and the final exit"),
            ([stage(1, 2, 2)], ".stages[0]", "begin at segment 0"),
            ([stage(0, 0, 0), stage(2, 2, 2)], ".stages[1]", "begin at segment 1"),
            ([stage(0, 0, 0), stage(0, 0, 0)], ".stages[1]", "begin at segment 1"),
            ([stage(0, 1, 1), stage(1, 2, 2)], ".stages[1]", "begin at segment 2"),
            ([stage(0, 0, 0), stage(1, 0, 0)], ".stages[1]", "begin at segment 1"),
            ([*FULL, stage(3, 3, 3)], "", "all 3 segments"),
            ([stage(0, 5, 5)], "", "all 3 segments"),
            ([stage(0, 1, 0), stage(2, 2, 2)], ".stages[0].exit", "expected 1"),
            ([stage(0, 1, 2), stage(2, 2, 2)], ".stages[0].exit", "expected 1"),
        ],
        ids=[
            "no stage",
            "too short",
            "still too short",
            "no final exit",
            "does not begin at the front",
            "gap",
            "twice the same",
            "overlap",
            "runs backwards",
            "one stage too many",
            "beyond the end",
            "exit inside a stage",
            "exit behind the stage",
        ],
    )
    def test_a_plan_covers_every_segment_once_in_order(self, stages, place, expected):
        message = refusal(part(full=FULL, odd=tuple(stages)))
        assert message.startswith("parts[0].plans.odd{}: ".format(place))
        assert expected in message

    def test_the_full_plan_has_one_stage_and_exit_per_segment(self):
        for stages in ([stage(0, 2, 2)], [stage(0, 0, None), stage(1, 1, 1), stage(2, 2, 2)]):
            message = refusal(part(full=tuple(stages)))
            assert message.startswith("parts[0].plans.full: ")
            assert "one stage and exit per segment" in message


class TestDerivedValues:
    def test_exit_indices_name_the_trained_exits(self):
        assert Plan("full", FULL).exit_indices == (0, 1, 2)
        assert Plan("two", (stage(0, 0, None), stage(1, 2, 2))).exit_indices == (2,)
        # Exit 0 is an exit, though 0 is false.
        assert Plan("two", (stage(0, 0, 0), stage(1, 2, 2))).exit_indices == (0, 2)

    @pytest.mark.parametrize(
        ("exit_index", "evaluated", "expected"),
        [
            (0, (0,), 10 + 1),
            (1, (0, 1), 110 + 1 + 2),
            (1, (1,), 110 + 2),
            (2, (0, 1, 2), 1110 + 1 + 2 + 3),
            (2, (), 1110),
            (1, (0, 1, 2), 110 + 1 + 2),
        ],
        ids=["first", "second", "one head skipped", "final", "no head", "heads not reached"],
    )
    def test_multiply_adds_count_the_way_to_an_exit(self, exit_index, evaluated, expected):
        assert part().multiply_adds_until(exit_index, evaluated) == expected

    @pytest.mark.parametrize(("color", "channels"), [("gray", 1), ("rgb", 3), ("bgr", 3)])
    def test_the_shape_of_an_image(self, color, channels):
        spec = Preprocessing(color, 24, 32, "refuse", "none", (0.0,), (1.0,))
        assert spec.shape == (channels, 24, 32)
