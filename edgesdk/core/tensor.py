"""The features that travel with a Task: which arrays may be named on the wire, and in which form.

The core never looks into an array. It checks here that what a frame says of its size is possible
and true, so that whoever unpacks it may allocate.
"""

from math import isfinite
from struct import Struct
from typing import Any, Dict, NamedTuple, NoReturn, Optional, Sequence, Tuple
from zlib import crc32

from ..errors import PeerError

AXES_MAX = 4
AXIS_MAX = 65535
# What one message may make a receiver hold: 2.5 times a ResNet's largest feature map (64x112x112).
BODY_BYTES_MAX = 8 * 1024 * 1024
AUXILIARY_COUNT_MAX = 4096  # channels of a first exit's feature
AUXILIARY_BYTES_MAX = 4 * AUXILIARY_COUNT_MAX

DTYPES = {"float32": 1, "float16": 2, "uint8": 3}
CODECS = {"raw": 1, "float16": 2, "uint8": 3, "zstd": 4, "lz4": 5, "learned": 6}
LOSSLESS_CODECS = ("zstd", "lz4")  # beside raw
LOSSY_CODECS = ("float16", "uint8")  # of any array
LEARNED = "learned"  # by a trained bottleneck: at borders of the bundle that have one
LOSING_CODECS = LOSSY_CODECS + (LEARNED,)  # calibration says whether they may be used
CODE_ITEM_BYTES = 1  # of a bottleneck's code, which travels as uint8

ITEM_BYTES = {"float32": 4, "float16": 2, "uint8": 1}
CODEC_KNOWS = -1
# Bytes per value in the body, CODEC_KNOWS where they depend on the values, or on the bundle.
# "float16", "uint8" and "learned" are lossy forms of float32; a pair that is not listed means
# nothing.
BODY_ITEM_BYTES: Dict[Tuple[str, str], int] = {
    ("float32", "raw"): 4,
    ("float32", "float16"): 2,
    ("float32", "uint8"): 1,
    ("float32", "zstd"): CODEC_KNOWS,
    ("float32", "lz4"): CODEC_KNOWS,
    ("float32", "learned"): CODEC_KNOWS,
    ("float16", "raw"): 2,
    ("float16", "zstd"): CODEC_KNOWS,
    ("float16", "lz4"): CODEC_KNOWS,
    ("uint8", "raw"): 1,
    ("uint8", "zstd"): CODEC_KNOWS,
    ("uint8", "lz4"): CODEC_KNOWS,
}

# The fields of a Task's struct that describe its tensor, in their order.
TENSOR_FIELDS = (
    ("scale_offset", "8s"),
    ("body_bytes", "I"),
    ("body_checksum", "I"),
    ("axis_0", "H"),
    ("axis_1", "H"),
    ("axis_2", "H"),
    ("axis_3", "H"),
    ("auxiliary_count", "H"),
    ("dtype", "B"),
    ("codec", "B"),
)
_TENSOR = Struct("<" + "".join(form for _, form in TENSOR_FIELDS))
_SCALED = ("uint8", LEARNED)
_SCALE_OFFSET = Struct("<ff")
_NO_SCALE_OFFSET = bytes(_SCALE_OFFSET.size)
_NO_AXES = (0,) * AXES_MAX
_SHAPES = "1 to {} axes from 1 to {}".format(AXES_MAX, AXIS_MAX)
_FORM_OF_NAMES = {
    (dtype, codec): (DTYPES[dtype], CODECS[codec], ITEM_BYTES[dtype], body_item_bytes)
    for (dtype, codec), body_item_bytes in BODY_ITEM_BYTES.items()
}
_FORM_OF_CODES = {
    (DTYPES[dtype], CODECS[codec]): (dtype, codec, ITEM_BYTES[dtype], body_item_bytes)
    for (dtype, codec), body_item_bytes in BODY_ITEM_BYTES.items()
}


class Tensor(NamedTuple):
    """An array as it travels: `body` is its C-order bytes as `codec` left them, never copied here.

    `dtype` and `shape` (without a batch axis) are those of the array that the codec gives back.
    Codec "uint8": value = byte * `scale` + `offset` (the zero of `kernels.quantize_u8`). The body
    of "learned" is a code, which has them too; otherwise both are None. `auxiliary`: a float32
    vector that a cosine policy compares with, or None. Both buffers are C-contiguous.
    """

    dtype: str
    shape: Tuple[int, ...]
    codec: str
    body: Any
    scale: Optional[float] = None
    offset: Optional[float] = None
    auxiliary: Optional[Any] = None


def refuse(what: str, found: object, expected: object) -> NoReturn:
    """Raise the PeerError that says it."""
    raise PeerError("{}: found {}, expected {}".format(what, found, expected))


def size_of(buffer: Any) -> int:
    """Bytes of a bytes-like object, whatever its items are."""
    if type(buffer) is bytes:
        return len(buffer)
    view = memoryview(buffer)
    if not view.c_contiguous:
        refuse("frame", "gaps between its bytes", "a C-contiguous buffer")
    return view.nbytes


