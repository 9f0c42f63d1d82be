"""Exit policies: after which exit does an item leave?

A policy is a pure function of the scores at the exits passed so far, folded into a small state per
item. It never sees the final exit: whoever gets there leaves. A score that is NaN never leaves.

To write your own, subclass `ExitPolicy` and override `step` (and `start`, if it needs a state).
"""

import math
from random import Random
from typing import Any, Dict, Optional, Sequence, Tuple, Type, Union

from ..errors import ConfigError
from .events import Scores

Thresholds = Union[float, Sequence[float]]
LARGEST = 1.7976931348623157e308  # of a float; whole numbers of Python know no end

# DistrEE section IV, for seven exits.
DISTREE_DIFFERENCE = (1.0, 1.12, 1.14, 1.16, 1.18, 1.20, 1.22)
DISTREE_SIMILARITY = (0.97, 0.97, 0.97, 0.97, 0.975, 0.98)


class ExitPolicy:
    """Decides, exit after exit, whether an item leaves.

    `kind` names the policy in manifests; `reason` is what results report when it lets an item
    leave; `needs` lists the scores it reads that are only computed on demand ("difference",
    "similarity").
    """

    kind = "custom"
    reason = "threshold"
    needs: Tuple[str, ...] = ()

    def check(self, exit_count: int, exit_indices: Sequence[int]) -> None:
        """Raise ConfigError unless this policy fits `exit_count` trained exits of which a plan
        offers `exit_indices` (the last is the final exit)."""

    def evaluates(self, exit_index: int, state: Any) -> bool:
        """Whether the head at this exit must be computed; False saves its cost."""
        return True

    def start(self, exit_indices: Sequence[int], rng: Random) -> Any:
        """The state of a new item."""
        return None

    def step(self, exit_index: int, scores: Scores, state: Any) -> Tuple[bool, Any]:
        """Whether the item leaves at `exit_index`, and its next state."""
        raise NotImplementedError

    def pack(self, state: Any) -> Tuple[int, int]:
        """A state as two int32, to travel with a task."""
        return (0, 0)

    def unpack(self, packed: Tuple[int, int]) -> Any:
        """The state that `pack` packed."""
        return None

    def describe(self) -> Dict[str, Any]:
        """The policy as it stands in a manifest: `kind` and the parameters of its constructor."""
        return {"kind": self.kind}

    def __repr__(self) -> str:
        parameters = [
            "{}={}".format(k, v) for k, v in sorted(self.describe().items()) if k != "kind"
        ]
        return "{}({})".format(type(self).__name__, ", ".join(parameters))


class FinalExit(ExitPolicy):
    """Nobody leaves early: the full network, and no early head is computed."""

    kind = "final"

    def evaluates(self, exit_index: int, state: Any) -> bool:
        return False

    def step(self, exit_index: int, scores: Scores, state: Any) -> Tuple[bool, Any]:
        return False, state


class FixedExit(ExitPolicy):
    """Everybody leaves at one exit."""

    kind = "fixed"
    reason = "forced"

    def __init__(self, exit_index: int) -> None:
        self.exit_index = _whole(exit_index, "exit_index", 0)

    def check(self, exit_count: int, exit_indices: Sequence[int]) -> None:
        if self.exit_index not in exit_indices:
            raise ConfigError(
                "policy fixed: exit_index {} is not among the plan's exits {}".format(
                    self.exit_index, list(exit_indices)
                )
            )

    def evaluates(self, exit_index: int, state: Any) -> bool:
        return exit_index == self.exit_index

    def step(self, exit_index: int, scores: Scores, state: Any) -> Tuple[bool, Any]:
        return exit_index == self.exit_index, state

    def describe(self) -> Dict[str, Any]:
        return {"kind": self.kind, "exit_index": self.exit_index}


class RandomExit(ExitPolicy):
    """Each item leaves at an exit drawn uniformly when it is admitted (DistrEE's baseline)."""

    kind = "random"
    reason = "forced"

    def start(self, exit_indices: Sequence[int], rng: Random) -> int:
        return rng.choice(exit_indices)

    def evaluates(self, exit_index: int, state: int) -> bool:
        return exit_index == state

    def step(self, exit_index: int, scores: Scores, state: int) -> Tuple[bool, int]:
        return exit_index == state, state

    def pack(self, state: int) -> Tuple[int, int]:
        return (state, 0)

    def unpack(self, packed: Tuple[int, int]) -> int:
        return packed[0]


