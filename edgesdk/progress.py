"""Progress bars of commands that take their time, on a terminal."""

import sys
from typing import Any

SIMULATED = "{desc} {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s simulated [{elapsed}]"
READ = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"


class Progress:
    """A bar on a terminal, where tqdm is installed: over virtual time, or whatever has an `end`. It
    counts in units of `unit`."""

    def __init__(self, end: int, name: str, unit: float = 1e6, form: str = SIMULATED) -> None:
        self._at = 0
        self._end = end
        self._unit = unit
        self._bar: Any = None
        if not sys.stderr.isatty():
            return
        try:
            from tqdm import tqdm
        except ImportError:
            return
        self._bar = tqdm(total=end / unit, desc=name, bar_format=form, leave=False)

    def move(self, at: int) -> None:
        """It has come to `at`; a simulation drains after the scenario's end."""
        at = min(at, self._end)
        if self._bar is not None and at > self._at:
            self._bar.update((at - self._at) / self._unit)
            self._at = at

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
