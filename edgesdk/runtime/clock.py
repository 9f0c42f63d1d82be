"""The one clock of the runtime."""

from time import perf_counter


def now_us() -> int:
    """Microseconds on a monotonic clock with an arbitrary zero."""
    return int(perf_counter() * 1e6)
