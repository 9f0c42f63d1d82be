"""What an ONNX file says of itself, read without the onnx package, which few boards have.

Field numbers are those of `onnx.proto`: ModelProto.opset_import is 8, OperatorSetIdProto.domain 1
and .version 2, NodeProto.op_type 4.
"""

from typing import Iterator, Tuple, Union

_OPSET_IMPORT, _DOMAIN, _VERSION = 8, 1, 2
_TEXT, _NUMBER = 2, 0  # wire types of protobuf
# A node whose op_type it is: field 4 as text, 14 characters. As a mere name it has another field.
_QUANTIZE = b"\x22\x0eQuantizeLinear"


def opset_of(content: bytes) -> int:
    """Version of ONNX's own operators that a file uses; 0 if it is no ONNX file."""
    try:
        for field, imported in _fields(content):
            if field == _OPSET_IMPORT and isinstance(imported, bytes):
                named = dict(_fields(imported))
                if named.get(_DOMAIN, b"") in (b"", b"ai.onnx"):
                    return int(named.get(_VERSION, 0))
    except (IndexError, ValueError):
        pass
    return 0


def is_quantized(path: str) -> bool:
    """Whether a file has QuantizeLinear nodes: without them nothing says how to round to INT8."""
    with open(path, "rb") as file:
        return _QUANTIZE in file.read()


def _fields(content: bytes) -> Iterator[Tuple[int, Union[bytes, int]]]:
    """(number, value) of each field of a message. Raises IndexError or ValueError if it is none."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        kind = tag & 7
        if kind == _NUMBER:
            value, at = _varint(content, at)
            yield tag >> 3, value
        elif kind == _TEXT:
            length, at = _varint(content, at)
            if at + length > len(content):
                raise ValueError("cut short")
            yield tag >> 3, content[at : at + length]
            at += length
        else:
            raise ValueError("no such field in an ONNX file")


def _varint(content: bytes, at: int) -> Tuple[int, int]:
    """A number, and where the next begins."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
