"""What `bench link` asks of everyone who takes part."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..errors import TransportError
from .link_process import Child

ECHO = "echo"  # the reply carries the whole payload back
ANSWER = "answer"  # the reply is ANSWER_REPLY
ONE_WAY = "one way"  # of a stream only the end is answered, with the number of payloads received
ANSWER_REPLY = bytes(100)
REPLY_S = 30.0  # no reply of a loopback takes so long
WINDOW = 16  # payloads on the way at once, where something bounds them


class Size(NamedTuple):
    """A payload: float32 [C,H,W] in the model's layout."""

    name: str
    shape: Tuple[int, int, int]

    @property
    def payload_bytes(self) -> int:
        """What travels besides headers."""
        return 4 * self.shape[0] * self.shape[1] * self.shape[2]


# A bundle takes gray or colour images, so 16 x 224 x 224 values travel as one plane of as many.
SIZES = (
    Size("64B", (1, 4, 4)),
    Size("16KB", (1, 64, 64)),
    Size("128KB", (1, 128, 256)),
    Size("3.2MB", (1, 896, 896)),
)


def payload_of(size: Size) -> np.ndarray:
    """float32 [C,H,W], values of 0..1, the first one 1."""
    payload = np.random.default_rng(0).random(size.shape, dtype=np.float32)
    payload[0, 0, 0] = 1.0
    return payload


class Contender:
    """A way to carry a payload to another process and something back.

    `start`, then `fit` for each payload, then any of the measured calls; `stop` always.
    """

    name = ""
    curve = False  # whether everything is encrypted by CURVE
    trip_forms: Tuple[str, ...] = (ECHO, ANSWER)
    stream_forms: Tuple[str, ...] = ()
    child: Optional[Child] = None

    @staticmethod
    def require() -> None:
        """Raise BackendUnavailable, with what to install, if this cannot take part here."""

    def start(self, cores: Optional[List[int]]) -> None:
        """Start the other process, on `cores`. Raises TransportError."""

    def fit(self, payload: np.ndarray) -> None:
        """Make ready for sending `payload`, and nothing else, until the next `fit`."""
        raise NotImplementedError

    def round_trip(self, form: str) -> Any:
        """Send the payload, wait for the reply in `form`, return it. Raises TransportError."""
        raise NotImplementedError

    def stream(self, count: int, window: int, form: str) -> int:
        """Send the payload `count` times, at most `window` unanswered in the form ANSWER; return
        how many the other side has received by its own account. Raises TransportError."""
        raise NotImplementedError

    def check(self, payload: np.ndarray) -> None:
        """Raise TransportError unless all replies are what they have to be: who gives wrong ones
        is not timed."""
        for form in self.trip_forms:
            expected = payload.tobytes() if form == ECHO else ANSWER_REPLY
            found = reply_bytes(self.round_trip(form))
            if found != expected:
                raise TransportError(
                    "{}: found a reply of {} bytes, expected the {} that belong to {!r}; it is not "
                    "timed".format(self.name, len(found), len(expected), form)
                )
        for form in self.stream_forms:
            received = self.stream(2 * WINDOW, WINDOW, form)
            if received != 2 * WINDOW:
                raise TransportError(
                    "{}: found {} payloads of a stream received, expected {}; it is not "
                    "timed".format(self.name, received, 2 * WINDOW)
                )

    def stop(self) -> None:
        """End the connection and the other process. May be called twice, and without `start`."""
        child, self.child = self.child, None
        if child is not None:
            child.stop()

    def failed(self, what: object) -> TransportError:
        """The error for `what`, with what is known about the other process."""
        text = "no other process" if self.child is None else self.child.explain()
        return TransportError("{}: {}; {}".format(self.name, what, text))


def reply_bytes(reply: Any) -> bytes:
    """The contents of a reply in whatever form a contender gives it: bytes, a frame, a tensor."""
    if hasattr(reply, "numpy"):
        reply = reply.numpy()
    return bytes(getattr(reply, "buffer", reply))


Options = Dict[str, Any]  # of a serving function; plain JSON values
