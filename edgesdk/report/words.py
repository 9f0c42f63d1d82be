"""What numbers and words of the core mean, in full sentences. No line breaks before a unit."""

from typing import Dict, Tuple

GOOD, NOTE, WARNING, BAD = LEVELS = ("good", "note", "warning", "bad")

# By status and reason: how an image ended.
OUTCOMES: Dict[Tuple[str, str], str] = {
    ("result", "threshold"): "Answered by an exit that was sure enough.",
    ("result", "forced"): "Answered by the exit that the policy chose, whatever it was sure of.",
    ("result", "final"): "Answered by the last exit of the plan: no earlier one was sure enough.",
    ("result", "deadline"): "The deadline passed; the best answer known by then was given.",
    ("result", "degraded"): "Answered by an ensemble of which a part was missing.",
    ("expired", "deadline"): "The deadline passed before there was an answer.",
    ("expired", "superseded"): "A newer frame came before it was begun, and took its place.",
    ("failed", "stage_failed"): "A stage of the network failed.",
    ("failed", "not_finite"): "The network gave NaN instead of an answer.",
    ("failed", "attempts"): "It was started again too often: every worker that had it was lost.",
    ("failed", "cancelled"): "The application no longer wanted it.",
    ("failed", "closed"): "The pipeline was closed before there was an answer.",
    ("open", ""): "It had no outcome yet when the trace ended.",
}

# What the algorithms count: how bad it is, and what it says.
TROUBLES: Dict[str, Tuple[str, str]] = {
    "retransmissions": (
        WARNING,
        "Messages were sent again, for no acknowledgement came in time: a slow or lossy link.",
    ),
    "leases_expired": (
        WARNING,
        "Images were started again from what was kept: who had their tasks was gone or silent.",
    ),
    "results_late": (
        NOTE,
        "Results came for images that had an outcome already, and were dropped.",
    ),
    "results_unrouted": (
        WARNING,
        "Results could not be sent back, for their source was not to be reached.",
    ),
    "stale_messages": (NOTE, "Messages came from an acquaintance that was over, and were dropped."),
    "greetings_rejected": (
        BAD,
        "A neighbour was turned away: it has another network, plan or version.",
    ),
    "greetings_declined": (
        BAD,
        "A neighbour turned this worker away: it has another network, plan or version.",
    ),
    "tasks_expired": (NOTE, "Tasks of others were dropped, for their deadline had passed."),
    "tasks_refused": (NOTE, "Tasks that were sent to a neighbour came back: it had no room."),
    "sessions_lost.silent": (BAD, "A neighbour was given up: nothing was heard of it for seconds."),
    "sessions_lost.disconnected": (
        BAD,
        "A neighbour was lost: its connection broke, so its process had probably ended.",
    ),
    "sessions_lost.not_answering": (
        BAD,
        "A neighbour was given up: what was sent to it was not acknowledged, however often.",
    ),
    "sessions_lost.started_again": (
        WARNING,
        "A neighbour had lost us, or its process was a new one: both began anew.",
    ),
    "sessions_lost.left": (NOTE, "A neighbour left, with its tasks done."),
    "sessions_lost.removed": (NOTE, "A neighbour was taken out of the cluster."),
}
QUIET = (
    "tasks_sent",
    "tasks_received",
    "tasks_computed",
    "sessions_begun",
)  # counted, and nothing wrong with it


def outcome_sentence(status: str, reason: str) -> str:
    """How an image ended."""
    known = OUTCOMES.get((status, reason))
    return known or "It ended as {}, with the reason {}.".format(status, reason or "unknown")


def outcome_level(status: str, reason: str) -> str:
    """How bad that is."""
    if status == "result":
        return NOTE if reason in ("deadline", "degraded") else GOOD
    if reason in ("cancelled", "superseded"):
        return NOTE
    return BAD if status == "failed" else WARNING


def trouble(name: str) -> Tuple[str, str]:
    """The level and the sentence of what is counted under `name`."""
    return TROUBLES.get(name, (NOTE, "Counted as {}.".format(name)))


def seconds(value_us: float) -> str:
    """A time in the run, "12.3 s"."""
    return "{:.{digits}f}\u00a0s".format(value_us / 1e6, digits=1 if abs(value_us) >= 1e7 else 2)


def milliseconds(value_us: float) -> str:
    """A duration with three digits and its unit: "0.31 ms", "12.5 ms", "2.31 s"."""
    if value_us >= 1e6:
        return "{:.3g}\u00a0s".format(value_us / 1e6) if value_us < 1e9 else seconds(value_us)
    if value_us < 100:
        return "{:.3g}\u00a0µs".format(value_us)
    return "{:.3g}\u00a0ms".format(value_us / 1000)


def percent(count: float, of: float) -> str:
    """ "12.3 %": never 100 % or 0 % of what is not all or nothing."""
    if not of:
        return "-"
    share = 100 * count / of
    if 0 < share < 0.1:
        return "<\u00a00.1\u00a0%"
    if 99.9 < share < 100:
        return ">\u00a099.9\u00a0%"
    return "{:.0f}\u00a0%".format(share) if share in (0, 100) else "{:.1f}\u00a0%".format(share)


def number(count: float) -> str:
    """A count with thin spaces between thousands."""
    return "{:,}".format(int(count)).replace(",", "\u202f")


def binary(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return "{:.3g}\u00a0{}".format(count, unit)
        count /= 1024
    return "{:.3g}\u00a0GiB".format(count)


def plural(count: int, one: str, many: str = "") -> str:
    """ "1 image", "2 images"."""
    return "{} {}".format(number(count), one if count == 1 else many or one + "s")
