"""`python -m edgesdk.bench ensemble BUNDLE`: what an ensemble (DistrEE) does live.

Every student runs in a process of its own, paced to be as slow as a small device; this process has
the images, and only the classifier. Each image is answered under one policy after the other, in an
order that is drawn anew, so that whatever else the machine does slows all policies alike. An image
takes as long as its slowest student. Only the students are paced: the links are those of this
machine.
"""

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from os import mkdir, path
from random import Random
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..backends import open_backend
from ..bundle import Bundle, read_bundle
from ..choices import choose_plan, choose_policy
from ..core.metrics import percentile
from ..errors import ConfigError, Failed
from ..results import AnyOutcome, Result
from .ensemble_fleet import Fleet, Students, write_pace
from .timing import Interval, ratio_of_means

FINAL = "final"
SEED = 0
SECONDS = 60.0
SLOWER = 40.0
WARM_COUNT = 3  # images before anything is counted
DEADLINE_FACTOR = 3  # times p95, where no deadline is given
LATE_SLACK_US = 10_000  # an answer so much behind its deadline is late
WITHOUT_SHARE = 0.25  # of the duration, with a student missing
BACK_S = 60.0  # until a student that was started must be back

Labelled = Tuple[np.ndarray, int]  # an image and its class


class PolicyRun(NamedTuple):
    """What one policy did. Latencies are from handing an image in to its answer. `to_final`: its
    mean latency by that of "final". Bytes are of one image, all students together, each way.
    `exit_shares[student][exit]`: of images that left there. `overrun_share`: of stages that were
    too slow for their pace."""

    policy: str
    latencies_us: Sequence[int]
    to_final: Interval
    accuracy: float
    sent_bytes: float
    received_bytes: float
    exit_shares: Sequence[Sequence[float]]
    degraded_count: int
    overrun_share: float

    @property
    def mean_us(self) -> float:
        """Of all images."""
        return statistics.mean(self.latencies_us)

    def at_share(self, share: float) -> float:
        """The latency in us that `share` (0..1) of the images do not exceed."""
        return percentile(sorted(self.latencies_us), share)


class KillRun(NamedTuple):
    """What happened when the worker of `student` was killed while an image was under way.

    Of the images from then until it was back: `answered_count`, of which `degraded_count` without
    it, `waited_count` at the deadline only, and `late_count` more than LATE_SLACK_US behind it;
    `unanswered_count` expired or failed. `accuracy` is that of degraded answers. `back_s`: from its
    start to the first answer with all students.
    """

    policy: str
    student: int
    deadline_ms: float
    answered_count: int
    degraded_count: int
    waited_count: int
    late_count: int
    unanswered_count: int
    accuracy: float
    worst_us: int
    back_s: float


class Measured(NamedTuple):
    """All of it. `image_count`: images that each policy answered. `image_bytes`: an image as a
    camera gives it; `sent_image_bytes`: as it travels, to all students together; `map_bytes`: of
    their last maps, which would come back if no exit made features of them."""

    policies: Sequence[PolicyRun]
    image_count: int
    slower: float
    image_bytes: int
    sent_image_bytes: int
    map_bytes: int
    killed: Optional[KillRun] = None


