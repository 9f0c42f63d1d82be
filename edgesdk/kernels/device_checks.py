"""What the CUDA kernels refuse before they launch: sizes and addresses that cannot be right.

Device arrays have no shape to look at, so sizes come as numbers and arrays as addresses. Tested is
what can be: that sizes are possible, that an address is one, and that it is aligned for its type.
Whether the array behind it is long enough, only the caller knows.
"""

import operator
from typing import Any, Optional, Sequence, Tuple

from ..errors import ConfigError

FLOAT_BYTES, INDEX_BYTES = 4, 8
ADDRESS_MAX = 2**64 - 1
COUNT_MAX = 2**40  # far more values than any GPU has room for; keeps products of sizes small


def address(name: str, value: Any, alignment: int, count: int = 1) -> int:
    """The address of a device array of `count` values; without any, it may be 0.

    Raises ConfigError unless `value` is an integer of 1..2^64-1 and a multiple of `alignment`.
    """
    number = _integer(value)
    if count == 0 and number == 0:
        return 0
    if number is None or not 0 < number <= ADDRESS_MAX or number % alignment:
        raise ConfigError(
            "{}: found {!r}, expected the address of a device array, a multiple of {}".format(
                name, value, alignment
            )
        )
    return number


def optional_address(name: str, value: Any, alignment: int) -> int:
    """The same, or 0 for None."""
    return 0 if value is None else address(name, value, alignment)


def handle(name: str, value: Any) -> int:
    """A cudaStream_t as an integer: 0, 1 and 2 are streams too."""
    number = _integer(value)
    if number is None or not 0 <= number <= ADDRESS_MAX:
        raise ConfigError(
            "{}: found {!r}, expected a cudaStream_t as an integer".format(name, value)
        )
    return number


def score_addresses(value: Sequence[Any], batch: int) -> Tuple[int, ...]:
    """The addresses of class_index, max_probability, margin and entropy."""
    names = ("class_index", "max_probability", "margin", "entropy")
    try:
        given = list(value)
    except TypeError:
        given = []
    if len(given) != len(names):
        raise ConfigError(
            "scores: found {!r}, expected the addresses of {}".format(value, ", ".join(names))
        )
    return tuple(
        address("scores." + name, each, INDEX_BYTES if name == names[0] else FLOAT_BYTES, batch)
        for name, each in zip(names, given)
    )


def together(scale: Any, shift: Any) -> None:
    """Raise unless scale and shift are both given or both None."""
    if (scale is None) != (shift is None):
        raise ConfigError(
            "{}: found None, expected scale and shift together or neither".format(
                "scale" if scale is None else "shift"
            )
        )


def size(name: str, value: Any, lowest: int = 1) -> int:
    """A number of values along an axis, at least `lowest`."""
    number = _integer(value)
    if number is None or not lowest <= number <= COUNT_MAX:
        raise ConfigError(
            "{}: found {!r}, expected an integer in {}..{}".format(name, value, lowest, COUNT_MAX)
        )
    return number


def shape(name: str, value: Sequence[Any], axes: str) -> Tuple[int, ...]:
    """The sizes of an array; `axes` has a letter for each ("BN"), of which B and K may be 0.

    "BCS" takes any number of axes from the third on, and gives their product.
    """
    try:
        sizes = list(value)
    except TypeError:
        sizes = []
    if len(sizes) < 2 if axes == "BCS" else len(sizes) != len(axes):
        raise ConfigError(
            "{}: found {!r}, expected the sizes [{}]".format(
                name, value, "B, C, ..." if axes == "BCS" else ", ".join(axes)
            )
        )
    found = [
        size("{}[{}]".format(name, axis), each, 0 if axes[min(axis, 2)] in "BK" else 1)
        for axis, each in enumerate(sizes)
    ]
    if axes != "BCS":
        return tuple(found)
    position_count = 1
    for each in found[2:]:
        position_count *= each
    return found[0], found[1], size("{}[2:]".format(name), position_count)


def _integer(value: Any) -> Optional[int]:
    try:
        return operator.index(value)
    except TypeError:
        return None
