"""Features as they travel: a float32 array to the bytes of a `core.tensor.Tensor`, and back.

raw       the array's own memory; nothing is copied
zstd      lossless, small: for slow links (extra "zstd")
lz4       lossless, fast (extra "lz4")
float16   lossy: half the bytes
uint8     lossy: a quarter; 256 levels between the smallest and the largest value of the array

One more, "learned", needs networks of the bundle: `runtime.bottleneck`.

What a codec cannot do it leaves to raw, and the tensor says so: a lossless one values that would
not get smaller, a lossy one NaN, infinities and values beyond its range. Whether a lossy codec may
be used is for calibration to say (`manifest.lossy_codecs`), whether any is worth its time for
`core.codec_choice`.

Bodies come from other machines. The size that a tensor declares is compared with what the body says
of itself before anything is unpacked, so that no body makes its receiver hold more than that: one
array for zstd, two for lz4, whose package copies once.
"""

import threading
from math import isfinite
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np

from . import kernels
from .arrays import Array, DeviceArray, on_host
from .core.tensor import (
    AUXILIARY_BYTES_MAX,
    AXES_MAX,
    AXIS_MAX,
    BODY_BYTES_MAX,
    Tensor,
    refuse,
    size_of,
)
from .errors import BackendUnavailable, ConfigError

# The exponents of features repeat, their mantissas do not. Levels below 1 leave out the entropy
# coding, which finds that; higher ones are slower and find no more.
ZSTD_LEVEL = 1
FLOAT16_MAX = 65504.0
ITEM_BYTES = 4
LZ4_RATIO_MAX = 255  # of the format: a byte of a block stands for at most so many

# What decides how a zstd frame is read (RFC 8878, section 3.1.1).
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_WINDOW_MIN_BYTES = 1024  # the smallest that a frame can name
ZSTD_BLOCK_HEADER_BYTES = 3
ZSTD_CHECKSUM_BYTES = 4
# Encoders fill blocks with 128 KiB, or some 700 bytes where they split them; a body that is all
# empty blocks would only waste the time of its reader.
ZSTD_BLOCK_CONTENT_MIN_BYTES = 512
ZSTD_BLOCKS_SPARE = 2


class _Encoded(NamedTuple):
    body: Any
    scale: Optional[float] = None
    offset: Optional[float] = None


def available() -> Tuple[str, ...]:
    """The codecs of any array that can be used here, "raw" first, by their numbers."""
    return tuple(name for name in _ENCODERS if name not in _LIBRARIES or _is_there(name))


def check_codec(name: str) -> None:
    """Raise ConfigError for a codec that does not exist, BackendUnavailable (with what to install)
    for one whose package is missing."""
    if name not in _ENCODERS:
        known = ", ".join(_ENCODERS)
        raise ConfigError("codec: found {!r}, expected one of {}".format(name, known))
    if name in _LIBRARIES:
        _LIBRARIES[name]()


def encode(array: Array, codec: str, auxiliary: Optional[np.ndarray] = None) -> Tensor:
    """`array`, float32 in C order without a batch axis, by `codec`, or raw where that is no use.

    What a device holds is copied from there; for uint8 it is quantized first. `auxiliary`: float32
    [D] to travel along, never encoded. The body of raw, and the auxiliary, are the memory that was
    given: it must not change while the tensor is in use. Raises ConfigError for another array or
    codec, BackendUnavailable if the codec's package is missing.
    """
    check_codec(codec)
    values = array if codec == "uint8" else on_host(array)
    if not isinstance(values, DeviceArray):
        _check_array("array", values, AXES_MAX, BODY_BYTES_MAX)
    if auxiliary is not None:
        _check_array("auxiliary", auxiliary, 1, AUXILIARY_BYTES_MAX)
    beside = None if auxiliary is None else auxiliary.data.cast("B")
    encoded = _ENCODERS[codec](values)
    if encoded is None or (codec in _LIBRARIES and len(encoded.body) >= array.nbytes):
        codec, encoded = "raw", _encode_raw(on_host(values))
    return Tensor("float32", array.shape, codec, *encoded, auxiliary=beside)


