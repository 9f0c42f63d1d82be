"""The picture of an ensemble's calibration: accuracy on the test split against multiply-adds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from .ensemble_choice import Trial, leaving, trial_of
from .ensemble_figures import is_right
from .ensembles import Result, Row
from .plot import STYLES, front, write_picture

BESIDE = (0, -12)  # points: where a branch's number stands
MARKS = {  # of what the policies are compared with
    "random": ("X", "0.45"),
    "oracle": ("P", "black"),
    "DistrEE's difference": ("v", STYLES["difference"][0]),
    "DistrEE's similarity": ("^", STYLES["similarity"][0]),
}


class Point(NamedTuple):
    """Multiply-adds of one student per image, accuracy 0..1."""

    multiply_adds: float
    accuracy: float


def draw(result: Result, path: str) -> None:
    """Write the picture to `path`. Raises what `plot.write_picture` raises."""

    def draw_into(figure: Any) -> None:
        _draw_into(figure.subplots(), result)
        figure.legend(loc="outside right center", fontsize=9)
        figure.suptitle(_title(result), fontsize=11)

    write_picture(path, (9.5, 5.4), draw_into)


def fronts(result: Result) -> dict[str, list[Point]]:
    """By kind, on the test split, the candidates that no other beat on the calibration split."""
    trial = trial_of(result.features.select("test"), result.costs)
    return {kind: _front(trial, kind, result) for kind in result.tried}


def point_of(row: Row) -> Point:
    """A row of the table, on the test split."""
    return Point(row.test.mean_multiply_adds, row.test.accuracy)


def _front(trial: Trial, kind: str, result: Result) -> list[Point]:
    scores, found = trial.scores(kind), []
    for one in front(result.tried[kind]):
        exits, spent = leaving(trial, one.policy, scores)
        right = is_right(trial.features, exits)
        found.append(Point(float(spent.mean()), float(right.mean())))
    return found


def _draw_into(axis: Any, result: Result) -> None:
    for kind, points in fronts(result).items():
        color, dashes = STYLES[kind]
        axis.plot(*_shown(points), color=color, linestyle=dashes, label=kind, linewidth=1.6)
    for row in result.policies:
        assert row.policy is not None
        color = STYLES[row.policy.kind][0]
        if row is result.policies[0]:
            axis.plot(*_shown([point_of(row)]), "*", color=color, markersize=17,
                      markeredgecolor="black", label="chosen", zorder=5)  # fmt: skip
        else:
            axis.plot(*_shown([point_of(row)]), "o", color=color, markeredgecolor="black", zorder=4)
    branches = [point_of(row) for row in result.branches]
    axis.plot(*_shown(branches), "s", color="0.45", label="one exit for all", zorder=3)
    for index, (x, y) in enumerate(zip(*_shown(branches))):
        axis.annotate(str(index), (x, y), BESIDE, textcoords="offset points", fontsize=8,
                      color="0.35", ha="center")  # fmt: skip
    last = point_of(result.final)
    axis.plot(*_shown([last]), "D", color="black", label="all at their last exit", zorder=4)
    axis.axhline(100 * last.accuracy, color="black", linewidth=0.6, alpha=0.4)
    for row in result.others:
        mark, color = MARKS[row.name]
        axis.plot(*_shown([point_of(row)]), mark, color=color, label=row.name, markersize=9,
                  markeredgecolor="black", zorder=4)  # fmt: skip
    axis.set(xlabel="multiply-adds per image, mean of the students, millions", xlim=(0, None))
    axis.set_ylabel("accuracy on the test split, %")
    axis.grid(alpha=0.25)


def _shown(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """In millions and percent."""
    return [p.multiply_adds / 1e6 for p in points], [100 * p.accuracy for p in points]


def _title(result: Result) -> str:
    depths = ", ".join(map(str, result.features.depths))
    return (
        f"{result.bundle.manifest.name}: students with {depths} exits; "
        f"{result.final.test.image_count} test images"
    )