def pack_tensor(tensor: Tensor, with_checksum: bool) -> bytes:
    """TENSOR_FIELDS as bytes. Raises PeerError for a tensor that nobody would accept."""
    dtype, shape, codec, body, scale, offset, auxiliary = tensor
    form = _FORM_OF_NAMES.get((dtype, codec))
    if form is None:
        refuse("dtype and codec", (dtype, codec), sorted(_FORM_OF_NAMES))
    dtype_code, codec_code, item_bytes, body_item_bytes = form
    if not 0 < len(shape) <= AXES_MAX:
        refuse("shape", shape, _SHAPES)
    a, b, c, d = (shape + _NO_AXES)[:AXES_MAX]
    count = a * (b or 1) * (c or 1) * (d or 1)
    body_bytes = size_of(body)
    if body_bytes != count * body_item_bytes or count * item_bytes > BODY_BYTES_MAX or 0 in shape:
        _check_sizes(shape, count, item_bytes, body_bytes, body_item_bytes)
    scale_offset = _NO_SCALE_OFFSET
    if codec in _SCALED or scale is not None or offset is not None:
        scale_offset = _pack_scale_offset(codec, scale, offset)
    auxiliary_count = 0
    if auxiliary is not None:
        auxiliary_bytes = size_of(auxiliary)
        auxiliary_count = auxiliary_bytes // 4
        _check_auxiliary(auxiliary_bytes, auxiliary_count)
    checksum = _checksum(body, auxiliary) if with_checksum else 0
    return _TENSOR.pack(
        scale_offset, body_bytes, checksum, a, b, c, d, auxiliary_count, dtype_code, codec_code
    )


def unpack_tensor(head: bytes, at: int, frames: Sequence[Any], with_checksum: bool) -> Tensor:
    """The tensor that `head` describes from byte `at` on and `frames` hold from the second on."""
    data, body_bytes, checksum, a, b, c, d, auxiliary_count, dtype_code, codec_code = (
        _TENSOR.unpack_from(head, at)
    )
    form = _FORM_OF_CODES.get((dtype_code, codec_code))
    if form is None:
        refuse("dtype and codec", (dtype_code, codec_code), sorted(_FORM_OF_CODES))
    dtype, codec, item_bytes, body_item_bytes = form
    shape = (a, b, c, d) if d else (a, b, c) if c else (a, b) if b else (a,)
    count = a * (b or 1) * (c or 1) * (d or 1)
    body = frames[1]
    if size_of(body) != body_bytes:
        refuse("body_bytes", body_bytes, "{}, the size of frame 1".format(size_of(body)))
    if body_bytes != count * body_item_bytes or count * item_bytes > BODY_BYTES_MAX or 0 in shape:
        _check_sizes(shape, count, item_bytes, body_bytes, body_item_bytes)
    scale = offset = auxiliary = None
    if codec in _SCALED:
        scale, offset = _SCALE_OFFSET.unpack(data)
        _check_scale_offset(scale, offset)
    elif data != _NO_SCALE_OFFSET:  # not even -0.0: one message has one form
        refuse("scale and offset", data.hex(), "zeros for the codec {}".format(codec))
    if len(frames) > 2:
        auxiliary = frames[2]
        _check_auxiliary(size_of(auxiliary), auxiliary_count)
    elif auxiliary_count:
        refuse("auxiliary_count", auxiliary_count, "0 where no frame 2 is flagged")
    expected = _checksum(body, auxiliary) if with_checksum else 0
    if checksum != expected:
        refuse("body_checksum", checksum, expected)
    # Its own constructor takes twice as long, and tasks are many.
    return tuple.__new__(Tensor, (dtype, shape, codec, body, scale, offset, auxiliary))


def _check_sizes(
    shape: Tuple[int, ...], count: int, item_bytes: int, body_bytes: int, body_item_bytes: int
) -> None:
    """Find what is wrong, if anything is. No axis is above AXIS_MAX: their type holds no more."""
    if 0 in shape or count <= 0:
        refuse("shape", shape, _SHAPES)
    if count * item_bytes > BODY_BYTES_MAX:
        found = "{}, {} bytes".format(shape, count * item_bytes)
        refuse("shape", found, "<= {} bytes".format(BODY_BYTES_MAX))
    if body_item_bytes == CODEC_KNOWS:
        if not 0 < body_bytes <= BODY_BYTES_MAX:
            refuse("body", "{} bytes".format(body_bytes), "1 to {}".format(BODY_BYTES_MAX))
    elif body_bytes != count * body_item_bytes:
        refuse("body", "{} bytes".format(body_bytes), count * body_item_bytes)


def _pack_scale_offset(codec: str, scale: Optional[float], offset: Optional[float]) -> bytes:
    if codec not in _SCALED:
        refuse("scale and offset", (scale, offset), "None for the codec {}".format(codec))
    if scale is None or offset is None:
        refuse("scale and offset", (scale, offset), "numbers for the codec " + codec)
    _check_scale_offset(scale, offset)
    return _SCALE_OFFSET.pack(scale, offset)


def _check_scale_offset(scale: float, offset: float) -> None:
    if not (isfinite(scale) and scale >= 0 and isfinite(offset)):
        refuse("scale and offset", (scale, offset), "a finite scale >= 0 and a finite offset")


def _check_auxiliary(auxiliary_bytes: int, count: int) -> None:
    if not 0 < count <= AUXILIARY_COUNT_MAX or auxiliary_bytes != 4 * count:
        refuse(
            "auxiliary",
            "{} bytes for {} values".format(auxiliary_bytes, count),
            "1 to {} float32".format(AUXILIARY_COUNT_MAX),
        )


def _checksum(body: Any, auxiliary: Optional[Any]) -> int:
    checksum = crc32(body)
    return checksum if auxiliary is None else crc32(auxiliary, checksum)
