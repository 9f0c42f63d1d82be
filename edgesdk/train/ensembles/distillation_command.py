"""`python -m edgesdk.train distill` and `evaluate`: an ensemble of students (DistrEE)."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import cli
from ...files import write_atomically
from .. import options
from ..recipe import Distillation

if TYPE_CHECKING:
    from .evaluation import EnsembleRun, Report
    from .teacher import Teacher

DISTILL = "train students that share an answer, under a teacher (DistrEE, eq. 4 and 5)"
DISTILL_EXAMPLE = (
    "python -m edgesdk.train distill --teacher runs/teacher --data digits --students 2 "
    "--out runs/students"
)
EVALUATE = "accuracy of an ensemble by branch, in mixtures, with a student missing"
EVALUATE_EXAMPLE = (
    "python -m edgesdk.train evaluate runs/students --features runs/students/features.npz"
)
DEFAULTS = Distillation((), {})


def add_distill_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of `distill`, but for the common ones."""
    command.set_defaults(command=distill)
    options.add_run_options(command)
    command.add_argument(
        "--teacher",
        required=True,
        type=Path,
        metavar="RUN",
        help="directory given to fit as --out, on the same data",
    )
    command.add_argument(
        "--students", type=options.positive, default=2, metavar="N", help="default %(default)s"
    )
    command.add_argument(
        "--model", default="wrn16_1", metavar="NAME", help="of each student, default %(default)s"
    )
    command.add_argument(
        "--depths",
        type=options.counts,
        metavar="M0,M1,...",
        help="exits of each student, fewer for a weaker device; default: all",
    )
    options.add_start_option(command)
    _add_loss_options(options.add_recipe_options(command))


def _add_loss_options(recipe: Any) -> None:
    texts = {
        "soft_weight": "alpha of eq. 4: the teacher's share of what the labels say",
        "temperature": "softens teacher and students where they are compared",
        "attention_weight": "beta of eq. 4: of what the teacher's filters say",
        "mixture_weight": "of mixtures of exits, beside the branches; 0 for the paper's loss",
        "missing_probability": "of a student in a mixture; 0: none is ever missing",
    }
    for name, text in texts.items():
        option = "--" + name.replace("_", "-")
        default = getattr(DEFAULTS, name)
        recipe.add_argument(option, type=float, help=f"{text}; default {default:g}")
    recipe.add_argument(
        "--views",
        type=options.positive,
        metavar="V",
        help="augmented copies of each image, used in turns: the teacher is asked once of each, "
        "and what it says is kept in OUT/answers (200 MB for CIFAR-10, two students and 8 views); "
        "default: new copies in every epoch",
    )


