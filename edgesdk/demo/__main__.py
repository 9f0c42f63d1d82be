"""`python -m edgesdk.demo`: real scans leave a real network early; with --workers, in a fleet."""

import argparse
import os
import sys

from .. import cli
from ..errors import BundleError
from . import exits, fleet

BUNDLE = os.path.join("engines", "wrn16_1-digits", "1")
EXAMPLE = """python -m edgesdk.demo --backend torch
  python -m edgesdk.demo --workers 3"""


def main(arguments: argparse.Namespace) -> int:
    """Show what was asked for; 0 if its checks hold."""
    bundle = _find_bundle(arguments.bundle)
    if arguments.workers is None:
        return exits.main(arguments, bundle)
    return fleet.main(arguments, bundle)


def _find_bundle(path: str) -> str:
    """`path`, or the same below the source tree that this package was loaded from."""
    root = os.path.abspath(__file__)
    for _ in range(3):
        root = os.path.dirname(root)
    for candidate in (path, os.path.join(root, path)):
        if os.path.isdir(candidate):
            return candidate
    raise BundleError(
        "{}: no such folder; run the demo from the repository, or name a bundle trained on digits "
        "(--bundle)".format(path)
    )


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= fleet.WORKERS_MAX:
        raise argparse.ArgumentTypeError(
            "found {}, expected 1 to {}".format(text, fleet.WORKERS_MAX)
        )
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("found {}, expected more than 0".format(text))
    return value


def _arguments() -> argparse.Namespace:
    parser = cli.parser("demo", __doc__.strip(), EXAMPLE)
    parser.add_argument("--bundle", default=BUNDLE, help="default: %(default)s")
    parser.add_argument("--backend", help="tensorrt, onnxruntime or torch; default: the best")
    parser.add_argument(
        "--out", default=os.path.join("out", "demo"), help="where pictures go; default: %(default)s"
    )
    parser.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="a fleet of this process and N others on this machine, of which one dies",
    )
    parser.add_argument(
        "--phase-s",
        type=_seconds,
        default=3.0,
        metavar="S",
        help="seconds between two events in the fleet; default: %(default)s",
    )
    parser.add_argument(
        "--timeline", metavar="FILE.json", help="what the fleet's workers do when, for Perfetto"
    )
    arguments = parser.parse_args()
    if arguments.timeline is not None and arguments.workers is None:
        parser.error("--timeline shows a fleet, expected --workers beside it")
    return arguments


if __name__ == "__main__":
    arguments = _arguments()
    sys.exit(cli.run(main, arguments))
