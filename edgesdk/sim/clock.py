"""The clock of one node: it starts anywhere and drifts."""

_BILLION = 10**9


class Clock:
    """Local time is `offset_us` plus true time, which runs faster by `drift_ppm`."""

    __slots__ = ("_drift_ppb", "offset_us")

    def __init__(self, offset_us: int, drift_ppm: float) -> None:
        self.offset_us = offset_us
        self._drift_ppb = round(drift_ppm * 1000)
        if self._drift_ppb <= -_BILLION:
            raise AssertionError("a clock that drifts by {} ppm stands".format(drift_ppm))

    @property
    def drifts(self) -> bool:
        """Whether it is more than an offset."""
        return self._drift_ppb != 0

    def local_us(self, true_us: int) -> int:
        """What it shows at `true_us`."""
        return self.offset_us + true_us + true_us * self._drift_ppb // _BILLION

    def true_us(self, local_us: int) -> int:
        """The first moment at which it shows `local_us` or more."""
        true_us = (local_us - self.offset_us) * _BILLION // (_BILLION + self._drift_ppb)
        while self.local_us(true_us) < local_us:
            true_us += 1
        return true_us
