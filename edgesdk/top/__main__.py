"""`python -m edgesdk.top`: what the workers of a cluster do, now. It only reads."""

import argparse
import os
import sys
import time
from typing import Any, Dict, List, Optional, Sequence

from .. import cli
from ..cluster import Cluster, read_cluster
from ..errors import BackendUnavailable, ConfigError, EdgeError
from .columns import links_grid, plain_lines, workers_grid
from .history import History, Picture

INTERVAL_S = 2.0
INTERVAL_S_MIN = 0.2  # a worker has other things to do than to answer
WIDTH = 10_000  # characters: a file has room for every column

EXAMPLE = """python -m edgesdk.top --cluster robots.toml
  python -m edgesdk.top --cluster robots.toml --once --json

In the live screen: q quits, p pauses, s sorts by the next column, e shows exits, l links, h help.
"""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse `argv`, show the cluster, return the exit status."""
    parser = cli.parser("top", __doc__, EXAMPLE)
    parser.add_argument("--cluster", required=True, metavar="FILE", help="docs/cluster.md")
    parser.add_argument(
        "--name", action="append", nargs="+", metavar="NAME", help="these workers only"
    )
    parser.add_argument(
        "--interval",
        type=float,
        default=INTERVAL_S,
        metavar="S",
        help="seconds between two questions; default: %(default)s",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="ask twice, an interval apart, print a plain table and end; so without a terminal, "
        "and with --json",
    )
    return cli.run(_top, parser.parse_args(argv))


def _top(arguments: argparse.Namespace) -> int:
    if not arguments.interval >= INTERVAL_S_MIN or arguments.interval == float("inf"):
        raise ConfigError(
            "interval: found {:g}, expected seconds from {:g}".format(
                arguments.interval, INTERVAL_S_MIN
            )
        )
    cluster = read_cluster(arguments.cluster)
    asked = [name for names in arguments.name or () for name in names]
    chosen = [cluster.worker(name).name for name in asked]
    names = [each.name for each in cluster.workers if not chosen or each.name in chosen]
    if arguments.once or arguments.json or not _has_terminal():
        return _once(cluster, names, arguments.interval, arguments.json)
    from . import live  # rich is needed here only

    with _observer(cluster, names) as observer:
        title = os.path.basename(cluster.path)
        return live.run(title, names, arguments.interval, observer.ask)


def _observer(cluster: Cluster, names: Sequence[str]) -> Any:
    try:
        from ..runtime.zeromq_observer import Observer
    except ImportError as error:
        raise BackendUnavailable(
            "workers are asked by pyzmq, which cannot be imported ({}); install it with: "
            "pip install pyzmq".format(error)
        ) from None
    return Observer(cluster, names)


def _has_terminal() -> bool:
    """Whether somebody looks, at something that can show a screen, and has keys to press."""
    is_simple = os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    return sys.stdin.isatty() and sys.stdout.isatty() and not is_simple


# --- once -----------------------------------------------------------------------------------------


def _once(cluster: Cluster, names: Sequence[str], interval_s: float, as_json: bool) -> int:
    history = History(names)
    with _observer(cluster, names) as observer:
        for pause_s in (0.0, interval_s):
            time.sleep(pause_s)
            answers = observer.ask(min(interval_s, 1.0))
            history.add(answers, time.monotonic(), time.time())
    picture = history.picture()
    if as_json:
        cli.print_json(_json(cluster, interval_s, picture))
    else:
        for line in _report(picture):
            cli.say(line)
    if not picture.totals.up_count:
        raise EdgeError(_nobody(cluster, names))
    return 0


def _json(cluster: Cluster, interval_s: float, picture: Picture) -> Dict[str, Any]:
    return {
        "cluster": cluster.path,
        "interval_s": interval_s,
        "workers": [row._asdict() for row in picture.workers],
        "links": [row._asdict() for row in picture.links],
        "totals": picture.totals._asdict(),
        "notes": picture.notes,
        "runs": picture.runs,
    }


def _report(picture: Picture) -> List[str]:
    lines = plain_lines(workers_grid(picture, WIDTH))
    if picture.links:
        lines += [""] + plain_lines(links_grid(picture, WIDTH))
    return lines + ([""] + picture.notes if picture.notes else [])


def _nobody(cluster: Cluster, names: Sequence[str]) -> str:
    text = (
        "no worker answers, expected at least one of {}. See that it runs (python -m "
        "edgesdk.worker --cluster {} --name {}) and that {} can be reached from here".format(
            ", ".join(names), cluster.path, names[0], cluster.worker(names[0]).control_address
        )
    )
    if cluster.security.insecure:
        return text
    return text + (
        "; that {}.public here is its own; and that it had observer.public in its keys folder when "
        "it was started".format(names[0])
    )


if __name__ == "__main__":
    sys.exit(main())
