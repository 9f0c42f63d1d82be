"""`python -m edgesdk.train fit|export|calibrate`: a network with exits, its bundle, its plan.

`distill|evaluate`: an ensemble of students, and how good it is. `compare`: training strategies.
`bottleneck`: features that travel small. `reproduce`: a paper's experiments.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Sequence

from .. import cli
from ..errors import ConfigError
from ..outcomes import SPLITS
from . import options, reproduction
from .bottlenecks import command as bottlenecks
from .calibration import command as calibration
from .ensembles import distillation_command
from .recipe import INT8_LOSS_POINTS, LEARNS, LOSSES, MAX_LOSS_POINTS
from .strategies import command as strategies

if TYPE_CHECKING:
    from .bundles import Exported

FIT_EXAMPLE = "python -m edgesdk.train fit --data digits --model wrn16_1 --out runs/digits"
SEVERAL_EXAMPLE = (
    "torchrun --nproc_per_node=2 -m edgesdk.train fit --data cifar-10-python.tar.gz "
    "--model wrn16_1 --out runs/cifar10"
)
MODEL_HELP = (
    "network: wrn16_1, wrn16_2 or wrn16_4; mobilenetv2, resnet50 or vit_tiny; mobilenetv2_224 or "
    "resnet50_224 for images of 224 pixels"
)
EXPORT_EXAMPLE = "python -m edgesdk.train export runs/digits --bundle engines/wrn16_1-digits/1"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Parse `arguments`, run one command, return its exit status."""
    parsed = _parser().parse_args(arguments)
    return cli.run(parsed.command, parsed)


def _parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m edgesdk.train",
        description=__doc__,
        epilog="example:\n  " + FIT_EXAMPLE + "\n  " + EXPORT_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = result.add_subparsers(metavar="COMMAND", required=True)
    examples = FIT_EXAMPLE + "\n  " + SEVERAL_EXAMPLE
    fit = _add_command(commands, "fit", "train all exits jointly (DistrEE, eq. 5)", examples)
    fit.set_defaults(command=_fit)
    _add_fit_options(fit)

    export = _add_command(commands, "export", "checkpoint to bundle, checked", EXPORT_EXAMPLE)
    export.set_defaults(command=_export)
    export.add_argument("run", type=Path, metavar="RUN", help="directory given to fit as --out")
    export.add_argument("--bundle", required=True, type=Path, metavar="DIR")
    export.add_argument(
        "--max-loss-points",
        type=float,
        default=MAX_LOSS_POINTS,
        help="accuracy the calibrated policy may lose, in percent points, default %(default)s",
    )
    export.add_argument(
        "--int8",
        action="store_true",
        help="stages for the INT8 units of GPUs (Xavier, Orin, data centres; a Nano has none)",
    )
    export.add_argument(
        "--int8-loss-points",
        type=float,
        metavar="POINTS",
        help="accuracy the final exit may lose by INT8 on the calibration split, in percent "
        f"points, default {INT8_LOSS_POINTS}",
    )
    export.add_argument(
        "--bottleneck",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="directory given to bottleneck as --out; may be repeated, for several borders",
    )
    export.add_argument("--force", action="store_true", help="replace a bundle that is there")

    calibration.add_arguments(
        _add_command(commands, "calibrate", calibration.DESCRIPTION, calibration.EXAMPLE)
    )
    distill = distillation_command
    distill.add_distill_arguments(
        _add_command(commands, "distill", distill.DISTILL, distill.DISTILL_EXAMPLE)
    )
    distill.add_evaluate_arguments(
        _add_command(commands, "evaluate", distill.EVALUATE, distill.EVALUATE_EXAMPLE)
    )
    strategies.add_arguments(
        _add_command(commands, "compare", strategies.DESCRIPTION, strategies.EXAMPLE)
    )
    bottlenecks.add_arguments(
        _add_command(commands, "bottleneck", bottlenecks.DESCRIPTION, bottlenecks.EXAMPLE)
    )
    reproduction.add_arguments(
        _add_command(commands, "reproduce", reproduction.DESCRIPTION, reproduction.EXAMPLE, False)
    )
    return result


