"""Options that the commands of training share, and what becomes of them."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import cli
from ..errors import BackendUnavailable
from .recipe import PRECISIONS, SCHEDULES, Settings

if TYPE_CHECKING:
    from .distributed import Group

DEVICES = ("auto", "cpu", "cuda")
PACKAGES = ("torch", "onnx", "onnxruntime")


def add_run_options(command: argparse.ArgumentParser) -> None:
    """Data, where the run lives, seed and machine."""
    add_data_option(command)
    command.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="where the run lives"
    )
    command.add_argument(
        "--resume", action="store_true", help="continue a run that was interrupted"
    )
    add_machine_options(command)


def add_start_option(command: argparse.ArgumentParser) -> None:
    """`--start-from`."""
    command.add_argument(
        "--start-from", type=Path, metavar="DIR", help="begin with the weights of another run"
    )


def add_data_option(command: argparse.ArgumentParser) -> None:
    """`--data`."""
    command.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help="digits; or a path: an image folder (train/CLASS/*.jpg, test/CLASS/*.jpg), "
        "cifar-10-batches-py, or a tar of either; of train/, the last tenth of each class by file "
        "name is held out for calibration",
    )


def add_page_options(command: argparse.ArgumentParser, out_help: str) -> None:
    """`--out`, and `--docs` for the page."""
    command.add_argument("--out", required=True, type=Path, metavar="DIR", help=out_help)
    command.add_argument(
        "--docs", type=Path, metavar="DIR", help="where page and pictures go; default: OUT/page"
    )


def add_machine_options(command: argparse.ArgumentParser) -> None:
    """Seed, threads and device."""
    command.add_argument("--seed", type=int, default=0, help="default %(default)s")
    command.add_argument(
        "--threads", type=positive, default=1, help="of torch, default %(default)s"
    )
    command.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto: a GPU if there is one"
    )


def add_recipe_options(command: argparse.ArgumentParser) -> Any:
    """What `Settings` has; the group of options, for more of them."""
    recipe = command.add_argument_group("recipe", "without these, what suits the data")
    recipe.add_argument("--epochs", type=positive)
    recipe.add_argument("--batch", type=positive, dest="batch_size", help="images per step")
    recipe.add_argument("--peak-rate", type=float, dest="peak_learning_rate")
    recipe.add_argument("--weight-decay", type=float)
    recipe.add_argument(
        "--exit-weights",
        type=numbers,
        metavar="W0,W1,...",
        help="of the loss, one per exit; the paper's if it has seven, else ones",
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
    return recipe


def settings(arguments: argparse.Namespace, recipe: Settings) -> Settings:
    """The recipe of the data, changed by every option that was given."""
    return recipe._replace(**given(arguments, Settings._fields))


def given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """The options of these names that were given."""
    found = {name: getattr(arguments, name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def positive(text: str) -> int:
    """A whole number from 1, as argparse reads it."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1")
    return int(text)


def whole(text: str) -> int:
    """A whole number from 0, as argparse reads it."""
    return 0 if text == "0" else positive(text)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them, as argparse reads them."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected numbers with commas between them"
        ) from None


def counts(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 with commas between them, as argparse reads them."""
    return tuple(positive(word) for word in text.split(","))


def require_packages() -> None:
    """Raise BackendUnavailable, saying what to install, unless all that training needs is there."""
    try:
        import matplotlib  # noqa: F401
        import networkx  # noqa: F401
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


@contextlib.contextmanager
def training(arguments: argparse.Namespace) -> "Iterator[Group]":
    """Around a training: packages, threads, and the processes that share it; the leading one has
    printed the banner. Raises BackendUnavailable without the packages."""
    require_packages()
    import torch

    from . import distributed

    torch.set_num_threads(arguments.threads)
    group = distributed.join(arguments.device)
    try:
        if group.leads:
            cli.banner(PACKAGES, arguments.seed, arguments.json)
        yield group
    finally:
        distributed.leave(group)
