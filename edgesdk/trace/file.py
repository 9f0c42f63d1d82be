"""Traces: what a core was told, and when, in a file from which its run can be repeated anywhere.

A text file; every line is a JSON document. First a header with the `CoreSpec`, then a line for each
event: `[now_us, event, digest of the actions]`, values as in `trace.values`, and last, if the
writer was closed, `{"end": number of events}`. A core that raised has the name of the exception
instead of a digest. Features are not in it: cores never see them.
"""

import contextlib
import itertools
import json
import os
import platform
import typing
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

from ..core.events import Action, Event
from ..core.exits import POLICIES, make_policy
from ..core_spec import CoreSpec, new_core
from ..errors import ConfigError
from ..files import GrowingFile
from ..schema import Field
from .values import EVENTS, check_fits, decode, digest, encode

FORMAT = "edgesdk-trace"
FORMAT_VERSION = 1
BYTES_MAX = 1 << 30  # then a trace ends, for a device has other use for its disk
LINE_BYTES_MAX = 1 << 24


class TraceWriter:
    """Writes the trace of one core into a new file. For one thread at a time.

    `path`: its name; where there is such a file already, of the process before this one, the name
    gets a number at its end, and `self.path` tells. `note`: for people, such as which device this
    is. Raises ConfigError if the file cannot be made, and for a policy that is not one of
    edgesdk's. Later nothing is raised: a disk that is full, or `bytes_max`, ends the trace with one
    logged warning.
    """

    def __init__(
        self, path: str, spec: CoreSpec, note: Dict[str, str], bytes_max: int = BYTES_MAX
    ) -> None:
        self._file = GrowingFile(path, "trace", _header(spec, note), bytes_max)
        self.path = self._file.path

    @property
    def is_open(self) -> bool:
        """Whether events are still recorded."""
        return self._file.is_open

    def record(self, now_us: int, event: Event, actions: Sequence[Action]) -> None:
        """The core was told `event` at `now_us` and asked for `actions`."""
        if self._file.is_open:
            try:
                line = "[{},{},{}]\n".format(now_us, encode(event), digest(actions))
            except ConfigError as error:  # our own error, but no reason to stop a worker
                self._file.end(str(error))
                return
            self._file.add(now_us, line)

    def record_failure(self, now_us: int, event: Event, error: BaseException) -> None:
        """The core was told `event` at `now_us` and raised `error`."""
        if self._file.is_open:
            try:
                line = '[{},{},"{}"]\n'.format(now_us, encode(event), type(error).__name__)
            except ConfigError as unknown:
                self._file.end(str(unknown))
                return
            self._file.add(now_us, line)
            self._file.flush()

    def close(self) -> None:
        """Write what is left, and that this is all. Idempotent."""
        self._file.close('{{"end":{}}}\n'.format(self._file.entry_count))


def _header(spec: CoreSpec, note: Dict[str, str]) -> str:
    """The first line."""
    from .. import __version__  # which is there only when every module has been loaded

    policy = spec.policy
    if POLICIES.get(policy.kind) is not policy.__class__:
        raise ConfigError(
            "policy: found {}, expected one of {}; a trace names its policy, so one of your own "
            "cannot be replayed elsewhere".format(type(policy).__name__, ", ".join(POLICIES))
        )
    values = spec._asdict()
    described = values.pop("policy").describe()
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "versions": {
            "edgesdk": __version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
        "note": note,
        "spec": {
            "policy": {name: json.loads(encode(value)) for name, value in described.items()},
            **{name: json.loads(encode(value)) for name, value in values.items()},
        },
    }
    return json.dumps(document, allow_nan=False) + "\n"


# --- reading --------------------------------------------------------------------------------------


class Record(NamedTuple):
    """One event of a trace. `digest` is None where the core raised `error`, the name of an
    exception. `line` counts from 1, `end_bytes` is where the next one begins."""

    line: int
    end_bytes: int
    now_us: int
    event: Event
    digest: Optional[int]
    error: str


