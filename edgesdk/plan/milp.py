"""The best placement as a mixed-integer linear program, for the HiGHS solver within scipy.

Needed where `core.placement_search.search` does not come to its end: throughput, and memory that is
short, with many stages and workers. With x[k,b] = 1 where stage k is on b, and y[k,a,b] = 1 where
the image is on a and goes on to stage k on b:

    sum over b of y[k,a,b] = x[k-1,a]    (of stage 0: 1 for the source, 0 for others)
    sum over a of y[k,a,b] = x[k,b]
    sum over k of memory[k] x[k,b] <= memory of b
    for each worker, link and medium:  sum of what each y[k,a,b] keeps it busy <= t

and the least t is sought (throughput), or the least sum of what each y[k,a,b] costs. Only x is
whole; y follows. Of placements with the same throughput a second run finds the soonest.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..core.placement import ENERGY, LATENCY, THROUGHPUT, Costs, Problem, Use, evaluate
from ..core.placement_search import Found
from ..errors import BackendUnavailable, ConfigError

INSTALL = 'pip install "edgesdk[plan]"'
SAME = 1 + 1e-6  # times the best t: as good
INFINITE = float("inf")
GAP = 1e-6  # between the best that was found and what cannot be beaten, at which it ends
OPTIMAL, INFEASIBLE = 0, 2  # what scipy's `status` says

Step = Tuple[int, int, int]  # stage, where the image is, where the stage is
Row = Tuple[Dict[int, float], float, float]  # coefficients by variable, least and most of their sum


class Proven(NamedTuple):
    """What was found, None for nothing, and `least`: no placement costs less."""

    found: Optional[Found]
    least: float


def solve(problem: Problem, objective: str, seconds: float, cost_max: float = INFINITE) -> Proven:
    """The best placement, or the best that is found within `seconds` (of a throughput, as long
    again for the soonest). `cost_max`: what is known to be possible.

    Raises ConfigError if there is none, BackendUnavailable without a scipy that can.
    """
    program = _Program(problem)
    first = program.solve(objective, seconds, {objective: cost_max * SAME})
    if first.found is None or objective != THROUGHPUT or not first.found.is_best:
        return first
    most_us = first.found.expected.cost(THROUGHPUT) * SAME
    second = program.solve(LATENCY, seconds, {THROUGHPUT: most_us})
    return first if second.found is None else Proven(second.found, first.least)


class _Program:
    """The variables are x, then y of the steps that can be, then t."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._stage_count, self._site_count = len(problem.stages), len(problem.sites)
        costs, sites = Costs(problem), range(self._site_count)
        found: List[Tuple[Step, Optional[Use]]] = [
            ((stage, here, there), costs.step(stage, here, there))
            for stage in range(self._stage_count)
            for here in (sites if stage else [problem.source])
            for there in sites
        ]
        self._steps = [(step, use) for step, use in found if use is not None]
        self._x_count = self._stage_count * self._site_count
        self._t = self._x_count + len(self._steps)

    def solve(self, objective: str, seconds: float, most: Mapping[str, float]) -> Proven:
        """See `solve`. `most`: what a placement may cost, by objective."""
        optimize, sparse = _scipy()
        rows = self._ways() + self._memory() + self._busy()
        for name, cost in most.items():
            if cost < INFINITE:
                costs = enumerate(self._costs(name))
                rows.append(({i: each for i, each in costs if each}, 0.0, cost))
        result = optimize.milp(
            c=self._costs(objective),
            integrality=[1] * self._x_count + [0] * (self._t + 1 - self._x_count),
            bounds=optimize.Bounds(0, [1.0] * self._t + [INFINITE]),
            constraints=_constraints(rows, self._t + 1, optimize, sparse),
            options={"time_limit": seconds, "mip_rel_gap": GAP},
        )
        if result.status == INFEASIBLE:
            raise ConfigError(
                "memory: found no placement that fits, expected workers with more of it"
            )
        least = float(result.mip_dual_bound or 0.0)
        if result.x is None:
            return Proven(None, least)
        placement = self._placement(result.x)
        expected = evaluate(self._problem, placement)
        is_best = result.status == OPTIMAL
        least = expected.cost(objective) if is_best else least
        return Proven(Found(placement, expected, is_best, len(self._steps)), least)

    def _x(self, stage: int, site: int) -> int:
        return stage * self._site_count + site

    def _placement(self, values: Sequence[float]) -> Tuple[int, ...]:
        sites = range(self._site_count)
        return tuple(
            max(sites, key=lambda site: values[self._x(stage, site)])
            for stage in range(self._stage_count)
        )

    def _costs(self, objective: str) -> List[float]:
        costs = [0.0] * (self._t + 1)
        if objective == THROUGHPUT:
            costs[self._t] = 1.0
            return costs
        for index, (_, use) in enumerate(self._steps, self._x_count):
            if objective == ENERGY and use.energy_mj is None:
                raise ConfigError("energy: found sites of which it is not known, expected all")
            costs[index] = use.latency_us if objective == LATENCY else use.energy_mj or 0.0
        return costs

    def _ways(self) -> List[Row]:
        """An image comes from where it was, and to where the next stage is."""
        come: Dict[Tuple[int, int], Dict[int, float]] = {}
        go: Dict[Tuple[int, int], Dict[int, float]] = {}
        for index, ((stage, here, there), _) in enumerate(self._steps, self._x_count):
            go.setdefault((stage, here), {})[index] = 1.0
            come.setdefault((stage, there), {})[index] = 1.0
        rows: List[Row] = []
        for stage in range(self._stage_count):
            for site in range(self._site_count):
                arriving = dict(come.get((stage, site), {}))
                arriving[self._x(stage, site)] = -1.0
                rows.append((arriving, 0.0, 0.0))
                leaving = dict(go.get((stage, site), {}))
                begins = float(not stage and site == self._problem.source)
                if stage:
                    leaving[self._x(stage - 1, site)] = -1.0
                rows.append((leaving, begins, begins))
        return rows

    def _memory(self) -> List[Row]:
        rows: List[Row] = []
        for index, site in enumerate(self._problem.sites):
            if site.memory_bytes is not None:
                taken = {
                    self._x(number, index): stage.memory_bytes
                    for number, stage in enumerate(self._problem.stages)
                }
                rows.append((taken, 0.0, site.memory_bytes))
        return rows

    def _busy(self) -> List[Row]:
        busy: Dict[str, Dict[int, float]] = {}
        for index, (_, use) in enumerate(self._steps, self._x_count):
            for name, us in use.busy_us.items():
                busy.setdefault(name, {self._t: -1.0})[index] = us
        return [(coefficients, -INFINITE, 0.0) for coefficients in busy.values()]


def _constraints(rows: Sequence[Row], count: int, optimize: Any, sparse: Any) -> Any:
    places = [
        (row, column, value)
        for row, (coefficients, _, _) in enumerate(rows)
        for column, value in coefficients.items()
    ]
    down, across, values = zip(*places)
    matrix = sparse.csr_matrix((values, (down, across)), shape=(len(rows), count))
    return optimize.LinearConstraint(matrix, [row[1] for row in rows], [row[2] for row in rows])


def _scipy() -> Tuple[Any, Any]:
    """scipy.optimize with `milp`, and scipy.sparse."""
    try:
        import scipy
        from scipy import optimize, sparse
    except ImportError as error:
        raise BackendUnavailable(
            "a plan of this size needs scipy ({}); install it with: {}".format(error, INSTALL)
        ) from None
    if not hasattr(optimize, "milp"):
        raise BackendUnavailable(
            "a plan of this size needs scipy 1.9 or newer, found {}; plan on a machine with a "
            "newer Python: {}".format(scipy.__version__, INSTALL)
        )
    return optimize, sparse
