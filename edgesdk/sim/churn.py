"""The table [churn] of a scenario: nodes that go and come back, drawn as faults.

Each node is there for a time, away for a time, and so on; both are drawn from exponential
distributions. It goes by a crash, or gracefully, and comes back as a new process.
"""

from typing import List, Mapping, Sequence, Tuple

from ..schema import Field
from .spec import Fault, Scenario
from .world import stream

KEYS = ("nodes", "up_s", "down_s", "crash_share", "seed")
CRASH_SHARE = 0.5


def read_churn(
    field: Field, scenario: Scenario, groups: Mapping[str, Sequence[str]]
) -> Tuple[Fault, ...]:
    """The faults that [churn] asks for, in `scenario`. `groups`: the nodes of each entry.

    Nobody goes after the scenario's end, or where it heals, after that; by then all are back.
    Raises ConfigError.
    """
    table = field.only(KEYS)
    up_us = table.get("up_s").number(above=0) * 1e6
    down_us = table.get("down_s").number(above=0) * 1e6
    share, seed = table.optional("crash_share"), table.optional("seed")
    crash_share = CRASH_SHARE if share is None else share.number(0, 1)
    until_us = scenario.duration_us if scenario.heal_us is None else scenario.heal_us
    faults: List[Fault] = []
    for name in _names(table, scenario, groups):
        rng = stream(0 if seed is None else seed.whole(), "churn:" + name)
        at_us = int(rng.expovariate(1 / up_us))
        while at_us < until_us - 1:
            kind = "crash" if rng.random() < crash_share else "leave"
            away_us = min(1 + int(rng.expovariate(1 / down_us)), until_us - at_us)
            faults.append(Fault(kind, name, at_us, away_us))
            at_us += away_us + 1 + int(rng.expovariate(1 / up_us))
    return tuple(sorted(faults, key=lambda fault: (fault.at_us, fault.where)))


def _names(table: Field, scenario: Scenario, groups: Mapping[str, Sequence[str]]) -> List[str]:
    """Those that are named; without names, all but sources, whose items would go with them."""
    field = table.optional("nodes")
    if field is None:
        sources = {workload.source for workload in scenario.workloads}
        return [node.name for node in scenario.nodes if node.name not in sources]
    names = [node.name for node in scenario.nodes]
    found: List[str] = []
    for item in field.items(1):
        found += [item.value] if item.value in names else groups[item.choice(sorted(groups))]
    return sorted(set(found), key=names.index)
