"""`python -m edgesdk.bench plan`: how long it takes to plan, for problems that are drawn."""

from random import Random
from time import process_time  # not wall time: other programs on the machine cost the latter
from typing import Any, Dict, List, Optional, Tuple

from .. import cli
from ..core.placement import ENERGY, LATENCY, THROUGHPUT, Link, Problem, Site, Stage
from ..core.placement_search import Found, search

SEED = 0
ROUNDS = 5
LARGE, MIDDLE, SMALL = (50, 10), (16, 4), (7, 3)  # stages, workers
LARGE_S_MAX = 1.0


def measure() -> List[Dict[str, Any]]:
    """Figures: the median processor time of planning `ROUNDS` drawn problems of each size, and how
    many of the plans are proven to be the best."""
    figures = []
    cases: List[Tuple[Tuple[int, int], str, bool]] = [
        (LARGE, LATENCY, False),
        (LARGE, ENERGY, False),
        (SMALL, THROUGHPUT, False),
        (MIDDLE, THROUGHPUT, False),
        (LARGE, THROUGHPUT, False),
        (MIDDLE, LATENCY, True),
    ]
    for size, objective, is_tight in cases:
        rng = Random(SEED)
        done = [_timed(drawn(rng, *size, is_tight=is_tight), objective) for _ in range(ROUNDS)]
        seconds = sorted(second for second, _ in done)[ROUNDS // 2]
        name = "{} stages, {} workers, {}".format(size[0], size[1], objective)
        name += ", memory short" if is_tight else ""
        target = LARGE_S_MAX if size == LARGE and objective != THROUGHPUT else None
        ok = None if target is None else seconds <= target
        figures.append(cli.figure("plan: " + name, seconds * 1e3, "ms", target and 1e3, ok))
        proven = sum(found is not None and found.is_best for _, found in done)
        figures.append(cli.figure("proven: " + name, proven, "of {}".format(ROUNDS)))
    return figures


def drawn(rng: Random, stage_count: int, site_count: int, is_tight: bool = False) -> Problem:
    """Any network and fleet of a size: early exits, workers of three speeds, a mesh of links.
    `is_tight`: all memory together holds the stages 1.3 times."""
    reach, stages = 1.0, []
    for _ in range(stage_count):
        stages.append(Stage(reach, rng.randint(1_000, 65_000), rng.randint(1_000, 1_000_000)))
        reach *= rng.choice((1.0, 1.0, 0.95, 0.9))
    room = 1.3 * sum(stage.memory_bytes for stage in stages) / site_count
    sites = tuple(
        Site(
            "worker-{}".format(index),
            tuple(rng.randint(100, 5_000) / (1.0 + index % 3) for _ in stages),
            tuple(rng.random() for _ in stages),
            room if is_tight else None,
        )
        for index in range(site_count)
    )
    links = {
        (here, there): Link(rng.randint(200, 5_000), rng.choice((1e6, 2.5e6, 1e7)))
        for here in range(site_count)
        for there in range(site_count)
        if here != there
    }
    return Problem(tuple(stages), sites, links, 0, 100.0)


def _timed(problem: Problem, objective: str) -> Tuple[float, Optional[Found]]:
    begin = process_time()
    found = search(problem, objective)
    return process_time() - begin, found
