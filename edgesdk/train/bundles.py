"""A finished run becomes a bundle: files, calibrated policy, manifest, provenance."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..bundle import write_bundle
from ..core.spec import FULL_PLAN
from ..errors import ConfigError
from . import calibrate, checkpoint
from .counting import Costs, multiply_adds, segment_shapes
from .data import DataSet, Split, data_set
from .export import export_network, head_file, segment_file
from .models import MultiExit, build_model
from .trainer import Settings, accuracy_per_exit, check_same_images, logits_per_exit

CHECK_COUNT = 16  # calibration images on which every exported file is compared with torch


class Run(NamedTuple):
    """A trained network as its checkpoint has it."""

    network: MultiExit
    data: DataSet
    settings: Settings
    epochs_done: int


class Exported(NamedTuple):
    """What became of an export. `final` and `calibrated` are those policies on the test split,
    `test_accuracy` is that of each exit, 0..1."""

    thresholds: tuple[float, ...]
    test_accuracy: tuple[float, ...]
    final: calibrate.Report
    calibrated: calibrate.Report


def load_run(directory: Path) -> Run:
    """The run that `fit` left in `directory`.

    Raises what `checkpoint.load`, `data_set` and `check_same_images` raise.
    """
    state = checkpoint.load(directory)
    settings = Settings(**state["settings"])
    data = data_set(settings.data)
    check_same_images(state, data)
    network = build_model(settings.model, len(data.labels), data.preprocessing.shape[0])
    network.load_state_dict(state["network"])
    return Run(network.eval(), data, settings, len(state["history"]))


def export_run(run: Run, bundle: Path, max_loss_points: float, overwrite: bool) -> Exported:
    """Write `run` as a bundle whose default policy is calibrated to lose at most
    `max_loss_points` percent points against the final exit.

    The test split is only reported. Raises ConfigError for a run that is not finished, and what
    `export_network`, `choose_thresholds` and `write_bundle` raise; nothing is then left behind.
    """
    if run.epochs_done != run.settings.epochs:
        raise ConfigError(
            f"the run has {run.epochs_done} of {run.settings.epochs} epochs; finish it with: "
            "python -m edgesdk.train fit ... --resume"
        )
    calibration, test = run.data.load("calibration"), run.data.load("test")
    files = export_network(run.network, calibration.images[:CHECK_COUNT])
    costs = multiply_adds(run.network, run.data.preprocessing.shape)
    chosen_on = _outcomes(run, calibration)
    thresholds = calibrate.choose_thresholds(chosen_on, costs, max_loss_points)
    reported_on = _outcomes(run, test)
    never = [calibrate.OFF] * (len(thresholds) - 1) + [calibrate.LEAVES_ALWAYS]
    exported = Exported(
        thresholds,
        tuple(accuracy_per_exit(run.network, test)),
        calibrate.evaluate(reported_on, never, costs),
        calibrate.evaluate(reported_on, thresholds, costs),
    )
    provenance = {
        "split": "calibration",
        "max_loss_points": max_loss_points,
        **calibrate.evaluate(chosen_on, thresholds, costs)._asdict(),
        "final_exit_accuracy": float(chosen_on.correct[:, -1].mean()),
        "test": exported.calibrated._asdict(),
    }
    manifest = _manifest(run, costs, {"thresholds": thresholds, "provenance": provenance})
    manifest["provenance"]["test"] = {
        "accuracy_per_exit": exported.test_accuracy,
        **exported.final._asdict(),
    }
    write_bundle(str(bundle), _plain(manifest), files, overwrite)
    return exported


def _outcomes(run: Run, split: Split) -> calibrate.Outcomes:
    logits = logits_per_exit(run.network, split.images)
    return calibrate.outcomes(logits.numpy(), split.labels.numpy())


def _manifest(run: Run, costs: Costs, calibrated: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"{run.settings.model}-{run.data.name}",
        "labels": run.data.labels,
        "preprocessing": run.data.preprocessing._asdict(),
        "parts": [_part(run, costs)],
        "policies": {
            "final": {"kind": "final"},
            "calibrated": {"kind": "max_probability", **calibrated},
        },
        "default_policy": "calibrated",
        "provenance": {
            # the name, not the path: a bundle does not tell whose disk its images were on
            "settings": run.settings._replace(data=run.data.name)._asdict(),
            "multiply_adds": "convolution, linear and batch-norm layers of one image",
            "torch": torch.__version__,
        },
    }


def _part(run: Run, costs: Costs) -> dict[str, Any]:
    shapes = segment_shapes(run.network, run.data.preprocessing.shape)
    indices = range(len(costs.segments))
    return {
        "name": "main",
        "segments": [
            {
                "input_shape": shapes.inputs[i],
                "output_shape": shapes.outputs[i],
                "multiply_adds": costs.segments[i],
            }
            for i in indices
        ],
        "exits": [
            {"head": {"kind": "fused", "file": head_file(i)}, "multiply_adds": costs.exits[i]}
            for i in indices
        ],
        "plans": {
            FULL_PLAN: {
                "stages": [
                    {"first_segment": i, "last_segment": i, "exit": i, "file": segment_file(i)}
                    for i in indices
                ]
            }
        },
    }


def _plain(value: Any) -> Any:
    """`value` as JSON gives it back: tuples become lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
