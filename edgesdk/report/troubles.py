"""Is anything wrong? What went amiss in a run, how often, when and at whom."""

from typing import Dict, List, NamedTuple, Sequence

from ..telemetry.spans import OPEN
from . import words
from .images import Images, OutcomeRow
from .recording import TICKS_MAX, Made, Recording
from .run import Clock, Run, made_of

DIFFERENT, RAISED, CUT = OF_TRACES = ("difference", "raised", "cut")
EXPLAINED = ("greetings_rejected", "greetings_declined")  # what the neighbour said helps
LEVEL_ORDER = {level: place for place, level in enumerate(reversed(words.LEVELS))}


class Trouble(NamedTuple):
    """`level`: "note", "warning" or "bad". `name`: as counters and outcomes are called. `workers`:
    how many at each of them. `times_us`: the first ones, on the run's axis, of those workers that
    have a place on it. `peers`: neighbours that had to do with it."""

    level: str
    name: str
    event_count: int
    sentence: str
    workers: Dict[str, int]
    times_us: Sequence[int] = ()
    peers: Sequence[str] = ()


def troubles_of(run: Run, images: Images, outcomes: Sequence[OutcomeRow]) -> List[Trouble]:
    """The worst first; what has one name is told once."""
    found: List[Trouble] = []
    counted: Dict[str, Trouble] = {}
    for name, recording, clock in zip(run.names, run.recordings, run.clocks):
        found += _of_trace(name, made_of(recording))
        for trouble in _of_counters(run, name, recording, clock):
            before = counted.get(trouble.name)
            counted[trouble.name] = trouble if before is None else _both(before, trouble)
    found += list(counted.values()) + _of_outcomes(images, outcomes)
    return sorted(found, key=lambda trouble: LEVEL_ORDER[trouble.level])


def _both(one: Trouble, other: Trouble) -> Trouble:
    return one._replace(
        event_count=one.event_count + other.event_count,
        workers=dict(one.workers, **other.workers),
        times_us=sorted(list(one.times_us) + list(other.times_us)),
        peers=list(dict.fromkeys(list(one.peers) + list(other.peers))),
    )


def _of_trace(name: str, made: Made) -> List[Trouble]:
    found = []
    if made.difference:
        found.append(Trouble(words.BAD, DIFFERENT, 1, _different(made), {name: 1}))
    elif made.raised:
        last = made.raised.strip().splitlines()[-1]
        sentence = "The worker's core raised an error, here and when it was recorded: " + last
        found.append(Trouble(words.BAD, RAISED, 1, sentence, {name: 1}))
    elif not made.is_complete:
        sentence = (
            "The trace was not closed: the process was killed or its disk was full. What came last "
            "is missing, a second at most if it was killed."
        )
        found.append(Trouble(words.WARNING, CUT, 1, sentence, {name: 1}))
    return found


def _different(made: Made) -> str:
    sentence = (
        "The replay is NOT what was recorded: this edgesdk ({}) decides otherwise than the one "
        "that ran there ({}), or the file was changed. "
    ).format(_this_version(), made.versions.get("edgesdk", "unknown"))
    if made.difference_count:
        sentence += "{} of {} events differ. ".format(
            words.number(made.difference_count), words.number(made.event_count)
        )
    if made.read_share < 1:
        sentence += "The core could follow for {} of the file; what came later is missing. ".format(
            words.percent(made.read_share, 1)
        )
    else:
        sentence += "What stands here is what this edgesdk makes of the same events. "
    return sentence + made.difference


def _this_version() -> str:
    from .. import __version__  # which is there only when every module has been loaded

    return __version__


def _of_counters(run: Run, name: str, recording: Recording, clock: Clock) -> List[Trouble]:
    found = []
    made = made_of(recording)
    for counter, count in made.counters.items():
        if counter in words.QUIET:
            continue
        level, sentence = words.trouble(counter)
        times_us = made.ticks.get(counter, [])
        peers = [
            run.name_of(peer)
            for name_of, peer in recording.incident_counts
            if name_of == counter and peer is not None
        ]
        details = recording.details.get(counter, {})
        if counter in EXPLAINED and details:
            sentence = "{} {}.".format(sentence, next(iter(details.values())))
        ticks = [clock.moment(at_us) for at_us in times_us] if clock.is_known else []
        count_of = {name: count}
        found.append(Trouble(level, counter, count, sentence, count_of, ticks, peers))
    return found


def _of_outcomes(images: Images, outcomes: Sequence[OutcomeRow]) -> List[Trouble]:
    found = []
    for row in outcomes:
        level = words.outcome_level(row.status, row.reason)
        if level == words.GOOD:
            continue
        times_us: List[int] = []
        if row.status != OPEN:
            chosen = images.outcome == -1
            for place, words_of in enumerate(images.outcomes):
                if words_of == (row.status, row.reason):
                    chosen = chosen | (images.outcome == place)
            times_us = sorted(images.end_us[chosen].tolist())[:TICKS_MAX]
        name = "{}.{}".format(row.status, row.reason).strip(".")
        sentence = words.outcome_sentence(row.status, row.reason)
        found.append(Trouble(level, name, row.image_count, sentence, {}, times_us))
    return found


def verdict_of(troubles: Sequence[Trouble]) -> str:
    """The worst level, or "good"."""
    return min(
        (trouble.level for trouble in troubles),
        key=lambda level: LEVEL_ORDER[level],
        default=words.GOOD,
    )
