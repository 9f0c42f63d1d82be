"""`python -m edgesdk.train reproduce mdi-exit`."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ... import cli
from ...errors import ConfigError
from .. import options

if TYPE_CHECKING:
    from .experiment import Request

DESCRIPTION = "MDI-Exit: Figs. 3 to 6 from bundles, simulated, and live where this machine can"
EXAMPLE = (
    "python -m edgesdk.train reproduce mdi-exit --bundle engines/wrn16_1-cifar10/1 "
    "--data cifar10-jpeg.tar.xz --out runs/mdi-exit --docs docs/mdi-exit"
)
BOARD_MS = 40.0
WIFI_MBIT_S = 80.0
MEDIA_MBIT_S = (10.0, 20.0, 40.0, 80.0, 160.0)
SECONDS = 20.0
SEED_COUNT = 2
CODE_BYTES = 13_300  # what the paper's auto-encoder makes of a feature
JPEG_BYTES = 1_833  # of a CIFAR-10 image, in the split-computing survey
LIVE_IMAGES = 150
LIVE_BOARD_MS = 200.0
DEFAULTS = {  # of what the page's command repeats where it was otherwise
    "board_ms": BOARD_MS,
    "wifi_mbit_s": WIFI_MBIT_S,
    "code_bytes": CODE_BYTES,
    "jpeg_bytes": JPEG_BYTES,
    "seconds": SECONDS,
    "seed_count": SEED_COUNT,
    "seed": 0,
    "live_images": LIVE_IMAGES,
    "live_board_ms": LIVE_BOARD_MS,
}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of the command, but for the common ones."""
    command.set_defaults(command=run)
    command.add_argument(
        "--bundle",
        required=True,
        action="append",
        metavar="DIR",
        help="a plain network with its exits; again for another one",
    )
    options.add_data_option(command)
    options.add_page_options(
        command,
        "where answers and points live, a folder for each network; what is there is not done "
        "again. DIR/NAME/outcomes.npz is what calibrate --outcomes writes",
    )
    command.add_argument("--seed", type=int, default=0, help="default %(default)s")
    command.add_argument(
        "--backend", metavar="NAME", help="of the recording; default: the first that is installed"
    )
    command.add_argument(
        "--threads", type=options.positive, default=1, help="of the recording, default %(default)s"
    )
    _add_world(command.add_argument_group("boards and links", "the paper does not give them"))
    live = command.add_argument_group("real processes")
    live.add_argument(
        "--live-images",
        type=options.whole,
        default=LIVE_IMAGES,
        metavar="N",
        help="that fleets of processes answer for each point, 0 for none; default %(default)s",
    )
    live.add_argument(
        "--live-board-ms",
        type=cli.above_0,
        default=LIVE_BOARD_MS,
        metavar="MS",
        help="a board's time for an image there, so slow that this machine carries three; default "
        "%(default)s",
    )


def _add_world(world: "argparse._ArgumentGroup") -> None:
    world.add_argument(
        "--board-ms",
        type=cli.above_0,
        default=BOARD_MS,
        metavar="MS",
        help="a board's time for one image without early exits; default %(default)s",
    )
    world.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="FILE",
        help="of one of the bundles: stages share that time by it, else by their multiply-adds",
    )
    world.add_argument(
        "--wifi-mbit-s",
        type=cli.above_0,
        default=WIFI_MBIT_S,
        metavar="RATE",
        help="of the one channel that all share; default %(default)s",
    )
    world.add_argument(
        "--code-bytes",
        type=options.positive,
        default=CODE_BYTES,
        metavar="N",
        help="of a feature behind the auto-encoder, where a bundle has none; default %(default)s, "
        "the paper's",
    )
    world.add_argument(
        "--jpeg-bytes",
        type=options.positive,
        default=JPEG_BYTES,
        metavar="N",
        help="of a compressed image; default %(default)s, that of CIFAR-10",
    )
    world.add_argument(
        "--seconds",
        type=cli.above_0,
        default=SECONDS,
        metavar="S",
        help="of virtual time for each point, a quarter of it to warm up; default %(default)s",
    )
    world.add_argument(
        "--seeds",
        type=options.positive,
        default=SEED_COUNT,
        dest="seed_count",
        metavar="N",
        help="runs of each point, from --seed on; default %(default)s",
    )


def run(arguments: argparse.Namespace) -> int:
    """Record, simulate, measure, write the page."""
    options.require_packages()
    from ..publishing import PAGE, named
    from .experiment import reproduce
    from .publishing import write

    if arguments.live_board_ms < arguments.board_ms:
        raise ConfigError(
            f"--live-board-ms: found {arguments.live_board_ms:g}, expected at least --board-ms, "
            f"{arguments.board_ms:g}"
        )
    cli.banner(options.PACKAGES, arguments.seed, arguments.json)
    found = reproduce(_request(arguments))
    folder = arguments.docs or arguments.out / "page"
    write(found, folder, _command(arguments))
    if arguments.json:
        cli.print_json(named(found))
    else:
        cli.say(f"written: {folder / PAGE}")
    return 0


def _request(arguments: argparse.Namespace) -> "Request":
    from .experiment import Request
    from .sweeps import LOADS, THRESHOLDS, Settings

    settings = Settings(
        THRESHOLDS,
        LOADS,
        arguments.wifi_mbit_s,
        MEDIA_MBIT_S,
        arguments.seconds,
        arguments.seed,
        arguments.seed_count,
        arguments.jpeg_bytes,
    )
    return Request(
        tuple(arguments.bundle),
        arguments.data,
        arguments.out,
        settings,
        arguments.board_ms,
        tuple(arguments.profile),
        arguments.code_bytes,
        arguments.live_images,
        arguments.live_board_ms,
        arguments.backend,
        arguments.threads,
    )


def _command(arguments: argparse.Namespace) -> str:
    """What a reader would type to do the same: names of files, not where they were."""
    words = ["python -m edgesdk.train reproduce mdi-exit"]
    for path in arguments.bundle:
        words += ["--bundle", shlex.quote("/".join(["engines", *Path(path).resolve().parts[-2:]]))]
    words += ["--data", Path(arguments.data).name, "--out runs/mdi-exit"]
    for path in arguments.profile:
        words += ["--profile", Path(path).name]
    for name, usual in DEFAULTS.items():
        value = getattr(arguments, name)
        if value != usual:
            words += ["--" + name.replace("_count", "s").replace("_", "-"), f"{value:g}"]
    return " ".join(words)
