"""How often something may happen: so many times at once, and so many times a second."""


class TokenBucket:
    """Begins full. `at_once` and `per_s` are numbers of times; the clock is the caller's, in us."""

    __slots__ = ("_at_once", "_per_s", "_since_us", "_tokens")

    def __init__(self, at_once: float, per_s: float, now_us: int) -> None:
        self._at_once = self._tokens = at_once
        self._per_s = per_s
        self._since_us = now_us

    def takes(self, now_us: int) -> bool:
        """Whether it may happen now; then it counts as having happened."""
        gained = (now_us - self._since_us) * 1e-6 * self._per_s
        self._tokens = min(self._at_once, self._tokens + gained)
        self._since_us = now_us
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
