"""A double of edgesdk.kernels._cuda on the double of a GPU: what `csrc/binding/_cuda.pyx` builds.

    with installed(machine): ...        # in there the tensorrt backend finds the CUDA kernels

The same functions with the same checks; edgesdk.kernels.reference computes, when the stream that it
was asked of gets there, on the memory that lies at the addresses then.
"""

import contextlib
import sys
import types

import numpy as np

from edgesdk import kernels as package
from edgesdk.errors import ConfigError, KernelError
from edgesdk.kernels import reference
from edgesdk.kernels.device_checks import (
    FLOAT_BYTES,
    INDEX_BYTES,
    address,
    handle,
    optional_address,
    score_addresses,
    shape,
    size,
    together,
)

NAME = "edgesdk.kernels._cuda"


class _Kernels:
    """The functions of the module."""

    RANGE_VALUE_COUNT = 2 * 1024

    def __init__(self, machine):
        self._machine = machine

    def _at(self, where, sizes, dtype=np.float32):
        """A function that gives the array at an address; None for the address 0."""
        count = int(np.prod(sizes, dtype=np.int64))
        item_bytes = np.dtype(dtype).itemsize

        def found():
            if not where:
                return None
            return self._machine.memory(where, count * item_bytes).view(dtype).reshape(sizes)

        return found

    def _queue(self, stream, work):
        machine, number = self._machine, handle("stream", stream)
        machine.current("a CUDA kernel")
        if machine.is_broken("kernels for other gpus"):
            raise KernelError("CUDA kernels: the launch was refused (no kernel image)")
        if number not in machine.streams:
            machine.complaints.append("a kernel was launched on no stream of ours")
        else:
            machine.streams[number].waiting.append(work)

    def _features(self, features, sizes, scale, shift):
        batch, channels, positions = shape("sizes", sizes, "BCS")
        together(scale, shift)
        places = [address("features", features, FLOAT_BYTES, batch)]
        places += [optional_address("scale", scale, FLOAT_BYTES)]
        places += [optional_address("shift", shift, FLOAT_BYTES)]
        views = (batch, channels, positions), (channels,), (channels,)
        return [self._at(*each) for each in zip(places, views)], batch, channels

    def exit_head(self, features, sizes, weight, bias, class_count, *, scores, logits, pooled,
                  scale=None, shift=None, stream=0):  # fmt: skip
        view, batch, channels = self._features(features, sizes, scale, shift)
        classes = size("class_count", class_count)
        weights = self._at(address("weight", weight, FLOAT_BYTES, 1), (classes, channels))
        biases = self._at(address("bias", bias, FLOAT_BYTES, 1), (classes,))
        targets = self._targets(scores, batch)
        values = self._at(address("logits", logits, FLOAT_BYTES, batch), (batch, classes))
        means = self._at(address("pooled", pooled, FLOAT_BYTES, batch), (batch, channels))

        def work():
            maps, factor, offset = (each() for each in view)
            found = reference.exit_head(maps, weights(), biases(), factor, offset, logits=True)
            for target, column in zip(targets, found):
                target()[...] = column
            values()[...] = found.logits
            means()[...] = reference.exit_feature(maps, factor, offset)

        self._queue(stream, work)

    def exit_scores(self, logits, sizes, *, scores, stream=0):
        batch, classes = shape("sizes", sizes, "BN")
        values = self._at(address("logits", logits, FLOAT_BYTES, batch), (batch, classes))
        targets = self._targets(scores, batch)

        def work():
            for target, column in zip(targets, reference.exit_scores(values())):
                target()[...] = column

        self._queue(stream, work)

    def exit_feature(self, features, sizes, projection=None, feature_size=None, *, feature,
                     pooled=None, scale=None, shift=None, stream=0):  # fmt: skip
        view, batch, channels = self._features(features, sizes, scale, shift)
        length, projections = channels, self._at(0, ())
        if projection is not None:
            length = size("feature_size", feature_size)
            place = address("projection", projection, FLOAT_BYTES, 1)
            projections = self._at(place, (length, channels))
            means = self._at(address("pooled", pooled, FLOAT_BYTES, batch), (batch, channels))
        target = self._at(address("feature", feature, FLOAT_BYTES, batch), (batch, length))

        def work():
            maps, factor, offset = (each() for each in view)
            reference.exit_feature(maps, factor, offset, projections(), out=target())
            if projection is not None:
                means()[...] = reference.exit_feature(maps, factor, offset)

        self._queue(stream, work)

    def cosine_difference(self, feature, first, sizes, *, difference, stream=0):
        batch, length = shape("sizes", sizes, "BD")
        given = self._at(address("feature", feature, FLOAT_BYTES, batch), (batch, length))
        before = self._at(address("first", first, FLOAT_BYTES, batch), (batch, length))
        target = self._at(address("difference", difference, FLOAT_BYTES, batch), (batch,))
        self._queue(stream, lambda: reference.cosine_difference(given(), before(), out=target()))

    def gather_rows(self, rows, row_count, row_bytes, indices, index_count, *, gathered, stream=0):
        count, length = size("row_count", row_count, 0), size("row_bytes", row_bytes, 0)
        wanted = size("index_count", index_count, 0)
        source = self._at(address("rows", rows, 1, count * length), (count, length), np.uint8)
        places = self._at(address("indices", indices, INDEX_BYTES, wanted), (wanted,), np.int64)
        target = self._at(
            address("gathered", gathered, 1, wanted * length), (wanted, length), np.uint8
        )

        def work():
            with contextlib.suppress(ConfigError):  # nothing is written, nobody is told
                reference.gather_rows(source(), places(), out=target())

        self._queue(stream, work)

    def quantize_u8(self, values, count, *, quantized, scale_zero, ranges, stream=0):
        number = size("count", count, 0)
        given = self._at(address("values", values, FLOAT_BYTES, number), (number,))
        target = self._at(address("quantized", quantized, 1, number), (number,), np.uint8)
        pair = self._at(address("scale_zero", scale_zero, FLOAT_BYTES, 1), (2,))
        scratch = self._at(address("ranges", ranges, FLOAT_BYTES, 1), (self.RANGE_VALUE_COUNT,))

        def work():
            scratch()[...] = np.nan
            try:
                target()[...], scale, zero = reference.quantize_u8(given())
            except ConfigError:
                scale = zero = np.nan
            pair()[...] = scale, zero

        self._queue(stream, work)

    def dequantize_u8(self, quantized, count, scale_zero, *, values, stream=0):
        number = size("count", count, 0)
        given = self._at(address("quantized", quantized, 1, number), (number,), np.uint8)
        pair = self._at(address("scale_zero", scale_zero, FLOAT_BYTES, 1), (2,))
        target = self._at(address("values", values, FLOAT_BYTES, number), (number,))
        self._queue(
            stream,
            lambda: reference.dequantize_u8(given(), *map(float, pair()), out=target()),
        )

    def _targets(self, scores, batch):
        kinds = (np.int64, np.float32, np.float32, np.float32)
        places = score_addresses(scores, batch)
        return [self._at(place, (batch,), kind) for place, kind in zip(places, kinds)]


def double(machine):
    """The module on a machine."""
    module, functions = types.ModuleType(NAME), _Kernels(machine)
    for name in dir(functions):
        if not name.startswith("_"):
            setattr(module, name, getattr(functions, name))
    return module


@contextlib.contextmanager
def installed(machine):
    """In there `import edgesdk.kernels._cuda` gives the double; with None, it is not built."""
    before, attribute = sys.modules.get(NAME), getattr(package, "_cuda", None)
    sys.modules[NAME] = None if machine is None else double(machine)
    if attribute is not None:
        del package._cuda
    try:
        yield sys.modules[NAME]
    finally:
        del sys.modules[NAME]
        if before is not None:
            sys.modules[NAME] = before
        if attribute is not None:
            package._cuda = attribute
