"""The [[fault]] entries of a scenario: what happens, where, when, for how long."""

from typing import Dict, Optional, Tuple

from ..schema import Field
from .spec import Fault, Link, Scenario

NODE_KINDS = ("crash", "leave", "pause", "slow", "fail")
BOTH_WAYS_KINDS = ("reset", "rate")
LINK_KINDS = ("cut", "loss") + BOTH_WAYS_KINDS
KINDS = NODE_KINDS + LINK_KINDS
ENDS_ANYHOW = ("crash", "leave", "reset")  # what is gone for good disturbs nobody any more
KEYS = ("kind", "where", "at_s", "duration_s", "factor")
# Kinds that need a factor, and the least and the greatest.
FACTORS: Dict[str, Tuple[float, Optional[float]]] = {
    "slow": (1.0, None),
    "fail": (0.0, 1.0),
    "loss": (0.0, 1.0),
    "rate": (1.0, None),
}


def link_name(link: Link) -> str:
    """ "a-b": how faults and reports name a link."""
    return "{}-{}".format(link.first, link.second)


def read_faults(root: Field, scenario: Scenario) -> Tuple[Fault, ...]:
    """The faults of the document `root`, as they fit `scenario`. Raises ConfigError."""
    field = root.optional("fault")
    return tuple(_fault(item, scenario) for item in ([] if field is None else field.items()))


def _fault(field: Field, scenario: Scenario) -> Fault:
    kind = field.only(KEYS).get("kind").choice(KINDS)
    at_us = round(field.get("at_s").number(minimum=0) * 1e6)
    duration = field.optional("duration_s")
    duration_us = None if duration is None else round(duration.number(above=0) * 1e6)
    if kind == "loss" and scenario.mode != "chaos":
        raise field.get("kind").fail('mode = "chaos" for messages that are lost')
    if at_us >= scenario.duration_us:
        raise field.get("at_s").fail("a time before the scenario ends (duration_s)")
    if scenario.heal_us is not None and kind not in ENDS_ANYHOW:
        if duration_us is None:
            raise field.fail("duration_s, for the scenario heals at heal_s")
        if at_us + duration_us > scenario.heal_us:
            raise field.fail("an end before heal_s, {:g} s".format(scenario.heal_us / 1e6))
    return Fault(kind, _where(field, kind, scenario), at_us, duration_us, _factor(field, kind))


def _where(field: Field, kind: str, scenario: Scenario) -> str:
    where = field.get("where")
    if kind in NODE_KINDS:
        return where.choice([node.name for node in scenario.nodes])
    names = []
    for link in scenario.links:
        ends = (link.first, link.second)
        names += ["{}-{}".format(*ends), "{}-{}".format(*ends[::-1])]
        if kind not in BOTH_WAYS_KINDS:
            names += ["{}->{}".format(*ends), "{}->{}".format(*ends[::-1])]
    return where.choice(names)


def _factor(field: Field, kind: str) -> float:
    factor = field.optional("factor")
    if kind not in FACTORS:
        if factor is not None:
            raise factor.fail("no factor for {}".format(kind))
        return 1.0
    least, greatest = FACTORS[kind]
    return field.get("factor").number(least, greatest)
