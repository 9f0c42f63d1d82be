"""What DistrEE leaves open: more students than two, and students of unequal depth.

Every ensemble is trained alike and shorter than the paper's two, to be compared with each other.
Latency is simulated, with the code that runs on devices: a source, one worker per student, all on
one Wi-Fi; a worker computes at the pace of a small board.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from ...core.exits import ExitPolicy, FinalExit
from ...features import Features
from ..calibration.choice import Objective
from ..calibration.costs import Costs, multiply_add_costs
from ..calibration.ensemble_choice import choose_all, trial_of, try_all
from ..calibration.ensembles import UNIT
from ..counting import multiply_adds
from ..ensembles.evaluation import EnsembleRun, record_features, report
from .simulation import simulated_ms

LOSS_POINTS = 1.0  # of the last exit's accuracy, that the calibrated policy may lose
FLOAT_BYTES = 4
CUT_SHARE = 4 / 7  # of the exits, that a weak device holds


class Sized(NamedTuple):
    """An ensemble of the comparison. Accuracies 0..1 on the test split: of every branch, of
    mixtures, and with one student missing at the last exit, the worst. `multiply_adds`: of each
    student to its last exit, all exits counted. `answer_bytes`: features that travel per image.
    `latency_ms`: simulated, by policy."""

    name: str
    depths: tuple[int, ...]
    epochs: int
    branches: tuple[float, ...]
    mixture: float
    worst_missing: float
    multiply_adds: tuple[int, ...]
    answer_bytes: int
    latency_ms: dict[str, float]


def depth_sets(counts: Sequence[int], exit_count: int) -> list[tuple[int, ...]]:
    """For each of `counts` students of full depth; and the even ones again, half of them cut."""
    cut = max(1, round(CUT_SHARE * exit_count))
    found = []
    for count in counts:
        found.append((exit_count,) * count)
        if count % 2 == 0 and cut < exit_count:
            found.append((exit_count,) * (count // 2) + (cut,) * (count // 2))
    return found


def name_of(depths: Sequence[int]) -> str:
    """Such as "4 x 7 exits", or "2 x 7, 2 x 4 exits"."""
    kinds = dict.fromkeys(depths)
    return ", ".join(f"{depths.count(depth)} x {depth}" for depth in kinds) + " exits"


def sized(run: EnsembleRun) -> Sized:
    """Measure an ensemble that was trained for the comparison."""
    features = record_features(run)
    test = features.select("test")
    found = report(test)
    costs = student_costs(run)
    image_bytes = FLOAT_BYTES * prod(run.data.preprocessing.shape)
    policies = {
        "final": FinalExit(),
        "calibrated": calibrated(features.select("calibration"), costs),
    }
    return Sized(
        name_of(features.depths),
        features.depths,
        run.epochs_done,
        found.branches,
        found.mixture,
        min(each[-1] for each in found.missing),
        tuple(int(own.stages_until(range(len(own.heads)))[-1] + sum(own.heads)) for own in costs),
        features.mean_features.astype(np.float32).nbytes,
        {name: simulated_ms(test, policy, costs, image_bytes) for name, policy in policies.items()},
    )


def student_costs(run: EnsembleRun) -> list[Costs]:
    """Plain multiply-adds of each student, with what its exits make of the classes."""
    view = run.ensemble.classifier.weight.numel() // len(run.ensemble.parts)
    shape = run.data.preprocessing.shape
    counts = [multiply_adds(student, shape) for student in run.ensemble.parts]
    return [multiply_add_costs(*count, view) for count in counts]


def calibrated(split: Features, costs: Sequence[Costs]) -> ExitPolicy:
    """The cheapest policy of all kinds that loses at most a point on `split`."""
    chosen = choose_all(try_all(trial_of(split, costs)), Objective(LOSS_POINTS), UNIT)
    return next(iter(chosen.values())).policy
