"""`python -m edgesdk.bench peers`: edgesdk beside what a user would pick instead, in one run.

The same network with the same weights, thresholds and images for everybody, one thread each, in
turns on one core; then two processes. Answers are checked before anything is timed. Who cannot be
opened here is named, with the reason.
"""

import argparse
import os
from random import Random
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from .. import cli
from ..bundle import read_plain_bundle
from ..choices import choose_plan, choose_policy
from . import peers_hop, peers_report
from .images import LabelledImages, read_test_images
from .peers_answers import Expected, check, comparable, expect
from .peers_contenders import BATCH, Choice, Lineup, Peer, open_peers
from .peers_report import Measured
from .pipeline import BUNDLE
from .turns import clock

IMAGES = 1000
TIMED_IMAGES_MAX = 256  # of those that are answered and checked
SEED = 0  # of the draw of images
EXAMPLE = "python -m edgesdk.bench peers --bundle engines/wrn16_1-cifar10/1 --data PATH"

Progress = Callable[[str], None]


def options(command: argparse.ArgumentParser) -> None:
    """What `bench peers` can be asked besides what all benches can."""
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = "example:\n  " + EXAMPLE
    command.add_argument("--bundle", default=BUNDLE, help="default: %(default)s")
    command.add_argument(
        "--data", help="data set of the bundle, as training takes it; default: the digits scans"
    )
    command.add_argument(
        "--policy", help="of the bundle, which all with exits follow; default: the bundle's"
    )
    command.add_argument(
        "--images",
        type=_from_batch,
        default=IMAGES,
        help="test images that are answered and checked (default %(default)s); of these at most "
        "{} are timed".format(TIMED_IMAGES_MAX),
    )
    command.add_argument(
        "--static",
        action="append",
        default=[],
        metavar="DIR",
        help="a bundle of a smaller network for the same data: it takes part uncut, in plain "
        "onnxruntime; may be repeated",
    )
    command.add_argument(
        "--processes", type=int, choices=(1, 2), help="only the part with so many; default: both"
    )


def measure(arguments: argparse.Namespace, progress: Progress) -> List[Dict[str, Any]]:
    """Open, check and time everyone, print the tables, return the figures.

    Raises EdgeError for an answer that is not the network's, ConfigError for wrong options.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # it warns of every end of a connection
    bundle = read_plain_bundle(arguments.bundle)
    name = arguments.policy or bundle.manifest.default_policy
    policy = comparable(choose_policy(bundle, name))
    plan = choose_plan(bundle, name, None)
    data = _drawn(read_test_images(arguments.data, bundle.manifest.labels), arguments.images)
    progress("{} images through the network, up to each exit".format(len(data.images)))
    expected = expect(bundle, policy, plan, data.images, data.labels, arguments.threads)
    choice = Choice(bundle, plan, policy, name, arguments.threads)
    peers, left_out = Lineup([], {})
    if arguments.processes != 2:
        peers, left_out = open_peers(choice, expected, arguments.static)
    progress("")
    _say_what(arguments, choice, data)
    figures = _on_one_core(peers, choice, data, expected, arguments, progress)
    if arguments.processes != 1:
        figures += peers_hop.measure(choice, data, expected, left_out, arguments, progress)
    for peer_name, reason in left_out.items():
        cli.say("left out: {}: {}".format(peer_name, reason), arguments.json)
    arguments.places["left_out"] = left_out
    return figures


def _say_what(arguments: argparse.Namespace, choice: Choice, data: LabelledImages) -> None:
    cli.banner(("onnxruntime", "torch", "earlyon"), seed=SEED, as_json=arguments.json)
    text = "{}, policy {}, {} test images of {}; this process on cores {}, load average {}\n"
    cli.say(
        text.format(
            choice.bundle.manifest.document["name"],
            choice.policy_name,
            len(data.images),
            data.name,
            arguments.places["cores"],
            arguments.places["load_average"],
        ),
        arguments.json,
    )


def _on_one_core(
    opened: Sequence[Peer],
    choice: Choice,
    data: LabelledImages,
    expected: Expected,
    arguments: argparse.Namespace,
    progress: Progress,
) -> List[Dict[str, Any]]:
    """One image at a time, then batches; all answers are checked before anybody is timed. Closes
    who was opened."""
    figures: List[Dict[str, Any]] = []
    try:
        entries = {}
        for batch in (1, BATCH) if opened else ():
            peers = [peer for peer in opened if batch in peer.batches]
            entries[batch] = [
                (peer, checked(peer, batch, data, expected, progress)) for peer in peers
            ]
        for batch, found in entries.items():
            measured = _timed(found, batch, data.images, arguments.seconds, progress)
            figures += peers_report.say(measured, choice.policy_name, batch, arguments.json)
    finally:
        for peer in opened:
            peer.close()
    return figures


def _timed(
    entries: Sequence[Tuple[Peer, float]],
    batch: int,
    images: Sequence[Any],
    seconds: float,
    progress: Progress,
) -> List[Measured]:
    """Every peer, given with its accuracy, on the same images in batches of that size."""
    groups = [_group(images, rows) for rows in _groups_of(len(images), batch)]
    calls = [peer.run for peer, _ in entries]
    times = clock(calls, groups[: TIMED_IMAGES_MAX // batch], batch, seconds, progress)
    return [Measured(peer.name, share, each) for (peer, share), each in zip(entries, times)]


def checked(
    peer: Peer, batch: int, data: LabelledImages, expected: Expected, progress: Progress
) -> float:
    """The accuracy (0..1) of `peer` on all images in batches of that size. Raises EdgeError at the
    first answer that is not the network's."""
    right = []
    for rows in _groups_of(len(data.images), batch):
        progress("checking {}, batches of {}: {}".format(peer.name, batch, rows[0]))
        found = peer.answers(peer.run(_group(data.images, rows)))
        if peer.leaves is not None:
            check(peer.name, peer.leaves, found, rows, expected)
        right.append(found.class_index == data.labels[rows])
    return float(np.concatenate(right)[: len(data.images)].mean())


def _groups_of(count: int, batch: int) -> List[np.ndarray]:
    """The numbers of all images in whole batches; the last one begins anew at the first image."""
    return [np.arange(begin, begin + batch) % count for begin in range(0, count, batch)]


def _group(images: Sequence[Any], rows: np.ndarray) -> Any:
    """One image, or a list."""
    return images[rows[0]] if len(rows) == 1 else [images[row] for row in rows]


def _drawn(data: LabelledImages, count: int) -> LabelledImages:
    """`count` of the images, or all if there are no more, in an order that mixes the classes."""
    rows = Random(SEED).sample(range(len(data.images)), min(count, len(data.images)))
    return LabelledImages([data.images[row] for row in rows], data.labels[rows], data.name)


def _from_batch(text: str) -> int:
    count = int(text)
    if count < BATCH:
        raise argparse.ArgumentTypeError("found {}, expected at least {}".format(text, BATCH))
    return count
