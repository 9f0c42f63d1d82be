"""What the CUDA kernels refuse before they launch."""

import numpy as np
import pytest

from edgesdk.errors import ConfigError
from edgesdk.kernels import device_checks


@pytest.mark.parametrize("value", [1024, np.int64(1024), 2**64 - 4])
def test_addresses(value):
    assert device_checks.address("logits", value, 4) == int(value)


@pytest.mark.parametrize("value", [0, 2, -4, 2**64, 1.0, None, "0x400", np.zeros(1)])
def test_what_is_no_address(value):
    with pytest.raises(ConfigError, match=r"^logits: found .*, expected the address of a device"):
        device_checks.address("logits", value, 4)


def test_an_array_without_values_may_be_nowhere():
    assert device_checks.address("logits", 0, 4, count=0) == 0


def test_what_is_left_out():
    assert device_checks.optional_address("scale", None, 4) == 0
    assert device_checks.optional_address("scale", 64, 4) == 64
    with pytest.raises(ConfigError, match=r"^scale: found 0"):
        device_checks.optional_address("scale", 0, 4)


def test_scale_and_shift_come_together():
    device_checks.together(None, None)
    device_checks.together(64, 128)
    for pair, missing in (((None, 64), "scale"), ((64, None), "shift")):
        with pytest.raises(ConfigError, match=r"^{}: found None".format(missing)):
            device_checks.together(*pair)


@pytest.mark.parametrize("value", [0, 1, 2, 2**63])
def test_streams(value):
    assert device_checks.handle("stream", value) == value


@pytest.mark.parametrize("value", [-1, 2**64, None, 0.5])
def test_what_is_no_stream(value):
    with pytest.raises(ConfigError, match=r"^stream: found .*, expected a cudaStream_t"):
        device_checks.handle("stream", value)


@pytest.mark.parametrize(
    "value, axes, expected",
    [
        ((3, 4), "BN", (3, 4)),
        ((0, 4), "BN", (0, 4)),
        ((3, 4), "BCS", (3, 4, 1)),
        ([3, 4, 5, 6], "BCS", (3, 4, 30)),
        (np.array([0, 1, 2]), "BCS", (0, 1, 2)),
    ],
)
def test_shapes(value, axes, expected):
    assert device_checks.shape("sizes", value, axes) == expected


@pytest.mark.parametrize(
    "value, axes, message",
    [
        ((3,), "BN", r"^sizes: found \(3,\), expected the sizes \[B, N\]"),
        ((3,), "BCS", r"expected the sizes \[B, C, \.\.\.\]"),
        (3, "BN", "^sizes: found 3"),
        ((3, 0), "BN", r"^sizes\[1\]: found 0, expected an integer in 1\.\."),
        ((-1, 2), "BN", r"^sizes\[0\]: found -1, expected an integer in 0\.\."),
        ((1, 2, 3, 0), "BCS", r"^sizes\[3\]: found 0"),
        ((1, 2, 2**30, 2**30), "BCS", r"^sizes\[2:\]: found"),
        ((1.0, 2), "BN", r"^sizes\[0\]: found 1\.0"),
    ],
)
def test_what_is_no_shape(value, axes, message):
    with pytest.raises(ConfigError, match=message):
        device_checks.shape("sizes", value, axes)


@pytest.mark.parametrize("value", [(), (8, 8, 8), None, 8])
def test_scores_that_are_not_four(value):
    with pytest.raises(ConfigError, match=r"^scores: found .*, expected the addresses of class_in"):
        device_checks.score_addresses(value, 1)


def test_scores_are_aligned():
    assert device_checks.score_addresses((8, 4, 4, 4), 1) == (8, 4, 4, 4)
    with pytest.raises(ConfigError, match=r"^scores\.class_index: found 4"):
        device_checks.score_addresses((4, 4, 4, 4), 1)
    with pytest.raises(ConfigError, match=r"^scores\.entropy: found 6"):
        device_checks.score_addresses((8, 4, 4, 6), 1)
