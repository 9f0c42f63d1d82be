"""`python -m edgesdk.soak`: worlds in which much goes wrong, as many as there is time for."""

import argparse
import multiprocessing
import os
import sys
from functools import partial
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from . import cli
from .errors import ConfigError
from .sim.chaos import draw
from .sim.trial import Cuts, Finding, run, shrink

EXAMPLE = "python -m edgesdk.soak --seeds 10000 --processes 2"
FAILURES_MAX = 5  # more of them seldom say more
CHUNK = 20  # seeds that a process takes at once


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Parse `arguments`, simulate, return the exit status: 1 if a check failed."""
    parser = cli.parser("soak", __doc__, EXAMPLE)
    parser.add_argument("--seeds", type=int, default=1000, help="worlds, default %(default)s")
    parser.add_argument("--first", type=int, default=0, help="the first seed, default %(default)s")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    replay = parser.add_argument_group("replay", "one world, with the events before a failure")
    replay.add_argument("--seed", type=int, help="this world only")
    replay.add_argument("--without-faults", default="", metavar="I,J,...", help="by position")
    replay.add_argument("--items", type=int, help="of each source, at most")
    replay.add_argument("--smooth", action="store_true", help="no message is lost or doubled")
    replay.add_argument("--steady", action="store_true", help="no clock drifts, nobody leaves")
    return cli.run(_soak, parser.parse_args(arguments))


def _soak(arguments: argparse.Namespace) -> int:
    if min(arguments.seeds, arguments.processes) < 1 or arguments.first < 0:
        raise ConfigError(
            "found --seeds {}, --processes {}, --first {}; expected at least 1, 1, 0".format(
                arguments.seeds, arguments.processes, arguments.first
            )
        )
    cli.banner(seed=arguments.seed, as_json=arguments.json)
    if arguments.seed is not None:
        return _replay(arguments, _cuts(arguments))
    failures, totals = _many(arguments)
    for failure in failures:
        _explain(failure, arguments.json)
    if arguments.json:
        cli.print_json({**totals, "failures": [failure._asdict() for failure in failures]})
    else:
        cli.say(
            "{seeds} worlds, {outcomes} outcomes, {events} events: {failures} failures".format(
                failures=len(failures), **totals
            )
        )
    return cli.EXIT_FAILED if failures else 0


def _many(arguments: argparse.Namespace) -> Tuple[List[Finding], Dict[str, int]]:
    """Findings of the worlds that failed, and what all of them add up to."""
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    failures: List[Finding] = []
    totals = {"seeds": 0, "outcomes": 0, "events": 0}
    with multiprocessing.Pool(arguments.processes) as pool:
        for finding in _progress(pool.imap_unordered(run, seeds, CHUNK), len(seeds)):
            totals["seeds"] += 1
            totals["outcomes"] += finding.outcome_count
            totals["events"] += finding.event_count
            if finding.failure:
                failures.append(finding)
                if len(failures) == FAILURES_MAX:
                    break
    return failures, totals


def _progress(findings: Iterable[Finding], count: int) -> Iterable[Finding]:
    try:
        from tqdm import tqdm
    except ImportError:
        return findings
    bar: Iterable[Finding] = tqdm(findings, "worlds", count, smoothing=0.05)
    return bar


def _explain(finding: Finding, as_json: bool) -> None:
    """The failure, and the command that shows the smallest world that still has one."""
    cli.say("seed {}: {}".format(finding.seed, finding.failure), as_json)
    cuts = shrink(finding.seed, partial(_fails, finding.seed))
    cli.say("  replay: " + replay_command(finding.seed, cuts), as_json)


def _fails(seed: int, cuts: Cuts) -> bool:
    return bool(run(seed, cuts).failure)


def replay_command(seed: int, cuts: Cuts) -> str:
    """One line that simulates the world of `seed` without what `cuts` leaves out."""
    words = ["python -m edgesdk.soak --seed {}".format(seed)]
    if cuts.without_faults:
        words.append("--without-faults " + ",".join(map(str, cuts.without_faults)))
    if cuts.item_count_max is not None:
        words.append("--items {}".format(cuts.item_count_max))
    words += ["--" + name for name in ("smooth", "steady") if getattr(cuts, name)]
    return " ".join(words)


def _cuts(arguments: argparse.Namespace) -> Cuts:
    try:
        words = [word for word in arguments.without_faults.split(",") if word]
        without_faults = tuple(int(word) for word in words)
    except ValueError:
        raise ConfigError(
            "--without-faults: found {!r}, expected positions with commas between them".format(
                arguments.without_faults
            )
        ) from None
    return Cuts(without_faults, arguments.items, arguments.smooth, arguments.steady)


def _replay(arguments: argparse.Namespace, cuts: Cuts) -> int:
    finding = run(arguments.seed, cuts, trace=True)
    if arguments.json:
        cli.print_json(finding._asdict())
    else:
        _tell(finding, draw(arguments.seed))
    return cli.EXIT_FAILED if finding.failure else 0


def _tell(finding: Finding, world: Any) -> None:
    cli.say("{} nodes, mode {}, faults:".format(len(world.nodes), world.mode))
    for index, fault in enumerate(world.faults):
        cli.say("  {}: {}".format(index, fault))
    for event in finding.recent_events:
        cli.say("  " + event)
    cli.say("trace " + finding.trace_hash if finding.trace_hash else "no trace hash")
    cli.say(finding.failure or "every check held; {} outcomes".format(finding.outcome_count))


if __name__ == "__main__":
    sys.exit(main())
