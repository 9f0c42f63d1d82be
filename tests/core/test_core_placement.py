"""What a placement costs, by hand; and what is refused, with its reason."""

import math

import pytest
from placements import FAST, LINK, SLOW, STAGES, all_placements, chain, pair

from edgesdk.core.placement import (
    ENERGY,
    LATENCY,
    THROUGHPUT,
    Link,
    check_memory,
    check_problem,
    evaluate,
    link_name,
    memory_of,
    stages_of,
    ways_back,
)
from edgesdk.errors import ConfigError

HERE, THERE = 0, 1
ALL_HERE = 100 + 0.5 * 200 + 0.25 * 400


def refusal(call, *arguments):
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    return str(caught.value)


def test_on_the_source_there_is_nothing_to_send():
    found = evaluate(pair(), (HERE, HERE, HERE))
    assert found.latency_us == ALL_HERE
    assert found.busy_us == {"robot": ALL_HERE} and found.busiest == "robot"
    assert found.throughput_per_s == 1e6 / ALL_HERE
    assert found.energy_mj == 1 + 0.5 * 2 + 0.25 * 4
    assert found.link_bytes == {}


def test_what_travels_takes_the_time_of_those_images_that_come_as_far():
    found = evaluate(pair(), (HERE, THERE, THERE))
    there_us = 0.5 * 20 + 0.25 * 40
    way_us = 0.5 * (100 + 4000 / 10)
    back_us = 0.5 * (100 + 50 / 10)  # all that went there leave there
    assert found.latency_us == pytest.approx(100 + there_us + way_us + back_us)
    assert found.link_bytes == {(HERE, THERE): 0.5 * 4000, (THERE, HERE): 0.5 * 50}
    assert found.busy_us == pytest.approx(
        {"robot": 100, "server": there_us, "robot -> server": 200, "server -> robot": 2.5}
    )
    assert found.busiest == "robot -> server"
    sent_mj = (0.5 * 4000 + 0.5 * 50) * 5e-6
    assert found.energy_mj == pytest.approx(1 + 0.5 * 6 + 0.25 * 12 + sent_mj)


def test_the_input_travels_too():
    found = evaluate(pair(), (THERE, THERE, THERE))
    assert found.link_bytes == {(HERE, THERE): 1000, (THERE, HERE): 50}
    assert found.latency_us == pytest.approx(ALL_HERE / 10 + (100 + 100) + (100 + 5))


def test_an_image_may_come_back_to_the_source():
    found = evaluate(pair(), (HERE, THERE, HERE))
    assert found.link_bytes == {(HERE, THERE): 2000, (THERE, HERE): 0.25 * 50 + 0.25 * 2000}


def test_what_is_as_small_as_can_be():
    found = evaluate(pair(), (HERE, THERE, THERE))
    assert found.cost(LATENCY) == found.latency_us
    assert found.cost(THROUGHPUT) == 200
    assert found.cost(ENERGY) == found.energy_mj


def test_a_medium_is_shared_by_all_of_its_links():
    air = LINK._replace(medium="air")
    found = evaluate(pair(links={(0, 1): air, (1, 0): air}), (HERE, THERE, HERE))
    assert found.busy_us["air"] == pytest.approx((2000 + 12.5 + 500) / 10)
    assert link_name(pair(links={(0, 1): air}), (0, 1)) == "air"


def test_nothing_that_takes_no_time_is_a_bottleneck():
    free = pair(sites=(SLOW._replace(stage_us=(0.0, 0.0, 0.0)), FAST))
    assert evaluate(free, (0, 0, 0)).throughput_per_s == math.inf


def test_energy_that_is_not_known_somewhere_is_not_known():
    unknown = pair(sites=(SLOW, FAST._replace(stage_mj=None)))
    assert evaluate(unknown, (HERE, HERE, HERE)).energy_mj == 3
    found = evaluate(unknown, (HERE, THERE, HERE))
    assert found.energy_mj is None
    assert "energy: found sites of which it is not known" in refusal(found.cost, ENERGY)


