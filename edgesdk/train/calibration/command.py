"""`python -m edgesdk.train calibrate`: choose thresholds and a plan for a bundle, by data."""

import argparse
from typing import Any, Callable, NamedTuple, Optional

from ... import cli
from ...errors import BackendUnavailable, ConfigError

DESCRIPTION = "thresholds and plan of a bundle, by data"
EXAMPLE = (
    "python -m edgesdk.train calibrate engines/wrn16_1-digits/1 --data digits --max-loss-points 1"
)
MAX_LOSS_POINTS = 1.0  # where no objective is given


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of the command, but for the common ones."""
    command.set_defaults(command=run)
    command.add_argument("bundle", metavar="BUNDLE", help="folder of the bundle; it is updated")
    command.add_argument(
        "--data", required=True, metavar="PATH", help="digits, an image folder, or a tar of one"
    )
    objective = command.add_mutually_exclusive_group()
    objective.add_argument(
        "--max-loss-points",
        type=float,
        metavar="X",
        help=f"cheapest plan that loses at most X percent points; default: {MAX_LOSS_POINTS:g}",
    )
    objective.add_argument(
        "--budget-madds", type=float, metavar="N", help="best plan of N multiply-adds per image"
    )
    objective.add_argument(
        "--budget-us", type=float, metavar="N", help="best plan of N microseconds per image"
    )
    objective.add_argument(
        "--codecs-only",
        action="store_true",
        help="keep plans and policies; only measure what lossy codecs cost the default policy",
    )
    command.add_argument("--backend", help="onnxruntime or torch; default: the best one present")
    command.add_argument("--threads", type=int, default=1, help="default %(default)s")
    command.add_argument(
        "--outcomes",
        metavar="FILE",
        help=".npz of every exit's answers (of an ensemble: features): read, or else written",
    )
    command.add_argument("--plot", metavar="FILE", help="picture of accuracy against cost")
    command.add_argument(
        "--name", default="calibrated", help="of the plan and the policy, default %(default)s"
    )


def run(arguments: argparse.Namespace) -> int:
    """Calibrate, update the bundle, print the table."""
    _require_packages()
    import torch

    from ...bench.timing import pin

    if arguments.threads < 1:
        raise ConfigError(f"threads: found {arguments.threads}, expected a whole number from 1")
    torch.set_num_threads(arguments.threads)
    pin(arguments.threads)
    cli.banner(("torch", "onnx", "onnxruntime"), as_json=arguments.json)
    return _codecs_only(arguments) if arguments.codecs_only else _calibrate(arguments)


class _Way(NamedTuple):
    """How plain networks, or ensembles, are calibrated, drawn, shown, and changed."""

    calibrate: Callable[..., Any]
    draw: Callable[[Any, str], None]
    lines: Callable[[Any], list[str]]
    document: Callable[[Any], dict[str, Any]]
    apply: Callable[[Any], Any]


def _way(is_ensemble: bool) -> _Way:
    if is_ensemble:
        from . import ensemble_command, ensemble_plot, ensembles

        shown = (ensemble_plot.draw, ensemble_command.lines, ensemble_command.document)
        return _Way(ensembles.calibrate, *shown, ensembles.apply)
    from . import plot, workflow

    return _Way(workflow.calibrate, plot.draw, _lines, _document, workflow.apply)


def _calibrate(arguments: argparse.Namespace) -> int:
    from ...bundle import read_bundle
    from ..data import data_set

    bundle = read_bundle(arguments.bundle)
    is_ensemble = bundle.manifest.classifier is not None
    way, request = _way(is_ensemble), _request(arguments, is_ensemble)
    data = data_set(arguments.data, bundle.manifest.preprocessing.height)
    result = way.calibrate(arguments.bundle, data, request)
    for line in way.lines(result):
        cli.say(line, arguments.json)
    if arguments.plot:
        way.draw(result, arguments.plot)
        cli.say(f"picture: {arguments.plot}", arguments.json)
    way.apply(result)
    cli.say(f"updated: {bundle.path}", arguments.json)
    if arguments.json:
        cli.print_json(way.document(result))
    return 0


def _codecs_only(arguments: argparse.Namespace) -> int:
    from ...backends import open_backend
    from ...bundle import read_bundle
    from ...bundle_update import update_bundle
    from ..data import data_set
    from .codecs import codecs_document, default_decider, measure_codecs

    bundle = read_bundle(arguments.bundle)
    if bundle.manifest.classifier is not None:
        raise ConfigError(
            f"codecs-only: found the ensemble {bundle.path}, expected a plain network; what lossy "
            "codecs cost is not measured for ensembles: leave --codecs-only away"
        )
    data = data_set(arguments.data, bundle.manifest.preprocessing.height)
    backend = open_backend(arguments.backend, arguments.threads)
    found = measure_codecs(bundle, data, backend, default_decider(bundle.manifest))
    backend.close()
    for line in _codec_lines(found):
        cli.say(line, arguments.json)
    document = codecs_document(found)
    update_bundle(bundle.path, {}, {}, {}, codecs=document)
    cli.say(f"updated: {bundle.path}", arguments.json)
    if arguments.json:
        model_id = bundle.manifest.model_id
        cli.print_json({"bundle": bundle.path, "model_id": model_id, "codecs": document})
    return 0


def _request(arguments: argparse.Namespace, is_ensemble: bool) -> Any:
    from .choice import Objective
    from .workflow import Request

    points: Optional[float] = arguments.max_loss_points
    budget = arguments.budget_us if arguments.budget_madds is None else arguments.budget_madds
    if points is None and budget is None:
        points = MAX_LOSS_POINTS
    by_time = arguments.budget_us is not None or not is_ensemble
    return Request(
        Objective(points, budget),
        "us" if by_time and arguments.budget_madds is None else "multiply-adds",
        arguments.name,
        arguments.backend,
        arguments.threads,
        arguments.outcomes,
    )


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
        import tqdm  # noqa: F401
    except ImportError as error:
        raise BackendUnavailable(
            f"calibration needs {error.name}, which cannot be imported ({error}); "
            'install it with: pip install "edgesdk[train]"'
        ) from error


def _rows(result: Any) -> list[tuple[str, str, Any, Any]]:
    """(name, plan's exits, report on calibration, report on test), the full network first."""
    from .workflow import final_report

    costs = (result.multiply_adds, result.measured.costs)
    final = [final_report(result.outcomes.select(s), *costs) for s in ("calibration", "test")]
    last = str(result.outcomes.exit_count - 1)
    return [("full network, uncut", last, *final)] + [
        (p.name, ",".join(map(str, p.exit_indices)), p.calibration, p.test) for p in result.policies
    ]


def _lines(result: Any) -> list[str]:
    conditions = result.measured.conditions
    rows = _rows(result)
    reference_us = rows[0][3].mean_us
    table = [
        (
            name,
            exits,
            f"{100 * calibration.accuracy:.2f} %",
            f"{100 * test.accuracy:.2f} %",
            f"{test.mean_multiply_adds / 1e6:.2f}",
            f"{test.mean_us:.0f}",
            f"{reference_us / test.mean_us:.2f}",
            " ".join(f"{100 * share:.0f}" for share in test.share_per_exit),
        )
        for name, exits, calibration, test in rows
    ]
    header = ("policy", "exits", "calibration", "test", "M madds", "us", "x full")
    return [
        f"{result.outcomes.data}: {rows[0][2].image_count} images chose, "
        f"{rows[0][3].image_count} are reported; {conditions['backend']}, batch 1, "
        f"{conditions['threads']} thread(s), {conditions['cpu']}",
        *cli.table((*header, "leave at each exit, %"), table),
        *_overheads(result.measured.costs),
        *_codec_lines(result.codecs),
    ]


def _overheads(costs: Any) -> list[str]:
    return [
        f"the runtime adds {costs.item:.0f} us per image, {costs.stage:.1f} per stage, "
        f"{costs.head:.1f} per head; heads take "
        + " ".join(f"{value:.0f}" for value in costs.heads)
        + " us"
    ]


def _codec_lines(found: Any) -> list[str]:
    rows = [
        (
            one.codec,
            str(one.borders[0]) if len(one.borders) == 1 else "all",
            str(one.lost),
            str(one.gained),
            f"{one.lost_points:.2f}",
            f"{one.pessimistic_lost_points:.2f}",
        )
        for one in found.journeys
    ]
    header = ("codec", "before segment", "lost", "gained", "points lost", "reckon with")
    return [
        f"lossy codecs, policy {found.decider.name}: {100 * found.accuracy:.2f} % of "
        f"{found.journeys[0].image_count} calibration images without them",
        *cli.table(header, rows),
    ]


def _document(result: Any) -> dict[str, Any]:
    from .codecs import codecs_document

    return {
        "bundle": result.bundle.path,
        "model_id": result.bundle.manifest.model_id,
        "conditions": result.measured.conditions,
        "codecs": codecs_document(result.codecs),
        "policies": [
            {
                "name": name,
                "exits": exits,
                "calibration": calibration._asdict(),
                "test": test._asdict(),
            }
            for name, exits, calibration, test in _rows(result)
        ],
    }
