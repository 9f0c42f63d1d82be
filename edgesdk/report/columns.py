"""Many rows of whole numbers, and values over time, in little memory."""

from array import array
from typing import Dict, List, NamedTuple, Sequence

import numpy as np

from ..errors import ConfigError

MOMENTS_MAX = 128  # of a curve: then two become one


class Columns:
    """A table whose rows are added one by one: eight bytes a value."""

    def __init__(self, *names: str) -> None:
        self._columns = {name: array("q") for name in names}
        self._adders = [column.append for column in self._columns.values()]

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def add(self, *values: int) -> None:
        """One row. Raises ConfigError for what is no whole number of 64 bits."""
        try:
            for add, value in zip(self._adders, values):
                add(value)
        except (OverflowError, TypeError):
            raise ConfigError(
                "found {} in a trace, expected whole numbers of 64 bits; it was not written by "
                "edgesdk".format(str(values)[:200])
            ) from None

    def value(self, name: str, row: int) -> int:
        """One of them."""
        return self._columns[name][row]

    def arrays(self) -> Dict[str, np.ndarray]:
        """int64 [n] of every column, by its name."""
        return {name: np.array(column, dtype=np.int64) for name, column in self._columns.items()}


class Moment(NamedTuple):
    """From `at_us` on, for one interval: the mean over time of a value, and the largest."""

    at_us: int
    mean: float
    largest: float


class Curve:
    """A value that holds until the next one is told, as means over intervals that double in length
    when there are too many."""

    def __init__(self) -> None:
        self._sums: List[float] = []
        self._largest: List[float] = []
        self._width_us = 1000
        self._begin_us = self._at_us = 0
        self._value = 0.0

    def tell(self, at_us: int, value: float) -> None:
        """It is `value` from now on. Times never go back; one that does counts as the last."""
        if not self._sums:
            self._begin_us = self._at_us = at_us
            self._sums, self._largest = [0.0], [0.0]
        self._fill(at_us)
        self._value = value
        self._largest[-1] = max(self._largest[-1], value)

    def moments(self) -> List[Moment]:
        """One for each interval, the last up to what was told last."""
        result = []
        for index, (total, largest) in enumerate(zip(self._sums, self._largest)):
            begin_us = self._begin_us + index * self._width_us
            length_us = min(self._width_us, self._at_us - begin_us)
            mean = total / length_us if length_us > 0 else self._value
            result.append(Moment(begin_us, mean, largest))
        return result

    def _fill(self, at_us: int) -> None:
        """The value held until `at_us`."""
        while at_us - self._begin_us >= MOMENTS_MAX * self._width_us:
            self._halve()
        while self._at_us < at_us:
            end_us = self._begin_us + len(self._sums) * self._width_us
            until_us = min(at_us, end_us)
            self._sums[-1] += self._value * (until_us - self._at_us)
            self._at_us = until_us
            if until_us == end_us:
                self._sums.append(0.0)
                self._largest.append(self._value)

    def _halve(self) -> None:
        self._sums = [sum(pair) for pair in _pairs(self._sums)]
        self._largest = [max(pair) for pair in _pairs(self._largest)]
        self._width_us *= 2


def _pairs(values: Sequence[float]) -> List[Sequence[float]]:
    return [values[index : index + 2] for index in range(0, len(values), 2)]