def test_results_take_the_fastest_way_back():
    slow, fast = Link(1000.0), Link(1.0)
    links = {(0, 2): slow, (2, 0): slow, (2, 1): fast, (1, 0): fast}
    problem = chain(1, 3, links=links)
    assert ways_back(problem) == [[], [(1, 0)], [(2, 1), (1, 0)]]
    assert evaluate(problem, (2,)).latency_us == 1000 + 100 + 2
    assert ways_back(chain(1, 2, links={(0, 1): fast})) == [[], None]


def test_results_go_along_links_that_take_no_tasks():
    problem = pair(links={(0, 1): LINK, (1, 0): LINK._replace(takes_tasks=False)})
    assert evaluate(problem, (HERE, THERE, THERE)).link_bytes[1, 0] == 25
    assert "sends it no tasks" in refusal(evaluate, problem, (HERE, THERE, HERE))


@pytest.mark.parametrize(
    "changes, placement, said",
    [
        ({}, (0, 0), "found 2 stages, expected 3"),
        (
            {"links": {(1, 0): LINK}},
            (0, 1, 1),
            "stage 1: found it on server, but the image is on robot then, which sends it no tasks",
        ),
        (
            {"links": {(0, 1): LINK}},
            (0, 0, 1),
            "stage 2: found it on server, from where no link leads back to robot",
        ),
        (
            {"sites": (SLOW, FAST._replace(stage_us=(1.0, None, 1.0)))},
            (1, 1, 1),
            "stage 1: found it on server, which cannot hold it",
        ),
    ],
)
def test_a_placement_that_cannot_be(changes, placement, said):
    assert said in refusal(evaluate, pair(**changes), placement)


def test_results_may_go_back_another_way():
    there_and_on = chain(2, 3, links={(0, 1): LINK, (1, 2): LINK, (2, 0): LINK})
    assert evaluate(there_and_on, (1, 2)).link_bytes == {(0, 1): 1000, (1, 2): 1000, (2, 0): 50}


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"stages": ()}, "found 0 stages"),
        ({"source": 2}, "source 2 of 2 sites"),
        ({"stages": (STAGES[1], STAGES[0], STAGES[2])}, "stage 1: found"),
        ({"stages": (STAGES[0]._replace(reach=1.5),)}, "a share of images of at most 1"),
        ({"stages": (STAGES[0]._replace(input_bytes=-1.0),)}, "sizes from 0"),
        ({"stages": (STAGES[0]._replace(memory_bytes=math.nan),)}, "sizes from 0"),
        ({"stages": STAGES[:2]}, "robot: found times of 3 stages, expected 2"),
        ({"links": {(0, 1): LINK._replace(medium="robot")}}, "medium robot: found a worker"),
    ],
)
def test_values_that_mean_nothing(changes, said):
    assert said in refusal(check_problem, pair(**changes))


def test_a_problem_that_is_sound_comes_back():
    assert check_problem(pair()) == pair()


def test_who_holds_what():
    assert stages_of((0, 2, 0, 2, 2), 4) == ((0, 2), (), (1, 3, 4), ())


def test_memory_is_that_of_all_stages_on_a_site():
    assert memory_of(pair(), (0, 1, 0)) == (40, 20)
    small = pair(sites=(SLOW._replace(memory_bytes=39), FAST))
    check_memory(small, (1, 1, 0))
    said = refusal(check_memory, small, (0, 1, 0))
    assert said == "robot: found stages of 40 bytes, expected at most 39, its memory"


def test_every_stage_is_computed_once_wherever_it_is():
    assert len(list(all_placements(pair()))) == 2**3
    for placement, found in all_placements(pair()):
        sites = (SLOW, FAST)
        work = sum(
            s.reach * sites[w].stage_us[i] for i, (s, w) in enumerate(zip(STAGES, placement))
        )
        assert sum(found.busy_us.get(site.name, 0) for site in sites) == pytest.approx(work)