def add_evaluate_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of `evaluate`, but for the common ones."""
    command.set_defaults(command=evaluate)
    command.add_argument(
        "run", type=Path, metavar="RUN", help="directory given to distill as --out"
    )
    command.add_argument(
        "--features", type=Path, metavar="FILE", help="write what every exit says, .npz"
    )
    command.add_argument(
        "--float16", action="store_true", help="write features in half the space, rounded"
    )
    command.add_argument(
        "--filters", type=Path, metavar="FILE", help="draw the teacher's filters by student, .png"
    )
    command.add_argument("--seed", type=int, default=0, help="of mixtures, default %(default)s")
    command.add_argument(
        "--threads", type=options.positive, default=1, help="of torch, default %(default)s"
    )


def distill(arguments: argparse.Namespace) -> int:
    """Train, and print the accuracies of the last epoch."""
    with options.training(arguments) as group:
        from .. import trainer
        from ..data import data_set
        from .distiller import ANSWERS, Distiller
        from .students import build_ensemble, depths_of
        from .teacher import load_teacher

        depths = depths_of(arguments.model, arguments.students, arguments.depths)
        data = data_set(arguments.data)
        teacher = load_teacher(arguments.teacher, data)
        if group.leads:
            cli.say(_introduction(teacher, depths), arguments.json)
        settings = options.settings(arguments, data.recipe)
        changes = options.given(arguments, Distillation._fields[2:])
        wanted = Distillation(depths, teacher.description, **changes)
        channels = data.preprocessing.shape[0]
        classes = len(data.labels)
        ensemble = build_ensemble(settings.model, classes, channels, depths, settings.seed)
        if arguments.start_from:
            settings = settings._replace(start=trainer.start_from(ensemble, arguments.start_from))
        answers = arguments.out / ANSWERS
        run = Distiller(ensemble, teacher, data, settings, wanted, group, answers)
        trainer.fit(run, arguments.out, arguments.resume)
    if group.leads:
        _report_distill(run.history[-1], arguments)
    return 0


def _introduction(teacher: "Teacher", depths: Sequence[int]) -> str:
    found = teacher.description
    exits = ", ".join(map(str, depths))
    return (
        f"teacher {found['model']}, {found['epochs_done']} of {found['epochs']} epochs; "
        f"students with {exits} exits"
    )


def _report_distill(last: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.json:
        cli.print_json({"out": str(arguments.out), **last})
        return
    columns = zip(
        last["train_branch_loss"],
        last["train_accuracy"],
        last["calibration_loss"],
        last["calibration_accuracy"],
    )
    rows = [
        (f"branch {index}", f"{a:.4f}", f"{100 * b:.2f} %", f"{c:.4f}", f"{100 * d:.2f} %")
        for index, (a, b, c, d) in enumerate(columns)
    ]
    header = ("", "loss (eq. 4)", "train (augmented)", "cross-entropy", "calibration")
    for line in cli.table(header, rows):
        cli.say(line)


def evaluate(arguments: argparse.Namespace) -> int:
    """Print what the ensemble reaches on the test split; write what was asked for."""
    options.require_packages()
    import numpy as np
    import torch

    from ...features import write_features
    from .. import plots
    from .evaluation import load_ensemble, record_features, report

    torch.set_num_threads(arguments.threads)
    cli.banner(options.PACKAGES, arguments.seed, arguments.json)
    run = load_ensemble(arguments.run)
    features = record_features(run, np.float16 if arguments.float16 else np.float32)
    found = report(features.select("test"), arguments.seed)
    if arguments.features:
        write_features(arguments.features, features)
    if arguments.filters:
        graph, groups = run.knowledge.graph.numpy(), run.knowledge.filters.groups
        write_atomically(arguments.filters, plots.filter_groups(graph, groups, run.name))
    if arguments.json:
        cli.print_json(_document(run, found))
    else:
        _print_report(run, found)
    return 0


def _document(run: "EnsembleRun", found: "Report") -> dict[str, Any]:
    from ..counting import multiply_adds, table_one

    shape, students = run.data.preprocessing.shape, run.ensemble.parts
    return {
        "name": run.name,
        "epochs_done": run.epochs_done,
        "depths": run.distillation.depths,
        "teacher": run.distillation.teacher,
        "filters": run.knowledge.provenance(),
        "multiply_adds": [multiply_adds(student, shape)._asdict() for student in students],
        "table_one": [table_one(student, shape)._asdict() for student in students],
        "test": found._asdict(),
    }


def _print_report(run: "EnsembleRun", found: "Report") -> None:
    header = ("test split", "all", *(f"without {i}" for i in range(len(found.missing))))
    columns = [(*found.branches, found.mixture)]
    columns += [(*each, mixed) for each, mixed in zip(found.missing, found.missing_mixture)]
    names = [f"branch {index}" for index in range(len(found.branches))] + ["mixtures"]
    rows = [
        (name, *(f"{100 * value:.2f} %" for value in values))
        for name, values in zip(names, zip(*columns))
    ]
    cli.say(f"{run.name}, {run.epochs_done} of {run.settings.epochs} epochs")
    for line in cli.table(header, rows):
        cli.say(line)
