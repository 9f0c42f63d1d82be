"""What a placement would be like, for people and for programs."""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .. import cli
from ..core.placement import Expected, Pair, Placement, Problem, link_name, stages_of
from ..core.placement_cases import Case, full_offload, local, two_device_split

WORKER_HEADER = ("worker", "stages", "us per image", "load", "memory")
LINK_HEADER = ("link", "bytes per image", "us per image", "load")
CASE_HEADER = ("", "latency ms", "images/s", "mJ per image", "busiest")
THIS = "this placement"


class Preview(NamedTuple):
    """A placement beside those of others. `rate_hz`: of images, for which loads are; they exceed 1
    where that is too many."""

    problem: Problem
    placement: Placement
    expected: Expected
    others: Tuple[Case, ...]
    rate_hz: float


def preview(
    problem: Problem,
    placement: Placement,
    expected: Expected,
    objective: str,
    image_bytes: float,
    rate_hz: Optional[float] = None,
) -> Preview:
    """`rate_hz`: by default as many images as there can be."""
    alone, split = local(problem), two_device_split(problem, objective)
    cases = [alone, full_offload(problem, image_bytes, objective)]
    if split != alone:  # it is, where no cut is better
        cases.append(split)
    most_hz = 0.0 if math.isinf(expected.throughput_per_s) else expected.throughput_per_s
    return Preview(
        problem,
        placement,
        expected,
        tuple(case for case in cases if case is not None),
        most_hz if rate_hz is None else rate_hz,
    )


def lines(found: Preview) -> List[str]:
    """Three tables: workers, links if there is traffic, and the placements of others."""
    link_rows = [_link_row(found, pair) for pair in sorted(found.expected.link_bytes)]
    tables = [cli.table(WORKER_HEADER, worker_rows(found))]
    if link_rows:
        tables.append(cli.table(LINK_HEADER, link_rows))
    cases = [Case(THIS, found.placement, found.expected)] + list(found.others)
    tables.append(cli.table(CASE_HEADER, [_case_row(case) for case in cases]))
    at = "load: at {:.1f} images/s".format(found.rate_hz)
    return tables[0] + [at] + [line for table in tables[1:] for line in [""] + table]


def worker_rows(found: Preview) -> List[Tuple[str, ...]]:
    """One for each worker of the cluster, in its order."""
    expected, sites = found.expected, found.problem.sites
    rows: List[Tuple[str, ...]] = []
    for site, stages, memory in zip(
        sites, stages_of(found.placement, len(sites)), expected.memory_bytes
    ):
        busy_us = expected.busy_us.get(site.name, 0.0)
        rows.append(
            (
                site.name,
                ranges(stages),
                "{:.1f}".format(busy_us),
                _percent(found, busy_us),
                _bytes(memory) if stages else "-",
            )
        )
    return rows


def _link_row(found: Preview, pair: Pair) -> Tuple[str, ...]:
    problem, size = found.problem, found.expected.link_bytes[pair]
    sites, link = problem.sites, problem.links[pair]
    name = "{} -> {}".format(sites[pair[0]].name, sites[pair[1]].name)
    resource_us = found.expected.busy_us.get(link_name(problem, pair), 0.0)
    load = _percent(found, resource_us)
    if link.medium is not None:
        load += " of " + link.medium
    return (name, "{:.0f}".format(size), "{:.1f}".format(link.busy_us(size)), load)


def _case_row(case: Case) -> Tuple[str, ...]:
    expected = case.expected
    return (
        case.name,
        "{:.2f}".format(expected.latency_us / 1e3),
        "{:.1f}".format(expected.throughput_per_s),
        "-" if expected.energy_mj is None else "{:.2f}".format(expected.energy_mj),
        expected.busiest,
    )


def ranges(numbers: Sequence[int]) -> str:
    """ "0-2, 5" for (0, 1, 2, 5), "none" for nothing."""
    words: List[List[int]] = []
    for number in numbers:
        if words and words[-1][-1] == number - 1:
            words[-1] = [words[-1][0], number]
        else:
            words.append([number])
    return ", ".join("-".join(map(str, word)) for word in words) or "none"


def document(found: Preview) -> Dict[str, Any]:
    """All of it, for programs: times in us, sizes in bytes, energy in mJ."""
    problem, expected = found.problem, found.expected
    held = stages_of(found.placement, len(problem.sites))
    return {
        "stages": {site.name: list(stages) for site, stages in zip(problem.sites, held)},
        "expected": _figures(expected),
        "workers": [
            {
                "worker": site.name,
                "stages": list(stages),
                "busy_us": expected.busy_us.get(site.name, 0.0),
                "load": expected.busy_us.get(site.name, 0.0) * found.rate_hz / 1e6,
                "memory_bytes": memory,
            }
            for site, stages, memory in zip(problem.sites, held, expected.memory_bytes)
        ],
        "links": [
            {
                "from": problem.sites[first].name,
                "to": problem.sites[second].name,
                "medium": problem.links[first, second].medium,
                "bytes_per_image": size,
                "busy_us": problem.links[first, second].busy_us(size),
            }
            for (first, second), size in sorted(expected.link_bytes.items())
        ],
        "others": [dict(_figures(case.expected), name=case.name) for case in found.others],
        "rate_hz": found.rate_hz,
    }


def _figures(expected: Expected) -> Dict[str, Any]:
    return {
        "latency_us": expected.latency_us,
        "throughput_per_s": expected.throughput_per_s,
        "energy_mj": expected.energy_mj,
        "busiest": expected.busiest,
    }


def _percent(found: Preview, busy_us: float) -> str:
    return "{:.0f} %".format(busy_us * found.rate_hz / 1e4)


def _bytes(size: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return "{:.1f} {}".format(size / scale, unit)
    return "{:.0f} B".format(size)
