"""What options of the command say, as values: `nano-1:nano-2=20mbit,2ms`, `nano-1=64MB`."""

import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..cluster import Cluster
from ..errors import ConfigError

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]+)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_RATES = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_TIMES = {"us": 1.0, "ms": 1e3, "s": 1e6}
_SIZES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}
_ENERGIES = {"nj": 1.0, "uj": 1e3}
_LINK = "a rate, a delay, and perhaps an energy per byte or a medium: 20mbit,2ms,100nJ or wifi,2ms"


class LinkOption(NamedTuple):
    """What is said of links; None where nothing is. `bytes_per_s` is that of the link, or it is one
    of a `medium`."""

    delay_us: Optional[float] = None
    bytes_per_s: Optional[float] = None
    medium: Optional[str] = None
    nj_per_byte: Optional[float] = None


class LinkOptions(NamedTuple):
    """`of` pairs of names, in the order of the letters, and of all `others`."""

    of: Dict[Tuple[str, str], LinkOption]
    others: LinkOption


def link_options(texts: Sequence[str], media: Sequence[str], cluster: Cluster) -> LinkOptions:
    """What `--link` and `--medium` say. Raises ConfigError that quotes the option."""
    rates = {}
    for text in media:
        name, value = _pair("--medium", text, "NAME=RATE, such as wifi=40mbit")
        rates[name] = _measure("--medium " + text, value, _RATES, "a rate such as 40mbit") / 8
    found: Dict[Tuple[str, str], LinkOption] = {}
    others = LinkOption()
    for text in texts:
        ends, equals, value = text.rpartition("=")
        option = _link_option("--link " + text, value, rates)
        if not equals:
            others = option
            continue
        names = ends.split(":")
        if len(names) != 2:
            raise ConfigError(
                "--link {}: found {!r}, expected two workers, as in a:b=20mbit,2ms".format(
                    text, ends
                )
            )
        _check_linked(cluster, names[0], names[1], text)
        found[ordered(names[0], names[1])] = option
    return LinkOptions(found, others)


def ordered(first: str, second: str) -> Tuple[str, str]:
    """The pair of names, the same whichever comes first."""
    return (first, second) if first < second else (second, first)


def by_worker(
    option: str, texts: Sequence[str], cluster: Cluster, form: str
) -> Tuple[Dict[str, str], Optional[str]]:
    """The values of an option by worker, and that of a value without one, for all others."""
    names = {entry.name for entry in cluster.workers}
    found: Dict[str, str] = {}
    others: Optional[str] = None
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            others = text
            continue
        if name not in names:
            raise ConfigError(
                "{} {}: found no worker {!r} in {}, expected {} with one of {}".format(
                    option, text, name, cluster.path, form, ", ".join(sorted(names))
                )
            )
        found[name] = value
    return found, others


def memory_bytes(text: str) -> float:
    """The bytes in "64MB". Raises ConfigError."""
    return _measure("--memory " + text, text, _SIZES, "a size such as 64MB")


def speed(text: str) -> float:
    """How many times as fast as the profile says. Raises ConfigError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigError("--speed {}: expected a number above 0, 2 for twice as fast".format(text))
    return value


def pins(texts: Sequence[str], cluster: Cluster, stage_count: int) -> Dict[int, str]:
    """The worker of each stage that `--pin` names. Raises ConfigError."""
    found: Dict[int, str] = {}
    for text in texts:
        stage, name = _pair("--pin", text, "STAGE=WORKER, such as 3=nano-1")
        if not stage.isdigit() or int(stage) >= stage_count:
            raise ConfigError(
                "--pin {}: found stage {!r}, expected a number below {}, for the plan has so "
                "many".format(text, stage, stage_count)
            )
        found[int(stage)] = cluster.worker(name).name
    return found


def _link_option(option: str, text: str, rates: Dict[str, float]) -> LinkOption:
    found = LinkOption()
    for word in text.split(","):
        unit = _unit(word)
        if unit in _RATES:
            found = found._replace(bytes_per_s=_measure(option, word, _RATES, _LINK) / 8)
        elif unit in _TIMES:
            found = found._replace(delay_us=_measure(option, word, _TIMES, _LINK))
        elif unit in _ENERGIES:
            found = found._replace(nj_per_byte=_measure(option, word, _ENERGIES, _LINK))
        elif word in rates:
            found = found._replace(medium=word, bytes_per_s=rates[word])
        else:
            is_name = _NAME.fullmatch(word) is not None
            known = "; a medium is made with --medium {}=40mbit".format(word) if is_name else ""
            raise ConfigError("{}: found {!r}, expected {}{}".format(option, word, _LINK, known))
    return found


def _unit(word: str) -> str:
    match = _NUMBER.fullmatch(word)
    return match.group(2).lower() if match else ""


def _measure(option: str, word: str, units: Dict[str, float], expected: str) -> float:
    match = _NUMBER.fullmatch(word)
    if match is None or match.group(2).lower() not in units or not float(match.group(1)) >= 0:
        raise ConfigError("{}: found {!r}, expected {}".format(option, word, expected))
    value = float(match.group(1)) * units[match.group(2).lower()]
    if units is _RATES and not value:
        raise ConfigError("{}: found {!r}, expected more than nothing".format(option, word))
    return value


def _pair(option: str, text: str, form: str) -> Tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise ConfigError("{} {}: expected {}".format(option, text, form))
    return name, value


def _check_linked(cluster: Cluster, first: str, second: str, text: str) -> None:
    names: List[str] = [each.entry.name for each in cluster.neighbours(first)]
    cluster.worker(second)  # or an error that lists the names there are
    if second not in names:
        raise ConfigError(
            "--link {}: found no link between {} and {} in {}, expected one lists the other as "
            "neighbour".format(text, first, second, cluster.path)
        )
