"""Why things happened, in the log: one line for each incident, the same one not too often.

Lines go to the logger `edgesdk.incidents` of `logging`. Each record also carries its values, as
the attribute `edgesdk`: a dict with event, worker, neighbour, item and detail, for programs that
read logs; `JsonLines` writes them out.
"""

import json
import logging
import time
from typing import Any, Callable, Dict, Hashable, Mapping, Optional, Tuple

from ..core.metrics import Incident
from ..token_bucket import TokenBucket

logger = logging.getLogger("edgesdk.incidents")

# Of one kind of incident with one neighbour.
LINES_AT_ONCE = 5.0
LINES_PER_S = 0.1
_KINDS_MAX = 4096  # that are remembered: more is a flood of kinds

# By the name that an incident is counted under, or by what stands before its first dot. What is
# missing is news that nobody needs to act on.
LEVELS = {
    "sessions_lost": logging.WARNING,
    "sessions_lost.left": logging.INFO,
    "sessions_lost.removed": logging.INFO,
    "sessions_begun": logging.INFO,
    "greetings_rejected": logging.WARNING,
    "greetings_declined": logging.WARNING,
    "leases_expired": logging.WARNING,
    "retransmissions": logging.INFO,
    "tasks_refused": logging.DEBUG,
    "results_late": logging.DEBUG,
    "placements_changed": logging.WARNING,
    "stages_changed": logging.INFO,
    "assignments_refused": logging.WARNING,
    "assignments_failed": logging.WARNING,
    "assignments_given_up": logging.WARNING,
    "failed": logging.WARNING,
    "failed.cancelled": logging.DEBUG,
    "failed.closed": logging.INFO,
    "expired": logging.INFO,
    "expired.superseded": logging.DEBUG,
}


class Limiter:
    """A token bucket for each kind of line. Says how many were left out since the last one."""

    def __init__(
        self,
        at_once: float = LINES_AT_ONCE,
        per_s: float = LINES_PER_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_once = at_once
        self._per_s = per_s
        self._clock_s = clock_s
        self._kinds: Dict[Hashable, Tuple[TokenBucket, int]] = {}  # and how many were left out

    def left_out(self, kind: Hashable) -> Optional[int]:
        """How many lines of `kind` were left out before this one; None if it is to be, too."""
        now_us = int(self._clock_s() * 1e6)
        if len(self._kinds) > _KINDS_MAX:
            self._kinds.clear()
        if kind not in self._kinds:
            self._kinds[kind] = (TokenBucket(self._at_once, self._per_s, now_us), 0)
        bucket, count = self._kinds[kind]
        is_said = bucket.takes(now_us)
        self._kinds[kind] = (bucket, 0 if is_said else count + 1)
        return count if is_said else None


class Journal:
    """Writes the incidents of one worker into the log. `names`: of neighbours, by worker id."""

    def __init__(
        self, worker: str, names: Mapping[int, str], limiter: Optional[Limiter] = None
    ) -> None:
        self._worker = worker
        self._names = names
        self._limiter = Limiter() if limiter is None else limiter

    def __call__(self, incident: Incident) -> None:
        """Say it, unless it was said often enough."""
        name, peer, item, detail = incident
        level = LEVELS.get(name) or LEVELS.get(name.split(".")[0], logging.INFO)
        if not logger.isEnabledFor(level):
            return
        left_out = self._limiter.left_out((name, peer))
        if left_out is None:
            return
        values: Dict[str, Any] = {"event": name, "worker": self._worker}
        if peer is not None:
            values["neighbour"] = self._names.get(peer, "{:016x}".format(peer))
        if item is not None and item >= 0:  # names of others' items mean nothing outside
            values["item"] = item
        if detail:
            values["detail"] = detail
        if left_out:
            values["left_out_count"] = left_out
        logger.log(level, "%s", _line(values), extra={"edgesdk": values})


def _line(values: Dict[str, Any]) -> str:
    """robot-1: leases_expired neighbour=nano-2 item=17: no result came in time"""
    text = "{}: {}".format(values["worker"], values["event"])
    for key in ("neighbour", "item"):
        if key in values:
            text += " {}={}".format(key, values[key])
    if "detail" in values:
        text += ": {}".format(values["detail"])
    if "left_out_count" in values:
        text += " (and {} more like it before)".format(values["left_out_count"])
    return text


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (s since 1970), level, logger, message, and its values."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        document = {
            "time": round(record.created, 6),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        document.update(getattr(record, "edgesdk", {}))
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)