def measure(
    bundle_path: str,
    images: Sequence[np.ndarray],
    labels: Sequence[int],
    policies: Sequence[str] = (),
    seconds: float = SECONDS,
    image_count: Optional[int] = None,
    slower: float = SLOWER,
    kill: Optional[int] = None,
    deadline_ms: Optional[float] = None,
    seed: int = SEED,
    progress: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Answer `images` (uint8 [H,W] or [H,W,3]) by the ensemble in folder `bundle_path`, by workers
    that are `slower` times as slow as this machine, under each of `policies` in turns.

    It ends after `seconds`, or after `image_count` images if that is given; images are drawn in an
    order of their own and begin again at the end. `policies`: names, by default `default_policies`;
    "final" is always the first. `kill`: a student whose worker is then killed while images go on
    under the last policy, each with `deadline_ms`, by default DEADLINE_FACTOR times its p95.
    Raises ConfigError for what is no ensemble, Failed for workers that do not come.
    """
    bundle = _read_ensemble(bundle_path, policies, kill)
    names = list(policies) or default_policies(bundle)
    names = [FINAL] + [name for name in dict.fromkeys(names) if name != FINAL]
    order = Random(seed).sample(range(len(images)), len(images))
    stream = cycle([(images[index], int(labels[index])) for index in order])
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgesdk-ensemble-"))
        pace = path.join(folder, "pace.json")
        progress("timing the stages")
        write_pace(pace, bundle, names, open_backend(None, 1), slower)
        fleets: List[Fleet] = []
        for name in names:
            progress("starting the students of " + name)
            own = path.join(folder, str(len(fleets)))
            mkdir(own)
            fleets.append(stack.enter_context(Fleet(own, bundle, name, pace)))
        progress("answering")
        found = _take_turns(fleets, stream, _bound(seconds, image_count), Random(seed))
        measured = _measured(bundle, slower, found)
        if kill is None:
            return measured
        progress("killing student {}".format(kill))
        if deadline_ms is None:
            deadline_ms = DEADLINE_FACTOR * found[-1].at_share(0.95) / 1000
        bound = _bound(WITHOUT_SHARE * seconds, image_count)
        killed = _kill(fleets[-1], kill, deadline_ms, found[-1].mean_us / 2, stream, bound)
        return measured._replace(killed=killed)


def default_policies(bundle: Bundle) -> List[str]:
    """ "final", "difference" where the bundle has it, and the bundle's default."""
    manifest = bundle.manifest
    names = [FINAL] + [name for name in ("difference",) if name in manifest.policies]
    return list(dict.fromkeys(names + [manifest.default_policy]))


def _read_ensemble(folder: str, policies: Sequence[str], kill: Optional[int]) -> Bundle:
    bundle = read_bundle(folder)
    count = len(bundle.manifest.parts)
    if bundle.manifest.classifier is None:
        raise ConfigError(
            "{}: found a plain network, expected an ensemble; measure it with: python -m "
            "edgesdk.bench pipeline --bundle {}".format(folder, folder)
        )
    for name in policies:
        choose_policy(bundle, name)
    if kill is not None and not (0 <= kill < count and count > 1):
        raise ConfigError(
            "kill: found student {} of {}, expected one of them, and another that is left".format(
                kill, count
            )
        )
    return bundle


def _bound(seconds: float, image_count: Optional[int]) -> Callable[[int], bool]:
    """Whether another image is to be answered, when so many were. At least one is."""
    end_s = time.monotonic() + seconds

    def goes_on(done_count: int) -> bool:
        if not done_count:
            return True
        if image_count is not None:
            return done_count < image_count
        return time.monotonic() < end_s

    return goes_on


# --- policies in turns ----------------------------------------------------------------------------


class _Begin(NamedTuple):
    """What a fleet had done before it was measured."""

    traffic: Tuple[int, int]
    students: Students


def _take_turns(
    fleets: Sequence[Fleet],
    stream: Iterator[Labelled],
    goes_on: Callable[[int], bool],
    rng: Random,
) -> List[PolicyRun]:
    for fleet in fleets:
        for _ in range(WARM_COUNT):
            _result(fleet.answer(next(stream)[0]))
    begun = {fleet.policy: _Begin(fleet.traffic(), fleet.students()) for fleet in fleets}
    results: Dict[str, List[Result]] = {fleet.policy: [] for fleet in fleets}
    labels: List[int] = []
    while goes_on(len(labels)):
        image, label = next(stream)
        labels.append(label)
        for fleet in rng.sample(list(fleets), len(fleets)):
            results[fleet.policy].append(_result(fleet.answer(image)))
    final_us = [result.latency_us for result in results[FINAL]]
    return [
        _policy_run(fleet, begun[fleet.policy], results[fleet.policy], labels, final_us)
        for fleet in fleets
    ]


def _policy_run(
    fleet: Fleet,
    begun: _Begin,
    results: Sequence[Result],
    labels: Sequence[int],
    final_us: Sequence[int],
) -> PolicyRun:
    traffic, students = fleet.traffic(), fleet.students()
    sent, received = ((now - before) / len(results) for now, before in zip(traffic, begun.traffic))
    left = np.subtract(students.exit_counts, begun.students.exit_counts)
    paced = students.paced_count - begun.students.paced_count
    latencies_us = [result.latency_us for result in results]
    return PolicyRun(
        fleet.policy,
        latencies_us,
        ratio_of_means(latencies_us, final_us),
        _accuracy(results, labels),
        sent,
        received,
        (left / np.maximum(1, left.sum(axis=1, keepdims=True))).tolist(),
        sum(result.degraded for result in results),
        (students.overrun_count - begun.students.overrun_count) / max(1, paced),
    )


def _result(outcome: AnyOutcome) -> Result:
    if isinstance(outcome, Result):
        return outcome
    raise outcome


def _accuracy(results: Sequence[Result], labels: Sequence[int]) -> float:
    """Of results that there are; not a number for none."""
    right = [result.class_index == label for result, label in zip(results, labels)]
    return sum(right) / len(right) if right else float("nan")


def _measured(bundle: Bundle, slower: float, found: Sequence[PolicyRun]) -> Measured:
    parts = bundle.manifest.parts
    sizes = [int(np.prod(part.segments[0].input_shape)) for part in parts]
    plans = [part.plans[choose_plan(bundle, FINAL, None).name] for part in parts]
    last = [part.segments[p.stages[-1].last_segment] for part, p in zip(parts, plans)]
    return Measured(
        policies=found,
        image_count=len(found[0].latencies_us),
        slower=slower,
        image_bytes=sizes[0],
        sent_image_bytes=4 * sum(sizes),
        map_bytes=4 * sum(int(np.prod(segment.output_shape)) for segment in last),
    )


# --- a student that is killed ---------------------------------------------------------------------


def _kill(
    fleet: Fleet,
    student: int,
    deadline_ms: float,
    after_us: float,
    stream: Iterator[Labelled],
    goes_on: Callable[[int], bool],
) -> KillRun:
    """Kill the worker of `student` when an image is under way since `after_us`; go on, start it
    again."""
    outcomes: List[AnyOutcome] = []
    labels: List[int] = []
    with ThreadPoolExecutor(1) as other:

        def answer() -> bool:
            """Whether all students had a part in it."""
            image, label = next(stream)
            labels.append(label)
            outcomes.append(fleet.answer(image, deadline_ms))
            return isinstance(outcomes[-1], Result) and not outcomes[-1].degraded

        def kill() -> None:
            time.sleep(after_us / 1e6)
            fleet.kill(student)

        killed = other.submit(kill)
        while goes_on(len(outcomes)) or not killed.done():
            answer()
        killed.result()
        begin_s = time.monotonic()
        started = other.submit(fleet.start, student)
        while not answer():
            if started.done():
                started.result()  # or what went wrong
            if time.monotonic() - begin_s > BACK_S:
                raise Failed("student {} is not back after {:g} s".format(student, BACK_S))
        back_s = time.monotonic() - begin_s
        started.result()
    return _kill_run(fleet.policy, student, deadline_ms, outcomes[:-1], labels, back_s)


def _kill_run(
    policy: str,
    student: int,
    deadline_ms: float,
    outcomes: Sequence[AnyOutcome],
    labels: Sequence[int],
    back_s: float,
) -> KillRun:
    answered = [each for each in outcomes if isinstance(each, Result)]
    degraded = [
        (each, label)
        for each, label in zip(outcomes, labels)
        if isinstance(each, Result) and each.degraded
    ]
    deadline_us = 1000 * deadline_ms
    return KillRun(
        policy=policy,
        student=student,
        deadline_ms=deadline_ms,
        answered_count=len(answered),
        degraded_count=len(degraded),
        waited_count=sum(each.latency_us >= deadline_us for each in answered),
        late_count=sum(each.latency_us > deadline_us + LATE_SLACK_US for each in answered),
        unanswered_count=len(outcomes) - len(answered),
        accuracy=_accuracy([each for each, _ in degraded], [label for _, label in degraded]),
        worst_us=max([each.latency_us for each in answered] or [0]),
        back_s=back_s,
    )
