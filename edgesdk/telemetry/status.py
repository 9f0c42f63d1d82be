"""What observers ask a worker, and what it answers: docs/wire.md, "Observers".

A question is one frame, `QUESTION` and up to NONCE_BYTES_MAX bytes that the observer chooses. The
answer is two: the question again, and a document as JSON: `Pipeline.stats(buckets=True)`.
"""

import json
import math
import weakref
from typing import Any, Callable, Dict, List, Optional

from ..errors import PeerError
from ..token_bucket import TokenBucket

QUESTION = b"edgesdk status 1 "
NONCE_BYTES_MAX = 16
ANSWER_BYTES_MAX = 1 << 20
# Of all observers together. Who asks oftener gets no answer: it must not cost the worker its time.
QUESTIONS_PER_S = 20.0
QUESTIONS_AT_ONCE = 40.0


def plain(value: Any) -> Any:
    """`value` as JSON can say it: there NaN and infinity become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def stats_of(pipeline: "weakref.ReferenceType[Any]") -> Callable[[], Dict[str, Any]]:
    """A function that gives `stats(buckets=True)` of a pipeline, {} once there is none. Who answers
    others must not keep a forgotten pipeline alive."""

    def stats() -> Dict[str, Any]:
        alive = pipeline()
        return {} if alive is None else dict(alive.stats(buckets=True))

    return stats


class Answering:
    """Answers questions with what `stats` gives, but not more than a few each second."""

    def __init__(self, stats: Callable[[], Dict[str, Any]]) -> None:
        self._stats = stats
        self._bucket: Optional[TokenBucket] = None

    def __call__(self, question: bytes, now_us: int) -> List[bytes]:
        """The frames of the answer, none if there are too many questions. Raises PeerError for
        what is no question."""
        if not question.startswith(QUESTION) or len(question) > len(QUESTION) + NONCE_BYTES_MAX:
            raise PeerError("question: found {!r}, expected {!r}".format(question[:40], QUESTION))
        if self._bucket is None:
            self._bucket = TokenBucket(QUESTIONS_AT_ONCE, QUESTIONS_PER_S, now_us)
        if not self._bucket.takes(now_us):
            return []
        return [question, json.dumps(plain(self._stats()), allow_nan=False).encode("utf-8")]


def read_answer(frames: List[bytes], question: bytes) -> Dict[str, Any]:
    """The document in an answer to `question`. Raises PeerError for what is none."""
    if len(frames) != 2 or frames[0] != question:
        raise PeerError("found {} frames, expected the answer to our question".format(len(frames)))
    if len(frames[1]) > ANSWER_BYTES_MAX:
        raise PeerError("found {} bytes, expected a status document".format(len(frames[1])))
    try:
        document = json.loads(frames[1].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PeerError("found no JSON ({}), expected a status document".format(error)) from None
    if not isinstance(document, dict):
        raise PeerError("found {}, expected a status document".format(type(document).__name__))
    return document
