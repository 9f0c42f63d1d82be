"""The part of `bench peers` with two processes over loopback: a fleet of two of edgesdk, and torch
RPC, with the same network cut behind the same stage.

A stage of edgesdk takes one image at a time here, as the calls of the other do. One image alone is
a latency; WINDOW images on the way at once are a throughput. Nothing is encrypted.
"""

import argparse
import os
import tempfile
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from .. import cli
from ..bundle import Bundle
from ..cluster import local_cluster_text
from ..core.spec import Plan
from ..errors import BackendUnavailable, Failed
from ..pipeline import Pipeline
from .contenders import Answers
from .images import LabelledImages
from .link_contender import REPLY_S, WINDOW
from .link_process import Child
from .peers_answers import POLICY, Expected, Leaves, check
from .peers_contenders import FINAL, OURS, Choice, outcome_answers
from .peers_report import Measured, in_brackets, percent, ratio
from .turns import clock

TORCH_RPC = "torch RPC"
IMAGES_MAX = 128
JOIN_S = 60.0
FIRST, SECOND = "first", "second"

Progress = Callable[[str], None]


class Pair(NamedTuple):
    """`single` takes one image, `stream` a list; both are timed, and `answers` reads what they
    returned. `leaves`: where images have to leave."""

    name: str
    leaves: Leaves
    single: Callable[[Any], Any]
    stream: Callable[[Sequence[Any]], Any]
    answers: Callable[[Any], Answers]
    close: Callable[[], Any]


def cut_of(bundle: Bundle, plan: Plan) -> int:
    """How many stages of a plan are in the first half by multiply-adds; at least one, not all.

    Raises BackendUnavailable for a plan of one stage.
    """
    if len(plan.stages) < 2:
        raise BackendUnavailable("the plan {} has one stage: nothing to cut".format(plan.name))
    costs = [segment.multiply_adds for segment in bundle.manifest.parts[0].segments]
    before = [sum(costs[: stage.last_segment + 1]) for stage in plan.stages[:-1]]
    return min(range(1, len(plan.stages)), key=lambda cut: abs(2 * before[cut - 1] - sum(costs)))


def measure(
    choice: Choice,
    data: LabelledImages,
    expected: Expected,
    left_out: Dict[str, str],
    arguments: argparse.Namespace,
    progress: Progress,
) -> List[Dict[str, Any]]:
    """Start, check and time every pair, print the table, return the figures; those that cannot be
    started are added to `left_out`. Raises EdgeError for a wrong answer."""
    pairs: List[Pair] = []
    images = data.images[:IMAGES_MAX]
    try:
        for name, opened in WAYS.items():
            progress("starting {}, two processes".format(name))
            try:
                pairs.append(opened(choice, arguments.places["other_process_cores"]))
            except BackendUnavailable as error:
                left_out[name + ", two processes"] = str(error)
        accuracies = [checked(pair, images, data.labels, expected, progress) for pair in pairs]
        if not pairs:
            return []
        calls = [pair.single for pair in pairs]
        singles = clock(calls, images, 1, arguments.seconds, progress)
        calls = [pair.stream for pair in pairs]
        streams = clock(calls, [images], len(images), arguments.seconds, progress)
    finally:
        progress("")
        for pair in pairs:
            pair.close()
    names = [pair.name for pair in pairs]
    where = "two processes, cut behind exit {}".format(_cut_exit(choice))
    return _report(
        where,
        [Measured(*each) for each in zip(names, accuracies, singles)],
        [Measured(*each) for each in zip(names, accuracies, streams)],
        arguments.json,
    )


def checked(
    pair: Pair, images: Sequence[Any], labels: np.ndarray, expected: Expected, progress: Progress
) -> float:
    """The accuracy (0..1) of a pair, of single images and of a stream. Raises EdgeError at the
    first answer that is not the network's."""
    progress("checking {}, two processes".format(pair.name))
    for row, image in enumerate(images):
        check(pair.name, pair.leaves, pair.answers(pair.single(image)), np.array([row]), expected)
    found = pair.answers(pair.stream(images))
    for row in range(len(images)):
        one = Answers(found.class_index[row : row + 1], found.exit_index[row : row + 1])
        check(pair.name, pair.leaves, one, np.array([row]), expected)
    return float((found.class_index == labels[: len(images)]).mean())


# --- who takes part -------------------------------------------------------------------------------


