"""Which codec a body gets on a link: the one that saves more time than it takes, if any does.

Of an array of n bytes that shrinks by the ratio r, n (1 - 1/r) bytes need not be sent. On a link of
B bytes/s they would have taken n (1 - 1/r) / B; the codec takes n / encode + n / decode. Per byte:

    compress iff (1 - 1/r) / B > 1 / encode + 1 / decode

and of several codecs the one whose left side exceeds its right side by most. Solved for B, this is
the break-even rate: slower links gain, faster ones lose.

Ratio and speeds are learned from what was sent and received here, as exponentially weighted means;
ratios and encoding for each border between stages, since early features shrink more than late ones,
decoding for each codec. The neighbour decodes, but its speed is not known, so ours stands for it;
until something was decoded here, decoding counts as slow as encoding, which flatters no codec.

What is not in use is tried now and then, or its figures would never change: a codec that is not
yet known on every LEARN_EVERY-th body of a border, others in turn on every TRIAL_EVERY-th. A trial
is not wasted, it is a body sent in another way. A codec that is far from worth it gets every
HOPELESS_TURN-th trial only: at one body in 1024, even one that takes 50 times as long as sending
adds 5 %.

Neighbours need not decode the same codecs. Those that differ are counted apart: where two of them
take turns, one that decodes none would else have all the trials.

Everything is counted, nothing drawn; time comes from outside.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import ConfigError
from .tensor import LOSING_CODECS, LOSSLESS_CODECS

RAW = "raw"
# Below, a message costs more than its bytes do: acknowledgement, system calls, a codec's start.
SMALL_BYTES = 4096
FIRST_COUNT = 3  # figures that a codec needs at a border to be known
LEARN_EVERY = 4
TRIAL_EVERY = 64
HOPELESS_TURN = 16
HOPELESS_FACTOR = 4.0  # cost over saving from which on a codec is hopeless
WEIGHT = 0.25  # of a new figure: the last eight make 90 % of the mean
# A figure counts at most so many times the mean: one interruption of a busy machine must not put a
# codec out of use, while a change that lasts is followed by a quarter each time.
OUTLIER_FACTOR = 2.0


class Estimate(NamedTuple):
    """What a codec does to a byte: the share of it that is left (1/r), and the times it takes."""

    body_share: float
    encode_us_per_byte: float
    decode_us_per_byte: float


def gain_us_per_byte(estimate: Estimate, link_bytes_per_s: float) -> float:
    """What encoding saves, of each byte of the array, on a link: below 0 it costs."""
    return _saving(estimate, link_bytes_per_s) - _cost(estimate)


def break_even_bytes_per_s(estimate: Estimate) -> float:
    """Rate of the link on which encoding neither saves nor costs; 0 where nothing shrinks."""
    saved, cost = 1.0 - estimate.body_share, _cost(estimate)
    if saved <= 0:
        return 0.0
    return saved * 1e6 / cost if cost > 0 else float("inf")


def candidates(usable: Sequence[str], lossy_allowed: Sequence[str] = ()) -> Tuple[str, ...]:
    """What a `CodecChooser` may choose from: of the `usable` codecs those that lose nothing, and
    the lossy ones that are allowed."""
    allowed = [name for name in LOSING_CODECS if name in lossy_allowed]
    return tuple(name for name in usable if name in LOSSLESS_CODECS or name in allowed)


class _Speed:
    """Microseconds per byte. Other programs only ever add to a time, and the first call of a codec
    loads and allocates: of the first figures the least counts, then a mean goes on from there."""

    def __init__(self) -> None:
        self.count = 0
        self.us_per_byte = 0.0

    def learn(self, found: float) -> None:
        self.count += 1
        if self.count <= FIRST_COUNT:
            self.us_per_byte = min(found, self.us_per_byte) if self.count > 1 else found
        else:
            if self.us_per_byte > 0:  # 0: the clock was too coarse
                found = min(found, OUTLIER_FACTOR * self.us_per_byte)
            self.us_per_byte += WEIGHT * (found - self.us_per_byte)


class CodecChooser:
    """Chooses codecs for all links of one worker, and learns from what became of the bodies.

    A border is the number of the stage that takes the features; figures are kept for each.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """`names`: the codecs to choose from beside raw. Raises ConfigError for others."""
        known = LOSSLESS_CODECS + LOSING_CODECS
        for name in names:
            if name not in known:
                raise ConfigError(
                    "codecs: found {!r}, expected some of {}".format(name, ", ".join(known))
                )
        self._names = tuple(names)
        self._body_counts: Dict[Tuple[int, Tuple[str, ...]], int] = {}
        self._body_share: Dict[Tuple[int, str], float] = {}
        self._encoding: Dict[Tuple[int, str], _Speed] = {}
        self._decoding: Dict[str, _Speed] = {}

    def choose(
        self,
        border: int,
        array_bytes: int,
        link_bytes_per_s: Optional[float],
        decodable: Sequence[str],
    ) -> str:
        """The codec for an array of `array_bytes` that crosses `border`: one of `decodable`, what
        the other end of the link knows, or "raw".

        `link_bytes_per_s`: what the link was seen to carry; None (unknown) gives "raw", and so do
        small arrays.
        """
        if array_bytes < SMALL_BYTES or link_bytes_per_s is None or link_bytes_per_s <= 0:
            return RAW
        names = tuple(name for name in self._names if name in decodable)
        count = self._body_counts[border, names] = self._body_counts.get((border, names), 0) + 1
        found = self._estimates(border, names)
        best, best_gain = RAW, 0.0
        for name, estimate in found.items():
            gain = gain_us_per_byte(estimate, link_bytes_per_s)
            if gain > best_gain:
                best, best_gain = name, gain
        unknown = [name for name in names if not self._is_known(border, name)]
        if unknown and count % LEARN_EVERY == 1:
            return unknown[0]
        return _trial(count, found, best, link_bytes_per_s) or best

    def encoded(
        self, border: int, codec: str, array_bytes: int, body_bytes: int, encode_us: float
    ) -> None:
        """Encoding by the chosen `codec` took `encode_us` and left `body_bytes`: all of
        `array_bytes` if it gave the array back as raw. Of "raw" itself there is nothing to learn.
        """
        if codec in self._names:
            key, found = (border, codec), body_bytes / array_bytes
            before = self._body_share.get(key, found)
            self._body_share[key] = before + WEIGHT * (found - before)
            self._encoding.setdefault(key, _Speed()).learn(encode_us / array_bytes)

    def decoded(self, codec: str, array_bytes: int, decode_us: float) -> None:
        """Decoding a body that arrived, into `array_bytes`, took `decode_us`."""
        if codec in self._names:
            self._decoding.setdefault(codec, _Speed()).learn(decode_us / array_bytes)

    def estimate(self, border: int, codec: str) -> Optional[Estimate]:
        """What is known of `codec` at `border`; None before it was tried there."""
        share, encoding = self._body_share.get((border, codec)), self._encoding.get((border, codec))
        if share is None or encoding is None:
            return None
        decoding = self._decoding.get(codec, encoding)
        return Estimate(share, encoding.us_per_byte, decoding.us_per_byte)

    def _estimates(self, border: int, names: Sequence[str]) -> Dict[str, Estimate]:
        found = {name: self.estimate(border, name) for name in names}
        return {name: estimate for name, estimate in found.items() if estimate is not None}

    def _is_known(self, border: int, codec: str) -> bool:
        encoding = self._encoding.get((border, codec))
        return encoding is not None and encoding.count >= FIRST_COUNT


def _trial(
    count: int, found: Dict[str, Estimate], best: str, link_bytes_per_s: float
) -> Optional[str]:
    """Which of the codecs `found` is to be tried on the `count`-th body, if one is."""
    if count % TRIAL_EVERY:
        return None
    turn = count // TRIAL_EVERY
    is_turn_of_hopeless = turn % HOPELESS_TURN == 0
    others: List[str] = [
        name
        for name, estimate in found.items()
        if name != best and _is_hopeless(estimate, link_bytes_per_s) == is_turn_of_hopeless
    ]
    if is_turn_of_hopeless:
        turn //= HOPELESS_TURN
    return others[turn % len(others)] if others else None


def _saving(estimate: Estimate, link_bytes_per_s: float) -> float:
    return (1.0 - estimate.body_share) * 1e6 / link_bytes_per_s


def _cost(estimate: Estimate) -> float:
    return estimate.encode_us_per_byte + estimate.decode_us_per_byte


def _is_hopeless(estimate: Estimate, link_bytes_per_s: float) -> bool:
    return _cost(estimate) > HOPELESS_FACTOR * _saving(estimate, link_bytes_per_s)
