"""The one clock of the runtime."""

from time import perf_counter

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def now_us() -> int:
    """Microseconds on a monotonic clock with an arbitrary zero."""
    return int(perf_counter() * 1e6)


def clock_name() -> str:
    """A name that all processes share whose `now_us` is the same clock: those of one machine since
    it was started. Empty where the system does not say."""
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""
