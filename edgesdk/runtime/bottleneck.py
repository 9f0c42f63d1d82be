"""Features made small where they travel: the trained encoders and decoders of a bundle, loaded.

They run where messages are sent and read, in the thread that drives the loop. They are networks of
one or two layers on one sample, and hold the loop up for about as long as "zstd" does, while
heartbeats are due every 500 ms. To hand them to the compute thread would make a message wait for
the stage that runs there, and need a place for what has gone or come meanwhile. With a backend that
computes one thing at a time the loop waits for that stage (`Executor.pause`), but not for long:
what is sent then goes raw, and what has come is sent again by its sender.
"""

import logging
from collections import OrderedDict
from typing import Dict, NamedTuple, Optional, Tuple

import numpy as np

from .. import codec
from ..arrays import Array
from ..backends import Backend, Program
from ..bundle import Bundle
from ..core.spec import Bottleneck
from ..core.tensor import CODE_ITEM_BYTES, LEARNED, Tensor, refuse, size_of
from .executor import Executor
from .stages import PlaceOf, bottlenecks_of

_logger = logging.getLogger("edgesdk.network")

PAUSE_S = 1.0  # neighbours take us for dead after three
CODES_KEPT = 32
_CODE = "uint8"


class Loaded(NamedTuple):
    """One bottleneck, ready to run. `code`: float32 [1, code_shape] in the backend's memory, where
    the encoder writes. Shapes are per sample."""

    encoder: Program
    decoder: Program
    shape: Tuple[int, ...]
    code_shape: Tuple[int, ...]
    code: Array


class Bottlenecks:
    """Those of a plan, by the part and stage that takes the features. Belongs to whoever holds the
    loop. Raises what `Backend.load` raises."""

    def __init__(self, bundle: Bundle, plan_name: str, executor: Executor) -> None:
        self._executor = executor
        self._backend: Backend = executor.backend
        self._loaded: Dict[PlaceOf, Loaded] = {
            place: self._load(bundle, place[0], spec)
            for place, spec in bottlenecks_of(bundle, plan_name).items()
        }
        # Of late: a task that is repeated, or was refused, needs no second code, and one that goes
        # on as it came loses nothing more.
        self._codes: "OrderedDict[Tuple[int, PlaceOf], Tensor]" = OrderedDict()
        self._has_failed = False

    def __contains__(self, place: PlaceOf) -> bool:
        return place in self._loaded

    def known(self, item: int, place: PlaceOf) -> Optional[Tensor]:
        """The code of an item's features, if it was made or has come of late."""
        return self._codes.get((item, place))

    def remember(self, item: int, place: PlaceOf, tensor: Tensor) -> None:
        """The features of `item` in front of `place` have come, or are to go, as `tensor`."""
        self._codes[item, place] = tensor._replace(auxiliary=None)
        if len(self._codes) > CODES_KEPT:
            self._codes.popitem(last=False)

    def encode(self, item: int, place: PlaceOf, features: Array) -> Optional[Tensor]:
        """float32 `features` [C,H,W] of `item` as they travel to `place`; None where that cannot
        be: the code is not finite, or the backend has no time or fails."""
        loaded = self._loaded[place]
        try:
            with self._executor.pause(PAUSE_S) as is_free:
                if not is_free:
                    return None
                with self._backend.computing():
                    loaded.encoder.run(features[np.newaxis], loaded.code)
        except Exception as error:  # whatever a model does costs bytes, and no more
            if not self._has_failed:
                self._has_failed = True
                _logger.warning("encoder of part %d stage %d: %s; features go raw", *place, error)
            return None
        code = codec.encode(loaded.code[0], _CODE)
        if code.codec != _CODE:
            return None
        tensor = code._replace(shape=loaded.shape, codec=LEARNED)
        self.remember(item, place, tensor)
        return tensor

    def decode(self, place: PlaceOf, tensor: Tensor) -> np.ndarray:
        """The float32 features [C,H,W] that came to `place` as a code. Raises PeerError, before
        anything is computed, for a body that is no code of this border."""
        loaded = self._loaded.get(place)
        if loaded is None:
            refuse("codec of part {} stage {}".format(*place), LEARNED, "one without a bottleneck")
        found, expected = size_of(tensor.body), CODE_ITEM_BYTES * int(np.prod(loaded.code_shape))
        if found != expected:
            refuse("body of " + LEARNED, "{} bytes".format(found), expected)
        code = codec.decode(tensor._replace(shape=loaded.code_shape, codec=_CODE))
        features = np.empty((1,) + loaded.shape, np.float32)
        try:
            with self._executor.pause(PAUSE_S) as is_free:
                if not is_free:
                    raise TimeoutError("a stage has run for more than {:g} s".format(PAUSE_S))
                with self._backend.computing():
                    loaded.decoder.run(code[np.newaxis], features)
        except Exception as error:  # its sender has the features, and sends them again
            refuse("decoder of part {} stage {}".format(*place), error, "features")
        return features[0]

    def _load(self, bundle: Bundle, part: int, spec: Bottleneck) -> Loaded:
        shape = bundle.manifest.parts[part].segments[spec.border].input_shape
        return Loaded(
            self._backend.load(bundle.file(spec.encoder), shape, spec.code_shape),
            self._backend.load(bundle.file(spec.decoder), spec.code_shape, shape),
            shape,
            spec.code_shape,
            self._backend.memory.empty((1,) + spec.code_shape),
        )
