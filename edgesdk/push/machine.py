"""A machine that bundles are delivered to: this one, or another over ssh; and what can go wrong.

Two things are done there: its Python answers an order (`far_side.py`), and rsync brings files. No
path goes through a shell: orders travel on standard input, and rsync sends paths by its protocol.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from ..errors import BackendUnavailable, ConfigError, TransportError
from . import far_side

ORDER_TIMEOUT_S = 600  # hashing a gigabyte on an SD card takes a minute
RSYNC_TIMEOUT_S = 600  # without a byte in either direction: both sides may be hashing
# Nobody is there to type a password, nor to wait for a machine that does not answer.
SSH_OPTIONS = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
SSH_OPTIONS += ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"]
PARTIAL_FOLDER = ".partial"
_SSH_FAILED, _NO_COMMAND = 255, 127
_SENT = re.compile(r"^Total bytes sent: ([0-9,.]+)$", re.MULTILINE)

# What ssh, rsync and Python say, and what to do. The first that fits.
_REMEDIES = [
    ("No space left on device", "its disk is full: free some space, and run this again"),
    ("Disk quota exceeded", "its quota is used up: free some space, and run this again"),
    ("Permission denied (", "it refuses the key: `ssh-copy-id {}`, or name one in ~/.ssh/config"),
    ("Host key verification failed", "run `ssh {}` once, and compare the key that it shows"),
    (
        "Could not resolve hostname",
        'set ssh = "USER@HOST" for this worker in the cluster file, or the name in ~/.ssh/config',
    ),
    ("is your shell clean", "make ~/.bashrc there silent where it is not interactive"),
    ("SyntaxError", "expected Python 3.6 or newer as python3 there"),
    ("ssh:", "is it on, and does `ssh {}` work?"),
    ("", "run this again: it goes on where it stopped"),
]


class Answer(NamedTuple):
    """What a command left: its exit status, standard output and standard error."""

    status: int
    out: str
    err: str


class Machine:
    """`host` as ssh takes it, HOST or USER@HOST with IPv6 in brackets; None: this machine. `ssh`:
    the command and its options."""

    def __init__(self, host: Optional[str], ssh: Sequence[str] = ("ssh",)) -> None:
        self.host = host
        self._ssh = list(ssh) + SSH_OPTIONS

    @property
    def name(self) -> str:
        """For people."""
        return self.host or "this machine"

    def ask(self, order: Dict[str, Any]) -> Dict[str, Any]:
        """The answer to an order of `far_side`. Raises TransportError with what to do."""
        text = _far_text() + "\nprint(answer({!r}))\n".format(json.dumps(order))
        if self.host is None:
            command = [sys.executable, "-"]
        else:
            command = self._ssh + [re.sub(r"[\[\]]", "", self.host), "python3", "-"]
        found = _run(command, text, ORDER_TIMEOUT_S)
        for line in found.out.splitlines():
            if line.startswith(far_side.MARK):
                result: Dict[str, Any] = json.loads(line[len(far_side.MARK) :])
                return self._checked(result)
        if found.status == _NO_COMMAND:
            raise TransportError("python3: not found there, expected 3.6 or newer: install it")
        raise self._failure("python3", found)

    def send(self, source: str, files: Sequence[str], target: str, base: Optional[str]) -> int:
        """Bring `files` of the folder `source` into the folder `target` there; how many bytes were
        sent. What `target` or the folder `base` beside it already has is not sent. Broken off, it
        goes on where it stopped. Raises TransportError with what to do."""
        # Copied from `base`, not linked: what damages one version must not damage the other.
        # What is half there waits in a folder of its own: no file is ever there in part.
        command = ["rsync", "--protect-args", "--checksum", "--from0", "--files-from=-"]
        command += ["--perms", "--chmod=D755,F644", "--partial-dir=" + PARTIAL_FOLDER]
        command += ["--stats", "--no-human-readable", "--timeout={}".format(RSYNC_TIMEOUT_S)]
        if base is not None:
            command.append("--copy-dest=" + base)
        where = target
        if self.host is not None:
            command.append("--rsh=" + _rsync_words(self._ssh))
            where = "{}:{}".format(self.host, target)
        found = _run(
            command + [os.path.join(source, ""), os.path.join(where, "")], "\0".join(files)
        )
        if found.status:
            raise self._failure("rsync", found)
        sent = _SENT.search(found.out)
        return int(re.sub("[,.]", "", sent.group(1))) if sent else 0

    def _checked(self, result: Dict[str, Any]) -> Dict[str, Any]:
        if "error" not in result:
            return result
        text = "{}: {}".format(result["place"], result["error"])
        if "No space left" not in text:
            raise ConfigError(text + "; let the user of ssh write there, or choose another folder")
        raise TransportError(_with_remedy(text, self.name))

    def _failure(self, what: str, found: Answer) -> TransportError:
        what = "ssh" if found.status == _SSH_FAILED else what
        return TransportError(_with_remedy(_reason(what, found), self.name))


def ssh_words(command: Optional[str]) -> List[str]:
    """The words of `--ssh COMMAND`, as a shell would read them. Raises ConfigError."""
    try:
        words = shlex.split("ssh" if command is None else command)
    except ValueError as error:
        raise ConfigError(
            "--ssh: found {!r} ({}), expected a command".format(command, error)
        ) from None
    if not words:
        raise ConfigError('--ssh: found nothing, expected a command such as "ssh -J gateway"')
    return words


def _far_text() -> str:
    with open(far_side.__file__, encoding="utf-8") as file:
        return file.read()


def _run(command: Sequence[str], text: str, timeout_s: Optional[float] = None) -> Answer:
    environment = dict(os.environ, LC_ALL="C")  # messages and numbers are read below
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
    except OSError as error:
        raise BackendUnavailable(
            "{}: cannot be run here ({}); install it: apt-get install rsync openssh-client".format(
                command[0], error.strerror or error
            )
        ) from None
    try:
        out, err = process.communicate(text.encode("utf-8"), timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise TransportError(
            "found no answer within {} s; run this again".format(timeout_s)
        ) from None
    return Answer(
        process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
    )


def _rsync_words(words: Sequence[str]) -> str:
    """A command as rsync splits it: at blanks, quotes in quotes are doubled, no backslashes."""
    return " ".join("'{}'".format(word.replace("'", "''")) for word in words)


def _reason(what: str, found: Answer) -> str:
    """The line that says most: one that is known; else the first of rsync, the last of others."""
    lines = [line.strip() for line in found.err.splitlines() if line.strip()]
    known = [line for line in lines if any(sign in line for sign, _ in _REMEDIES[:-2])]
    if not lines:
        return "{}: ended with status {}".format(what, found.status)
    line = known[0] if known else lines[0 if what == "rsync" else -1]
    return line if line.startswith(what + ":") else "{}: {}".format(what, line)


def _with_remedy(reason: str, host: str) -> str:
    remedy = next(remedy for sign, remedy in _REMEDIES if sign in reason)
    return "{}; {}".format(reason.rstrip("."), remedy.format(host))
