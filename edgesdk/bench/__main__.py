"""`python -m edgesdk.bench NAME`: measure this machine, beside what one would use instead."""

import argparse
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from .. import cli
from ..backends import open_backend
from ..bundle import read_plain_bundle
from ..codec import available
from ..core.tensor import LOSSLESS_CODECS
from . import (
    codec,
    core,
    distree_exit,
    engine_command,
    ensemble,
    ensemble_command,
    fleet,
    kernels,
    link,
    peers,
    pipeline,
    plan,
    scale,
    sim,
    telemetry,
    torch_eager,
)
from .images import read_test_images
from .timing import conditions, pin

EXAMPLE = "python -m edgesdk.bench kernels --json > kernels.json"


class Bench(NamedTuple):
    """One subcommand: `measure` prints for a person and returns the figures. `options` adds its
    own; `seconds` is its default, and `per` what they are spent on. `place` chooses cores and tells
    which, before; `arguments.places` is what it told."""

    description: str
    measure: Callable[[argparse.Namespace], List[Dict[str, Any]]]
    seconds: float = 0.5
    per: str = "per size"
    options: Callable[[argparse.ArgumentParser], None] = lambda command: None
    place: Callable[[argparse.Namespace], Dict[str, Any]] = lambda arguments: _place(arguments)


def _place(arguments: argparse.Namespace) -> Dict[str, Any]:
    return {"cores": pin(arguments.threads)}


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
    found = [figure for each in measured for figure in kernels.figures(each)]
    return found + ([] if torch is None else _measure_exits(torch, arguments))