def decode(tensor: Tensor, out: Optional[np.ndarray] = None) -> np.ndarray:
    """The float32 array of `tensor`, in C order; `out` filled with it if that is given.

    `out` is a float32 array of the tensor's shape in C order. Without it the result is to be read
    only: raw gives a view of the body, copied only where its memory is not aligned. Raises
    PeerError for a body that is not what the tensor says, ConfigError for another `out`,
    BackendUnavailable if the codec's package is missing.
    """
    if tensor.dtype != "float32" or tensor.codec not in _DECODERS:
        found = (tensor.dtype, tensor.codec)
        refuse("dtype and codec", found, "float32 by one of {}".format(", ".join(_DECODERS)))
    count = _value_count(tensor.shape)
    if out is not None:
        _check_out(out, tensor.shape)
    values = _DECODERS[tensor.codec](tensor, count, out)
    if out is None or values is out:
        return values
    out[...] = values
    return out


def decode_auxiliary(tensor: Tensor) -> Optional[np.ndarray]:
    """The float32 vector [D] that came with `tensor`, read-only, or None. Raises PeerError for
    bytes that are not whole values."""
    if tensor.auxiliary is None:
        return None
    found = size_of(tensor.auxiliary)
    if not found or found % ITEM_BYTES:
        refuse("auxiliary", "{} bytes".format(found), "whole float32 values")
    return _view(tensor.auxiliary, np.float32)


def _encode_raw(array: np.ndarray) -> _Encoded:
    return _Encoded(array.data.cast("B"))


def _encode_float16(array: np.ndarray) -> Optional[_Encoded]:
    with np.errstate(invalid="ignore"):  # a minimum of NaN is NaN, which is in no range
        if not (array.min() >= -FLOAT16_MAX and array.max() <= FLOAT16_MAX):
            return None
    return _encode_raw(array.astype(np.float16))


def _encode_uint8(array: Array) -> Optional[_Encoded]:
    try:
        on_device = isinstance(array, DeviceArray)
        quantized, scale, offset = array.quantize_u8() if on_device else kernels.quantize_u8(array)
    except ConfigError:  # NaN, infinity, or a range beyond what a float32 can scale
        return None
    return _Encoded(quantized.data.cast("B"), scale, offset)


def _encode_zstd(array: np.ndarray) -> _Encoded:
    if _zstd.compressor is None:
        _zstd.compressor = _zstandard().ZstdCompressor(ZSTD_LEVEL, write_content_size=True)
    return _Encoded(_zstd.compressor.compress(array.data.cast("B")))


def _encode_lz4(array: np.ndarray) -> _Encoded:
    return _Encoded(_lz4_block().compress(array.data.cast("B"), store_size=False))


def _decode_raw(tensor: Tensor, count: int, out: Optional[np.ndarray]) -> np.ndarray:
    _check_body(tensor, ITEM_BYTES * count)
    return _view(tensor.body, np.float32).reshape(tensor.shape)


def _decode_float16(tensor: Tensor, count: int, out: Optional[np.ndarray]) -> np.ndarray:
    _check_body(tensor, 2 * count)
    values = _view(tensor.body, np.float16).reshape(tensor.shape)
    return values if out is not None else values.astype(np.float32)


def _decode_uint8(tensor: Tensor, count: int, out: Optional[np.ndarray]) -> np.ndarray:
    _check_body(tensor, count)
    quantized = _view(tensor.body, np.uint8).reshape(tensor.shape)
    scale, offset = tensor.scale, tensor.offset
    if scale is None or offset is None or not (isfinite(scale) and isfinite(offset) and scale >= 0):
        refuse("scale and offset", (scale, offset), "a finite scale >= 0 and a finite offset")
    return kernels.dequantize_u8(quantized, scale, offset, out=out)


