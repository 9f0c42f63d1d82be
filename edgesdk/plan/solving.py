"""Which way a placement is sought: what is exact and soon done first."""

from typing import NamedTuple, Optional

from ..core.placement import Problem
from ..core.placement_search import Found, search
from ..errors import BackendUnavailable, ConfigError
from . import milp


class Answer(NamedTuple):
    """The best placement that was found. `gap`: by what share of its cost another one may be
    better; 0 if none is. `remark`: what a person should know of it, or ""."""

    found: Found
    gap: float
    remark: str


def best(problem: Problem, objective: str, seconds: float) -> Answer:
    """Search; where that does not come to its end, ask the solver for `seconds`.

    Raises ConfigError that says why there is no placement.
    """
    found = search(problem, objective)
    if found is not None and found.is_best:
        return Answer(found, 0.0, "")
    try:
        return _proven(problem, objective, seconds, found)
    except BackendUnavailable as error:
        if found is None:
            raise
        return Answer(found, 1.0, "the best of those that were tried; {}".format(error))


def _proven(problem: Problem, objective: str, seconds: float, found: Optional[Found]) -> Answer:
    known = milp.INFINITE if found is None else found.expected.cost(objective)
    proven = milp.solve(problem, objective, seconds, known)
    better = found if proven.found is None else proven.found
    if better is None:
        raise ConfigError(
            "memory: found no placement within {:g} s, expected workers with more of it, or a "
            "longer --seconds".format(seconds)
        )
    cost = better.expected.cost(objective)
    gap = max(0.0, 1 - proven.least / cost) if cost and not better.is_best else 0.0
    if not gap:
        return Answer(better._replace(is_best=True), 0.0, "")
    remark = "none is better by more than {:.1f} %; a longer --seconds may find one".format(
        100 * gap
    )
    return Answer(better, gap, remark)
