"""`python -m edgesdk.doctor`: what is found on this machine, and what to do about each problem.

It only reads. Each library is asked in a process of its own. The status is 1 if something stops
what the machine is for.
"""

import argparse
import sys
import textwrap
from typing import Any, Dict, List, Optional, Sequence

from .. import cli
from .checks import LEVELS, OK, PROBLEM, USES, Check, default_use
from .facts import Facts, gather
from .library_checks import all_checks

EXAMPLE = """python -m edgesdk.doctor
  python -m edgesdk.doctor --for cpu --json"""

COLUMNS = 100


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse `argv`, look at this machine, return the exit status."""
    parser = cli.parser("doctor", __doc__, EXAMPLE)
    parser.add_argument(
        "--for",
        dest="use",
        choices=USES,
        help="what the machine is to compute with; default: tensorrt on a Jetson, else cpu",
    )
    return cli.run(_doctor, parser.parse_args(argv))


def _doctor(arguments: argparse.Namespace) -> int:
    cli.banner(as_json=arguments.json)
    facts = gather(progress=_progress)
    _progress("")
    use = arguments.use or default_use(facts)
    checks = all_checks(facts, use)
    for line in report(checks, use):
        cli.say(line, arguments.json)
    if arguments.json:
        cli.print_json(as_json(facts, checks, use))
    return 0 if is_ready(checks) else cli.EXIT_FAILED


def _progress(name: str) -> None:
    """Which library is asked, on a terminal: one that hangs takes its time."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + (name and "asking " + name))
        sys.stderr.flush()


def is_ready(checks: Sequence[Check]) -> bool:
    """Whether nothing stops what the machine is for."""
    return all(check.level != PROBLEM for check in checks)


def report(checks: Sequence[Check], use: str) -> List[str]:
    """What a person reads: each check in a line, and below it what to do."""
    widths = max(map(len, LEVELS)), max(len(check.name) for check in checks)
    begin = " " * (sum(widths) + 4)
    lines = [""]
    for check in checks:
        level = check.level.upper() if check.level == PROBLEM else check.level
        head = "{}  {}  ".format(level.ljust(widths[0]), check.name.ljust(widths[1]))
        lines += _wrapped(check.found, head, begin) + _wrapped(check.advice, begin, begin)
        lines += [begin + "$ " + command for command in check.command.splitlines()]
    counts = [_count(checks, level) for level in LEVELS]
    state = "ready" if is_ready(checks) else "NOT ready"
    return lines + ["", "{} for {}: {}".format(state, use, ", ".join(counts))]


def _wrapped(text: str, first: str, begin: str) -> List[str]:
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=first,
        subsequent_indent=begin,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _count(checks: Sequence[Check], level: str) -> str:
    """ "1 problem", "3 notes", "15 ok"."""
    count = sum(check.level == level for check in checks)
    return "{} {}{}".format(count, level, "" if count == 1 or level == OK else "s")


def as_json(facts: Facts, checks: Sequence[Check], use: str) -> Dict[str, Any]:
    """The whole of it, for programs."""
    return {
        "for": use,
        "is_ready": is_ready(checks),
        "checks": [dict(check._asdict()) for check in checks],
        "facts": _plain(facts),
    }


def _plain(value: Any) -> Any:
    """Named tuples as objects, whatever they are in."""
    if hasattr(value, "_asdict"):
        return {name: _plain(each) for name, each in value._asdict().items()}
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


if __name__ == "__main__":
    sys.exit(main())
