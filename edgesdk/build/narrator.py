"""A build takes minutes for each stage, and is never silent: what it does, and for how long yet."""

import contextlib
import sys
import time
from typing import Callable, Iterator

from .. import cli

LINE_EVERY_S = 30.0  # where there is no terminal on which a line can be written over


class Narrator:
    """Says what is being done, on standard error where that is a terminal, else in lines."""

    def __init__(self, as_json: bool = False) -> None:
        self._as_json = as_json
        self._is_terminal = sys.stderr.isatty()

    @contextlib.contextmanager
    def about(self, what: str) -> Iterator[Callable[[float], None]]:
        """Around one piece of work; gives what is to be called now and then while it lasts."""
        begin = said = time.monotonic()
        self._write_over("{} ...".format(what))

        def tick(seconds: float) -> None:
            nonlocal said
            now = time.monotonic()
            text = "{} ... {:.0f} s".format(what, now - begin)
            self._write_over(text)
            if not self._is_terminal and now - said >= LINE_EVERY_S:
                said = now
                cli.say(text, self._as_json)

        try:
            yield tick
        finally:
            self._write_over("")
        cli.say("{}: {:.1f} s".format(what, time.monotonic() - begin), self._as_json)

    def _write_over(self, text: str) -> None:
        if self._is_terminal:
            sys.stderr.write("\r\033[K" + text)
            sys.stderr.flush()
