"""The experiment: from bundles and images to `Results`."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, NamedTuple, Optional

import numpy as np

from ... import cli
from ...bench.images import read_test_images
from ...bundle import Bundle, read_plain_bundle
from ...errors import ConfigError
from ...outcomes import Outcomes
from ...profiles import Profile, read_profile
from ...progress import READ, Progress
from ..calibration.recording import read_or_record
from ..data import data_set
from . import live as live_fleets
from .boards import board_of
from .points import Points
from .results import ExitFigures, NetworkResults, Results, Row
from .sweeps import Settings, Sweep

OUTCOMES = "outcomes.npz"
POINTS = "points.jsonl"


class Request(NamedTuple):
    """What is wanted: the networks of `bundles` on the images at `data`; all files in `directory`.
    A board takes `board_ms` for an image, `live_board_ms` where real processes stand for it, which
    answer about `live_image_count` images for a point, 0 for none. `profiles` say how stages
    share that, of the bundles that they are of. `code_bytes`: of a declared auto-encoder."""

    bundles: tuple[str, ...]
    data: str
    directory: Path
    settings: Settings
    board_ms: float
    profiles: tuple[str, ...]
    code_bytes: int
    live_image_count: int
    live_board_ms: float
    backend: Optional[str]
    threads: int


def reproduce(request: Request) -> Results:
    """Record answers, simulate, measure; what is in the directory already is taken from there.

    Raises ConfigError for bundles or data that do not fit, and what the steps raise.
    """
    bundles = [read_plain_bundle(path) for path in request.bundles]
    names = [bundle.manifest.name for bundle in bundles]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"--bundle: found {', '.join(names)}, expected networks of different names"
        )
    profiles = _profiles(bundles, request.profiles)
    return Results(
        cli.versions(("onnxruntime",)),
        request.settings,
        request.board_ms,
        request.live_board_ms,
        tuple(_network(bundle, profile, request) for bundle, profile in zip(bundles, profiles)),
    )


def _profiles(bundles: Sequence[Bundle], paths: Sequence[str]) -> list[Optional[Profile]]:
    """Of each bundle the profile that is of it, if one is. Raises ConfigError for one that is of
    none."""
    found: list[Optional[Profile]] = [None] * len(bundles)
    for path in paths:
        refused = []
        for index, bundle in enumerate(bundles):
            try:
                found[index] = read_profile(path, bundle.manifest.model_id)
                break
            except ConfigError as error:
                refused.append(error)
        else:
            raise refused[0]
    return found


def _network(bundle: Bundle, profile: Optional[Profile], request: Request) -> NetworkResults:
    name, folder = bundle.manifest.name, request.directory / bundle.manifest.name
    board = board_of(bundle, request.board_ms * 1000, request.code_bytes, profile)
    data = data_set(request.data, bundle.manifest.preprocessing.height)
    recorded = read_or_record(
        bundle, data, str(folder / OUTCOMES), request.backend, request.threads
    )
    test = recorded.select("test")
    sweep = Sweep(board, test, request.settings, Points(folder / POINTS))
    rows = _simulated(sweep, name)
    live: tuple[live_fleets.LivePoint, ...] = ()
    if request.live_image_count:
        live = _live(bundle, profile, test, request, folder)
    return NetworkResults(
        name,
        data.name,
        test.image_count,
        board,
        _exits(bundle, test),
        tuple(sweep.rates_hz()),
        sweep.busy_hz(),
        rows,
        live,
    )


def _simulated(sweep: Sweep, name: str) -> tuple[Row, ...]:
    jobs = sweep.jobs()
    with _steps(len(jobs) * sweep.settings.seed_count, f"{name}, simulated") as step:
        return tuple(Row(job, sweep.run(job, step)) for job in jobs)


def _live(
    bundle: Bundle, profile: Optional[Profile], test: Outcomes, request: Request, folder: Path
) -> tuple[live_fleets.LivePoint, ...]:
    board = board_of(bundle, request.live_board_ms * 1000, request.code_bytes, profile)
    images = read_test_images(request.data, bundle.manifest.labels)
    fleets = live_fleets.Fleets(bundle, board, test, images, request.settings, folder)
    count = len(live_fleets.TOPOLOGIES) * len(live_fleets.THRESHOLDS)
    with _steps(count, f"{bundle.manifest.name}, real processes") as step:
        return fleets.measure(request.live_image_count, step)


@contextmanager
def _steps(count: int, what: str) -> Iterator[Callable[[], None]]:
    """A progress bar of `count` steps; call what it gives after each."""
    bar, done = Progress(count, what, 1, READ), itertools.count(1)
    try:
        yield lambda: bar.move(next(done))
    finally:
        bar.close()


def _exits(bundle: Bundle, test: Outcomes) -> tuple[ExitFigures, ...]:
    part = bundle.manifest.parts[0]
    right = test.correct.mean(axis=0)
    until = np.cumsum([segment.multiply_adds for segment in part.segments])
    return tuple(
        ExitFigures(float(accuracy), int(count) + each.multiply_adds)
        for accuracy, count, each in zip(right, until, part.exits)
    )
