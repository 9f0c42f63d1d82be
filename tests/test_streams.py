"""`Pipeline.map`: one outcome per image of a stream."""

import gc
import time

import numpy as np
import pytest
import tiny
from gated import BRIGHT, DIM, MEDIUM, dim, slow_down

from edgesdk import ConfigError


class TestMap:
    images = staticmethod(lambda: [tiny.image(b) for b in (BRIGHT, DIM, MEDIUM, 0.0) * 5])

    def test_one_outcome_per_image_in_order(self, pipe):
        outcomes = list(pipe.map(self.images()))
        assert [o.tag for o in outcomes] == list(range(20))
        assert [o.exit_index for o in outcomes] == [0, 2, 1, 0] * 5

    def test_it_is_lazy(self, pipe):
        taken = []

        def camera():
            for index in range(100):
                taken.append(index)
                yield tiny.image(BRIGHT)

        stream = pipe.map(camera())
        assert taken == []
        next(stream)
        assert taken == [0]

    @pytest.mark.parametrize("ordered", [False, True])
    def test_several_in_flight(self, pipe, ordered):
        outcomes = list(pipe.map(self.images(), in_flight=6, ordered=ordered))
        tags = [o.tag for o in outcomes]
        assert sorted(tags) == list(range(20))
        assert {o.tag: o.exit_index for o in outcomes} == {
            i: [0, 2, 1, 0][i % 4] for i in range(20)
        }
        if ordered:
            assert tags == sorted(tags)

    def test_leaving_the_loop_early_leaves_nothing_behind(self, gated):
        pipe, _ = gated()
        for outcome in pipe.map(self.images(), in_flight=4):
            assert outcome.ok
            break
        gc.collect()
        pipe.infer(dim()[0])
        while pipe.stats()["in_flight_count"]:
            time.sleep(0.001)
        assert pipe._executor.held_count == 0

    @pytest.mark.parametrize("in_flight", [1, 3])
    def test_a_bad_frame_is_one_failed_outcome(self, pipe, in_flight):
        frames = [tiny.image(BRIGHT), np.zeros((9, 9), np.uint8), tiny.image(DIM)]
        outcomes = list(pipe.map(frames, in_flight=in_flight, ordered=True))
        assert [o.ok for o in outcomes] == [True, False, True]
        assert (outcomes[1].tag, outcomes[1].reason) == (1, "refused")
        assert "9 x 9" in str(outcomes[1])

    def test_deadlines_yield_expired_outcomes(self, gated):
        pipe, _ = gated()
        slow_down(pipe, stage=0, seconds=0.05)
        outcomes = list(pipe.map(dim(3), deadline_ms=10))
        assert [(o.ok, o.reason) for o in outcomes] == [(False, "deadline")] * 3

    @pytest.mark.parametrize("in_flight", [1, 3])
    def test_a_pipeline_that_closes_ends_the_stream(self, gated, in_flight):
        pipe, _ = gated()
        taken = []

        def camera():
            while True:
                taken.append(1)
                if len(taken) == 10:
                    pipe.close()
                yield tiny.image(BRIGHT)

        with pytest.raises(ConfigError, match="the pipeline was closed"):
            for _ in pipe.map(camera(), in_flight=in_flight):
                pass
        assert len(taken) == 10

    @pytest.mark.parametrize("wrong", [{"deadline_ms": -1}, {"on_deadline": "x"}])
    def test_wrong_options_are_refused_before_the_first_image(self, pipe, wrong):
        with pytest.raises(ConfigError):
            pipe.map(self.images(), **wrong)

    @pytest.mark.parametrize("wrong", [0, 1.5, True])
    def test_in_flight_is_a_count(self, pipe, wrong):
        with pytest.raises(ConfigError, match="in_flight: found"):
            pipe.map([], in_flight=wrong)
