"""The picture of a calibration: accuracy on the test split against what it costs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np

from ...core.exits import FixedExit, RandomExit
from ...errors import BackendUnavailable, EdgeError
from ...outcomes import Outcomes, Replay, replay
from .choice import Candidate
from .costs import Costs, mean_cost
from .thresholds import compares
from .workflow import Result

# Okabe and Ito: colours that everybody tells apart; the dashes help in grey.
STYLES = {
    "max_probability": ("#0072B2", "-"),
    "margin": ("#D55E00", "--"),
    "entropy": ("#009E73", "-."),
    "patience": ("#E69F00", ":"),
    "difference": ("#CC79A7", (0, (5, 1, 1, 1, 1, 1))),
    "similarity": ("#56B4E9", (0, (3, 1))),
}
RANDOM_DRAWS = 20  # repetitions of the random policy: one is noisy
PANELS = ("multiply-adds per image, millions", "time per image, microseconds")


class Point(NamedTuple):
    """Costs in multiply-adds and microseconds, accuracy 0..1."""

    multiply_adds: float
    us: float
    accuracy: float


def front(tried: Sequence[Candidate]) -> list[Candidate]:
    """Candidates that no cheaper one equals or beats, by rising cost."""
    best, kept = -1.0, []
    for one in sorted(tried, key=lambda one: (one.cost, -one.accuracy)):
        if one.accuracy > best:
            best = one.accuracy
            kept.append(one)
    return kept


def oracle(outcomes: Outcomes) -> Replay:
    """Every image at the cheapest exit that is right, or else at the first; no head in vain."""
    correct = outcomes.correct
    left = np.where(correct.any(axis=1), correct.argmax(axis=1), 0)
    evaluated = np.zeros_like(correct)
    evaluated[np.arange(len(left)), left] = True
    return Replay(left, evaluated)


def draw(result: Result, path: str) -> None:
    """Write the picture to `path`. Raises what `write_picture` raises."""

    def draw_into(figure: Any) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        _draw_into(axes, result)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9)
        figure.suptitle(_title(result), fontsize=11)

    write_picture(path, (12, 5.2), draw_into)


def write_picture(path: str, inches: tuple[float, float], draw_into: Callable[[Any], None]) -> None:
    """Write to `path` what `draw_into` draws into the matplotlib figure that it is given.

    Raises BackendUnavailable without matplotlib, EdgeError if the file cannot be written or is of a
    kind that matplotlib does not know.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise BackendUnavailable(
            f'the picture needs matplotlib ({error}); pip install "edgesdk[demo]"'
        ) from None
    figure = pyplot.figure(figsize=inches, layout="constrained")
    try:
        draw_into(figure)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise EdgeError(
            f"{path}: the picture cannot be written ({error}); choose a name that ends in .png"
        ) from None
    finally:
        pyplot.close(figure)


def points(result: Result) -> dict[str, list[Point]]:
    """Everything that is drawn, on the test split: fronts by kind, "chosen" (one per policy),
    "fixed" (one per exit, a plan of its own), "random", "oracle"."""
    test = result.outcomes.select("test")
    every = tuple(range(test.exit_count))
    found = {
        kind: [
            _point(test, replay(test, one.policy, one.exit_indices), one.exit_indices, result, kind)
            for one in front(tried)
        ]
        for kind, tried in result.tried.items()
    }
    found["chosen"] = [
        Point(p.test.mean_multiply_adds, p.test.mean_us or 0.0, p.test.accuracy)
        for p in result.policies
    ]
    found["fixed"] = [_fixed(test, index, result) for index in every]
    drawn = [
        _point(test, replay(test, RandomExit(), every, seed), every, result)
        for seed in range(RANDOM_DRAWS)
    ]
    found["random"] = [Point(*(float(mean) for mean in np.mean(drawn, axis=0)))]
    found["oracle"] = [_point(test, oracle(test), every, result)]
    return found


def _fixed(test: Outcomes, exit_index: int, result: Result) -> Point:
    """Everybody at one exit, all segments up to it in one stage."""
    last = test.exit_count - 1
    plan = (exit_index,) if exit_index == last else (exit_index, last)
    return _point(test, replay(test, FixedExit(exit_index), plan), plan, result)


def _point(
    test: Outcomes, replayed: Replay, plan: Sequence[int], result: Result, kind: str = ""
) -> Point:
    right = test.correct[np.arange(test.image_count), replayed.exit_index]
    costs: tuple[Costs, Costs] = (result.multiply_adds, result.measured.costs)
    comparing = bool(kind) and compares(kind)
    return Point(
        mean_cost(replayed, plan, costs[0]),
        mean_cost(replayed, plan, costs[1], comparing),
        float(right.mean()),
    )


def _draw_into(axes: Any, result: Result) -> None:
    found = points(result)
    kinds = {p.name: p.policy.kind for p in result.policies}
    for axis, label, column, scale in zip(axes, PANELS, (0, 1), (1e-6, 1.0)):

        def draw_points(name: str, column: int = column, scale: float = scale) -> tuple[Any, Any]:
            return (
                [point[column] * scale for point in found[name]],
                [100 * point.accuracy for point in found[name]],
            )

        for kind, (color, dashes) in STYLES.items():
            axis.plot(*draw_points(kind), color=color, linestyle=dashes, label=kind, linewidth=1.6)
        xs, ys = draw_points("chosen")
        for x, y, kind in zip(xs, ys, kinds.values()):
            axis.plot(x, y, "o", color=STYLES[kind][0], markeredgecolor="black", zorder=4)
        axis.plot(xs[0], ys[0], "*", color=STYLES[kinds[result.policies[0].name]][0],
                  markersize=17, markeredgecolor="black", label="chosen", zorder=5)  # fmt: skip
        xs, ys = draw_points("fixed")
        axis.plot(xs, ys, "s", color="0.45", label="one exit for all", zorder=3)
        for index, (x, y) in enumerate(zip(xs, ys)):
            axis.annotate(str(index), (x, y), (0, -12), textcoords="offset points", fontsize=8,
                          color="0.35", ha="center")  # fmt: skip
        axis.plot(xs[-1], ys[-1], "D", color="black", label="full network", markersize=8, zorder=4)
        axis.axhline(ys[-1], color="black", linewidth=0.6, alpha=0.4)
        axis.plot(*draw_points("oracle"), "P", color="black", label="oracle", markersize=9)
        axis.plot(*draw_points("random"), "X", color="0.45", label="random exit", markersize=9)
        axis.set_xlabel(label)
        axis.set_xlim(left=0)
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("accuracy on the test split, %")


def _title(result: Result) -> str:
    conditions = result.measured.conditions
    return (
        f"{result.bundle.manifest.name}: {result.outcomes.select('test').image_count} test images; "
        f"{conditions['backend']}, batch 1, {conditions['threads']} thread(s), {conditions['cpu']}"
    )
