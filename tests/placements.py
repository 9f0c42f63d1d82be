"""Problems of placement: one computed by hand, any small one, and the best by trying all."""

import itertools

import pytest
from hypothesis import strategies as st

from edgesdk.core.placement import Link, Problem, Site, Stage, evaluate
from edgesdk.core.placement_search import fits
from edgesdk.errors import ConfigError

# Half of the images leave behind stage 0, half of the rest behind stage 1.
STAGES = (Stage(1.0, 1000, 10), Stage(0.5, 4000, 20), Stage(0.25, 2000, 30))
SLOW = Site("robot", (100.0, 200.0, 400.0), (1.0, 2.0, 4.0))
FAST = Site("server", (10.0, 20.0, 40.0), (3.0, 6.0, 12.0))
# 100 us and 10 bytes in a microsecond; each byte costs 5 nJ.
LINK = Link(100.0, 10e6, None, 5.0)


def pair(**changes):
    """A robot and a server ten times as fast, linked both ways; results have 50 bytes."""
    problem = Problem(STAGES, (SLOW, FAST), {(0, 1): LINK, (1, 0): LINK}, 0, 50)
    return problem._replace(**changes)


def chain(stage_count, site_count, **changes):
    """Equal stages and equal sites, everybody linked with everybody."""
    stages = tuple(Stage(1.0, 1000, 10) for _ in range(stage_count))
    sites = tuple(Site("w{}".format(i), (100.0,) * stage_count) for i in range(site_count))
    links = dict.fromkeys(itertools.permutations(range(site_count), 2), LINK)
    return Problem(stages, sites, links, 0, 50)._replace(**changes)


def all_placements(problem):
    """(placement, what is expected of it) of every one that is possible and fits."""
    sites = range(len(problem.sites))
    for placement in itertools.product(sites, repeat=len(problem.stages)):
        try:
            expected = evaluate(problem, placement)
        except ConfigError:
            continue
        if fits(problem, placement):
            yield placement, expected


def least(problem, objective):
    """The cost of the best placement by trying all, None if there is none."""
    costs = [expected.cost(objective) for _, expected in all_placements(problem)]
    return min(costs, default=None)


def best_found(find, problem, objective, **near):
    """What `find` finds, which must cost what the best placement does, `near` enough; None where
    there is none, which `find` must say."""
    expected = least(problem, objective)
    if expected is None:
        with pytest.raises(ConfigError):
            find(problem, objective)
        return None
    found = find(problem, objective)
    assert found.expected.cost(objective) == pytest.approx(expected, **near)
    assert found.expected == evaluate(problem, found.placement)
    return found


@st.composite
def problems(draw, stages_max=4, sites_max=3):
    """Any small problem, with links that are missing or go one way, media, memory that is short,
    and stages that a site cannot hold."""
    stage_count = draw(st.integers(1, stages_max))
    site_count = draw(st.integers(1, sites_max))
    shares = draw(st.lists(st.sampled_from([1.0, 0.75, 0.5, 0.0]), min_size=stage_count - 1))
    reach, stages = 1.0, []
    for index in range(stage_count):
        stages.append(Stage(reach, draw(st.integers(0, 500)), draw(st.integers(0, 10))))
        reach *= shares[index] if index < len(shares) else 1.0
    return Problem(
        tuple(stages),
        tuple(draw(sites("w{}".format(index), stage_count)) for index in range(site_count)),
        {
            ends: draw(LINKS)
            for ends in itertools.permutations(range(site_count), 2)
            if draw(st.sampled_from([True, True, True, False]))
        },
        draw(st.integers(0, site_count - 1)),
        draw(st.sampled_from([0, 50])),
    )


LINKS = st.builds(
    Link,
    st.integers(0, 200),
    st.sampled_from([None, 1e6, 4e6]),
    st.sampled_from([None, None, "air"]),
    st.sampled_from([0.0, 1e4]),
    st.sampled_from([True, True, False]),
)


def sites(name, stage_count):
    """Any site: fast or slow, with room for little or much."""
    one_us = st.one_of(st.integers(0, 400), st.none())
    times = st.lists(one_us, min_size=stage_count, max_size=stage_count)
    energies = st.lists(st.integers(0, 9), min_size=stage_count, max_size=stage_count)
    memory = st.one_of(st.none(), st.integers(0, 30))
    return st.builds(
        lambda us, mj, room: Site(name, tuple(us), tuple(mj), room), times, energies, memory
    )
