"""A finished run becomes a bundle: files, calibrated policy, manifest, provenance."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy as np
import torch

from ..bundle import write_bundle
from ..core.exits import ExitPolicy, FinalExit
from ..core.spec import FULL_PLAN
from ..errors import ConfigError
from ..manifest import FEATURE
from ..outcomes import SPLITS, Outcomes, outcomes_from_logits, replay
from . import checkpoint
from .calibration.choice import Objective, candidates, check_objective, choose, plans_of
from .calibration.costs import Report, multiply_add_costs, report
from .counting import Costs, multiply_adds, segment_shapes
from .data import DataSet, Split, data_set
from .export import export_network, head_file, head_kind, segment_file
from .models import MultiExit, build_model, input_size
from .recipe import MAX_LOSS_POINTS
from .trainer import Settings, Trainer, check_is_network, check_same_images, logits_per_exit

CHECK_COUNT = 16  # calibration images on which every exported file is compared with torch


class Run(NamedTuple):
    """A trained network, on the CPU and in evaluation mode, and what it was trained with."""

    network: MultiExit
    data: DataSet
    settings: Settings
    epochs_done: int


class BottleneckFiles(NamedTuple):
    """A bottleneck as `bottlenecks.exporting` gives it: its entry in a manifest, and its files."""

    document: dict[str, Any]
    files: dict[str, bytes]


class Exported(NamedTuple):
    """What became of an export. `final` and `calibrated` are those policies on the test split,
    `test_accuracy` is that of each exit, 0..1; `quantization` is what the bundle's provenance says
    of INT8, if it is that."""

    thresholds: tuple[float, ...]
    test_accuracy: tuple[float, ...]
    final: Report
    calibrated: Report
    quantization: Optional[dict[str, Any]] = None


def load_run(directory: Path) -> Run:
    """The run that `fit` left in `directory`.

    Raises what `checkpoint.load`, `data_set`, `check_is_network` and `check_same_images`
    raise.
    """
    state = checkpoint.load(directory)
    check_is_network(state, directory)
    settings = Settings(**state["settings"])
    data = data_set(settings.data, input_size(settings.model))
    check_same_images(state, data)
    network = build_model(settings.model, len(data.labels), data.preprocessing.shape[0])
    network.load_state_dict(state["network"])
    return Run(network.eval(), data, settings, len(state["history"]))


def run_of(trainer: Trainer[MultiExit]) -> Run:
    """The run of `trainer` as it stands."""
    network = trainer.network.cpu().eval()
    return Run(network, trainer.data, trainer.settings, len(trainer.history))


def export_run(
    run: Run,
    bundle: Union[str, "os.PathLike[str]"],
    max_loss_points: float = MAX_LOSS_POINTS,
    overwrite: bool = False,
    int8_loss_points: Optional[float] = None,
    bottlenecks: Sequence[BottleneckFiles] = (),
) -> Exported:
    """Write `run` as a bundle whose default policy is calibrated to lose at most
    `max_loss_points` percent points against the final exit.

    With `int8_loss_points` its stages are INT8, and that is how many percent points the final exit
    may lose by it on the calibration split. `bottlenecks`: of its network, each at a border of its
    own. The test split is only reported. Raises ConfigError for a run that is not finished, and
    what `export_network`, `quantized_network`, `candidates` and `write_bundle` raise; nothing is
    then left behind.
    """
    if run.epochs_done != run.settings.epochs:
        raise ConfigError(
            f"the run has {run.epochs_done} of {run.settings.epochs} epochs; finish it with: "
            "python -m edgesdk.train fit ... --resume"
        )
    check_objective(Objective(max_loss_points))
    splits = {split: run.data.load(split) for split in SPLITS}
    files = export_network(run.network, splits["calibration"].images[:CHECK_COUNT])
    # As torch computes them: what is exported has been compared with that.
    logits = {split: logits_per_exit(run.network, splits[split].images).numpy() for split in SPLITS}
    quantization = None
    if int8_loss_points is not None:
        from .int8_network import quantized_network  # needs more of onnxruntime than the rest

        found = quantized_network(run.network, files, splits, logits, int8_loss_points)
        files.update(found.files)
        logits, quantization = found.logits, found.provenance
    costs = multiply_adds(run.network, run.data.preprocessing.shape)
    exported, policy = _calibrated(_outcomes(run.data, splits, logits), costs, max_loss_points)
    exported = exported._replace(quantization=quantization)
    manifest = _manifest(run, costs, policy)
    if quantization is not None:
        manifest["name"] += "-int8"
        manifest["provenance"]["quantization"] = quantization
    if bottlenecks:
        manifest["parts"][0]["bottlenecks"] = [one.document for one in bottlenecks]
    for one in bottlenecks:
        files.update(one.files)
    manifest["provenance"]["test"] = {
        "accuracy_per_exit": exported.test_accuracy,
        **exported.final.document(),
    }
    write_bundle(os.fspath(bundle), plain(manifest), files, overwrite)
    return exported


def _calibrated(
    outcomes: Outcomes, costs: Costs, max_loss_points: float
) -> tuple[Exported, dict[str, Any]]:
    """A first policy, on the plan `full` and by multiply-adds; the second value is its entry in
    the manifest. `python -m edgesdk.train calibrate` finds a better one, by measured time."""
    by_unit = multiply_add_costs(costs.segments, costs.exits)
    every = tuple(range(outcomes.exit_count))
    calibration, test = (outcomes.select(split) for split in SPLITS)
    tried = candidates(calibration, "max_probability", plans_of(len(every)), by_unit)
    policy = choose(tried, Objective(max_loss_points), by_unit.unit).policy

    def reported(split: Outcomes, one: ExitPolicy) -> Report:
        return report(split, replay(split, one, every), every, by_unit, None)

    exported = Exported(
        policy.thresholds,
        tuple(test.correct.mean(axis=0).tolist()),
        reported(test, FinalExit()),
        reported(test, policy),
    )
    provenance = {
        "data": outcomes.data,
        "split": "calibration",
        "max_loss_points": max_loss_points,
        **reported(calibration, policy).document(),
        "final_exit_accuracy": float(calibration.correct[:, -1].mean()),
        "test": exported.calibrated.document(),
    }
    return exported, {**policy.describe(), "provenance": provenance}


def _outcomes(data: DataSet, splits: dict[str, Split], logits: dict[str, np.ndarray]) -> Outcomes:
    return outcomes_from_logits(
        "",  # the bundle that would have an id is yet to be written
        data.name,
        [split for split in SPLITS for _ in splits[split].labels],
        np.concatenate([splits[split].labels.numpy() for split in SPLITS]),
        np.concatenate([logits[split] for split in SPLITS], axis=1),
    )


def _manifest(run: Run, costs: Costs, calibrated: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"{run.settings.model}-{run.data.name}",
        "labels": run.data.labels,
        "preprocessing": run.data.preprocessing._asdict(),
        "parts": [part_document("main", run.network, run.data.preprocessing.shape, costs)],
        "policies": {
            "final": {"kind": "final"},
            "calibrated": calibrated,
        },
        "default_policy": "calibrated",
        "provenance": {
            # the name, not the path: a bundle does not tell whose disk its images were on
            "settings": run.settings._replace(data=run.data.name)._asdict(),
            "multiply_adds": "convolutions, linear layers, attention and norms of one image",
            "torch": torch.__version__,
        },
    }


def part_document(
    name: str, network: MultiExit, input_shape: tuple[int, ...], costs: Costs, student: str = ""
) -> dict[str, Any]:
    """The entry of a part in a manifest; `student`: the folder of its files, in an ensemble."""
    shapes = segment_shapes(network, input_shape)
    indices = range(len(costs.segments))
    kinds = [FEATURE if student else head_kind(head) for head in network.exits]
    return {
        "name": name,
        "segments": [
            {
                "input_shape": shapes.inputs[i],
                "output_shape": shapes.outputs[i],
                "multiply_adds": costs.segments[i],
            }
            for i in indices
        ],
        "exits": [
            {
                "head": {"kind": kinds[i], "file": head_file(i, student, kinds[i])},
                "multiply_adds": costs.exits[i],
            }
            for i in indices
        ],
        "plans": {
            FULL_PLAN: {
                "stages": [
                    {
                        "first_segment": i,
                        "last_segment": i,
                        "exit": i,
                        "file": segment_file(i, student),
                    }
                    for i in indices
                ]
            }
        },
    }


def plain(value: Any) -> Any:
    """`value` as JSON gives it back: tuples become lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
