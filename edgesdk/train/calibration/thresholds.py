"""Thresholds for every kind of policy, all of them turned by one knob: the price of a lost image.

An exit *loses* an image where it is wrong and the final exit is right. For each exit, the
probability of a loss is modelled by a logistic regression on the rank of the image's score among
those of the calibration split; ranks make every kind of score alike. Leaving saves what is left of
the network, so at a given price (of one loss, in units of the full network's cost) an image should
leave where

    probability of a loss * price < share of the cost that leaving saves

which is one threshold per exit. That all thresholds of a network follow from one number leaves
little room to flatter the calibration split, however many exits there are.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.exits import POLICIES, ThresholdPolicy, make_policy
from ...outcomes import Outcomes
from .costs import Costs

# Every kind that leaves by a threshold, and a threshold that lets everybody leave.
EVERYBODY = {
    "max_probability": 0.0,
    "margin": -1.0,
    "entropy": 1000.0,
    "patience": 1,
    "difference": 0.0,
    "similarity": -2.0,
}
PRICES = (np.inf, *np.logspace(5, -1, 73).tolist(), 0.0)  # nobody leaves ... everybody leaves
DECIMALS = 7  # of thresholds in a manifest; float32 has no more near 1
NEWTON_STEPS = 30
SLOPE_RIDGE = 0.1  # a flat curve is what little data should give
SLOPE_MAX = -0.05  # a surer image is never likelier to be lost


class LossCurve(NamedTuple):
    """P(lost | rank) = sigmoid(intercept + slope * logit(rank)), and the scores by rank.

    `ascending` float64 [n]: sureness at this exit, the greater the sooner it leaves.
    """

    intercept: float
    slope: float
    ascending: np.ndarray

    def threshold(self, probability: float) -> float:
        """The sureness above which images are lost less often than `probability`.

        -inf lets everybody leave, +inf nobody.
        """
        if not 0 < probability < 1:
            return np.inf if probability <= 0 else -np.inf
        rank = _sigmoid((_logit(probability) - self.intercept) / self.slope)
        stay = int(np.ceil(float(rank) * len(self.ascending) - 0.5))
        if stay <= 0:
            return -np.inf
        if stay >= len(self.ascending):
            return np.inf
        stays, leaves = (float(value) for value in self.ascending[stay - 1 : stay + 1])
        if np.isfinite(stays) and np.isfinite(leaves):
            return (stays + leaves) / 2
        return stays if np.isfinite(stays) else leaves


def kinds() -> tuple[str, ...]:
    """The kinds of policy that can be calibrated."""
    return tuple(EVERYBODY)


def compares(kind: str) -> bool:
    """Whether policies of this kind compare outputs of exits, which costs extra."""
    return bool(POLICIES[kind].needs)


def fits(kind: str, exit_indices: Sequence[int], exit_count: int) -> bool:
    """Whether a policy of this kind can work on a plan with `exit_indices`."""
    if kind == "similarity":
        return len(exit_indices) == exit_count
    return kind != "difference" or exit_indices[0] == 0


def sureness(outcomes: Outcomes, kind: str, exit_indices: Sequence[int]) -> np.ndarray:
    """float64 [n, early exits of the plan]: the greater, the sooner a policy of this kind leaves.

    For patience it is the length of the run of equal predictions.
    """
    early = list(exit_indices[:-1])
    if kind == "patience":
        return _run_lengths(outcomes.prediction[:, early])
    scores = getattr(outcomes, kind)[:, early].astype(np.float64)
    if kind == "entropy":
        scores = -scores
    if compares(kind) and early and early[0] == 0:
        scores[:, 0] = -np.inf  # exit 0 is what the others are compared with
    return np.where(np.isnan(scores), -np.inf, scores)


def loss_curve(scores: np.ndarray, lost: np.ndarray) -> LossCurve:
    """Fit the curve to float64 `scores` [n] and bool `lost` [n] of one exit.

    Half a loss and half a success at the middle rank keep it finite where nothing was lost.
    """
    ascending = np.sort(scores)
    below = np.searchsorted(ascending, scores, "left") + np.searchsorted(ascending, scores, "right")
    x = np.append(_logit(below / (2 * len(scores)) * (1 - 1e-9) + 5e-10), [0.0, 0.0])
    y = np.append(lost.astype(float), [1.0, 0.0])
    weight = np.append(np.ones(len(lost)), [0.5, 0.5])
    design = np.stack([np.ones_like(x), x], axis=1)
    beta = np.array([_logit(np.average(y, weights=weight)), 0.0])
    ridge = np.diag([0.0, SLOPE_RIDGE])
    for _ in range(NEWTON_STEPS):
        p = _sigmoid(design @ beta)
        gradient = design.T @ (weight * (y - p)) - ridge @ beta
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + ridge
        beta = beta + np.clip(np.linalg.solve(hessian, gradient), -1, 1)
    if beta[1] > SLOPE_MAX:
        return LossCurve(float(_logit(np.average(y, weights=weight))), SLOPE_MAX, ascending)
    return LossCurve(float(beta[0]), float(beta[1]), ascending)


def loss_curves(outcomes: Outcomes, kind: str) -> list[LossCurve]:
    """One curve per early exit; none for patience, whose thresholds are whole numbers."""
    scores = sureness(outcomes, kind, range(outcomes.exit_count))
    correct = outcomes.correct
    return pooled_curves(kind, [scores], [correct[:, -1:] & ~correct[:, :-1]])


def pooled_curves(
    kind: str, scores: Sequence[np.ndarray], lost: Sequence[np.ndarray]
) -> list[LossCurve]:
    """The same of several networks that share a policy: for each, `sureness` and bool `lost`, both
    [n, its early exits]. Those without an exit say nothing about it."""
    if kind == "patience":
        return []
    curves = []
    for index in range(max(columns.shape[1] for columns in scores)):
        having = [pair for pair in zip(scores, lost) if index < pair[0].shape[1]]
        columns, losses = ([values[:, index] for values in each] for each in zip(*having))
        curves.append(loss_curve(np.concatenate(columns), np.concatenate(losses)))
    return curves


def family(
    kind: str,
    curves: Sequence[LossCurve],
    exit_indices: Sequence[int],
    exit_count: int,
    costs: Costs,
) -> Iterator[ThresholdPolicy]:
    """Policies of one kind on a plan with `exit_indices`, from careful to careless."""
    if kind == "patience":
        for run in range(len(exit_indices), 0, -1):
            yield _policy(kind, dict.fromkeys(exit_indices[:-1], run), exit_count)
        return
    until = costs.stages_until(exit_indices)
    saved = (until[-1] - until[:-1]) / until[-1]
    for price in PRICES:
        bounds = {
            index: curves[index].threshold(share / price if price else 1.0)
            for index, share in zip(exit_indices[:-1], saved)
        }
        yield _policy(kind, {i: _as_threshold(kind, b) for i, b in bounds.items()}, exit_count)


def bounds(policy: ThresholdPolicy, exit_indices: Sequence[int]) -> np.ndarray:
    """float64 [early exits]: an image leaves where its sureness is greater."""
    values = [
        policy.never if index < policy.first_exit else policy.threshold(index)
        for index in exit_indices[:-1]
    ]
    if policy.kind == "patience":
        return np.array(values, np.float64) - 0.5
    return -np.array(values, np.float64) if policy.kind == "entropy" else np.array(values)


def _policy(kind: str, early: dict[int, float], exit_count: int) -> ThresholdPolicy:
    never = POLICIES[kind].never  # type: ignore[attr-defined]  # all kinds here have thresholds
    first = POLICIES[kind].first_exit  # type: ignore[attr-defined]
    last = {exit_count - 1: EVERYBODY[kind]}
    thresholds = [{**early, **last}.get(index, never) for index in range(first, exit_count)]
    made = make_policy({"kind": kind, "thresholds": thresholds})
    assert isinstance(made, ThresholdPolicy)
    return made


def _as_threshold(kind: str, bound: float) -> float:
    """A bound on sureness as the policy writes it, no more careless than switched off."""
    never: float = POLICIES[kind].never  # type: ignore[attr-defined]
    if bound == -np.inf:
        return EVERYBODY[kind]
    if bound == np.inf:
        return never
    value = round(-bound if kind == "entropy" else bound, DECIMALS)
    return max(value, never) if kind == "entropy" else min(value, never)


def _run_lengths(predictions: np.ndarray) -> np.ndarray:
    runs = np.ones(predictions.shape, np.float64)
    for column in range(1, predictions.shape[1]):
        same = predictions[:, column] == predictions[:, column - 1]
        runs[:, column] = np.where(same, runs[:, column - 1] + 1, 1)
    return runs


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))


def _logit(p: Any) -> Any:
    return np.log(p) - np.log1p(-p)