def _add_fit_options(fit: argparse.ArgumentParser) -> None:
    options.add_run_options(fit)
    fit.add_argument("--model", required=True, metavar="NAME", help=MODEL_HELP)
    options.add_start_option(fit)
    recipe = options.add_recipe_options(fit)
    recipe.add_argument(
        "--distillation",
        type=float,
        metavar="SHARE",
        help="of an early exit's loss, the share learned from the final exit: 0 to 1",
    )
    recipe.add_argument(
        "--learns",
        choices=LEARNS,
        help="parts that do; the others stay as --start-from has them. backbone: all but the early "
        "exits; exits: only those; last: the last segment and the final exit",
    )
    recipe.add_argument(
        "--loss",
        choices=LOSSES,
        help="of joint training: the sum of the exits' losses (default), or that of their mean "
        "answer",
    )


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    description: str,
    example: str,
    is_whole: bool = True,
) -> argparse.ArgumentParser:
    """`is_whole`: it has no commands of its own, which take the common options."""
    command = commands.add_parser(
        name,
        help=description,
        description=description,
        epilog="example:\n  " + example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if is_whole:
        cli.add_common_options(command)
    return command


def _fit(arguments: argparse.Namespace) -> int:
    with options.training(arguments) as group:
        from . import trainer
        from .data import data_set
        from .models import check_size, input_size, seeded_model

        data = data_set(arguments.data, input_size(arguments.model))
        settings = options.settings(arguments, data.recipe)
        channels, height, width = data.preprocessing.shape
        check_size(settings.model, height, width)
        network = seeded_model(settings.model, len(data.labels), channels, settings.seed)
        if arguments.start_from:
            settings = settings._replace(start=trainer.start_from(network, arguments.start_from))
        run = trainer.Trainer(network, data, settings, group)
        trainer.fit(run, arguments.out, arguments.resume)
    if group.leads:
        _report_fit(run.history[-1], arguments)
    return 0


def _report_fit(last: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.json:
        cli.print_json({"out": str(arguments.out), **last})
        return
    rows = [
        (f"exit {index}", f"{100 * train:.2f} %", f"{100 * held_out:.2f} %")
        for index, (train, held_out) in enumerate(
            zip(last["train_accuracy"], last["calibration_accuracy"])
        )
    ]
    for line in cli.table(("accuracy", "train (augmented)", "calibration"), rows):
        cli.say(line)


def _export(arguments: argparse.Namespace) -> int:
    options.require_packages()
    import torch

    from . import checkpoint
    from .bottlenecks.exporting import bottleneck_files
    from .bundles import export_run, load_run
    from .trainer import is_ensemble

    torch.set_num_threads(1)
    int8_loss_points = _int8_loss_points(arguments)
    if is_ensemble(checkpoint.load(arguments.run)):
        if int8_loss_points is not None:
            raise ConfigError(
                f"--int8: {arguments.run} is an ensemble, expected a plain network; export it "
                "without --int8"
            )
        if arguments.bottleneck:
            raise ConfigError(
                f"--bottleneck: {arguments.run} is an ensemble, expected a plain network; the "
                "features of an ensemble's students do not travel"
            )
        return _export_ensemble(arguments)
    run = load_run(arguments.run)
    cli.banner(options.PACKAGES, run.settings.seed, arguments.json)
    exported = export_run(
        run,
        arguments.bundle,
        arguments.max_loss_points,
        arguments.force,
        int8_loss_points,
        [bottleneck_files(run, directory) for directory in arguments.bottleneck],
    )
    if arguments.json:
        cli.print_json(
            {
                "bundle": str(arguments.bundle),
                **exported._asdict(),
                "final": exported.final._asdict(),
                "calibrated": exported.calibrated._asdict(),
            }
        )
        return 0
    if exported.quantization is not None:
        _report_quantization(exported.quantization)
    _report_export(exported)
    cli.say(f"written: {arguments.bundle}")
    return 0


def _int8_loss_points(arguments: argparse.Namespace) -> Optional[float]:
    """None: no INT8."""
    given: Optional[float] = arguments.int8_loss_points
    if given is not None and not arguments.int8:
        raise ConfigError("--int8-loss-points: found without --int8, which it is about; add it")
    return INT8_LOSS_POINTS if arguments.int8 and given is None else given


def _report_quantization(found: dict[str, Any]) -> None:
    """What each exit loses by INT8."""
    accuracies = found["accuracy_per_exit"]
    columns = [accuracies[split][kind] for split in SPLITS for kind in ("float32", "int8")]
    rows = [
        (f"exit {index}", *(f"{100 * accuracy:.2f} %" for accuracy in row))
        for index, row in enumerate(zip(*columns))
    ]
    cli.say(f"INT8: ranges of {found['image_count']} calibration images, {found['method']}")
    header = ("accuracy", "calibration, float32", "INT8", "test, float32", "INT8")
    for line in cli.table(header, rows):
        cli.say(line)


def _report_export(exported: "Exported") -> None:
    rows = [
        (f"exit {index}", f"{100 * accuracy:.2f} %", f"{threshold:.6f}", f"{100 * share:.1f} %")
        for index, (accuracy, threshold, share) in enumerate(
            zip(exported.test_accuracy, exported.thresholds, exported.calibrated.share_per_exit)
        )
    ]
    for line in cli.table(("test split", "accuracy", "threshold", "leave here"), rows):
        cli.say(line)
    for name, report in (("final", exported.final), ("calibrated", exported.calibrated)):
        cli.say(
            f"policy {name}: accuracy {100 * report.accuracy:.2f} %, "
            f"{report.mean_multiply_adds / 1e6:.2f} M multiply-adds per image"
        )


def _export_ensemble(arguments: argparse.Namespace) -> int:
    from .ensembles.ensemble_bundles import export_ensemble
    from .ensembles.evaluation import load_ensemble

    run = load_ensemble(arguments.run)
    cli.banner(options.PACKAGES, run.settings.seed, arguments.json)
    manifest = export_ensemble(run, arguments.bundle, arguments.force).manifest
    found = manifest.document["provenance"]["test"]
    if arguments.json:
        cli.print_json({"bundle": str(arguments.bundle), "test": found})
        return 0
    rows = [
        (f"all at exit {index}", f"{100 * accuracy:.2f} %")
        for index, accuracy in enumerate(found["branches"])
    ]
    rows.append(("mixtures of exits", f"{100 * found['mixture']:.2f} %"))
    rows += [
        (f"without student {index}", f"{100 * accuracies[-1]:.2f} %")
        for index, accuracies in enumerate(found["missing"])
    ]
    for line in cli.table(("test split", "accuracy"), rows):
        cli.say(line)
    cli.say(f"written: {arguments.bundle}; policies: {', '.join(manifest.policies)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
