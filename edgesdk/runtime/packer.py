"""Features into bodies and back, by the codec that suits each link."""

import logging
from time import perf_counter
from typing import Callable, Dict, Optional, Sequence, Set

import numpy as np

from .. import codec
from ..arrays import Array, on_host
from ..core.codec_choice import RAW, CodecChooser
from ..core.link import DELAY_WEIGHT
from ..core.peer import Peer
from ..core.tensor import LEARNED, LOSING_CODECS, Tensor, refuse
from .bottleneck import Bottlenecks
from .stages import PlaceOf

_logger = logging.getLogger("edgesdk.network")

AUTO = "auto"


class Packer:
    """Encodes and decodes, and learns what that costs.

    `name`: a codec for everything, or "auto": the best of `choices` or none, by the measured rate
    of the link; `find_peer` gives what is known of it. A neighbour gets no codec that it has not
    announced: bodies that go raw instead are counted by `count`, and said in the log once for each
    neighbour, by its name in `names`. `bottlenecks`: what makes "learned" of features, None where
    that is not used; at other borders they go raw, or as "auto" has it. Raises ConfigError or
    BackendUnavailable for a codec that cannot be used.
    """

    def __init__(
        self,
        name: str,
        choices: Sequence[str],
        find_peer: Callable[[int], Optional[Peer]],
        names: Dict[int, str],
        count: Callable[[str], None],
        bottlenecks: Optional[Bottlenecks] = None,
    ) -> None:
        if name not in (AUTO, LEARNED):
            codec.check_codec(name)
        self._name = name
        self._lossy = [each for each in LOSING_CODECS if each == name or each in choices]
        self._chooser = CodecChooser(choices)
        self._find_peer = find_peer
        self._names = names
        self._count = count
        self._fallen_back: Set[int] = set()
        self._bottlenecks = bottlenecks
        # Of what was sent to each neighbour, smoothed as its round trips are: bytes, and the time
        # for both ends' coding.
        self._body_bytes: Dict[int, float] = {}
        self._coding_us: Dict[int, float] = {}

    def encode(
        self, peer: int, item: int, place: PlaceOf, features: Array, compared: Optional[np.ndarray]
    ) -> Tensor:
        """`features` of `item` on their way to `peer`, which is to compute `place`."""
        name = self._choose(peer, place, features.nbytes)
        if name == RAW:
            self._note(peer, features.nbytes, 0.0)
            return raw_tensor(features, compared)
        begin_s = perf_counter()
        tensor = self._encoded(name, item, place, features)
        coding_us = (perf_counter() - begin_s) * 1e6
        estimate = self._chooser.estimate(place[1], name)
        if estimate is not None:
            coding_us += features.nbytes * estimate.decode_us_per_byte
        self._note(peer, memoryview(tensor.body).nbytes, coding_us)
        return tensor._replace(auxiliary=_beside(compared))

    def _encoded(self, name: str, item: int, place: PlaceOf, features: Array) -> Tensor:
        """By the codec `name`, or raw where it is of no use."""
        codes = self._bottlenecks if name == LEARNED else None
        known = None if codes is None else codes.known(item, place)
        if known is not None:
            return known
        begin_s = perf_counter()
        if codes is None:
            tensor = codec.encode(features, name)
        else:
            tensor = codes.encode(item, place, features) or raw_tensor(features, None)
        took_us = (perf_counter() - begin_s) * 1e6
        body_bytes = memoryview(tensor.body).nbytes
        self._chooser.encoded(place[1], name, features.nbytes, body_bytes, took_us)
        return tensor

    def _choose(self, peer: int, place: PlaceOf, array_bytes: int) -> str:
        known = self._find_peer(peer)
        if known is None or known.greeting is None:
            return RAW  # it is gone already
        decodable = known.greeting.codecs
        has_bottleneck = self._bottlenecks is not None and place in self._bottlenecks
        if self._name == AUTO:
            sent = self._body_bytes.get(peer, 0.0), self._coding_us.get(peer, 0.0)
            rate = link_bytes_per_s(known, *sent)
            if LEARNED in decodable and not has_bottleneck:
                decodable = tuple(name for name in decodable if name != LEARNED)
            return self._chooser.choose(place[1], array_bytes, rate, decodable)
        if self._name == LEARNED and not has_bottleneck:
            return RAW
        if self._name in decodable:
            return self._name
        self._count("codec_fallbacks")
        if peer not in self._fallen_back:
            self._fallen_back.add(peer)
            _logger.warning(
                "%s: found the codecs %s there, expected %s, as in the cluster file: features go "
                "there raw (docs/codecs.md says what each codec needs)",
                self._names.get(peer, "{:016x}".format(peer)),
                ", ".join(decodable),
                self._name,
            )
        return RAW

    def _note(self, peer: int, body_bytes: int, coding_us: float) -> None:
        known, known_us = self._body_bytes.get(peer, body_bytes), self._coding_us.get(peer, 0.0)
        self._body_bytes[peer] = known + (body_bytes - known) * DELAY_WEIGHT
        self._coding_us[peer] = known_us + (coding_us - known_us) * DELAY_WEIGHT

    def decode(self, tensor: Tensor, place: PlaceOf) -> np.ndarray:
        """The features of a task that has come for `place`: a view where they travelled raw.

        Raises PeerError for a body that is not what it says, or that has lost what nobody here
        allows it to lose.
        """
        if tensor.codec == RAW:
            return codec.decode(tensor)
        if tensor.codec in LOSING_CODECS and tensor.codec not in self._lossy:
            expected = "one that loses nothing" + "".join(", or " + each for each in self._lossy)
            refuse("codec", tensor.codec, expected)
        begin_s = perf_counter()
        if tensor.codec != LEARNED:
            features = codec.decode(tensor)
        elif self._bottlenecks is not None:
            features = self._bottlenecks.decode(place, tensor)
        else:
            refuse("codec", LEARNED, "one without a bottleneck, for none is loaded here")
        self._chooser.decoded(tensor.codec, features.nbytes, (perf_counter() - begin_s) * 1e6)
        return features

    def remember(self, item: int, place: PlaceOf, tensor: Tensor) -> None:
        """The features of `item`, in front of `place`, have come as `tensor`: if they go on as they
        are, a code needs no network and loses nothing more."""
        if tensor.codec == LEARNED and self._bottlenecks is not None:
            self._bottlenecks.remember(item, place, tensor)


def raw_tensor(features: Array, compared: Optional[np.ndarray]) -> Tensor:
    """`features` as they are: what `codec.encode` gives, less its checks, for the executor's own
    arrays are sound."""
    body = on_host(features).data.cast("B")
    return Tensor("float32", features.shape, RAW, body, None, None, _beside(compared))


def _beside(compared: Optional[np.ndarray]) -> Optional[memoryview]:
    return None if compared is None else compared.data.cast("B")


def link_bytes_per_s(
    peer: Optional[Peer], body_bytes: float, coding_us: float = 0.0
) -> Optional[float]:
    """What the link to `peer` carries, from how long tasks of `body_bytes` were under way beyond
    what a heartbeat takes, and coding: else a slow codec would make its link look slow, and so stay
    in use for ever. None while nothing is known."""
    if peer is None or peer.link.round_trip_us is None or peer.control_round_trip_us is None:
        return None
    beyond_us = peer.link.round_trip_us - peer.control_round_trip_us - coding_us
    return body_bytes * 1e6 / beyond_us if beyond_us > 0 else None
