"""`python -m edgesdk.bench link`: the transport beside what one would use instead, in one run.

Every contender sends the same payload to a process of its own, over tcp on this machine: no wire,
so what is seen is what the software costs. Replies are checked, then contenders take turns in
rounds, each round in another order, so that other programs slow all alike.
"""

import argparse
import os
import time
from random import Random
from typing import Any, Callable, Dict, List, Sequence, Tuple

import zmq

from .. import cli
from ..errors import BackendUnavailable, ConfigError
from .link_contender import SIZES, WINDOW, Contender, Size, payload_of
from .link_grpc import GrpcStream, GrpcUnary
from .link_ours import Ours, OursCurve
from .link_report import Found, Way, figures, header, judgements, rows
from .link_torch import TorchRpc
from .link_zmq import Raw, RawCurve
from .timing import pin

SEED = 0
CONTENDERS = (Raw, RawCurve, Ours, OursCurve, GrpcUnary, GrpcStream, TorchRpc)
ROUNDS_MIN = 5
ROUNDS = 7
WARM_UP_COUNT = 2  # calls of a turn that are not timed: whoever came before has emptied the caches
TRIPS_MIN = 3  # of a turn
STREAM_COUNT = (WINDOW, 50000)  # payloads of one stream, at least and at most
BAR_WIDTH = 24

Progress = Callable[[str], None]


def options(command: argparse.ArgumentParser) -> None:
    """What `bench link` can be asked besides what all benches can."""
    sizes = ",".join(size.name for size in SIZES)
    names = ",".join(each.name for each in CONTENDERS)
    command.add_argument("--sizes", default=sizes, help="of payloads; default: %(default)s")
    command.add_argument("--contenders", default=names, help="default: %(default)s")
    command.add_argument(
        "--rounds", type=_rounds, default=ROUNDS, help="at least 5, default %(default)s"
    )
    curve = command.add_mutually_exclusive_group()
    curve.add_argument(
        "--curve", dest="curve", action="store_true", default=None, help="only with encryption"
    )
    curve.add_argument(
        "--no-curve", dest="curve", action="store_false", help="only without; default: both"
    )