def _decode_zstd(tensor: Tensor, count: int, out: Optional[np.ndarray]) -> np.ndarray:
    body, expected_bytes = _flat(tensor.body), ITEM_BYTES * count
    zstandard = _zstandard()
    if _zstd.decompressor is None:
        _zstd.decompressor = zstandard.ZstdDecompressor()
    try:
        _check_zstd_frame(zstandard, body, expected_bytes)
        content = _zstd.decompressor.decompress(body, max_output_size=expected_bytes)
    except zstandard.ZstdError as error:
        found = "one that cannot be unpacked ({})".format(error)
        refuse("zstd body", found, "a whole frame of {} bytes".format(expected_bytes))
    return _unpacked("zstd body", content, expected_bytes, tensor.shape)


def _decode_lz4(tensor: Tensor, count: int, out: Optional[np.ndarray]) -> np.ndarray:
    body, expected_bytes = _flat(tensor.body), ITEM_BYTES * count
    lz4_block = _lz4_block()
    if expected_bytes > LZ4_RATIO_MAX * len(body):  # before room is made for it
        most = LZ4_RATIO_MAX * len(body)
        refuse("lz4 body", "at most {} bytes unpacked".format(most), expected_bytes)
    try:
        content = lz4_block.decompress(body, uncompressed_size=expected_bytes)
    except lz4_block.LZ4BlockError as error:
        found = "one that cannot be unpacked ({})".format(error)
        refuse("lz4 body", found, "a whole block of {} bytes".format(expected_bytes))
    return _unpacked("lz4 body", content, expected_bytes, tensor.shape)


def _check_zstd_frame(zstandard: Any, body: memoryview, expected_bytes: int) -> None:
    """Raise PeerError unless `body` is one frame and nothing else, of `expected_bytes` unpacked,
    without a dictionary, and with a window no larger than that."""
    if bytes(body[:4]) != ZSTD_MAGIC:  # frames to be skipped have a size too
        refuse("zstd body", "it begins with {!r}".format(bytes(body[:4])), ZSTD_MAGIC)
    parameters = zstandard.get_frame_parameters(body)
    if parameters.content_size != expected_bytes:
        is_known = parameters.content_size != zstandard.CONTENTSIZE_UNKNOWN
        found = "{} bytes unpacked".format(parameters.content_size) if is_known else "no size"
        refuse("zstd body", found, "{} bytes, as declared".format(expected_bytes))
    if parameters.dict_id:
        refuse("zstd body", "the dictionary {}".format(parameters.dict_id), "none")
    window_max_bytes = max(expected_bytes, ZSTD_WINDOW_MIN_BYTES)
    if parameters.window_size > window_max_bytes:
        found = "a window of {} bytes".format(parameters.window_size)
        refuse("zstd body", found, "at most {}".format(window_max_bytes))
    end = _zstd_blocks_end(body, zstandard.frame_header_size(body), expected_bytes)
    end += ZSTD_CHECKSUM_BYTES if parameters.has_checksum else 0
    if end != len(body):
        refuse("zstd body", "{} bytes".format(len(body)), "{}, where the frame ends".format(end))


