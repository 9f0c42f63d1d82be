"""`python -m edgesdk.train bottleneck`: features that travel a hundred times smaller."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ... import cli
from ...files import write_atomically
from .. import options

if TYPE_CHECKING:
    from ..bundles import Run
    from .measuring import Measured

EPOCHS = 20
DESCRIPTION = (
    f"an autoencoder at a border of a trained network, for features that travel; {EPOCHS} epochs "
    "without --epochs"
)
EXAMPLE = (
    "python -m edgesdk.train bottleneck runs/digits --border 1 --method ghnd --out runs/bottleneck"
)
ALL = "all"
RATIO = 100.0
PAGE = "README.md"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of the command, but for the common ones."""
    command.set_defaults(command=run)
    command.add_argument("run", type=Path, metavar="RUN", help="directory given to fit as --out")
    command.add_argument(
        "--border",
        type=options.positive,
        required=True,
        metavar="N",
        help="the number of the segment that takes the features: 1 is behind the first exit",
    )
    command.add_argument(
        "--method",
        default="ghnd",
        metavar="NAME",
        help="reconstruction, cross-entropy, distillation, hnd or ghnd (default); all: one after "
        "the other, each in a folder of OUT, and a page that compares them",
    )
    command.add_argument(
        "--ratio",
        type=float,
        default=RATIO,
        help="how many times smaller features travel, at least; default %(default)g",
    )
    command.add_argument("--out", required=True, type=Path, metavar="DIR", help="where it lives")
    command.add_argument(
        "--resume", action="store_true", help="continue a training that was interrupted"
    )
    options.add_machine_options(command)
    recipe = options.add_recipe_options(command)
    recipe.set_defaults(epochs=EPOCHS, decay_all=False)


def run(arguments: argparse.Namespace) -> int:
    """Train, measure, print the table; for all methods write the page too."""
    with options.training(arguments) as group:
        from .. import bundles, trainer
        from .methods import METHODS
        from .training import new_trainer

        trained = bundles.load_run(arguments.run)
        recipe = trained.data.recipe._replace(
            model=trained.settings.model, data=trained.settings.data
        )
        settings = options.settings(arguments, recipe)
        is_all = arguments.method == ALL
        found = {}
        for method in METHODS if is_all else [arguments.method]:
            one = new_trainer(trained, settings, arguments.border, method, arguments.ratio, group)
            directory = arguments.out / method if is_all else arguments.out
            trainer.fit(one, directory, arguments.resume)
            found[method] = directory
    if group.leads:
        from .measuring import measured

        _report(measured(trained, found), trained, arguments)
    return 0


def _report(found: "Measured", trained: "Run", arguments: argparse.Namespace) -> None:
    from . import page

    if arguments.method == ALL:
        context = page.Context(
            trained.settings.model,
            trained.data.name,
            len(trained.data.load("test").labels),
            cli.versions(("torch", "onnxruntime")),
            arguments.threads,
            _command(arguments),
        )
        write_atomically(arguments.out / page.PICTURE, page.picture(found))
        write_atomically(arguments.out / PAGE, page.page(found, context).encode())
    if arguments.json:
        cli.print_json(
            {
                "out": str(arguments.out),
                **found._asdict(),
                "costs": [cost._asdict() for cost in found.costs],
                "feature_bytes": found.feature_bytes,
                "code_bytes": found.code_bytes,
                "ratio": found.ratio,
            }
        )
        return
    for line in page.lines(found):
        cli.say(line)
    written = arguments.out / PAGE if arguments.method == ALL else arguments.out
    cli.say(f"written: {written}")


def _command(arguments: argparse.Namespace) -> str:
    """What a reader would type to do the same: names of folders, not where they were."""
    return (
        f"python -m edgesdk.train bottleneck runs/{arguments.run.name} --border {arguments.border} "
        f"--method all --ratio {arguments.ratio:g} --epochs {arguments.epochs} "
        "--out runs/bottlenecks"
    )
