"""Calibration of an ensemble (DistrEE) from end to end: better policies for the same students.

All students keep all their exits: segments are not merged, for each student would need plans of its
own. Costs are multiply-adds; the times of an ensemble depend on its devices and links, and are
measured live.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from ...backends import open_backend
from ...bundle import Bundle, read_bundle
from ...bundle_update import update_bundle
from ...core.exits import ExitPolicy, FinalExit
from ...core.spec import FULL_PLAN
from ...errors import ConfigError
from ...features import (
    Features,
    check_belongs,
    read_features,
    replay_students,
    write_features,
)
from ...outcomes import SPLITS
from ..data import DataSet
from ..ensembles.paper_policies import paper_policies
from .choice import Candidate, check_objective
from .costs import Costs
from .ensemble_choice import Trial, choose_all, trial_of, try_all
from .ensemble_figures import EnsembleReport, forced, oracle, random_report, report, student_costs
from .recording import check_labels, record_ensemble
from .thresholds import kinds
from .workflow import Request, check_name

UNIT = "multiply-adds"
FLOAT_BYTES = 4
LAST = np.iinfo(np.int64).max  # an exit that no student has: it gives its last


class Row(NamedTuple):
    """A policy, or something to compare policies with (`policy` None), on both splits. `name` is
    that of the manifest, where it goes there."""

    name: str
    policy: Optional[ExitPolicy]
    calibration: EnsembleReport
    test: EnsembleReport


class Result(NamedTuple):
    """Everything that a table or a picture shows, and what `apply` writes.

    `costs` per student; `tried`: all candidates by kind; `policies`: the chosen ones, the best of
    all kinds first. To compare with: `final` (every student at its last exit), `branches` (all at
    one exit), `others` (random, DistrEE's own thresholds where there are seven exits, the oracle).
    """

    request: Request
    bundle: Bundle
    features: Features
    costs: tuple[Costs, ...]
    tried: dict[str, list[Candidate]]
    policies: list[Row]
    final: Row
    branches: list[Row]
    others: list[Row]

    @property
    def rows(self) -> list[Row]:
        """All of them; the first is what the others are compared with."""
        return [self.final, *self.policies, *self.others, *self.branches]

    @property
    def feature_bytes(self) -> int:
        """What a student sends of each image, at whatever exit it leaves."""
        return FLOAT_BYTES * self.features.mean_features.shape[1]


def calibrate(path: str, data: DataSet, request: Request) -> Result:
    """Calibrate the ensemble in folder `path`; nothing is written to it. `request.unit` is
    "multiply-adds".

    Raises ConfigError for a plain network, an objective that cannot be met, or data or features
    that do not fit, and what `record_ensemble` raises.
    """
    check_objective(request.objective)
    check_name(request.name)
    _check_unit(request.unit)
    bundle = read_bundle(path)
    if bundle.manifest.classifier is None:
        raise ConfigError(
            f"{bundle.path}: found a plain network, expected an ensemble; calibrate it with: "
            "edgesdk.train.calibration.workflow.calibrate"
        )
    features = _features(bundle, data, request)
    costs = student_costs(bundle.manifest)
    trials = [trial_of(features.select(split), costs) for split in SPLITS]
    tried = try_all(trials[0])
    chosen = choose_all(tried, request.objective, request.unit)
    names = [request.name] + [f"{request.name}-{kind}" for kind in list(chosen)[1:]]
    return Result(
        request,
        bundle,
        features,
        costs,
        tried,
        [_row(name, one.policy, trials) for name, one in zip(names, chosen.values())],
        _forced("final", [LAST] * 2, trials)._replace(policy=FinalExit()),
        [_forced(f"exit {index}", [index] * 2, trials) for index in range(trials[0].depth)],
        _others(trials),
    )


def apply(result: Result) -> Bundle:
    """Update the bundle with the policies of `result`, all at once; the best becomes the default.

    What an earlier calibration of the same name left is replaced. Raises what `update_bundle`
    raises.
    """
    name, known = result.request.name, result.bundle.manifest.policies
    names = [name] + [f"{name}-{kind}" for kind in kinds()]
    policies: dict[str, Any] = {each: None for each in names if each in known}
    for row in result.policies:
        assert row.policy is not None
        policies[row.name] = {
            **row.policy.describe(),
            "plan": FULL_PLAN,
            "provenance": provenance(result, row),
        }
    return update_bundle(result.bundle.path, policies, {}, {}, name)


def provenance(result: Result, row: Row) -> dict[str, Any]:
    """Where the thresholds of `row` came from and what they do; the test split is only reported."""
    objective = result.request.objective._asdict()
    return {
        "data": result.features.data,
        "split": "calibration",
        "objective": {name: value for name, value in objective.items() if value is not None},
        "cost": result.request.unit,
        **row.calibration._asdict(),
        "final_exit": result.final.calibration._asdict(),
        "test": {**row.test._asdict(), "final_exit": result.final.test._asdict()},
    }


def _check_unit(unit: str) -> None:
    if unit != UNIT:
        raise ConfigError(
            f"unit: found {unit!r} (--budget-us), expected {UNIT!r} (--budget-madds, "
            "--max-loss-points): the times of an ensemble depend on its "
            "devices and links, and are measured live by: python -m edgesdk.bench ensemble"
        )


def _features(bundle: Bundle, data: DataSet, request: Request) -> Features:
    """From the file, if there is one; else recorded, and kept in the file that was named."""
    check_labels(bundle, data)
    file = request.outcomes_file
    if file is not None and Path(file).exists():
        features = read_features(file)
        check_belongs(features, bundle, file)
        if features.data != data.name:
            raise ConfigError(
                f"{file}: found features of the data {features.data}, expected {data.name}; delete "
                "the file or name another"
            )
        return features
    backend = open_backend(request.backend, request.threads)
    features = record_ensemble(bundle, data, backend)
    backend.close()
    if file is not None:
        write_features(file, features)
    return features


def _row(name: str, policy: ExitPolicy, trials: Sequence[Trial]) -> Row:
    """Replayed by the policy itself, on both splits."""
    reports = [
        report(trial.features, replay_students(trial.alone, policy), trial.costs)
        for trial in trials
    ]
    return Row(name, policy, *reports)


def _forced(name: str, exits: Sequence[Any], trials: Sequence[Trial]) -> Row:
    """Whatever exits somebody chose, on each of the splits."""
    reports = [
        report(trial.features, forced(trial.features, np.asarray(chosen)), trial.costs)
        for trial, chosen in zip(trials, exits)
    ]
    return Row(name, None, *reports)


def _others(trials: Sequence[Trial]) -> list[Row]:
    policies = paper_policies(trials[0].depth)
    draws = [random_report(trial.features, trial.costs) for trial in trials]
    found = [Row("random", policies["random"], *draws)]
    for name in ("difference", "similarity"):
        if name in policies:
            found.append(_row(f"DistrEE's {name}", policies[name], trials))
    exits = [oracle(trial.features, trial.costs) for trial in trials]
    return [*found, _forced("oracle", exits, trials)]
