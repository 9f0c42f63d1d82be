"""Placements that have a name: what others do, to compare with, and answers within a deadline.

`local`: the source computes everything. `full_offload`: one neighbour does, of images as they come.
`two_device_split`: Neurosurgeon, the source computes up to a cut and one neighbour the rest.
`right_size`: Edgent and Boomerang, as much of the network as a deadline allows, and where.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

from ..errors import ConfigError
from .placement import LATENCY, Expected, Placement, Problem, evaluate
from .placement_search import fits, search


class Case(NamedTuple):
    """A named placement, and what it costs. `name` says also which cut and neighbour it is."""

    name: str
    placement: Placement
    expected: Expected


class RightSize(NamedTuple):
    """The network up to `last_stage`, whose exit is right as often as `accuracy` says (0..1):
    every image is answered `worst_us` after it began, if it meets no other."""

    last_stage: int
    accuracy: float
    worst_us: float
    placement: Placement


def local(problem: Problem) -> Optional[Case]:
    """Everything on the source; None if it cannot hold everything."""
    return _case(problem, "local only", [problem.source] * len(problem.stages))


def full_offload(problem: Problem, image_bytes: float, objective: str = LATENCY) -> Optional[Case]:
    """Everything on the neighbour where that is best, to which compressed images of `image_bytes`
    go; None if no neighbour can hold everything."""
    first = problem.stages[0]._replace(input_bytes=image_bytes)
    compressed = problem._replace(stages=(first,) + tuple(problem.stages[1:]))
    cases = [
        _case(
            compressed,
            "full offload to {}".format(problem.sites[site].name),
            [site] * len(problem.stages),
        )
        for site in _others(problem)
    ]
    return _best(cases, objective)


def two_device_split(problem: Problem, objective: str = LATENCY) -> Optional[Case]:
    """The best cut between the source and one neighbour, everything on one of them included; None
    if there is none."""
    cases = [local(problem)]
    for site in _others(problem):
        for cut in range(len(problem.stages)):
            name = "split before stage {}, {}".format(cut, problem.sites[site].name)
            rest = len(problem.stages) - cut
            cases.append(_case(problem, name, [problem.source] * cut + [site] * rest))
    return _best(cases, objective)


def right_size(
    problem: Problem, deadline_us: float, accuracies: Sequence[Optional[float]]
) -> RightSize:
    """Of the exits that can answer every image within `deadline_us` the most accurate, then the
    soonest, and the placement for it. `accuracies`: of the exit behind each stage, None where there
    is none. Early exits only make images sooner. The stages that are left over are held where they
    fit.

    Raises ConfigError that says what can be had, if nothing is that fast.
    """
    found: List[RightSize] = []
    for last, accuracy in enumerate(accuracies):
        sized = None if accuracy is None else search(through(problem, last), LATENCY)
        if accuracy is not None and sized is not None:
            found.append(RightSize(last, accuracy, sized.expected.latency_us, sized.placement))
    in_time = [each for each in found if each.worst_us <= deadline_us]
    if not in_time:
        least_us = min((each.worst_us for each in found), default=float("inf"))
        raise ConfigError(
            "deadline: found {:.4g} ms, expected at least {:.4g} ms, what the soonest exit needs "
            "for its answer".format(deadline_us / 1e3, least_us / 1e3)
        )
    return max(in_time, key=lambda each: (each.accuracy, -each.worst_us))


def until(problem: Problem, last: int) -> Problem:
    """`problem` with images that all leave behind stage `last` if they come as far."""
    stages = tuple(
        stage if index <= last else stage._replace(reach=0.0)
        for index, stage in enumerate(problem.stages)
    )
    return problem._replace(stages=stages)


def through(problem: Problem, last: int) -> Problem:
    """`problem` with images that all leave behind stage `last`, and none before."""
    stages = tuple(
        stage._replace(reach=float(index <= last)) for index, stage in enumerate(problem.stages)
    )
    return problem._replace(stages=stages)


def _others(problem: Problem) -> List[int]:
    return [site for site in range(len(problem.sites)) if site != problem.source]


def _case(problem: Problem, name: str, placement: Sequence[int]) -> Optional[Case]:
    """The case, if it can be."""
    sites: Tuple[int, ...] = tuple(placement)
    if not fits(problem, sites):
        return None
    try:
        return Case(name, sites, evaluate(problem, sites))
    except ConfigError:
        return None


def _best(cases: Sequence[Optional[Case]], objective: str) -> Optional[Case]:
    """Of those that can be."""
    able = [case for case in cases if case is not None]
    return min(able, key=lambda case: case.expected.cost(objective), default=None)
