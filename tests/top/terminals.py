"""A pseudo-terminal as a person has one: keys in, a screen out, and a program on it."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
WAIT_S = 30.0
LINES, COLUMNS = 24, 80
COLOURS = re.compile("\x1b\\[[0-9;]*m")


class Person:
    """Sits at a terminal on which `command` runs. `seen`: what was written, without
    colours, since `wait_for` was called last."""

    def __init__(self, command, **options):
        self._fd, self._their_fd = pty.openpty()
        self.resize(LINES, COLUMNS)
        self.attributes = termios.tcgetattr(self._their_fd)
        self.seen = ""
        self.process = subprocess.Popen(
            command,
            stdin=self._their_fd,
            stdout=self._their_fd,
            stderr=subprocess.PIPE,
            preexec_fn=self._sit_down,
            **options,
        )

    def _sit_down(self):
        """In the child: this is its controlling terminal, so that Ctrl-C gets there."""
        os.setsid()
        fcntl.ioctl(self._their_fd, termios.TIOCSCTTY, 0)

    def resize(self, line_count, column_count):
        size = struct.pack("HHHH", line_count, column_count, 0, 0)
        fcntl.ioctl(self._their_fd, termios.TIOCSWINSZ, size)

    def press(self, keys):
        os.write(self._fd, keys.encode())

    def wait_for(self, *texts):
        """Until each of these was written, since the last call; what was written then."""
        until_s = time.monotonic() + WAIT_S
        self.seen = ""
        while not all(text in self.seen for text in texts):
            assert time.monotonic() < until_s, "never saw {} in {!r}".format(
                texts, self.seen[-3000:]
            )
            self.look(0.1)
        return self.seen

    def look(self, timeout_s=0.0):
        while select.select([self._fd], [], [], timeout_s)[0]:
            try:
                self.seen += COLOURS.sub("", os.read(self._fd, 65536).decode("utf-8", "replace"))
            except OSError:  # nobody is at the other end
                return
            timeout_s = 0.0

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        """Its status and standard error. The terminal must then be as it was before."""
        until_s = time.monotonic() + WAIT_S
        while self.process.poll() is None:
            assert time.monotonic() < until_s, "it does not end"
            self.look(0.05)
        self.look(0.05)
        assert termios.tcgetattr(self._their_fd) == self.attributes
        return self.process.returncode, self.process.stderr.read().decode()

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.process.stderr.close()
        os.close(self._fd)
        os.close(self._their_fd)


SCREEN_ON, SCREEN_OFF = "\x1b[?1049h", "\x1b[?1049l"
CURSOR_OFF, CURSOR_ON = "\x1b[?25l", "\x1b[?25h"
