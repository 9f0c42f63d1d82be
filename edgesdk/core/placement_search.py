"""The best placement of a problem: by dynamic programming, or by trying what may be best.

Latency and energy add up along the way of an image, so the best way to a stage on a site goes on
from the best way to the stage before on some site: `cheapest` is exact, in stages times sites
squared steps. Memory that several stages share, and the busiest of several, do not add up so;
`search` then tries one placement after the other, but none that begins worse than the best one yet
can end. That is exact too, if it comes to its end.
"""

import math
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from ..errors import ConfigError
from .placement import (
    ENERGY,
    LATENCY,
    THROUGHPUT,
    Costs,
    Expected,
    Placement,
    Problem,
    check_problem,
    evaluate,
    memory_of,
)

STEPS_MAX = 100_000  # of a search: a second or two in Python

# Stages by sites by sites: of the image on the second, of the stage on the third; inf: cannot be.
Table = List[List[List[float]]]


class Found(NamedTuple):
    """The best placement that was found. `is_best`: there is none better. `step_count`: how often
    the cost of a stage on a site was looked at."""

    placement: Placement
    expected: Expected
    is_best: bool
    step_count: int


def cheapest(problem: Problem, objective: str) -> Found:
    """The placement of least latency or energy, whatever the memory of sites.

    Raises ConfigError that says which stage has no place, or that energy is not known.
    """
    table = _table(problem, objective)
    ahead, step_count = _ahead(table)
    here, placement = problem.source, []
    for stage, step in enumerate(table):
        costs = [cost + rest for cost, rest in zip(step[here], ahead[stage + 1])]
        # Of equal ones the site where the image is, else the first.
        here = min(range(len(costs)), key=lambda site: (costs[site], site != here))
        if costs[here] == math.inf:
            raise ConfigError(why_nowhere(problem))
        placement.append(here)
    return Found(tuple(placement), evaluate(problem, placement), True, step_count)


def search(problem: Problem, objective: str, steps_max: int = STEPS_MAX) -> Optional[Found]:
    """The best placement within the memory of sites; of several for throughput the one of least
    latency. After `steps_max` steps it is the best so far,
    or None.

    Raises ConfigError that says which stage has no place, how much memory is missing, or that
    energy is not known.
    """
    if objective != THROUGHPUT:
        found = cheapest(problem, objective)
        if fits(problem, found.placement):
            return found
    else:
        cheapest(problem, LATENCY)  # or an error that says why nothing can be
    return _Search(problem, objective).run(steps_max)


def fits(problem: Problem, placement: Placement) -> bool:
    """Whether the stages of each site fit into its memory."""
    return all(
        site.memory_bytes is None or taken <= site.memory_bytes
        for site, taken in zip(problem.sites, memory_of(problem, placement))
    )


def why_nowhere(problem: Problem) -> str:
    """Why there is no placement: the first stage that has no place, and what it lacks."""
    costs, reached = Costs(problem), {problem.source}
    for index, stage in enumerate(problem.stages):
        able = {i for i, site in enumerate(problem.sites) if site.stage_us[index] is not None}
        if not able:
            return "stage {}: found no worker that may hold it, expected one".format(index)
        room = {i: _room(problem, i) for i in able}
        if max(room.values()) < stage.memory_bytes:
            most = max(room, key=lambda site: room[site])
            return "stage {}: needs {:.0f} bytes of memory, found at most {:.0f}, on {}".format(
                index, stage.memory_bytes, room[most], problem.sites[most].name
            )
        onward = {
            there
            for there in able
            if room[there] >= stage.memory_bytes
            if any(costs.step(index, here, there) is not None for here in reached)
        }
        if not onward:
            return (
                "stage {}: found no way from {}, where the image may be then, to {}; expected one "
                "to send tasks to the other".format(
                    index, _names(problem, reached), _names(problem, able)
                )
            )
        reached = onward
    return (
        "memory: the stages need {:.0f} bytes together, and found no way to share them out among "
        "workers with {}; expected more memory, or more workers that are neighbours".format(
            sum(stage.memory_bytes for stage in problem.stages),
            ", ".join(
                "{:.0f} ({})".format(_room(problem, i), site.name)
                for i, site in enumerate(problem.sites)
            ),
        )
    )


def _room(problem: Problem, site: int) -> float:
    memory = problem.sites[site].memory_bytes
    return math.inf if memory is None else memory


def _names(problem: Problem, sites: Set[int]) -> str:
    return ", ".join(problem.sites[site].name for site in sorted(sites))


