"""`python -m edgesdk.bench NAME`: measure this machine, beside what one would use instead."""

import argparse
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from .. import cli
from . import core, kernels, torch_eager
from .timing import conditions, pin

EXAMPLE = "python -m edgesdk.bench kernels --json > kernels.json"


class Bench(NamedTuple):
    """One subcommand: `measure` prints for a person and returns the figures."""

    description: str
    measure: Callable[[argparse.Namespace], List[Dict[str, Any]]]


def measure_kernels(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """Every kernel, each for about `--seconds`; progress on a terminal."""
    torch = torch_eager.load(arguments.threads)
    cli.banner(("torch",), seed=kernels.SEED, as_json=arguments.json)
    if torch is None:
        cli.say("torch is not installed: nothing to compare with but numpy", arguments.json)
    cases = kernels.cases()
    measured = []
    for number, case in enumerate(cases):
        _progress("{}/{} {}".format(number + 1, len(cases), case.name))
        measured.append(kernels.measure(case, torch, arguments.seconds))
    _progress("")
    rows = [kernels.row(each) for each in measured]
    cli.say("\n".join(cli.table(kernels.HEADER, rows)), arguments.json)
    return [figure for each in measured for figure in kernels.figures(each)]


def measure_core(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """What edgesdk costs before any network computes."""
    cli.banner(as_json=arguments.json)
    figures = core.measure()
    rows = [(f["name"], "{:.2f}".format(f["value"]), f["unit"], f["target"]) for f in figures]
    cli.say("\n".join(cli.table(("figure", "value", "unit", "target"), rows)), arguments.json)
    return figures


BENCHES = {
    "kernels": Bench("every kernel beside numpy and PyTorch", measure_kernels),
    "core": Bench("time per event, import time and memory of edgesdk itself", measure_core),
}


def _progress(text: str) -> None:
    """One line that is overwritten, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text)
        sys.stderr.flush()


def _run(arguments: argparse.Namespace) -> int:
    pin(arguments.threads)
    figures = BENCHES[arguments.bench].measure(arguments)
    if arguments.json:
        versions = cli.versions(("torch",))
        found = {"versions": versions, "conditions": conditions(arguments.threads)}
        cli.print_json(dict(found, figures=figures))
    return 0


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError("found {}, expected more than 0".format(text))
        return value

    return convert


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse `argv`, run one bench, return the exit status: 0, or 1 if a kernel is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesdk.bench",
        description=__doc__,
        epilog="example:\n  " + EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="bench", metavar="NAME")
    commands.required = True
    for name, bench in BENCHES.items():
        command = commands.add_parser(name, help=bench.description, description=bench.description)
        command.add_argument(
            "--threads", type=_positive(int), default=1, help="cores to use (default 1)"
        )
        command.add_argument(
            "--seconds", type=_positive(float), default=0.5, help="per size (default 0.5)"
        )
        cli.add_common_options(command)
    return cli.run(_run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