class Trace:
    """A trace on disk. `is_complete`, known once all `records` were read: its writer was closed,
    and did not die."""

    def __init__(
        self, path: str, versions: Dict[str, str], note: Dict[str, str], spec: CoreSpec
    ) -> None:
        self.path = path
        self.versions = versions
        self.note = note
        self.spec = spec
        self.size_bytes = os.path.getsize(path)
        self.is_complete = False

    def records(self) -> Iterator[Record]:
        """The events in order, up to the last whole line. Raises ConfigError, with the line, for
        what a writer does not write."""
        end_bytes = event_count = 0
        self.is_complete = False
        for number, line in _whole_lines(self.path):
            end_bytes += len(line)
            if number == 1:
                continue
            with _naming(self.path, number):
                if self.is_complete:
                    raise ConfigError("found a line behind the end of the trace")
                document = _json(line)
                if document.__class__ is dict:
                    _check_end(document, event_count)
                    self.is_complete = True
                    continue
                record = _record(document, number, end_bytes)
            event_count += 1
            yield record


def read_trace(path: str) -> Trace:
    """The trace in file `path`; its events are read later. Raises ConfigError, with file and line,
    if it cannot be read or does not begin as a trace does."""
    first = next(_whole_lines(path), None)
    with _naming(path, 1):
        if first is None:
            raise ConfigError("found no whole line, expected the header of a trace")
        root = Field(_json(first[1]), "", ConfigError)
        root.get("format").choice([FORMAT])
        version = root.get("format_version")
        if version.whole(1) != FORMAT_VERSION:
            raise version.fail("{}, the format this edgesdk reads".format(FORMAT_VERSION))
        texts = [
            {key: str(entry.value) for key, entry in root.get(name).entries()}
            for name in ("versions", "note")
        ]
        return Trace(path, texts[0], texts[1], _spec(root.get("spec")))


@contextlib.contextmanager
def _naming(path: str, line: int) -> Iterator[None]:
    """Errors begin with the file and the line."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError("{}:{}: {}".format(path, line, error)) from None


def _whole_lines(path: str) -> Iterator[Tuple[int, bytes]]:
    """Number and content of every line that has its end."""
    try:
        with open(path, "rb") as file:
            for number in itertools.count(1):
                line = file.readline(LINE_BYTES_MAX)
                if not line.endswith(b"\n"):
                    if len(line) == LINE_BYTES_MAX:
                        raise ConfigError("{}:{}: the line is too long".format(path, number))
                    return
                yield number, line
    except OSError as error:
        raise ConfigError(
            "{}: cannot be read ({}); expected a trace".format(path, error.strerror or error)
        ) from None


def _json(line: bytes) -> Any:
    try:
        return json.loads(line.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise ConfigError("not JSON ({}), expected a line of a trace".format(error)) from None


def _spec(field: Field) -> CoreSpec:
    field.only(CoreSpec._fields)
    hints = typing.get_type_hints(CoreSpec)
    values: Dict[str, Any] = {}
    for name in CoreSpec._fields:
        entry = field.optional(name)
        if entry is None and name in CoreSpec._field_defaults:
            continue  # it has come since
        entry = field.get(name)
        if name == "policy":
            described = {key: decode(part.value) for key, part in entry.entries()}
            values[name] = make_policy(described, entry.path)
        else:
            values[name] = decode(entry.value)
            check_fits(values[name], hints[name], entry.path)
    spec = CoreSpec(**values)
    new_core(spec)  # whether it can be made
    return spec


def _check_end(document: Dict[str, Any], event_count: int) -> None:
    if document != {"end": event_count}:
        raise ConfigError("found {}, expected {}".format(document, {"end": event_count}))


def _record(document: Any, line: int, end_bytes: int) -> Record:
    if document.__class__ is not list or len(document) != 3:
        raise ConfigError("expected [time, event, digest of the actions]")
    now_us, event, found = document
    if now_us.__class__ is not int:
        raise ConfigError("time: found {!r}, expected whole microseconds".format(now_us))
    event = decode(event)
    if event.__class__ not in EVENTS:
        raise ConfigError("found {}, expected an event".format(type(event).__name__))
    if found.__class__ is str:
        return Record(line, end_bytes, now_us, event, None, found)
    if found.__class__ is not int:
        raise ConfigError("digest: found {!r}, expected a whole number".format(found))
    return Record(line, end_bytes, now_us, event, found, "")
