"""The best placement is the best of all; why there is none is said; the work is bounded."""

import pytest
from hypothesis import given, settings
from placements import FAST, LINK, SLOW, best_found, chain, pair, problems

from edgesdk.core.placement import ENERGY, LATENCY, OBJECTIVES, THROUGHPUT, Link, evaluate
from edgesdk.core.placement_search import cheapest, fits, search
from edgesdk.errors import ConfigError

BIG = 10**9  # bytes; nothing is short of it


def refusal(*arguments):
    with pytest.raises(ConfigError) as caught:
        search(*arguments)
    return str(caught.value)


def without_memory(problem):
    return problem._replace(sites=tuple(s._replace(memory_bytes=None) for s in problem.sites))


@pytest.mark.parametrize("objective", [LATENCY, ENERGY])
@settings(max_examples=150)
@given(problem=problems())
def test_dynamic_programming_finds_the_best_of_all(objective, problem):
    best_found(cheapest, without_memory(problem), objective)


@pytest.mark.parametrize("objective", OBJECTIVES)
@settings(max_examples=150)
@given(problem=problems())
def test_the_search_finds_the_best_of_all_that_fit(objective, problem):
    found = best_found(search, problem, objective)
    assert found is None or (found.is_best and fits(problem, found.placement))


def test_of_equal_ones_the_image_stays_where_it_is():
    free = {(0, 1): Link(), (1, 0): Link()}
    assert cheapest(chain(3, 2, links=free), LATENCY).placement == (0, 0, 0)
    assert cheapest(chain(3, 2, links=free, source=1), LATENCY).placement == (1, 1, 1)


def test_of_equal_ones_for_throughput_the_soonest():
    """Two stages on two sites: both orders keep them as busy, but only one has one way less."""
    found = search(chain(2, 2), THROUGHPUT)
    assert found.placement == (0, 1)


def test_what_nobody_reaches_costs_nothing_and_has_a_place():
    stages = tuple(s._replace(reach=float(i == 0)) for i, s in enumerate(pair().stages))
    found = cheapest(pair(stages=stages), LATENCY)
    assert found.placement == (0, 0, 0) and found.expected.latency_us == 100


def test_a_faster_link_makes_it_go():
    slow, fast = Link(1e5), Link(0.0)
    assert cheapest(pair(links={(0, 1): slow, (1, 0): slow}), LATENCY).placement == (0, 0, 0)
    assert cheapest(pair(links={(0, 1): fast, (1, 0): fast}), LATENCY).placement == (1, 1, 1)


def test_memory_that_is_short_moves_stages():
    small = pair(sites=(SLOW._replace(memory_bytes=30), FAST._replace(memory_bytes=30)))
    found = search(small, LATENCY)
    assert found.placement in ((0, 0, 1), (1, 1, 0)) and found.is_best


def test_fifty_stages_on_ten_workers_are_few_steps():
    found = search(chain(50, 10), LATENCY)
    assert found.is_best and found.step_count == 50 * 10 * 10


def test_a_search_that_is_too_long_gives_the_best_so_far():
    found = search(chain(30, 5), THROUGHPUT, steps_max=2000)
    assert not found.is_best
    assert 2000 <= found.step_count < 2010
    assert found.expected == evaluate(chain(30, 5), found.placement)


def test_a_search_that_finds_nothing_in_time_says_so():
    sites = tuple(site._replace(memory_bytes=25) for site in chain(9, 4).sites)
    tight = chain(9, 4, sites=sites)  # two stages each, nine are too many; but who knows
    assert search(tight, THROUGHPUT, steps_max=50) is None
    assert "memory: the stages need 90 bytes together" in refusal(tight, THROUGHPUT, BIG)


def test_bounds_spare_most_of_the_work():
    stages = tuple(s._replace(reach=1 - i / 20) for i, s in enumerate(chain(8, 3).stages))
    found = search(chain(8, 3, stages=stages), THROUGHPUT, BIG)
    assert found.is_best and found.step_count < 3**8


@pytest.mark.parametrize(
    "changes, said",
    [
        (
            {"sites": (SLOW._replace(stage_us=(1, None, 1)), FAST._replace(stage_us=(1, None, 1)))},
            "stage 1: found no worker that may hold it",
        ),
        (
            {"sites": (SLOW._replace(memory_bytes=5), FAST._replace(memory_bytes=25))},
            "stage 2: needs 30 bytes of memory, found at most 25, on server",
        ),
        (
            {"sites": (SLOW._replace(stage_us=(1, None, 1)), FAST), "links": {(1, 0): LINK}},
            "stage 1: found no way from robot, where the image may be then, to server",
        ),
        (
            {"sites": (SLOW._replace(memory_bytes=29), FAST._replace(memory_bytes=30))},
            "memory: the stages need 60 bytes together, and found no way to share them out among "
            "workers with 29 (robot), 30 (server)",
        ),
    ],
)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_why_there_is_no_placement(changes, said, objective):
    assert said in refusal(pair(**changes), objective)


def test_energy_must_be_known_of_all_that_can_be_used():
    said = refusal(pair(sites=(SLOW, FAST._replace(stage_mj=None))), ENERGY)
    assert said.startswith("energy: found none of server")
    unused = FAST._replace(stage_mj=None, stage_us=(None, None, None))
    assert search(pair(sites=(SLOW, unused)), ENERGY).placement == (0, 0, 0)


def test_bad_values_are_refused_before_anything_is_tried():
    assert "found 0 stages" in refusal(pair(stages=()), LATENCY)
