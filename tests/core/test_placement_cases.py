"""The placements of others: what they are, when they cannot be, and what a deadline leaves."""

import itertools

import pytest
from hypothesis import given
from placements import FAST, LINK, SLOW, chain, pair, problems

from edgesdk.core.placement import ENERGY, LATENCY, THROUGHPUT, Link, evaluate
from edgesdk.core.placement_cases import (
    full_offload,
    local,
    right_size,
    through,
    two_device_split,
    until,
)
from edgesdk.errors import ConfigError

ACCURACIES = (0.6, 0.8, 0.9)


def test_local_is_all_on_the_source():
    case = local(pair(source=1))
    assert case.name == "local only" and case.placement == (1, 1, 1)
    assert case.expected == evaluate(pair(source=1), (1, 1, 1))


def test_local_cannot_be_where_the_source_lacks_memory_or_stages():
    assert local(pair(sites=(SLOW._replace(memory_bytes=59), FAST))) is None
    assert local(pair(sites=(SLOW._replace(stage_us=(None, 1, 1)), FAST))) is None


def test_full_offload_sends_the_compressed_image():
    case = full_offload(pair(), 200)
    assert case.name == "full offload to server" and case.placement == (1, 1, 1)
    assert case.expected.link_bytes[0, 1] == 200
    assert case.expected.latency_us < evaluate(pair(), (1, 1, 1)).latency_us


def test_full_offload_goes_where_that_is_best():
    sites = chain(2, 3).sites[:2] + (FAST._replace(stage_us=(1.0, 1.0), stage_mj=(90.0, 90.0)),)
    sites = tuple(s._replace(stage_mj=s.stage_mj or (1.0, 1.0)) for s in sites)
    problem = chain(2, 3, sites=sites)
    assert full_offload(problem, 200, LATENCY).placement == (2, 2)
    assert full_offload(problem, 200, ENERGY).placement == (1, 1)


def test_full_offload_needs_a_neighbour_that_can():
    assert full_offload(chain(2, 1), 200) is None
    assert full_offload(pair(links={}), 200) is None


@given(problem=problems())
def test_a_split_is_the_best_of_all_cuts(problem):
    count, source = len(problem.stages), problem.source
    best = None
    for cut, site in itertools.product(range(count + 1), range(len(problem.sites))):
        placement = (source,) * cut + (site,) * (count - cut)
        try:
            cost = evaluate(problem, placement).latency_us
        except ConfigError:
            continue
        room = problem.sites[site].memory_bytes
        room_here = problem.sites[source].memory_bytes
        there = sum(s.memory_bytes for s, w in zip(problem.stages, placement) if w == site)
        here = sum(s.memory_bytes for s, w in zip(problem.stages, placement) if w == source)
        if (room is None or there <= room) and (room_here is None or here <= room_here):
            best = cost if best is None else min(best, cost)
    case = two_device_split(problem)
    assert (case is None) == (best is None)
    assert case is None or case.expected.latency_us == pytest.approx(best)


def test_a_split_says_where():
    stages = tuple(s._replace(input_bytes=size) for s, size in zip(pair().stages, (9e4, 10, 9e4)))
    quick = Link(1.0, 10e6)
    case = two_device_split(pair(stages=stages, links={(0, 1): quick, (1, 0): quick}))
    assert case.name == "split before stage 1, server" and case.placement == (0, 1, 1)
    assert two_device_split(pair(links={}), THROUGHPUT).name == "local only"


def test_through_sends_every_image_as_far_and_no_farther():
    assert [stage.reach for stage in through(pair(), 1).stages] == [1, 1, 0]


def test_until_is_as_before_as_far_as_it_goes():
    assert [stage.reach for stage in until(pair(), 1).stages] == [1, 0.5, 0]


def sized(deadline_us, **changes):
    return right_size(pair(**changes), deadline_us, ACCURACIES)


def test_a_deadline_decides_how_much_of_the_network_runs_and_where():
    far = Link(50.0, 100e6)
    links = {(0, 1): far, (1, 0): far}
    server_us = 50 + 1000 / 100 + 10 + 50 + 0.5  # one stage there, and back
    full = sized(1000, links=links)
    assert (full.last_stage, full.accuracy) == (2, 0.9)
    assert full.worst_us == pytest.approx(server_us + 20 + 40) and full.placement == (1, 1, 1)
    less = sized(server_us + 20, links=links)
    assert less.last_stage == 1 and less.placement[:2] == (1, 1)
    least = sized(105, links=links)
    assert least.last_stage == 0 and least.placement[0] == 0 and least.worst_us == 100


def test_early_exits_are_not_reckoned_with_for_every_image_must_be_in_time():
    alone = right_size(chain(2, 1), 200, (0.5, 0.9))
    assert alone.worst_us == 200 and alone.last_stage == 1
    stages = tuple(s._replace(reach=r) for s, r in zip(chain(2, 1).stages, (1.0, 0.1)))
    assert right_size(chain(2, 1, stages=stages), 199, (0.5, 0.9)).last_stage == 0


def test_of_exits_in_time_the_most_accurate_then_the_soonest():
    assert right_size(pair(links={}), 1000, (0.6, 0.9, 0.8)).last_stage == 1
    assert right_size(pair(links={}), 1000, (0.9, 0.9, 0.8)).last_stage == 0


def test_a_stage_without_an_exit_is_no_end():
    assert right_size(pair(links={}), 350, (0.6, None, 0.9)).last_stage == 0


def test_a_deadline_that_nothing_holds_says_what_can_be_had():
    with pytest.raises(ConfigError) as caught:
        sized(50, links={(0, 1): LINK, (1, 0): LINK})
    assert "found 0.05 ms, expected at least 0.1 ms" in str(caught.value)