def _table(problem: Problem, objective: str) -> Table:
    check_problem(problem)
    unknown = [site.name for site in problem.sites if site.stage_mj is None and site.is_usable]
    if objective == ENERGY and unknown:
        raise ConfigError(
            "energy: found none of {}, expected that of each stage on each worker; measure it "
            "there".format(", ".join(unknown))
        )
    costs, sites = Costs(problem), range(len(problem.sites))

    def cost(stage: int, here: int, there: int) -> float:
        use = costs.step(stage, here, there)
        if use is None:
            return math.inf
        return use.latency_us if objective != ENERGY else use.energy_mj or 0.0

    return [
        [[cost(stage, here, there) for there in sites] for here in sites]
        for stage in range(len(problem.stages))
    ]


def _ahead(table: Table) -> Tuple[List[List[float]], int]:
    """For every stage the least cost from it to the end, the image being on each site; after the
    last stage nothing. And the number of steps that it took."""
    ahead, step_count = [[0.0] * len(table[0])], 0
    for step in reversed(table):
        rest = ahead[0]
        ahead.insert(0, [min(map(sum, zip(costs, rest))) for costs in step])
        step_count += len(step) * len(rest)
    return ahead, step_count


class _Begun(NamedTuple):
    """The sites of the first stages. `least`: what every placement that begins so is worth at
    least, by the objective, and then its latency. `spent`: latency or energy, and `busy_us`."""

    placement: Placement
    least: Tuple[float, float]
    spent: float
    busy_us: Dict[str, float]
    room: Tuple[float, ...]


class _Search:
    """Depth first, and of the sites of a stage the most promising one first."""

    def __init__(self, problem: Problem, objective: str) -> None:
        self._problem = problem
        self._costs = Costs(problem)
        self._is_bottleneck = objective == THROUGHPUT
        self._table = _table(problem, objective)
        self._ahead, _ = _ahead(self._table)
        self._least_us = _least_work(problem)
        self._site_count = sum(site.is_usable for site in problem.sites)
        self._step_count = 0

    def run(self, steps_max: int) -> Optional[Found]:
        """Look everywhere, or until the steps are used up."""
        room = tuple(_room(self._problem, i) for i in range(len(self._problem.sites)))
        waiting = [_Begun((), (0.0, 0.0), 0.0, {}, room)]
        best: Optional[_Begun] = None
        while waiting and self._step_count < steps_max:
            begun = waiting.pop()
            if best is not None and begun.least >= best.least:
                continue
            if len(begun.placement) == len(self._problem.stages):
                best = begun
            else:
                onward = sorted(self._onward(begun), key=lambda each: each.least, reverse=True)
                waiting += onward
        if best is None:
            if waiting:
                return None
            raise ConfigError(why_nowhere(self._problem))
        expected = evaluate(self._problem, best.placement)
        return Found(best.placement, expected, not waiting, self._step_count)

    def _onward(self, begun: _Begun) -> Iterator[_Begun]:
        """With the next stage on each site that it can be on; the first is the last to be tried of
        equal ones, so the sites come backwards, and the one where the image is at the end."""
        stage = len(begun.placement)
        needed = self._problem.stages[stage].memory_bytes
        here = begun.placement[-1] if stage else self._problem.source
        sites = sorted(range(len(begun.room)), key=lambda site: (site == here, -site))
        for there in sites:
            self._step_count += 1
            cost = self._table[stage][here][there]
            if cost == math.inf or begun.room[there] < needed:
                continue
            room = begun.room[:there] + (begun.room[there] - needed,) + begun.room[there + 1 :]
            spent = begun.spent + cost
            least_spent = spent + self._ahead[stage + 1][there]
            if least_spent == math.inf:
                continue
            busy_us, least = begun.busy_us, (least_spent, 0.0)
            if self._is_bottleneck:
                busy_us = self._busy(begun, stage, here, there)
                least = (self._least_busy(busy_us, stage + 1), least_spent)
            yield _Begun(begun.placement + (there,), least, spent, busy_us, room)

    def _busy(self, begun: _Begun, stage: int, here: int, there: int) -> Dict[str, float]:
        use = self._costs.step(stage, here, there)
        assert use is not None
        busy_us = dict(begun.busy_us)
        for name, us in use.busy_us.items():
            busy_us[name] = busy_us.get(name, 0.0) + us
        return busy_us

    def _least_busy(self, busy_us: Dict[str, float], stage: int) -> float:
        """What the busiest of a whole placement has to do at least: what it has now; what the
        longest of the stages from `stage` on takes; an equal share of all work."""
        ahead_us = self._least_us[stage:]
        done_us = sum(busy_us.get(site.name, 0.0) for site in self._problem.sites)
        shared_us = (done_us + sum(ahead_us)) / self._site_count
        return max(max(busy_us.values()), max(ahead_us, default=0.0), shared_us)


def _least_work(problem: Problem) -> List[float]:
    """Of each stage, what it keeps the fastest site busy."""
    return [
        stage.reach
        * min(us for us in (site.stage_us[index] for site in problem.sites) if us is not None)
        for index, stage in enumerate(problem.stages)
    ]
