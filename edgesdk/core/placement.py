"""Which worker computes which stage, and what that costs: plain arithmetic on plain values.

An image begins at the source. Each stage is computed by one worker; where two stages that follow
each other are on different ones, features travel. Behind a stage some images leave, and their
results go back to the source. Times are in microseconds, energy is in millijoules, both of the
mean image: a stage that every second image reaches counts half.
"""

import math
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..errors import ConfigError

LATENCY, THROUGHPUT, ENERGY = OBJECTIVES = ("latency", "throughput", "energy")

Pair = Tuple[int, int]  # from one site to another
Placement = Tuple[int, ...]  # the site of each stage


class Stage(NamedTuple):
    """`reach`: the share of images that come as far. `input_bytes` travel to it if it is not where
    the image is. `memory_bytes`: what holding it takes."""

    reach: float
    input_bytes: float
    memory_bytes: float = 0.0


class Site(NamedTuple):
    """A worker. `stage_us`: how long each stage takes there, None for one that it cannot hold.
    `stage_mj`: energy of each stage, None if it is not known. `memory_bytes`: what all its stages
    may take together, None for no limit."""

    name: str
    stage_us: Tuple[Optional[float], ...]
    stage_mj: Optional[Tuple[float, ...]] = None
    memory_bytes: Optional[float] = None

    @property
    def is_usable(self) -> bool:
        """Whether it can hold any stage."""
        return any(us is not None for us in self.stage_us)


class Link(NamedTuple):
    """One way from a site to another. `bytes_per_s`: None for no limit; it has them for itself, or
    shares them with all links of the same `medium`. `nj_per_byte`: what both ends spend.
    `takes_tasks`: whether stages may follow each other along it; results may go along any."""

    delay_us: float = 0.0
    bytes_per_s: Optional[float] = None
    medium: Optional[str] = None
    nj_per_byte: float = 0.0
    takes_tasks: bool = True

    def busy_us(self, size_bytes: float) -> float:
        """How long `size_bytes` keep it, or its medium, busy."""
        return size_bytes * 1e6 / self.bytes_per_s if self.bytes_per_s else 0.0

    def way_us(self, size_bytes: float) -> float:
        """How long `size_bytes` are under way."""
        return self.delay_us + self.busy_us(size_bytes)


class Problem(NamedTuple):
    """What is to be placed, and where it may be. Sites are named by their index. `source`: where
    images begin, and where results of `result_bytes` must arrive. A pair without a link: no way."""

    stages: Tuple[Stage, ...]
    sites: Tuple[Site, ...]
    links: Mapping[Pair, Link]
    source: int = 0
    result_bytes: float = 0.0

    def leave(self, stage: int) -> float:
        """The share of images that leave behind `stage`."""
        after = self.stages[stage + 1].reach if stage + 1 < len(self.stages) else 0.0
        return self.stages[stage].reach - after

    def may_follow(self, here: int, there: int) -> bool:
        """Whether a stage on `there` may follow one on `here`."""
        link = self.links.get((here, there))
        return here == there or (link is not None and link.takes_tasks)


class Use(NamedTuple):
    """Of the mean image: `latency_us`, `energy_mj` (None if not known), and how long it keeps each
    site, link or medium busy, by their names (see `resource_names`)."""

    latency_us: float
    energy_mj: Optional[float]
    busy_us: Dict[str, float]
    link_bytes: Dict[Pair, float]


class Expected(NamedTuple):
    """What a placement costs the mean image. `latency_us`, if it meets no other; `throughput_per_s`
    until the busiest site, link or medium has no time left, `busiest`; infinite if nothing takes
    any. `busy_us` by their names, `memory_bytes` by site."""

    latency_us: float
    throughput_per_s: float
    energy_mj: Optional[float]
    busiest: str
    busy_us: Dict[str, float]
    link_bytes: Dict[Pair, float]
    memory_bytes: Tuple[float, ...]

    def cost(self, objective: str) -> float:
        """What is to be as small as can be. Raises ConfigError for energy that is not known."""
        if objective == LATENCY:
            return self.latency_us
        if objective == THROUGHPUT:
            return max(self.busy_us.values(), default=0.0)
        if self.energy_mj is None:
            raise ConfigError("energy: found sites of which it is not known, expected all")
        return self.energy_mj


def check_problem(problem: Problem) -> Problem:
    """`problem` itself. Raises ConfigError for shares, sizes or indices that mean nothing."""
    count = len(problem.sites)
    if not problem.stages or not 0 <= problem.source < count:
        raise ConfigError(
            "placement: found {} stages and source {} of {} sites, expected at least one stage and "
            "a source among the sites".format(len(problem.stages), problem.source, count)
        )
    before = 1.0
    for index, stage in enumerate(problem.stages):
        sizes_are_right = stage.input_bytes >= 0 and stage.memory_bytes >= 0
        if not 0 <= stage.reach <= before or not sizes_are_right:
            raise ConfigError(
                "stage {}: found {}; expected a share of images of at most {:g}, that of the stage "
                "before, and sizes from 0".format(index, stage, before)
            )
        before = stage.reach
    media = {link.medium for link in problem.links.values()}
    for site in problem.sites:
        if site.name in media:
            raise ConfigError(
                "medium {}: found a worker of that name, expected another".format(site.name)
            )
        if len(site.stage_us) != len(problem.stages):
            raise ConfigError(
                "{}: found times of {} stages, expected {}".format(
                    site.name, len(site.stage_us), len(problem.stages)
                )
            )
    return problem


def stages_of(placement: Sequence[int], site_count: int) -> Tuple[Tuple[int, ...], ...]:
    """The stages that each site holds: what its worker is to load."""
    return tuple(
        tuple(stage for stage, where in enumerate(placement) if where == site)
        for site in range(site_count)
    )


