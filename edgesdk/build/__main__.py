"""`python -m edgesdk.build BUNDLE`: compile the stages of a bundle for the GPU of this machine.

Engines are kept in the bundle, below compiled/, and found there by the pipeline. What is up to date
is not built again. With another backend nothing is kept: its stages are loaded and compared.
"""

import argparse
import sys
from typing import Any, Dict, Optional, Sequence

from .. import cli
from ..bundle import Bundle, read_bundle
from ..engine_store import PRECISIONS
from . import builder, report
from .golden import CPU_BACKENDS
from .narrator import Narrator
from .planning import Choices, as_json, stage_files
from .processes import ask

EXAMPLE = """python -m edgesdk.build engines/wrn16_1-digits/1
  python -m edgesdk.build engines/wrn16_1-digits/1 --precision fp32 --max-batch 8 --dry-run"""

TENSORRT = "tensorrt"
NOTHING_KEPT = "nothing was kept: {} compiles each stage when it is loaded, in the time shown"
CPU_HEADER = ("stage", "load ms", "run ms", "error")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse `argv`, build, return the exit status."""
    parser = cli.parser("build", __doc__, EXAMPLE)
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument("--plan", help="only what this plan needs; default: all plans")
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="default: fp16, or fp32 where the GPU has no fp16"
    )
    parser.add_argument(
        "--max-batch", type=_positive, default=32, help="largest batch (default %(default)s)"
    )
    parser.add_argument(
        "--optimum-batch", type=_positive, default=1, help="the fastest one (default %(default)s)"
    )
    parser.add_argument(
        "--workspace-mib",
        type=_positive,
        default=128,
        help="memory of the GPU for one layer's computation (default %(default)s)",
    )
    parser.add_argument(
        "--timing-cache", metavar="FILE", help="what was timed before; default: in the bundle"
    )
    parser.add_argument("--force", action="store_true", help="build what is up to date, too")
    parser.add_argument(
        "--unchecked", action="store_true", help="do not compare the engines with the CPU"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be built")
    parser.add_argument(
        "--backend", choices=(TENSORRT, *CPU_BACKENDS), default=TENSORRT, help="default %(default)s"
    )
    return cli.run(_main, parser.parse_args(argv))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("found {}, expected a number from 1".format(text))
    return value


def _main(arguments: argparse.Namespace) -> int:
    cli.banner(as_json=arguments.json)
    bundle = read_bundle(arguments.bundle)
    narrator = Narrator(arguments.json)
    prepare = _with_tensorrt if arguments.backend == TENSORRT else _on_the_cpu
    told = prepare(bundle, arguments, narrator)
    if arguments.json:
        cli.print_json(dict(told, versions=cli.versions()))
    return 0


def _with_tensorrt(
    bundle: Bundle, arguments: argparse.Namespace, narrator: Narrator
) -> Dict[str, Any]:
    choices = Choices(
        plan=arguments.plan,
        precision=arguments.precision,
        max_batch=arguments.max_batch,
        optimum_batch=arguments.optimum_batch,
        workspace_bytes=arguments.workspace_mib << 20,
        timing_cache=arguments.timing_cache,
        is_forced=arguments.force,
        is_checked=not arguments.unchecked,
    )
    builder.check_choices(choices)
    ahead = builder.prospect(bundle, choices, builder.look(narrator))
    cli.say("{} -> {}".format(ahead.key, ahead.place), arguments.json)
    outcome = None
    if not arguments.dry_run:
        outcome = builder.build(bundle, choices, ahead, narrator)
    cli.say("\n".join(cli.table(report.HEADER, report.rows(ahead, outcome))), arguments.json)
    for note in [] if outcome is None else report.notes(outcome):
        cli.say(note, arguments.json)
    return report.as_json(ahead, outcome)


def _on_the_cpu(
    bundle: Bundle, arguments: argparse.Namespace, narrator: Narrator
) -> Dict[str, Any]:
    files = stage_files(bundle.manifest, arguments.plan)
    told: Dict[str, Any] = {"backend": arguments.backend, "stages": [], "compared_with": None}
    if arguments.dry_run:
        cli.say("{} stages would be loaded and compared".format(len(files)), arguments.json)
        return told
    request = {
        "bundle": bundle.path,
        "files": [as_json(file) for file in files],
        "backend": arguments.backend,
    }
    with narrator.about("stages on " + arguments.backend) as tick:
        told.update(ask("try", request, arguments.backend, tick))
    found = [
        [each["onnx"]]
        + ["{:.1f}".format(1e3 * each[name]) for name in ("load_seconds", "run_seconds")]
        + ["unchecked" if each["error"] is None else "{:.1e}".format(each["error"])]
        for each in told["stages"]
    ]
    cli.say("\n".join(cli.table(CPU_HEADER, found)), arguments.json)
    compared = told["compared_with"]
    cli.say(
        "compared with {}".format(compared)
        if compared
        else "not compared: no other backend of the CPU is installed",
        arguments.json,
    )
    cli.say(NOTHING_KEPT.format(arguments.backend), arguments.json)
    return told


if __name__ == "__main__":
    sys.exit(main())
