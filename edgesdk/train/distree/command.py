"""`python -m edgesdk.train reproduce distree`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ... import cli
from .. import options

if TYPE_CHECKING:
    from ..data import DataSet
    from .experiment import Request

DESCRIPTION = "DistrEE: a teacher and students, every table and picture"
EXAMPLE = (
    "python -m edgesdk.train reproduce distree --data cifar10-jpeg.tar.xz --out runs/distree "
    "--docs docs/distree --compile --views 8"
)
STUDENT_COUNTS = (1, 2, 4, 8)
SCALING_DIVISOR = 5  # of the epochs, for the many trainings that are only compared


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of the command, but for the common ones."""
    command.set_defaults(command=run)
    options.add_data_option(command)
    options.add_page_options(
        command,
        "where trainings, bundle and features live; what is there already is not done again, and a "
        "training that was interrupted goes on",
    )
    options.add_machine_options(command)
    networks = command.add_argument_group("networks", "without these, those of the paper")
    networks.add_argument(
        "--teacher", type=Path, metavar="RUN", help="a run of fit; default: trained in OUT/teacher"
    )
    networks.add_argument("--teacher-model", default="wrn16_4", metavar="NAME")
    networks.add_argument("--teacher-epochs", type=options.positive, metavar="N")
    networks.add_argument("--model", default="wrn16_1", metavar="NAME", help="of each student")
    networks.add_argument("--epochs", type=options.positive, help="of the students")
    networks.add_argument(
        "--ensemble",
        type=Path,
        metavar="RUN",
        help="a run of distill, two students under that teacher; default: trained in OUT",
    )
    networks.add_argument(
        "--views", type=options.positive, default=0, metavar="V", help="as distill takes it"
    )
    networks.add_argument(
        "--compile", action="store_true", dest="compiled", help="minutes first, then faster"
    )
    more = command.add_argument_group("what the paper leaves open")
    more.add_argument(
        "--students",
        type=options.counts,
        default=STUDENT_COUNTS,
        metavar="N0,N1,...",
        help="numbers of students to compare, default 1,2,4,8",
    )
    more.add_argument(
        "--scaling-epochs",
        type=options.whole,
        metavar="N",
        help="of each of these trainings, 0 for none of them; default: a fifth of the others",
    )
    command.add_argument(
        "--live-images",
        type=options.whole,
        default=400,
        metavar="N",
        help="images that real processes answer, 0 for none; default %(default)s",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train what is missing, measure, write the page."""
    with options.training(arguments) as group:
        from ..data import data_set
        from ..publishing import PAGE
        from . import publishing
        from .experiment import reproduce

        data = data_set(arguments.data)
        found = reproduce(data, _request(arguments, data), group)
    folder = arguments.docs or arguments.out / "page"
    publishing.write(found, folder, _command(arguments))
    if arguments.json:
        cli.print_json(publishing.document(found))
    else:
        cli.say(f"written: {folder / PAGE}")
    return 0


def _request(arguments: argparse.Namespace, data: "DataSet") -> "Request":
    from .experiment import Request
    from .trainings import Recipe

    common = data.recipe._replace(
        data=arguments.data, seed=arguments.seed, compiled=arguments.compiled
    )
    epochs = arguments.epochs or common.epochs
    scaling_epochs = arguments.scaling_epochs
    return Request(
        arguments.out,
        Recipe(
            common._replace(
                model=arguments.teacher_model, epochs=arguments.teacher_epochs or common.epochs
            ),
            common._replace(model=arguments.model, epochs=epochs),
            arguments.views,
            arguments.teacher,
            arguments.ensemble,
        ),
        arguments.students,
        max(1, epochs // SCALING_DIVISOR) if scaling_epochs is None else scaling_epochs,
        arguments.live_images,
    )


def _command(arguments: argparse.Namespace) -> str:
    """What a reader would type to do the same: names of files, not where they were."""
    words = ["python -m edgesdk.train reproduce distree"]
    words += ["--data", Path(arguments.data).name, "--out runs/distree"]
    if arguments.teacher:
        words.append("--teacher runs/teacher")
    if arguments.ensemble:
        words.append("--ensemble runs/students")
    if arguments.students != STUDENT_COUNTS:
        words += ["--students", ",".join(map(str, arguments.students))]
    for name in ("teacher_epochs", "epochs", "scaling_epochs"):
        value = getattr(arguments, name)
        if value is not None:
            words += ["--" + name.replace("_", "-"), str(value)]
    if arguments.views:
        words += ["--views", str(arguments.views)]
    if arguments.compiled:
        words.append("--compile")
    return " ".join(words)
