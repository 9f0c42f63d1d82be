"""`python -m edgesdk.push BUNDLE --cluster robots.toml`: a bundle to the machines of a cluster.

It goes by rsync over ssh into a folder beside its place, is checked there, file by file, and then
gets its name. Nothing there is changed or deleted; run it again after whatever went wrong.
docs/upgrades.md says how a fleet changes over to it while it works.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Optional, Sequence

from .. import cli
from ..bundle import read_bundle
from ..cluster import read_cluster
from .delivery import FAILED, Cargo, Delivery, Place, cargo, deliver, places
from .machine import ssh_words

EXAMPLE = """python -m edgesdk.push engines/mine/2 --cluster robots.toml
  python -m edgesdk.push engines/mine/2 --cluster robots.toml --name nano-2 --ssh 'ssh -J hub'"""
AT_ONCE_MAX = 8  # machines; most share one Wi-Fi


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse `argv`, deliver, return the exit status: 1 if a machine has no bundle now."""
    parser = cli.parser("push", __doc__, EXAMPLE)
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument("--cluster", required=True, metavar="FILE", help="docs/cluster.md")
    parser.add_argument(
        "--name", action="append", default=[], metavar="NAME", help="only to this worker's machine"
    )
    parser.add_argument(
        "--to", metavar="DIR", help="where it goes there; default: as here, from the cluster file"
    )
    parser.add_argument(
        "--ssh", metavar="COMMAND", help="instead of ssh, with options, such as a jump host"
    )
    parser.add_argument("--dry-run", action="store_true", help="only look, and say what is missing")
    return cli.run(_push, parser.parse_args(argv))


def _push(arguments: argparse.Namespace) -> int:
    cli.banner(as_json=arguments.json)
    cluster = read_cluster(arguments.cluster)
    targets = places(cluster, arguments.name)
    load = cargo(read_bundle(arguments.bundle), cluster, arguments.to)
    words = ssh_words(arguments.ssh)

    def one(place: Place) -> Delivery:
        who = ", ".join(place.workers)

        def say(line: str) -> None:
            cli.say("{}: {}".format(who, line), arguments.json)

        found = deliver(load, place, words, arguments.dry_run, say)
        say(found.state if found.problem is None else "{}: {}".format(FAILED, found.problem))
        return found

    with ThreadPoolExecutor(min(AT_ONCE_MAX, len(targets))) as pool:
        deliveries = list(pool.map(one, targets))
    for line in [""] + _table(deliveries):
        cli.say(line, arguments.json)
    if arguments.json:
        cli.print_json(_json(load, deliveries))
    failed = any(each.state == FAILED for each in deliveries)
    return cli.EXIT_FAILED if failed else 0


def _table(deliveries: Sequence[Delivery]) -> List[str]:
    header = ["worker", "host", "state", "bytes sent", "seconds", "model_id"]
    return cli.table(
        header,
        [
            [
                ", ".join(each.workers),
                each.host,
                each.state,
                "-" if each.sent_bytes is None else "{:,}".format(each.sent_bytes),
                "{:.1f}".format(each.seconds),
                each.model_id or "-",
            ]
            for each in deliveries
        ],
    )


def _json(load: Cargo, deliveries: Sequence[Delivery]) -> Dict[str, Any]:
    return {
        "bundle": load.bundle.path,
        "model_id": load.bundle.manifest.model_id,
        "deliveries": [each._asdict() for each in deliveries],
    }


if __name__ == "__main__":
    sys.exit(main())
