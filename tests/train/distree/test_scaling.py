"""More students, and unequal ones: which are compared, and how long they take."""

import numpy as np
import pytest

from edgesdk import FinalExit, FixedExit
from edgesdk.features import Features
from edgesdk.train.calibration.costs import multiply_add_costs
from edgesdk.train.distree import scaling, simulation


def test_even_numbers_come_once_more_with_half_of_them_cut():
    found = scaling.depth_sets((1, 2, 4), 7)
    assert found == [(7,), (7, 7), (7, 4), (7, 7, 7, 7), (7, 7, 4, 4)]
    names = [scaling.name_of(depths) for depths in found]
    assert names[0] == "1 x 7 exits" and names[-1] == "2 x 7, 2 x 4 exits"


def test_a_network_of_one_exit_cannot_be_cut():
    assert scaling.depth_sets((2,), 1) == [(1, 1)]


class TestSimulatedLatency:
    def ensemble(self, depths):
        random = np.random.default_rng(0)
        size, count = 64, 20
        test = Features(
            "tiny",
            "tiny",
            np.full(count, "test"),
            (np.arange(count) % 10).astype(np.int32),
            random.normal(size=(10, size * len(depths))).astype(np.float32),
            random.normal(size=10).astype(np.float32),
            random.normal(size=(len(depths), size)).astype(np.float32),
            tuple(random.normal(size=(count, m, size)).astype(np.float32) for m in depths),
        )
        million = simulation.MULTIPLY_ADDS_PER_US * 1000  # a millisecond
        costs = [multiply_add_costs([m * million for m in (3, 5)[:d]], [0] * d) for d in depths]
        return test, costs

    def test_is_that_of_the_way_and_of_the_slowest_student(self):
        test, costs = self.ensemble((2, 1))
        found = simulation.simulated_ms(test, FinalExit(), costs, 10_000)
        both_ways = 2 * simulation.LINK_DELAY_US / 1000
        image = 10_000 / simulation.WIFI.bytes_per_s * 1000  # the other's may come first
        assert 8 + both_ways + image < found < 8 + both_ways + 2 * image + 2

    def test_falls_where_students_leave_early(self):
        test, costs = self.ensemble((2, 2))
        late, early = (
            simulation.simulated_ms(test, policy, costs, 10_000)
            for policy in (FinalExit(), FixedExit(0))
        )
        assert late - early == pytest.approx(5, abs=0.5)
