"""One world of `sim.chaos` under all checks; and a failing one made small."""

from typing import Callable, Iterator, NamedTuple, Optional, Tuple

from .chaos import draw
from .checkers import Checks
from .simulator import Simulator
from .spec import Scenario

REST_US = 15_000_000  # after the last outcome, for acknowledgements and goodbyes
EVENTS_SHOWN = 40


class Cuts(NamedTuple):
    """What of a drawn world is left out, to see whether it still fails."""

    without_faults: Tuple[int, ...] = ()  # by position
    item_count_max: Optional[int] = None
    smooth: bool = False  # no loss, duplication or reordering of single messages
    steady: bool = False  # no drift of clocks, nobody leaves


class Finding(NamedTuple):
    """One run. `failure` is empty if every check held."""

    seed: int
    failure: str
    event_count: int
    outcome_count: int
    trace_hash: str
    recent_events: Tuple[str, ...]


def cut(scenario: Scenario, cuts: Cuts) -> Scenario:
    """`scenario` without what `cuts` leaves out."""
    most = cuts.item_count_max
    links = scenario.links
    nodes = scenario.nodes
    if cuts.smooth:
        links = tuple(x._replace(loss=0.0, duplication=0.0, reordering=0.0) for x in links)
    if cuts.steady:
        nodes = tuple(n._replace(drift_ppm=0.0, leave_us=None) for n in nodes)
    return scenario._replace(
        faults=tuple(f for i, f in enumerate(scenario.faults) if i not in cuts.without_faults),
        workloads=tuple(
            w if most is None else w._replace(item_count=min(w.item_count or most, most))
            for w in scenario.workloads
        ),
        links=links,
        nodes=nodes,
    )


def run(seed: int, cuts: Cuts = Cuts(), trace: bool = False) -> Finding:  # noqa: B008
    """The world of `seed` under all checks. With `trace`, the finding has a hash and the events
    before a failure."""
    scenario = cut(draw(seed), cuts)
    checks = Checks(scenario)
    simulator = Simulator(scenario, seed, observer=checks, trace=trace)
    checks.watch(simulator)
    failure, event_count, trace_hash = "", 0, ""
    try:
        totals = simulator.run(linger_us=REST_US)
        event_count, trace_hash = totals.event_count, totals.trace_hash
        checks.check_end()
    except Exception as error:  # whatever the core raises is a finding
        failure = "{}: {}".format(type(error).__name__, error)
    recent = tuple(simulator.recent_events()[-EVENTS_SHOWN:]) if trace and failure else ()
    return Finding(seed, failure, event_count, checks.outcome_count, trace_hash, recent)


def shrink(seed: int, fails: Callable[[Cuts], bool]) -> Cuts:
    """The cuts with which the world of `seed` is smallest and still fails, tried one by one."""
    cuts = Cuts()
    while True:
        for smaller in _smaller(seed, cuts):
            if fails(smaller):
                cuts = smaller
                break
        else:
            return cuts


def _smaller(seed: int, cuts: Cuts) -> Iterator[Cuts]:
    """What may be left out besides."""
    scenario = draw(seed)
    for index in range(len(scenario.faults)):
        if index not in cuts.without_faults:
            yield cuts._replace(without_faults=tuple(sorted(cuts.without_faults + (index,))))
    if not cuts.smooth:
        yield cuts._replace(smooth=True)
    if not cuts.steady:
        yield cuts._replace(steady=True)
    most = cuts.item_count_max or max(w.item_count or 1 for w in scenario.workloads)
    for fewer in (most // 2, most - 1):
        if 0 < fewer < most:
            yield cuts._replace(item_count_max=fewer)