def _measure_exits(torch: Any, arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    measured = []
    for case in distree_exit.cases():
        _progress(case.name)
        measured.append(distree_exit.measure(case, torch, arguments.seconds))
    _progress("")
    rows = [distree_exit.row(each) for each in measured]
    cli.say("\n" + "\n".join(cli.table(distree_exit.HEADER, rows)), arguments.json)
    return [figure for each in measured for figure in distree_exit.figures(each)]


def measure_core(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """What edgesdk costs before any network computes."""
    cli.banner(as_json=arguments.json)
    return _with_targets(core.measure(), arguments.json)


def measure_sim(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """How fast the simulator is."""
    cli.banner(seed=sim.SEED, as_json=arguments.json)
    figures = sim.measure()
    if arguments.items:
        figures += sim.measure_large(arguments.workers, arguments.items)
    return _with_targets(figures, arguments.json)


def measure_plan(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """How long planning takes."""
    cli.banner(seed=plan.SEED, as_json=arguments.json)
    return _with_targets(plan.measure(), arguments.json)


def _sim_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--items", type=_positive(int), help="also one large world of so many")
    command.add_argument(
        "--workers", type=_positive(int), default=1000, help="of that world, default %(default)s"
    )


def _with_targets(figures: List[Dict[str, Any]], as_json: bool) -> List[Dict[str, Any]]:
    rows = [(f["name"], "{:.2f}".format(f["value"]), f["unit"], f["target"]) for f in figures]
    cli.say("\n".join(cli.table(("figure", "value", "unit", "target"), rows)), as_json)
    return figures


def measure_codec(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """Every codec that is installed, at every border of a bundle."""
    bundle = read_plain_bundle(arguments.bundle)
    images = read_test_images(arguments.data, bundle.manifest.labels).images
    backend = open_backend(None, arguments.threads)
    names = available()
    cli.banner(("zstandard", "lz4", "onnxruntime"), as_json=arguments.json)
    for name in LOSSLESS_CODECS:
        if name not in names:
            cli.say('not measured: {0}; pip install "edgesdk[{0}]"'.format(name), arguments.json)
    measured = []
    for border in codec.borders(bundle, backend, images):
        _progress(border.name)
        measured += codec.measure(border, names, arguments.seconds)
    _progress("")
    rows = [row for row in map(codec.row, measured) if row is not None]
    cli.say("\n".join(cli.table(codec.HEADER, rows)), arguments.json)
    cli.say(codec.raw_line(measured), arguments.json)
    return [figure for each in measured for figure in codec.figures(each)]


def _pipeline_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--bundle", default=pipeline.BUNDLE, help="default: %(default)s")
    command.add_argument(
        "--data", help="data set of the bundle, as training takes it; default: the digits scans"
    )


def _fleet_options(command: argparse.ArgumentParser) -> None:
    _pipeline_options(command)
    fleet.options(command)


def measure_pipeline(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """One pipeline beside other runtimes, or a fleet beside what bounds it."""
    return (pipeline if arguments.workers is None else fleet).measure(arguments)


def measure_ensemble(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """An ensemble live: a process for each student."""
    return ensemble_command.run(arguments, _progress)


def measure_telemetry(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """Looking at workers in every way there is, beside not looking."""
    return telemetry.measure(arguments)


def measure_link(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """Carrying payloads to another process, beside pyzmq, gRPC and torch RPC."""
    return link.measure(arguments, _progress)


def measure_scale(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """Ten, a hundred and a thousand simulated workers."""
    return scale.measure(arguments, _progress)


BENCHES = {
    "kernels": Bench("every kernel beside numpy and PyTorch", measure_kernels),
    "core": Bench("time per event, import time and memory of edgesdk itself", measure_core),
    "sim": Bench(
        "events per second of the simulator, and what they cost", measure_sim, options=_sim_options
    ),
    "scale": Bench(
        "10, 100 and 1,000 simulated workers: throughput, latency, messages, and what limits them",
        measure_scale,
        seconds=scale.SECONDS,
        per="of virtual time for each world, at most",
        options=scale.options,
    ),
    "plan": Bench("how long it takes to find the best placement", measure_plan),
    "codec": Bench(
        "features that travel: how small, how fast, how true, on which links it pays",
        measure_codec,
        seconds=3.0,
        per="per border",
        options=_pipeline_options,
    ),
    "pipeline": Bench(
        "edgesdk beside onnxruntime and PyTorch on real images, answers checked",
        measure_pipeline,
        seconds=10.0,
        per="per batch size; of a fleet, in all",
        options=_fleet_options,
    ),
    "peers": Bench(
        "edgesdk beside earlyon, plain onnxruntime, torch, torch RPC and a static network",
        lambda arguments: peers.measure(arguments, _progress),
        seconds=20.0,
        per="per table",
        options=peers.options,
        place=link.place,
    ),
    "engine": Bench(
        "every stage and head of a plan alone; writes profiles",
        engine_command.run,
        seconds=3.0,
        per="per batch size",
        options=engine_command.options,
    ),
    "link": Bench(
        "the transport beside pyzmq, gRPC and torch RPC, each to a process of its own",
        measure_link,
        seconds=30.0,
        options=link.options,
        place=link.place,
    ),
    "ensemble": Bench(
        "an ensemble live, a paced process for each student, policies in turns",
        measure_ensemble,
        seconds=ensemble.SECONDS,
        per="in all",
        options=ensemble_command.options,
        place=lambda arguments: {},  # its processes share all cores that this one may use
    ),
    "telemetry": Bench(
        "what it costs to look at workers: metrics, observers, timelines, traces",
        measure_telemetry,
        seconds=120.0,
        per="in all",
        options=_pipeline_options,
    ),
}


def _progress(text: str) -> None:
    """One line that is overwritten, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text)
        sys.stderr.flush()


def _run(arguments: argparse.Namespace) -> int:
    bench = BENCHES[arguments.bench]
    arguments.places = bench.place(arguments)
    figures = bench.measure(arguments)
    if arguments.json:
        versions = cli.versions(("onnxruntime", "torch", "zmq", "grpc", "earlyon"))
        where = dict(conditions(arguments.threads), **arguments.places)
        cli.print_json({"versions": versions, "conditions": where, "figures": figures})
    return 0


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError("found {}, expected more than 0".format(text))
        return value

    return convert


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse `argv`, run one bench, return the exit status: 0, or 1 if something is wrong."""
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
            "--seconds",
            type=_positive(float),
            default=bench.seconds,
            help="{} (default %(default)s)".format(bench.per),
        )
        bench.options(command)
        cli.add_common_options(command)
    return cli.run(_run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
