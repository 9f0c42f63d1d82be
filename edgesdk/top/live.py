"""The live screen: one thread asks the workers, this one draws and reads keys."""

import contextlib
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from .controls import Shown, pressed
from .history import History, Picture
from .rows import Document
from .screen import Console, Frame, Live, draw
from .terminal import Terminal

ASK_S_MAX = 1.0  # a worker that takes longer is silent
LOOK_S_MAX = 1.0  # between two looks at the size of the terminal; a signal comes first

Ask = Callable[[float], Dict[str, Optional[Document]]]


def ask_s(interval_s: float) -> float:
    """How long to wait for answers."""
    return min(interval_s, ASK_S_MAX)


class Asker:
    """Asks every `interval_s` seconds in a thread of its own, for a worker that hangs takes time.

    `ask(timeout_s)`: what `Observer.ask` is. `wake()` is called when there is something to `take`.
    Use it in a `with` block.
    """

    def __init__(self, ask: Ask, interval_s: float, wake: Callable[[], None]) -> None:
        self._ask = ask
        self._interval_s = interval_s
        self._wake = wake
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._answers: List[Any] = []
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, name="asker", daemon=True)

    def take(self) -> List[Any]:
        """(answers, when) of what was asked since the last call. Raises what asking raised."""
        with self._lock:
            answers, self._answers = self._answers, []
        if self._error is not None:
            raise self._error
        return answers

    def __enter__(self) -> "Asker":
        self._thread.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._ends.set()
        self._thread.join()  # at most ASK_S_MAX

    def _run(self) -> None:
        try:
            while not self._ends.is_set():
                begin_s = time.monotonic()
                answers = self._ask(ask_s(self._interval_s))
                with self._lock:
                    self._answers.append((answers, time.monotonic()))
                self._wake()
                self._ends.wait(max(0.0, begin_s + self._interval_s - time.monotonic()))
        except BaseException as error:
            self._error = error
            self._wake()


class _Screen:
    """What is shown now."""

    def __init__(self, title: str, names: Sequence[str], interval_s: float, out: Any) -> None:
        self._title = title
        self._interval_s = interval_s
        self._history = History(names)
        self._count = len(names)
        self._console = Console(file=out, highlight=False, emoji=False, markup=False)
        self._picture: Optional[Picture] = None
        self._clock = ""
        self.shown = Shown()
        self.live = Live(console=self._console, screen=True, auto_refresh=False)

    def add(self, answers: Dict[str, Optional[Document]], now_s: float) -> None:
        """Answers count while nobody looks, but the picture of one who pauses stays."""
        self._history.add(answers, now_s, time.time())
        if not self.shown.is_paused:
            self._picture, self._clock = self._history.picture(), time.strftime("%H:%M:%S")

    def draw(self) -> None:
        """Draw, in the size that the terminal has now."""
        width, height = self._console.size
        frame = Frame(self._title, self._interval_s, self._clock, self._count)
        self.live.update(draw(self._picture, self.shown, frame, width, height), refresh=True)


def run(title: str, names: Sequence[str], interval_s: float, ask: Ask) -> int:
    """Show the workers `names` until a person quits. The exit status: 0, or 128 and the signal that
    ended it. The terminal is left as it was, whatever happens."""
    terminal = Terminal(sys.stdin.fileno())
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(_replacing_output())
        asker = stack.enter_context(Asker(ask, interval_s, terminal.wake))
        stack.enter_context(terminal)
        screen = _Screen(title, names, interval_s, out)
        stack.enter_context(screen.live)
        _loop(screen, terminal, asker)
    return 0 if terminal.ended_by is None else 128 + terminal.ended_by


def _loop(screen: _Screen, terminal: Terminal, asker: Asker) -> None:
    while True:
        screen.draw()
        for key in terminal.wait(LOOK_S_MAX):
            shown = pressed(screen.shown, key)
            if shown is None:
                return
            screen.shown = shown
        for answers, now_s in asker.take():
            screen.add(answers, now_s)
        if terminal.ended_by is not None:
            return
        if terminal.is_suspending:
            screen.live.stop()
            terminal.suspend()
            screen.live.start()


@contextlib.contextmanager
def _replacing_output() -> Iterator[Any]:
    """Standard output with "?" for letters that the locale of a board does not know."""
    stream = sys.stdout
    with open(
        stream.fileno(), "w", encoding=stream.encoding, errors="replace", closefd=False
    ) as out:
        yield out