class ThresholdPolicy(ExitPolicy):
    """Compares one number with a threshold per exit.

    `thresholds` is one number for all exits, or one per trained exit; that of the final exit is
    never read.
    """

    never: float = math.inf  # a threshold at or beyond this lets nobody leave: the exit is off
    first_exit = 0  # the first exit at which an item may leave

    def __init__(self, thresholds: Thresholds) -> None:
        given = [thresholds] if isinstance(thresholds, (int, float)) else list(thresholds)
        self._one_for_all = isinstance(thresholds, (int, float))
        for value in given:
            if not _is_number(value):
                raise ConfigError(
                    "policy {}: threshold {:.40} is not a number".format(self.kind, repr(value))
                )
        self.thresholds = tuple(float(value) for value in given)

    def threshold(self, exit_index: int) -> float:
        """The threshold at a trained exit."""
        return self.thresholds[0 if self._one_for_all else exit_index - self.first_exit]

    def check(self, exit_count: int, exit_indices: Sequence[int]) -> None:
        expected = exit_count - self.first_exit
        if not self._one_for_all and len(self.thresholds) != expected:
            raise ConfigError(
                "policy {}: found {} thresholds, expected {} for {} exits (or one number for "
                "all)".format(self.kind, len(self.thresholds), expected, exit_count)
            )
        for index in range(self.first_exit, exit_count - 1):
            if not self._is_off(index) and index not in exit_indices:
                raise ConfigError(
                    "policy {}: leaves at exit {}, but the plan only has exits {}; use the plan "
                    '"full" or switch that exit off (threshold {})'.format(
                        self.kind, index, list(exit_indices), self.never
                    )
                )

    def evaluates(self, exit_index: int, state: Any) -> bool:
        return not self._is_off(exit_index)

    def step(self, exit_index: int, scores: Scores, state: Any) -> Tuple[bool, Any]:
        return self.passes(scores, self.threshold(exit_index)), state

    def passes(self, scores: Scores, threshold: float) -> bool:
        """Whether `scores` are good enough to leave. Comparisons are strict."""
        raise NotImplementedError

    def describe(self) -> Dict[str, Any]:
        one = self._one_for_all
        return {
            "kind": self.kind,
            "thresholds": self.thresholds[0] if one else list(self.thresholds),
        }

    def _is_off(self, exit_index: int) -> bool:
        return self.threshold(exit_index) >= self.never


class MaxProbability(ThresholdPolicy):
    """Leave when the largest softmax probability exceeds the threshold (MDI-Exit Algorithm 1,
    line 5; eq. 2). A threshold of 1 switches an exit off."""

    kind = "max_probability"
    never = 1.0

    def passes(self, scores: Scores, threshold: float) -> bool:
        return scores.max_probability > threshold


class Margin(ThresholdPolicy):
    """Leave when the two largest probabilities differ by more than the threshold. 1 is off."""

    kind = "margin"
    never = 1.0

    def passes(self, scores: Scores, threshold: float) -> bool:
        return scores.margin > threshold


class Entropy(ThresholdPolicy):
    """Leave when the entropy is below the threshold (BranchyNet; DistrEE eq. 3). 0 is off.

    Thresholds are in nats; with `class_count` they are fractions of the largest possible entropy,
    ln(class_count).
    """

    kind = "entropy"

    def __init__(self, thresholds: Thresholds, class_count: Optional[int] = None) -> None:
        super().__init__(thresholds)
        self.class_count = (
            None if class_count is None else _whole(class_count, "class_count", minimum=2)
        )
        self._unit = math.log(self.class_count) if self.class_count else 1.0

    never = 0.0

    def passes(self, scores: Scores, threshold: float) -> bool:
        return scores.entropy < threshold * self._unit

    def describe(self) -> Dict[str, Any]:
        described = super().describe()
        if self.class_count is not None:
            described["class_count"] = self.class_count
        return described

    def _is_off(self, exit_index: int) -> bool:
        return self.threshold(exit_index) <= self.never


class Patience(ThresholdPolicy):
    """Leave when so many consecutive exits, this one included, predict the same class.

    Whole numbers from 1; 1 leaves at the first exit. (PABEE counts agreements, one less.) The
    state is (class_index, run length). Every exit is evaluated, for the run may begin anywhere.
    """

    kind = "patience"

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__(thresholds)
        for value in self.thresholds:
            if value != math.inf:
                _whole(value, "threshold", 1)

    def start(self, exit_indices: Sequence[int], rng: Random) -> Tuple[int, int]:
        return (-1, 0)

    def evaluates(self, exit_index: int, state: Any) -> bool:
        return True

    def step(
        self, exit_index: int, scores: Scores, state: Tuple[int, int]
    ) -> Tuple[bool, Tuple[int, int]]:
        if scores.max_probability != scores.max_probability:
            return False, (-1, 0)  # NaN predicts nothing
        class_index, run = state
        run = run + 1 if scores.class_index == class_index else 1
        return run >= self.threshold(exit_index), (scores.class_index, run)

    def pack(self, state: Tuple[int, int]) -> Tuple[int, int]:
        return state

    def unpack(self, packed: Tuple[int, int]) -> Tuple[int, int]:
        return (packed[0], packed[1])


