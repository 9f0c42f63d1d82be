"""The bound of the throughput: what nodes can compute, and what only the source can."""

import pytest
from worlds import world

from edgesdk.sim.bound import bound_per_s
from edgesdk.sim.scenario import parse_scenario


class TestTheBound:
    """Stages of 1, 2 and 3 ms."""

    def bound(self, exit_shares, **changes):
        scenario = parse_scenario(world(**changes), "")
        return bound_per_s(scenario, ["a"], [exit_shares])

    def test_is_what_all_nodes_can_compute(self):
        assert self.bound({2: 1.0}) == pytest.approx(2 / 0.006)
        assert self.bound({0: 0.5, 2: 0.5}) == pytest.approx(2 / 0.0035)

    def test_but_no_more_than_stage_0_at_the_source(self):
        assert self.bound({0: 1.0}) == pytest.approx(1 / 0.001)

    def test_unless_inputs_may_be_sent(self):
        sent = {"offload_inputs": True}
        assert self.bound({0: 1.0}, offloading=sent) == pytest.approx(2 / 0.001)

    def test_a_fast_node_counts_as_several(self):
        nodes = [{"name": "a"}, {"name": "b", "speed": 4}]
        assert self.bound({2: 1.0}, node=nodes) == pytest.approx(5 / 0.006)

    def test_one_that_holds_nothing_does_not_count(self):
        nodes = [{"name": "a", "stages": []}, {"name": "b"}]
        sent = {"offload_inputs": True}
        assert self.bound({2: 1.0}, node=nodes, offloading=sent) == pytest.approx(1 / 0.006)

    def test_batches_are_full(self):
        model = dict(world()["model"], batch_share=0.5)
        nodes = [{"name": "a", "max_batch": 3}, {"name": "b"}]
        assert self.bound({2: 1.0}, model=model, node=nodes) == pytest.approx(2.5 / 0.006)
