"""The links of a cluster, as they were measured or as the user says; what is guessed is told."""

import json
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..cluster import Cluster
from ..core.placement import Link, Pair
from ..errors import ConfigError
from .options import LinkOption, LinkOptions, ordered

GUESS_DELAY_US, GUESS_BYTES_PER_S = 2000.0, 20e6 / 8  # a Wi-Fi that others use too
TASKS_MIN = 20  # on a link, before their mean size is known: other messages count there as well


class Measured(NamedTuple):
    """What workers saw of a link, one way. `delay_us` of small messages; `bytes_per_s`, None where
    too few tasks went."""

    delay_us: float
    bytes_per_s: Optional[float]


def links_of(
    cluster: Cluster, options: LinkOptions, stats_paths: Sequence[str]
) -> Tuple[Dict[Pair, Link], List[str]]:
    """The links between the workers of the cluster, by their places in the file, and what a person
    should know of them.

    What `--link` says of a pair counts before what was measured, and that before what `--link` says
    of all. Raises ConfigError for files of stats that cannot be read.
    """
    measured = read_measured(stats_paths)
    places = {entry.name: index for index, entry in enumerate(cluster.workers)}
    links: Dict[Pair, Link] = {}
    guessed: List[str] = []
    for entry in cluster.workers:
        for each in cluster.neighbours(entry.name):
            first, second = entry.name, each.entry.name
            said = options.of.get(ordered(first, second), LinkOption())
            seen = measured.get((first, second)) or measured.get((second, first))
            values = _first_known(said, seen, options.others)
            is_known = values.delay_us is not None and values.bytes_per_s is not None
            if not is_known and places[first] < places[second]:
                guessed.append("{} - {}".format(first, second))
            links[places[first], places[second]] = _link(values, each.offload)
    return links, [_guess_text(guessed)] if guessed else []


def _first_known(said: LinkOption, seen: Optional[Measured], others: LinkOption) -> LinkOption:
    found = LinkOption() if seen is None else LinkOption(seen.delay_us, seen.bytes_per_s)
    for given, is_first in ((others, False), (said, True)):
        for name, value in given._asdict().items():
            if value is not None and (is_first or getattr(found, name) is None):
                found = found._replace(**{name: value})
    if said.bytes_per_s is not None and said.medium is None:
        found = found._replace(medium=None)
    return found


def _link(values: LinkOption, takes_tasks: bool) -> Link:
    return Link(
        GUESS_DELAY_US if values.delay_us is None else values.delay_us,
        GUESS_BYTES_PER_S if values.bytes_per_s is None else values.bytes_per_s,
        values.medium,
        values.nj_per_byte or 0.0,
        takes_tasks,
    )


def _guess_text(names: Sequence[str]) -> str:
    few = ", ".join(names) if len(names) <= 3 else "{} links".format(len(names))
    return (
        "links: guessed 20 Mbit/s and 2 ms where nothing else is known ({}); measure with "
        "--stats, or say with --link".format(few)
    )


# --- measured -------------------------------------------------------------------------------------


def read_measured(paths: Sequence[str]) -> Dict[Tuple[str, str], Measured]:
    """By names of both ends, from files of JSON: `Pipeline.stats()`, a list of several, or what
    `python -m edgesdk.top --once --json` prints. Raises ConfigError that names the file."""
    found: Dict[Tuple[str, str], Measured] = {}
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                document = json.load(file)
        except OSError as error:
            raise ConfigError(
                "{}: cannot be read ({})".format(path, error.strerror or error)
            ) from None
        except (ValueError, RecursionError) as error:
            raise ConfigError("{}: not JSON ({}); {}".format(path, error, _EXPECTED)) from None
        try:
            for each in document if isinstance(document, list) else [document]:
                found.update(_measured(each))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                "{}: found no stats ({!r}); {}".format(path, error, _EXPECTED)
            ) from None
    return found


_EXPECTED = (
    "expected what Pipeline.stats() gives, as JSON, or what python -m edgesdk.top --once --json "
    "prints"
)


def _measured(document: Dict[str, Any]) -> Dict[Tuple[str, str], Measured]:
    found = {}
    if "links" in document:
        rows = [(row["source"], row["target"], row) for row in document["links"]]
        amounts = ("bytes_per_s", "sent_per_s", 0.0)  # of an interval, in which few may have gone
    else:
        name = document["worker"]
        rows = [(name, target, row) for target, row in document["neighbours"].items()]
        amounts = ("sent_bytes", "sent_count", TASKS_MIN)
    for source, target, row in rows:
        sent_bytes, sent_count = (float(row.get(key) or 0.0) for key in amounts[:2])
        task_us = float(row.get("link_delay_us") or 0.0)
        round_trip_us = row.get("round_trip_us")
        if not task_us and round_trip_us is None:
            continue  # nothing is known
        delay_us = task_us if round_trip_us is None else float(round_trip_us) / 2
        beyond_us = task_us - delay_us
        knows_rate = sent_count > amounts[2] and beyond_us > 0
        rate = sent_bytes / sent_count / beyond_us * 1e6 if knows_rate else None
        found[str(source), str(target)] = Measured(delay_us, rate)
    return found