class CosineDifference(ThresholdPolicy):
    """Leave when the exit's output differs enough from the first exit's (DistrEE Algorithm 1).

    The first exit is the baseline: its difference is 1 by definition and nobody leaves there. An
    output at a right angle or more to the first has difference +inf; one of zero length NaN. For a
    classifier the exit's output is its logits.
    """

    kind = "difference"
    needs = ("difference",)

    def __init__(self, thresholds: Thresholds = DISTREE_DIFFERENCE) -> None:
        super().__init__(thresholds)

    def check(self, exit_count: int, exit_indices: Sequence[int]) -> None:
        super().check(exit_count, exit_indices)
        if exit_indices[0] != 0:
            raise ConfigError(
                "policy difference: compares with exit 0, but the plan's exits are {}".format(
                    list(exit_indices)
                )
            )

    def evaluates(self, exit_index: int, state: Any) -> bool:
        return exit_index == 0 or not self._is_off(exit_index)

    def step(self, exit_index: int, scores: Scores, state: Any) -> Tuple[bool, Any]:
        return exit_index > 0 and scores.difference > self.threshold(exit_index), state

    def _is_off(self, exit_index: int) -> bool:
        return exit_index == 0 or super()._is_off(exit_index)


class NeighbourSimilarity(ThresholdPolicy):
    """Leave when the outputs of two neighbouring exits point the same way (DistrEE's baseline).

    One threshold per exit from the second on. 1 switches an exit off.
    """

    kind = "similarity"
    needs = ("similarity",)
    never = 1.0
    first_exit = 1

    def __init__(self, thresholds: Thresholds = DISTREE_SIMILARITY) -> None:
        super().__init__(thresholds)

    def check(self, exit_count: int, exit_indices: Sequence[int]) -> None:
        super().check(exit_count, exit_indices)
        if list(exit_indices) != list(range(exit_count)):
            raise ConfigError(
                "policy similarity: compares neighbouring exits, but the plan only has exits "
                '{} of {}; use the plan "full"'.format(list(exit_indices), exit_count)
            )

    def evaluates(self, exit_index: int, state: Any) -> bool:
        return True

    def step(self, exit_index: int, scores: Scores, state: Any) -> Tuple[bool, Any]:
        return exit_index > 0 and scores.similarity > self.threshold(exit_index), state


POLICIES: Dict[str, Type[ExitPolicy]] = {
    policy.kind: policy
    for policy in (
        FinalExit,
        FixedExit,
        RandomExit,
        MaxProbability,
        Margin,
        Entropy,
        Patience,
        CosineDifference,
        NeighbourSimilarity,
    )
}


def make_policy(description: Dict[str, Any], where: str = "policy") -> ExitPolicy:
    """The policy that `description` (`kind` and parameters, as in a manifest) means.

    Raises ConfigError, beginning with `where`, for an unknown kind or wrong parameters.
    """
    parameters = dict(description)
    kind = parameters.pop("kind", None)
    if kind not in POLICIES:
        raise ConfigError(
            "{}.kind: found {!r}, expected one of {}".format(where, kind, ", ".join(POLICIES))
        )
    try:
        return POLICIES[kind](**parameters)
    except TypeError as error:
        names = ", ".join(sorted(parameters)) or "none"
        raise ConfigError(
            "{}: policy {} does not take these parameters: {} ({})".format(
                where, kind, names, error
            )
        ) from None
    except ConfigError as error:
        raise ConfigError("{}: {}".format(where, error)) from None


def _is_number(value: Any) -> bool:
    """Whether `value` is a number that a float can hold, infinity included."""
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and (abs(value) <= LARGEST or value in (math.inf, -math.inf))


def _whole(value: Any, name: str, minimum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value % 1 != 0:
        raise ConfigError("{}: found {!r}, expected a whole number".format(name, value))
    if value < minimum:
        raise ConfigError("{}: found {}, expected at least {}".format(name, value, minimum))
    return int(value)
