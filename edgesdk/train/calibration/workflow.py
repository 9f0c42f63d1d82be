"""Calibration from end to end: the same network, with a better plan and better policies."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from ...backends import open_backend
from ...bundle import Bundle, read_plain_bundle
from ...bundle_update import update_bundle
from ...core.exits import ExitPolicy, FinalExit
from ...core.spec import FULL_PLAN, Part
from ...errors import ConfigError
from ...outcomes import Outcomes, replay
from ..data import DataSet
from .choice import Candidate, Objective, candidates, check_objective, choose, plans_of
from .codecs import CodecLoss, Decider, codecs_document, measure_codecs
from .costs import Costs, Report, multiply_add_costs, report
from .measuring import UNCUT_PLAN, Measured, measure
from .merging import merged_stages, stage_file
from .recording import read_or_record
from .temperature import beliefs
from .thresholds import compares, fits, kinds

MAIN_KIND = "max_probability"  # MDI-Exit's policy; the plan is chosen for it


class Request(NamedTuple):
    """What is wanted: `unit` ("us" or "multiply-adds") is the cost that counts, `name` that of the
    plan and the policy."""

    objective: Objective
    unit: str
    name: str
    backend: Optional[str]
    threads: int
    outcomes_file: Optional[str] = None


class Calibrated(NamedTuple):
    """One policy as it goes into the manifest under `name`, and what it does on both splits."""

    name: str
    plan: str
    exit_indices: tuple[int, ...]
    policy: ExitPolicy
    calibration: Report
    test: Report


class Result(NamedTuple):
    """Everything that a table or a plot shows, and what `apply` writes. `tried` are all candidates
    by kind; policies that have none within a budget are missing from `policies`; `merged` are the
    files of all stages that a plan could have; `codecs` is of the main policy."""

    request: Request
    bundle: Bundle
    outcomes: Outcomes
    multiply_adds: Costs
    measured: Measured
    tried: dict[str, list[Candidate]]
    policies: list[Calibrated]
    merged: dict[str, bytes]
    codecs: CodecLoss


def calibrate(path: str, data: DataSet, request: Request) -> Result:
    """Calibrate the bundle in folder `path`; nothing is written to it.

    Raises ConfigError for an objective that cannot be met or data that do not fit, and what
    `record`, `merged_stages` and `measure` raise.
    """
    check_objective(request.objective)
    check_name(request.name)
    bundle = read_plain_bundle(path)
    plans = plans_of(len(bundle.manifest.parts[0].exits))
    outcomes = read_or_record(bundle, data, request.outcomes_file, request.backend, request.threads)
    merged = merged_stages(bundle)
    measured = _measure(bundle, merged, request)
    part = bundle.manifest.parts[0]
    multiply_adds = part_costs(part)
    costs = measured.costs if request.unit == "us" else multiply_adds
    split = outcomes.select("calibration")
    tried = {kind: candidates(split, kind, plans, costs) for kind in kinds()}
    chosen = _choose_all(tried, request, len(part.exits))
    policies = [
        _describe(_name(request, kind), one, request.name, outcomes, multiply_adds, measured.costs)
        for kind, one in chosen.items()
    ]
    codecs = _measure_codecs(bundle, data, request, policies[0])
    return Result(
        request, bundle, outcomes, multiply_adds, measured, tried, policies, merged, codecs
    )


def apply(result: Result) -> Bundle:
    """Update the bundle with the plan and the policies of `result`, all at once.

    What an earlier calibration of the same name left is replaced. Raises what `update_bundle`
    raises.
    """
    manifest, request = result.bundle.manifest, result.request
    plans: dict[str, Any] = {}
    if request.name in manifest.parts[0].plans:
        plans[request.name] = None
    names = [_name(request, kind) for kind in kinds()]
    policies: dict[str, Any] = {name: None for name in names if name in manifest.policies}
    for calibrated in result.policies:
        if calibrated.plan != FULL_PLAN:
            plans[calibrated.plan] = plan_document(calibrated.exit_indices)
        policies[calibrated.name] = {
            **calibrated.policy.describe(),
            "plan": calibrated.plan,
            "provenance": provenance(result, calibrated),
        }
    codecs = codecs_document(result.codecs)
    return update_bundle(result.bundle.path, policies, plans, result.merged, request.name, codecs)


def part_costs(part: Part) -> Costs:
    """Multiply-adds of a part, as the manifest counts them."""
    return multiply_add_costs(
        [segment.multiply_adds for segment in part.segments],
        [trained_exit.multiply_adds for trained_exit in part.exits],
    )


def final_report(outcomes: Outcomes, multiply_adds: Costs, times: Optional[Costs]) -> Report:
    """The full network, uncut: what every policy is compared with."""
    last = (outcomes.exit_count - 1,)
    return report(outcomes, replay(outcomes, FinalExit(), last), last, multiply_adds, times)


def check_name(name: str) -> None:
    """Raise ConfigError for a name that a plan and a policy of ours cannot have."""
    if not name or name in (FULL_PLAN, "final", UNCUT_PLAN):
        raise ConfigError(
            f"name: found {name!r}, which has a meaning of its own; expected another, such as "
            "calibrated"
        )


def _name(request: Request, kind: str) -> str:
    return request.name if kind == MAIN_KIND else f"{request.name}-{kind}"


def _measure(bundle: Bundle, merged: dict[str, bytes], request: Request) -> Measured:
    """On a copy of the bundle that holds every merged stage."""
    last = len(bundle.manifest.parts[0].segments) - 1
    uncut = plan_document((last,))
    with tempfile.TemporaryDirectory(prefix="edgesdk-calibrate-") as folder:
        trial_path = str(Path(folder) / "trial")
        shutil.copytree(bundle.path, trial_path)
        trial = update_bundle(trial_path, {}, {UNCUT_PLAN: uncut}, merged)
        for name, content in merged.items():  # those that the plan does not use, to be timed
            Path(trial.file(name)).write_bytes(content)
        return measure(trial, request.backend, request.threads)


def _measure_codecs(bundle: Bundle, data: DataSet, request: Request, main: Calibrated) -> CodecLoss:
    backend = open_backend(request.backend, request.threads)
    decider = Decider(main.name, main.policy, main.exit_indices)
    found = measure_codecs(bundle, data, backend, decider)
    backend.close()
    return found


def _choose_all(
    tried: dict[str, list[Candidate]], request: Request, exit_count: int
) -> dict[str, Candidate]:
    """The best of the main kind; of the others the best on its plan, or on the full one."""
    main = choose(tried[MAIN_KIND], request.objective, request.unit)
    chosen = {MAIN_KIND: main}
    for kind in kinds()[1:]:
        suits = fits(kind, main.exit_indices, exit_count)
        plan = main.exit_indices if suits else tuple(range(exit_count))
        on_plan = [one for one in tried[kind] if one.exit_indices == plan]
        try:
            chosen[kind] = choose(on_plan, request.objective, request.unit)
        except ConfigError:
            continue  # this kind of policy has nothing within the budget
    return chosen


def _describe(
    name: str,
    one: Candidate,
    plan_name: str,
    outcomes: Outcomes,
    multiply_adds: Costs,
    times: Costs,
) -> Calibrated:
    """Replayed by the policy itself, on both splits."""
    is_full = len(one.exit_indices) == outcomes.exit_count
    reports = []
    for split in ("calibration", "test"):
        selected = outcomes.select(split)
        replayed = replay(selected, one.policy, one.exit_indices)
        reports.append(
            report(
                selected,
                replayed,
                one.exit_indices,
                multiply_adds,
                times,
                compares(one.policy.kind),
            )
        )
    return Calibrated(
        name, FULL_PLAN if is_full else plan_name, one.exit_indices, one.policy, *reports
    )


def provenance(result: Result, calibrated: Calibrated) -> dict[str, Any]:
    """Where thresholds came from and what they do; the test split is only reported."""
    calibration, test = (result.outcomes.select(split) for split in ("calibration", "test"))
    costs = (result.multiply_adds, result.measured.costs)
    found: dict[str, Any] = {
        "data": result.outcomes.data,
        "split": "calibration",
        "objective": {
            key: value
            for key, value in result.request.objective._asdict().items()
            if value is not None
        },
        "cost": result.request.unit,
        **calibrated.calibration.document(),
        "final_exit": final_report(calibration, *costs).document(),
        "test": {**calibrated.test.document(), "final_exit": final_report(test, *costs).document()},
        "conditions": result.measured.conditions,
    }
    if calibrated.name == result.request.name:
        found["temperature_per_exit"] = [belief._asdict() for belief in beliefs(calibration, test)]
    return found


def plan_document(exit_indices: Sequence[int]) -> dict[str, Any]:
    """The plan that keeps these exits, as a manifest has it."""
    first, stages = 0, []
    for exit_index in exit_indices:
        single = first == exit_index
        stages.append(
            {
                "first_segment": first,
                "last_segment": exit_index,
                "exit": exit_index,
                "file": f"onnx/segment_{first}.onnx" if single else stage_file((first, exit_index)),
            }
        )
        first = exit_index + 1
    return {"stages": stages}
