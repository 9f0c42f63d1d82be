"""`python -m edgesdk.train compare`: training strategies, side by side."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ... import cli
from ...files import write_atomically
from .. import options
from .phases import STRATEGIES

if TYPE_CHECKING:
    from ..data import DataSet
    from .comparison import Tried

DESCRIPTION = "train one network by every strategy of the early-exit survey, and compare"
EXAMPLE = "python -m edgesdk.train compare --data digits --model wrn16_1 --out runs/strategies"
PAGE = "README.md"
RECIPE = {  # options that the page's command repeats, and where argparse keeps them
    "--batch": "batch_size",
    "--peak-rate": "peak_learning_rate",
    "--weight-decay": "weight_decay",
    "--schedule": "schedule",
    "--precision": "precision",
}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of the command, but for the common ones."""
    command.set_defaults(command=run)
    options.add_data_option(command)
    command.add_argument("--model", required=True, metavar="NAME", help="as fit takes it")
    command.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="where trainings live; one that is there is not done again, or goes on",
    )
    command.add_argument(
        "--docs", type=Path, metavar="DIR", help="where page and picture go; default: OUT/page"
    )
    command.add_argument(
        "--strategies",
        type=lambda text: tuple(text.split(",")),
        metavar="NAME,...",
        help=f"{', '.join(STRATEGIES)}; default: all of them",
    )
    options.add_machine_options(command)
    options.add_recipe_options(command)


def run(arguments: argparse.Namespace) -> int:
    """Train what is missing, write the page, print the table."""
    with options.training(arguments) as group:
        from ..data import data_set
        from ..models import check_size, input_size
        from .comparison import compare

        data = data_set(arguments.data, input_size(arguments.model))
        settings = options.settings(arguments, data.recipe)
        check_size(settings.model, *data.preprocessing.shape[1:])
        names = arguments.strategies or tuple(STRATEGIES)
        found = compare(data, settings, names, arguments.out, group)
    if group.leads:
        _report(found, data, arguments)
    return 0


def _report(found: "list[Tried]", data: "DataSet", arguments: argparse.Namespace) -> None:
    from . import page

    folder = arguments.docs or arguments.out / "page"
    folder.mkdir(parents=True, exist_ok=True)
    context = page.Context(
        arguments.model,
        data.name,
        len(data.load("test").labels),
        cli.versions(("torch",)),
        arguments.threads,
        _command(arguments),
    )
    write_atomically(folder / page.PICTURE, page.picture(found))
    write_atomically(folder / PAGE, page.page(found, context).encode())
    if arguments.json:
        cli.print_json({"strategies": [tried._asdict() for tried in found]})
        return
    for line in cli.table(page.header(found), page.rows(found)):
        cli.say(line)
    cli.say(f"written: {folder / PAGE}")


def _command(arguments: argparse.Namespace) -> str:
    """What a reader would type to do the same: names of files, not where they were."""
    words = ["python -m edgesdk.train compare", "--data", Path(arguments.data).name]
    words += ["--model", arguments.model, "--out runs/strategies"]
    if arguments.epochs:
        words += ["--epochs", str(arguments.epochs)]
    if arguments.strategies:
        words += ["--strategies", ",".join(arguments.strategies)]
    for option, name in RECIPE.items():
        value = getattr(arguments, name)
        if value is not None:
            words += [option, str(value)]
    return " ".join(words)