def link_name(problem: Problem, pair: Pair) -> str:
    """What a link keeps busy: itself, as "a -> b", or its medium."""
    medium = problem.links[pair].medium
    if medium is not None:
        return medium
    return "{} -> {}".format(problem.sites[pair[0]].name, problem.sites[pair[1]].name)


def ways_back(problem: Problem) -> List[Optional[List[Pair]]]:
    """The links that a result takes from each site to the source, the fastest ones; None where
    there is no way. A worker sends it straight if the source is its neighbour, as the fastest way
    mostly is; else it goes back the way the task came."""
    count = len(problem.sites)
    us = [math.inf] * count
    ways: List[Optional[List[Pair]]] = [None] * count
    us[problem.source], ways[problem.source] = 0.0, []
    waiting = set(range(count))
    while waiting:  # Dijkstra's, from the source against the links
        here = min(waiting, key=lambda site: (us[site], site))
        waiting.remove(here)
        onward = ways[here]
        if onward is None:
            break
        for site in waiting:
            link = problem.links.get((site, here))
            if link is not None and us[here] + link.way_us(problem.result_bytes) < us[site]:
                us[site] = us[here] + link.way_us(problem.result_bytes)
                ways[site] = [(site, here)] + onward
    return ways


class Costs:
    """What each step of an image costs, worked out once for a problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._ways = ways_back(problem)

    def step(self, stage: int, here: int, there: int) -> Optional[Use]:
        """What it costs to compute `stage` on `there`, the image being on `here`: its way there,
        the stage, and the results of those that leave behind it. None if it cannot be."""
        problem = self.problem
        site, spec = problem.sites[there], problem.stages[stage]
        stage_us, leave = site.stage_us[stage], problem.leave(stage)
        way = self._ways[there]
        if stage_us is None or not problem.may_follow(here, there) or way is None:
            return None
        latency_us = spec.reach * stage_us
        energy_mj = None if site.stage_mj is None else spec.reach * site.stage_mj[stage]
        busy_us = {site.name: latency_us}
        link_bytes: Dict[Pair, float] = {}
        trips = [] if here == there else [((here, there), spec.reach, spec.input_bytes)]
        trips += [(pair, leave, problem.result_bytes) for pair in way if leave]
        for pair, share, size in trips:
            link, name = problem.links[pair], link_name(problem, pair)
            latency_us += share * link.way_us(size)
            busy_us[name] = busy_us.get(name, 0.0) + share * link.busy_us(size)
            link_bytes[pair] = link_bytes.get(pair, 0.0) + share * size
            if energy_mj is not None:
                energy_mj += share * size * link.nj_per_byte * 1e-6
        return Use(latency_us, energy_mj, busy_us, link_bytes)


def evaluate(problem: Problem, placement: Sequence[int]) -> Expected:
    """What `placement` costs. Raises ConfigError for one that cannot be: the stage, and why."""
    costs = Costs(problem)
    if len(placement) != len(problem.stages):
        raise ConfigError(
            "placement: found {} stages, expected {}".format(len(placement), len(problem.stages))
        )
    latency_us, here = 0.0, problem.source
    energy_mj: Optional[float] = 0.0
    busy_us: Dict[str, float] = {}
    link_bytes: Dict[Pair, float] = {}
    for stage, there in enumerate(placement):
        use = costs.step(stage, here, there)
        if use is None:
            raise ConfigError(_why_not(problem, stage, here, there))
        latency_us += use.latency_us
        known = energy_mj is not None and use.energy_mj is not None
        energy_mj = (energy_mj or 0.0) + (use.energy_mj or 0.0) if known else None
        for name, us in use.busy_us.items():
            busy_us[name] = busy_us.get(name, 0.0) + us
        for pair, size in use.link_bytes.items():
            link_bytes[pair] = link_bytes.get(pair, 0.0) + size
        here = there
    busiest = max(busy_us, key=lambda name: busy_us[name])
    most_us = busy_us[busiest]
    throughput = 1e6 / most_us if most_us else math.inf
    memory = memory_of(problem, placement)
    return Expected(latency_us, throughput, energy_mj, busiest, busy_us, link_bytes, memory)


def memory_of(problem: Problem, placement: Sequence[int]) -> Tuple[float, ...]:
    """What the stages of each site take together."""
    taken = [0.0] * len(problem.sites)
    for stage, site in zip(problem.stages, placement):
        taken[site] += stage.memory_bytes
    return tuple(taken)


def check_memory(problem: Problem, placement: Sequence[int]) -> None:
    """Raise ConfigError that names a site whose memory `placement` exceeds."""
    for site, taken in zip(problem.sites, memory_of(problem, placement)):
        if site.memory_bytes is not None and taken > site.memory_bytes:
            raise ConfigError(
                "{}: found stages of {:.0f} bytes, expected at most {:.0f}, its memory".format(
                    site.name, taken, site.memory_bytes
                )
            )


def _why_not(problem: Problem, stage: int, here: int, there: int) -> str:
    site = problem.sites[there]
    if site.stage_us[stage] is None:
        return "stage {}: found it on {}, which cannot hold it; expected another worker".format(
            stage, site.name
        )
    before = problem.sites[here].name
    if not problem.may_follow(here, there):
        return (
            "stage {}: found it on {}, but the image is on {} then, which sends it no tasks; "
            "expected a neighbour of {}".format(stage, site.name, before, before)
        )
    return "stage {}: found it on {}, from where no link leads back to {}".format(
        stage, site.name, problem.sites[problem.source].name
    )
