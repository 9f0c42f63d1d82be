"""The tables [offloading], [admission] and [replanning] of scenarios and cluster files: the papers'
constants, and ours."""

from typing import Any, Dict, Mapping, Optional

from .core.admission import KINDS, Admission, check_admission
from .core.offload import Offloading, check_offloading
from .core.placement import LATENCY, THROUGHPUT
from .core.replanning import Replanning, check_replanning
from .document import us_of
from .schema import Field

# Keys of [admission] with a time, and the field of `Admission` that each sets.
_ADMISSION_MS = {
    "period_ms": "period_us",
    "interarrival_ms": "interarrival_us",
    "interarrival_ms_min": "interarrival_us_min",
    "interarrival_ms_max": "interarrival_us_max",
}


def read_offloading(field: Optional[Field]) -> Offloading:
    """MDI-Exit Algorithms 1 and 2 as the table says; their defaults where there is none.

    Raises ConfigError that begins with the path of the key.
    """
    if field is None:
        return Offloading()
    values: Dict[str, Any] = {}
    for key, entry in field.only(Offloading._fields).entries():
        values[key] = entry.whole() if key == "output_queue_max" else entry.flag()
    return check_offloading(Offloading(**values))


def read_admission(field: Optional[Field]) -> Admission:
    """MDI-Exit Algorithm 3 or 4 as the table says; neither where there is none.

    Raises ConfigError that begins with the path of the key.
    """
    if field is None:
        return Admission()
    plain = [name for name in Admission._fields if name not in _ADMISSION_MS.values()]
    values: Dict[str, Any] = {}
    for key, entry in field.only(plain + list(_ADMISSION_MS)).entries():
        if key in _ADMISSION_MS:
            values[_ADMISSION_MS[key]] = us_of(entry, 0, above=0)
        elif key == "kind":
            values[key] = entry.choice(KINDS)
        else:
            values[key] = entry.whole() if key.endswith("_count") else entry.number()
    return check_admission(Admission(**values))


def read_replanning(field: Optional[Field], ids: Mapping[str, int]) -> Optional[Replanning]:
    """When stages move to other workers, as the table says; None, never, where there is none.
    `ids`: of the workers, by name.

    Raises ConfigError that begins with the path of the key.
    """
    if field is None:
        return None
    field.only(("coordinator", "period_s", "gain", "rounds", "objective"))
    found = Replanning(ids[field.get("coordinator").choice(list(ids))])
    period, gain = field.optional("period_s"), field.optional("gain")
    rounds, objective = field.optional("rounds"), field.optional("objective")
    if period is not None:
        found = found._replace(period_us=us_of(period, 0, above=0))
    if gain is not None:
        found = found._replace(gain=gain.number(above=0))
    if rounds is not None:
        found = found._replace(rounds=rounds.whole(1))
    if objective is not None:
        found = found._replace(objective=objective.choice((THROUGHPUT, LATENCY)))
    return check_replanning(found)