class OurPair:
    """A fleet of two: `python -m edgesdk.worker` on `cores` holds the stages behind the cut, this
    process the others. Close it."""

    def __init__(self, choice: Choice, policy: str, cores: Optional[List[int]]) -> None:
        cut, stages = cut_of(choice.bundle, choice.plan), len(choice.plan.stages)
        held = {FIRST: range(cut), SECOND: range(cut, stages)}
        about = "stages = {}", "max_batch = 1", "threads = {}".format(choice.threads)
        workers = {
            name: [about[0].format(list(each))] + list(about[1:]) for name, each in held.items()
        }
        head = ['policy = "{}"'.format(policy), 'plan = "{}"'.format(choice.plan.name)]
        head += ['codec = "raw"', "[security]", "insecure = true"]
        self._folder = tempfile.TemporaryDirectory(prefix="edgesdk-peers-")
        cluster = os.path.join(self._folder.name, "cluster.toml")
        with open(cluster, "w", encoding="utf-8") as file:
            file.write(local_cluster_text(choice.bundle.path, workers, head))
        options = {"cluster": cluster, "name": SECOND}
        self._child = Child("edgesdk.bench.link_ours:serve", options, cores)
        self._pipe: Optional[Pipeline] = None
        try:
            self._pipe = Pipeline.open(cluster=cluster, name=FIRST)
            if not self._pipe.wait_until_up(timeout=JOIN_S):
                raise Failed("the worker of a fleet of two is not up: " + self._child.explain())
        except BaseException:
            self.close()
            raise

    def pair(self, name: str, leaves: Leaves) -> Pair:
        """What is measured of it."""
        pipe = self._pipe
        assert pipe is not None  # it was opened when this was made

        limit_ms = 1000 * REPLY_S  # for a worker that died

        def single(image: Any) -> Any:
            return pipe.infer(image, limit_ms)

        def stream(images: Sequence[Any]) -> List[Any]:
            found: List[Any] = list(
                pipe.map(images, limit_ms, "expire", in_flight=WINDOW, ordered=True)
            )
            for outcome in found:
                if not outcome.ok:
                    raise outcome
            return found

        return Pair(name, leaves, single, stream, outcome_answers, self.close)

    def close(self) -> None:
        """End both sides. May be called twice."""
        if self._pipe is not None:
            self._pipe.close()
        self._child.stop()
        self._folder.cleanup()


def _our_final(choice: Choice, cores: Optional[List[int]]) -> Pair:
    name, last = "{}, {}".format(OURS, FINAL), choice.plan.exit_indices[-1]
    return OurPair(choice, "final", cores).pair(name, last)


def _our_policy(choice: Choice, cores: Optional[List[int]]) -> Pair:
    name = "{}, {}".format(OURS, choice.policy_name)
    return OurPair(choice, choice.policy_name, cores).pair(name, POLICY)


def _torch_rpc(choice: Choice, cores: Optional[List[int]]) -> Pair:
    from .peers_rpc import TorchPair

    bundle, plan = choice.bundle, choice.plan
    pair = TorchPair(bundle, plan, cut_of(bundle, plan), choice.threads, cores)
    last = plan.exit_indices[-1]

    def answers(found: Any) -> Answers:
        classes = np.atleast_1d(np.array(found, np.int64))
        return Answers(classes, np.full(len(classes), last, np.int64))

    def stream(images: Sequence[Any]) -> Any:
        return pair.stream(images, WINDOW)

    return Pair(TORCH_RPC, last, pair.infer, stream, answers, pair.close)


WAYS: Dict[str, Callable[[Choice, Optional[List[int]]], Pair]] = {
    TORCH_RPC: _torch_rpc,
    "{}, {}".format(OURS, FINAL): _our_final,
    "{}, policy".format(OURS): _our_policy,
}


# --- what is printed ------------------------------------------------------------------------------


def _cut_exit(choice: Choice) -> int:
    return choice.plan.stages[cut_of(choice.bundle, choice.plan) - 1].last_segment


def _report(
    where: str, singles: Sequence[Measured], streams: Sequence[Measured], as_json: bool
) -> List[Dict[str, Any]]:
    """Print the table, return the figures. The ratio is to torch RPC, where that takes part."""
    rows, figures = [], []
    theirs = [each for each in zip(singles, streams) if each[0].name == TORCH_RPC]
    for single, stream in zip(singles, streams):
        name = "{}, two processes".format(single.name)
        row = [single.name, percent(single.accuracy)]
        row += ["{:.0f}".format(single.times.fastest_us(share)) for share in (0.50, 0.95)]
        row.append("{:.0f}".format(1e6 / stream.times.mean_us))
        figures += [
            cli.figure(name + ": p50 latency", single.times.fastest_us(0.50), "us"),
            cli.figure(name + ": p95 latency", single.times.fastest_us(0.95), "us"),
            cli.figure(name + ": stream", 1e6 / stream.times.mean_us, "images/s"),
        ]
        for other in theirs:
            for ours, beside, about in zip((single, stream), other, ("latency", "images/s")):
                found = ours.times.faster_than(beside.times)
                row.append(in_brackets(found))
                if ours is not beside:
                    about = "{}: {}, times better than torch RPC".format(name, about)
                    figures += ratio(about, found)
        rows.append(row)
    header = [where, "accuracy", "p50 us", "p95 us", "images/s"]
    header += ["x RPC, one", "x RPC, stream"] if theirs else []
    cli.say("\n".join(cli.table(header, rows)) + "\n", as_json)
    return figures
