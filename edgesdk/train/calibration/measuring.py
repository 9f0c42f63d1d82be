"""What stages, heads and the runtime around them take on this machine, in microseconds.

Every possible stage is timed, alone, at batch 1; then whole pipelines, whose differences tell what
the runtime adds per image, per stage, per head and per comparison. All of it is interleaved, round
after round, so that every figure meets the same machine.

The lower quartile of the rounds counts. On a busy machine half of the long calls are interrupted
and hardly any short ones, so that medians would charge interruptions to the runtime.
"""

import time
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from ...backends import Backend, open_backend
from ...bench.timing import conditions
from ...bundle import Bundle
from ...core.exits import FinalExit, NeighbourSimilarity, Patience
from ...core.spec import FULL_PLAN
from ...errors import ConfigError
from ...pipeline import Pipeline
from ...preprocess import Preprocessor
from ...runtime.stages import ExitHead
from .costs import Costs, Span, spans
from .merging import check_merged, stage_file

SECONDS = 15.0  # for all rounds together
ROUNDS_MIN = 5
QUANTILE = 0.25
UNCUT_PLAN = "uncut"  # of the trial bundle: all segments in one stage

Action = Callable[[], Any]


class Measured(NamedTuple):
    """Costs in microseconds, and the conditions they hold for."""

    costs: Costs
    conditions: dict[str, Any]


def measure(trial: Bundle, backend_name: Optional[str], threads: int) -> Measured:
    """Time everything that plans are made of.

    `trial` is the bundle with every merged stage and the plan `UNCUT_PLAN`. Raises BundleError if a
    merged stage differs from its segments, ConfigError if there is no time to be measured.
    """
    backend = open_backend(backend_name, threads)
    pixels = np.random.RandomState(0)
    spec = trial.manifest.preprocessing
    size = (spec.height, spec.width) + (() if spec.color == "gray" else (3,))
    frame = pixels.randint(0, 256, size).astype(np.uint8)
    features = Preprocessor(spec)(frame)
    pipelines = _pipelines(trial, backend.name, threads)
    actions = _stages_and_heads(trial, backend, features)
    actions.update({name: _inferring(pipe, frame) for name, pipe in pipelines.items()})
    try:
        rounds = _warm_rounds(list(actions.values()), SECONDS)
    finally:
        for pipe in pipelines.values():
            pipe.close()
        backend.close()
    times_us = {name: float(np.quantile(found, QUANTILE)) for name, found in zip(actions, rounds)}
    return Measured(
        costs_from(times_us, len(trial.manifest.parts[0].segments)),
        {"backend": backend.name, "batch": 1, "quantile": QUANTILE, **conditions(threads)},
    )


def _warm_rounds(actions: Sequence[Action], seconds: float) -> list[list[float]]:
    """Microseconds of each action in rounds that take about `seconds` in all.

    Every action is called twice and the second call counts: with its weights and code in the
    caches, as in a stream of images, and not as the thirty actions before it left them.
    """
    rounds: list[list[float]] = [[] for _ in actions]
    end = time.perf_counter() + seconds
    while len(rounds[0]) < ROUNDS_MIN or time.perf_counter() < end:
        for action, times_us in zip(actions, rounds):
            action()
            begin_ns = time.perf_counter_ns()
            action()
            times_us.append((time.perf_counter_ns() - begin_ns) / 1e3)
    return rounds


def costs_from(times_us: dict[Any, float], segment_count: int) -> Costs:
    """Costs from the times of all spans, ("head", exit), and the four pipelines.

    Raises ConfigError for a time that is not above 0: the clock is too coarse to choose by.
    """
    for name, found_us in times_us.items():
        if not found_us > 0:
            raise ConfigError(
                f"timing: found {found_us} us for {name}, expected more than 0; the clock of this "
                "machine is too coarse for this network; calibrate it on another machine"
            )
    last = segment_count - 1
    heads = tuple(times_us["head", index] for index in range(segment_count))
    cut = sum(times_us[i, i] for i in range(segment_count))
    uncut = times_us[0, last]
    early = max(1, last)
    stage = max(0.0, (times_us["full"] - times_us["uncut"] - (cut - uncut)) / early)
    head = max(0.0, (times_us["all heads"] - times_us["full"] - sum(heads[:-1])) / early)
    comparison = max(0.0, (times_us["comparing"] - times_us["all heads"]) / segment_count)
    item = max(0.0, times_us["uncut"] - stage - uncut - heads[last] - head)
    stages = {span: times_us[span] for span in spans(segment_count)}
    return Costs("us", stages, heads, item, stage, head, comparison)


def _pipelines(trial: Bundle, backend: str, threads: int) -> dict[Any, Pipeline]:
    """Nobody leaves early in any of them; they differ in stages and in heads evaluated."""
    everywhere = [float("inf")] * len(trial.manifest.parts[0].exits)
    ways = {
        "uncut": (UNCUT_PLAN, FinalExit()),
        "full": (FULL_PLAN, FinalExit()),
        "all heads": (FULL_PLAN, Patience(everywhere)),
        "comparing": (FULL_PLAN, NeighbourSimilarity(1.0)),
    }
    return {
        name: Pipeline.open(trial.path, policy, backend, plan, threads=threads)
        for name, (plan, policy) in ways.items()
    }


def _stages_and_heads(trial: Bundle, backend: Backend, features: np.ndarray) -> dict[Any, Action]:
    part = trial.manifest.parts[0]
    actions: dict[Any, Action] = {}
    inputs = [features]
    for index, stage in enumerate(part.plans[FULL_PLAN].stages):
        out = np.empty((1, *part.segments[index].output_shape), np.float32)
        actions[index, index] = _running(
            trial, stage.file, (index, index), backend, inputs[-1], out
        )
        actions[index, index]()
        actions["head", index] = _classifying(ExitHead(trial, index, backend), out)
        inputs.append(out)
    for span in spans(len(part.segments)):
        if span[0] < span[1]:
            out = check_merged(trial, span, backend, inputs[span[0]])
            actions[span] = _running(
                trial, stage_file(span), span, backend, inputs[span[0]], out.copy()
            )
    return actions


def _running(
    trial: Bundle, file: str, span: Span, backend: Backend, features: np.ndarray, out: np.ndarray
) -> Action:
    segments = trial.manifest.parts[0].segments
    program = backend.load(
        trial.file(file), segments[span[0]].input_shape, segments[span[1]].output_shape
    )
    return lambda: program.run(features, out)


def _classifying(head: ExitHead, features: np.ndarray) -> Action:
    return lambda: head(features, False)


def _inferring(pipe: Pipeline, frame: np.ndarray) -> Action:
    return lambda: pipe.infer(frame)