def _zstd_blocks_end(body: memoryview, at: int, content_bytes: int) -> int:
    """Where the last of the blocks that begin at byte `at` of `body` ends, by their headers."""
    for _ in range(content_bytes // ZSTD_BLOCK_CONTENT_MIN_BYTES + ZSTD_BLOCKS_SPARE):
        header = int.from_bytes(body[at : at + ZSTD_BLOCK_HEADER_BYTES], "little")
        is_last, kind, block_bytes = header & 1, header >> 1 & 3, header >> 3
        at += ZSTD_BLOCK_HEADER_BYTES + (1 if kind == 1 else block_bytes)  # 1: one byte, repeated
        if at > len(body):
            refuse("zstd body", "{} bytes".format(len(body)), "at least {}".format(at))
        if is_last:
            return at
    return refuse("zstd body", "blocks without end", "few for {} bytes".format(content_bytes))


def _unpacked(what: str, content: bytes, expected_bytes: int, shape: Tuple[int, ...]) -> np.ndarray:
    if len(content) != expected_bytes:
        refuse(what, "{} bytes unpacked".format(len(content)), expected_bytes)
    return _view(content, np.float32).reshape(shape)


def _flat(buffer: Any) -> memoryview:
    size_of(buffer)  # raises for one with gaps
    return memoryview(buffer).cast("B")


def _view(buffer: Any, dtype: Any) -> np.ndarray:
    """`buffer` as a read-only array; a copy only where its address is not one for `dtype`."""
    values = np.frombuffer(buffer, dtype)
    if not values.flags.aligned:
        values = values.copy()
    values.flags.writeable = False
    return values


def _check_array(name: str, array: Any, axes_max: int, bytes_max: int) -> None:
    """Raise ConfigError unless a receiver would take `array`."""
    if (
        isinstance(array, np.ndarray)
        and array.dtype == np.float32
        and array.flags.c_contiguous
        and 0 < array.ndim <= axes_max
        and 0 < array.nbytes <= bytes_max
        and max(array.shape) <= AXIS_MAX
    ):
        return
    found = type(array).__name__
    if isinstance(array, np.ndarray):
        order = "" if array.flags.c_contiguous else ", not in C order"
        found = "{} {}{}".format(array.dtype, list(array.shape), order)
    raise ConfigError(
        "{}: found {}, expected a float32 array in C order with 1 to {} axes from 1 to {}, at most "
        "{} bytes".format(name, found, axes_max, AXIS_MAX, bytes_max)
    )


def _check_out(out: Any, shape: Tuple[int, ...]) -> None:
    is_array = isinstance(out, np.ndarray) and out.dtype == np.float32 and out.shape == shape
    if not (is_array and out.flags.c_contiguous and out.flags.writeable):
        found = "{} {}".format(getattr(out, "dtype", type(out).__name__), getattr(out, "shape", ""))
        raise ConfigError(
            "out: found {}, expected a writable float32 array {} in C order".format(found, shape)
        )


def _check_body(tensor: Tensor, expected_bytes: int) -> None:
    found = size_of(tensor.body)
    if found != expected_bytes:
        refuse("body of {}".format(tensor.codec), "{} bytes".format(found), expected_bytes)


def _value_count(shape: Tuple[int, ...]) -> int:
    count = 1
    for axis in shape:
        count *= axis
    is_sized = 0 < len(shape) <= AXES_MAX and min(shape) > 0
    if not is_sized or ITEM_BYTES * count > BODY_BYTES_MAX:
        expected = "1 to {} axes from 1, {} bytes at most".format(AXES_MAX, BODY_BYTES_MAX)
        refuse("shape", shape, expected)
    return count


class _Contexts(threading.local):
    """zstd's working memory: dear to make, and only one thread at a time may use it."""

    compressor: Any = None
    decompressor: Any = None


_zstd = _Contexts()


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise _missing("zstd", "zstandard", error) from None
    return zstandard


def _lz4_block() -> Any:
    try:
        import lz4.block
    except ImportError as error:
        raise _missing("lz4", "lz4", error) from None
    return lz4.block


def _missing(codec: str, package: str, error: ImportError) -> BackendUnavailable:
    return BackendUnavailable(
        "the codec {} needs {}, which cannot be imported ({}); install it with: "
        'pip install "edgesdk[{}]"'.format(codec, package, error, codec)
    )


def _is_there(codec: str) -> bool:
    try:
        check_codec(codec)
    except BackendUnavailable:
        return False
    return True


_LIBRARIES: Dict[str, Callable[[], Any]] = {"zstd": _zstandard, "lz4": _lz4_block}
_ENCODERS: Dict[str, Callable[[np.ndarray], Optional[_Encoded]]] = {
    "raw": _encode_raw,
    "float16": _encode_float16,
    "uint8": _encode_uint8,
    "zstd": _encode_zstd,
    "lz4": _encode_lz4,
}
_DECODERS: Dict[str, Callable[[Tensor, int, Optional[np.ndarray]], np.ndarray]] = {
    "raw": _decode_raw,
    "float16": _decode_float16,
    "uint8": _decode_uint8,
    "zstd": _decode_zstd,
    "lz4": _decode_lz4,
}
