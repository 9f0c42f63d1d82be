"""`python -m edgesdk.train fit|export|calibrate`: a network with exits, its bundle, its plan."""

import argparse
import sys
from pathlib import Path
from typing import Any, Optional, Sequence

from .. import cli
from ..errors import BackendUnavailable
from .calibration import command as calibration
from .recipe import MAX_LOSS_POINTS, PRECISIONS, SCHEDULES, Settings

FIT_EXAMPLE = "python -m edgesdk.train fit --data digits --model wrn16_1 --out runs/digits"
SEVERAL_EXAMPLE = (
    "torchrun --nproc_per_node=2 -m edgesdk.train fit --data cifar-10-python.tar.gz "
    "--model wrn16_1 --out runs/cifar10"
)
EXPORT_EXAMPLE = "python -m edgesdk.train export runs/digits --bundle engines/wrn16_1-digits/1"
DEVICES = ("auto", "cpu", "cuda")
PACKAGES = ("torch", "onnx", "onnxruntime")


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
    export.add_argument("--force", action="store_true", help="replace a bundle that is there")

    calibration.add_arguments(
        _add_command(commands, "calibrate", calibration.DESCRIPTION, calibration.EXAMPLE)
    )
    return result


def _add_fit_options(fit: argparse.ArgumentParser) -> None:
    fit.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help="digits; or a path: an image folder (train/CLASS/*.jpg, test/CLASS/*.jpg), "
        "cifar-10-batches-py, or a tar of either; of train/, the last tenth of each class by file "
        "name is held out for calibration",
    )
    fit.add_argument("--model", required=True, metavar="NAME", help="network: wrn16_1, ...")
    fit.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the run lives")
    fit.add_argument("--resume", action="store_true", help="continue a run that was interrupted")
    fit.add_argument(
        "--start-from", type=Path, metavar="DIR", help="begin with the weights of another run"
    )
    fit.add_argument("--seed", type=int, default=0, help="default %(default)s")
    fit.add_argument("--threads", type=_positive, default=1, help="of torch, default %(default)s")
    fit.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto: a GPU if there is one"
    )
    recipe = fit.add_argument_group("recipe", "without these, what suits the data")
    recipe.add_argument("--epochs", type=_positive)
    recipe.add_argument("--batch", type=_positive, dest="batch_size", help="images per step")
    recipe.add_argument("--peak-rate", type=float, dest="peak_learning_rate")
    recipe.add_argument("--weight-decay", type=float)
    recipe.add_argument(
        "--exit-weights",
        type=_numbers,
        metavar="W0,W1,...",
        help="of the loss, one per exit; the paper's if it has seven, else ones",
    )
    recipe.add_argument(
        "--distillation",
        type=float,
        metavar="SHARE",
        help="of an early exit's loss, the share learned from the final exit: 0 to 1",
    )
    recipe.add_argument("--schedule", choices=SCHEDULES)
    recipe.add_argument(
        "--precision", choices=PRECISIONS, help="float32 is faster on CPUs without bfloat16 units"
    )
    recipe.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        dest="compiled",
        default=None,
        help="compile the network first (minutes; needs a C++ compiler), then train faster",
    )
    recipe.add_argument(
        "--decay-all",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let weight decay shrink biases and batch norms too",
    )


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    description: str,
    example: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=description,
        description=description,
        epilog="example:\n  " + example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli.add_common_options(command)
    return command


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1")
    return int(text)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected numbers with commas between them"
        ) from None


def _require_packages() -> None:
    try:
        import matplotlib  # noqa: F401
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import PIL  # noqa: F401
        import torch  # noqa: F401
        import tqdm  # noqa: F401
    except ImportError as error:
        raise BackendUnavailable(
            f"training needs {error.name}, which cannot be imported ({error}); "
            'install it with: pip install "edgesdk[train]"'
        ) from error


def _fit(arguments: argparse.Namespace) -> int:
    _require_packages()
    import torch

    from . import distributed, trainer
    from .data import data_set
    from .models import seeded_model

    torch.set_num_threads(arguments.threads)
    group = distributed.join(arguments.device)
    try:
        if group.leads:
            cli.banner(PACKAGES, arguments.seed, arguments.json)
        data = data_set(arguments.data)
        settings = _settings(arguments, data.recipe)
        channels = data.preprocessing.shape[0]
        network = seeded_model(settings.model, len(data.labels), channels, settings.seed)
        if arguments.start_from:
            settings = settings._replace(start=trainer.start_from(network, arguments.start_from))
        run = trainer.Trainer(network, data, settings, group)
        trainer.fit(run, arguments.out, arguments.resume)
    finally:
        distributed.leave(group)
    if group.leads:
        _report_fit(run.history[-1], arguments)
    return 0


def _settings(arguments: argparse.Namespace, recipe: Settings) -> Settings:
    """The recipe of the data, changed by every option that was given."""
    given = {name: getattr(arguments, name, None) for name in Settings._fields}
    return recipe._replace(**{name: value for name, value in given.items() if value is not None})


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
    _require_packages()
    import torch

    from .bundles import export_run, load_run

    torch.set_num_threads(1)
    run = load_run(arguments.run)
    cli.banner(PACKAGES, run.settings.seed, arguments.json)
    exported = export_run(run, arguments.bundle, arguments.max_loss_points, arguments.force)
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
    cli.say(f"written: {arguments.bundle}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
