"""The terminal of a person: keys one by one, signals as events, and everything back as it was.

Keys come unbuffered and unechoed while a `Terminal` is open. Signals that would end or stop the
process are taken down, and whoever waits is woken; nothing happens in the middle of drawing.
"""

import contextlib
import os
import select
import signal
import termios
import tty
from typing import Any, Dict, List, Optional, Union

from .controls import keys_of

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_READ_BYTES = 1024

Attributes = List[Union[int, List[Union[bytes, int]]]]


class Terminal:
    """The terminal behind the descriptor `fd`. Use it in a `with` block of the main thread.

    `ended_by`: the signal that told the process to end, None so far. `is_suspending`: Ctrl-Z was
    pressed; see `suspend`.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._begun = ""  # of a key
        self._attributes: Optional[Attributes] = None
        self._handlers: Dict[int, Any] = {}
        self._wake_fd = self._waker_fd = -1
        self._wakeup_before = -1
        self.ended_by: Optional[int] = None
        self.is_suspending = False

    def __enter__(self) -> "Terminal":
        self._wake_fd, self._waker_fd = os.pipe()
        for fd in (self._wake_fd, self._waker_fd):
            os.set_blocking(fd, False)
        try:
            self._wakeup_before = signal.set_wakeup_fd(self._waker_fd)
            for number in ENDING + (signal.SIGWINCH, signal.SIGTSTP):
                self._handlers[number] = signal.signal(number, self._on_signal)
            self._take_keys()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: Any) -> None:
        try:
            self._give_back()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup_before)
            os.close(self._wake_fd)
            waker_fd, self._waker_fd = self._waker_fd, -1
            os.close(waker_fd)

    def wake(self) -> None:
        """Let `wait` return. From any thread."""
        with contextlib.suppress(OSError):  # full, so `wait` returns anyway; or nobody waits
            os.write(self._waker_fd, b"!")

    def wait(self, timeout_s: float) -> List[str]:
        """The keys that were pressed; returns when there is one, a signal, a `wake`, or in time."""
        ready, _, _ = select.select([self._fd, self._wake_fd], [], [], timeout_s)
        if self._wake_fd in ready:
            os.read(self._wake_fd, _READ_BYTES)
        if self._fd not in ready:
            return []
        typed = os.read(self._fd, _READ_BYTES)
        if not typed:  # nobody is there any more
            self.ended_by = self.ended_by or signal.SIGHUP
        keys, self._begun = keys_of(self._begun + typed.decode("latin-1"))
        return keys

    def suspend(self) -> None:
        """Stop as Ctrl-Z does, with the terminal as it was; returns when the person comes back."""
        self.is_suspending = False
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take_keys()

    def _on_signal(self, number: int, frame: Any) -> None:
        if number in ENDING:
            self.ended_by = number
        self.is_suspending = self.is_suspending or number == signal.SIGTSTP

    def _take_keys(self) -> None:
        self._attributes = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd, termios.TCSANOW)

    def _give_back(self) -> None:
        if self._attributes is not None:
            attributes, self._attributes = self._attributes, None
            with contextlib.suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._fd, termios.TCSANOW, attributes)