def place(arguments: argparse.Namespace) -> Dict[str, Any]:
    """Pin this process to its last cores, and choose others for the other processes where there
    are any: conditions of the measurement."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    own = pin(arguments.threads)
    other = sorted(before - set(own or ()))[-arguments.threads :] or own
    return {
        "cores": own,
        "other_process_cores": other,
        "load_average": round(os.getloadavg()[0], 2),  # above 1 or so, medians are of the machine
        "libzmq": zmq.zmq_version(),
    }


def measure(arguments: argparse.Namespace, progress: Progress) -> List[Dict[str, Any]]:
    """Start, check and time everyone, print the tables, return the figures.

    Raises ConfigError for an unknown size or contender, TransportError if somebody fails.
    """
    sizes = _chosen("--sizes", arguments.sizes, SIZES)
    kinds = [
        kind
        for kind in _chosen("--contenders", arguments.contenders, CONTENDERS)
        if arguments.curve in (None, kind.curve)
    ]
    contenders, missing = _open(kinds)
    cli.banner(("zmq", "grpc", "torch"), seed=SEED, as_json=arguments.json)
    cores = arguments.places["other_process_cores"]
    where = "this process on cores {}, the others on {}; load average {}".format(
        arguments.places["cores"], cores, arguments.places["load_average"]
    )
    for text in [where] + ["{}: {}".format(*each) for each in missing.items()]:
        cli.say(text, arguments.json)
    result: List[Dict[str, Any]] = []
    try:
        for contender in contenders:
            progress("starting " + contender.name)
            contender.start(cores)
        for size in sizes:
            found = measure_size(contenders, size, arguments, progress)
            _say_tables(found, contenders, arguments.json)
            result += figures(found, [kind.name for kind in kinds], missing)
    finally:
        progress("")
        for contender in contenders:
            contender.stop()
    judged = cli.table(("ratio of medians", "x", "target"), judgements(result))
    cli.say("\n".join([""] + judged), arguments.json)
    return result


def measure_size(
    contenders: Sequence[Contender], size: Size, arguments: argparse.Namespace, progress: Progress
) -> Found:
    """Check everyone with a payload of `size`, then time them in about `--seconds`."""
    payload = payload_of(size)
    for contender in contenders:
        progress("{}: {}, checking replies".format(size.name, contender.name))
        contender.fit(payload)
        contender.check(payload)
    turns = _turns(contenders)
    turn_s = arguments.seconds / arguments.rounds / max(1, len(turns))
    found = Found(size, {}, {})
    counts: Dict[Way, int] = {}
    order, seen = Random(SEED), 0
    for _ in range(arguments.rounds):
        order.shuffle(turns)
        for contender, form, is_stream in turns:
            seen += 1
            way, total = (contender.name, form), arguments.rounds * len(turns)
            progress("{}: {} {}".format(size.name, _bar(seen / total), contender.name))
            if is_stream:
                if way not in counts:
                    counts[way] = _stream_count(contender, form, turn_s)
                rate = _stream_mb_s(contender, form, counts[way], size.payload_bytes)
                found.streams_mb_s.setdefault(way, []).append(rate)
            else:
                found.trips_us.setdefault(way, []).append(_trips_us(contender, form, turn_s))
    return found


def _turns(contenders: Sequence[Contender]) -> List[Tuple[Contender, str, bool]]:
    """What everyone does in a round: (contender, form, whether it is a stream)."""
    trips = [(each, form, False) for each in contenders for form in each.trip_forms]
    return trips + [(each, form, True) for each in contenders for form in each.stream_forms]


def _trips_us(contender: Contender, form: str, seconds: float) -> List[float]:
    for _ in range(WARM_UP_COUNT):
        contender.round_trip(form)
    times_us: List[float] = []
    end = time.perf_counter() + seconds
    after = 0.0
    while len(times_us) < TRIPS_MIN or after < end:
        before = time.perf_counter()
        contender.round_trip(form)
        after = time.perf_counter()
        times_us.append((after - before) * 1e6)
    return times_us


def _stream_count(contender: Contender, form: str, seconds: float) -> int:
    """As many payloads as take about `seconds`."""
    least, most = STREAM_COUNT
    contender.stream(least, WINDOW, form)
    before = time.perf_counter()
    contender.stream(2 * least, WINDOW, form)
    each_s = (time.perf_counter() - before) / (2 * least)
    return min(most, max(least, int(seconds / each_s)))


def _stream_mb_s(contender: Contender, form: str, count: int, payload_bytes: int) -> float:
    contender.round_trip(contender.trip_forms[0])
    before = time.perf_counter()
    received = contender.stream(count, WINDOW, form)
    return received * payload_bytes / (time.perf_counter() - before) / 1e6


def _open(kinds: Sequence[Any]) -> Tuple[List[Contender], Dict[str, str]]:
    """Those that can take part here; and name -> why the others cannot."""
    contenders: List[Contender] = []
    missing: Dict[str, str] = {}
    for kind in kinds:
        try:
            kind.require()
            contenders.append(kind())
        except BackendUnavailable as error:
            missing[kind.name] = str(error)
    return contenders, missing


def _say_tables(found: Found, contenders: Sequence[Contender], as_json: bool) -> None:
    for curve in (False, True):
        lines = rows(found, contenders, curve)
        if lines:
            table = cli.table(header(found.size, curve), lines)
            cli.say("\n".join([""] + table), as_json)


def _chosen(option: str, text: str, choices: Sequence[Any]) -> List[Any]:
    by_name = {each.name: each for each in choices}
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in by_name:
            raise ConfigError(
                "{}: found {!r}, expected some of {}".format(option, name, ",".join(by_name))
            )
    return [each for each in choices if each.name in names]


def _rounds(text: str) -> int:
    if int(text) < ROUNDS_MIN:
        raise argparse.ArgumentTypeError("found {}, expected at least {}".format(text, ROUNDS_MIN))
    return int(text)


def _bar(share: float) -> str:
    done = int(BAR_WIDTH * share)
    return "[{}{}] {:3.0f} %".format("#" * done, "." * (BAR_WIDTH - done), 100 * share)
