"""Golden outputs are read as they were written, and nothing else is; how wrong outputs are."""

import numpy as np
import pytest

from edgesdk.errors import EngineError
from edgesdk.golden import Golden, largest_error, read_golden, write_golden

EXPECTED = np.array([[1.0, -4.0], [2.0, 0.5]], np.float32)


def test_what_is_read_is_what_was_written(tmp_path):
    path = str(tmp_path / "stage.npz")
    write_golden(path, Golden(EXPECTED[:, :1], EXPECTED))
    found = read_golden(path)
    assert found.features_out.dtype == np.float32
    np.testing.assert_array_equal(found.features, EXPECTED[:, :1])
    np.testing.assert_array_equal(found.features_out, EXPECTED)


def broken(path, kind):
    if kind == "no archive":
        path.write_bytes(b"rubbish")
    elif kind == "an array is missing":
        np.savez(str(path), features=EXPECTED)
    elif kind == "objects":
        np.savez(str(path), features=EXPECTED, features_out=np.array([{}], object))


@pytest.mark.parametrize("kind", ["no file", "no archive", "an array is missing", "objects"])
def test_what_is_none_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "stage.npz"
    broken(path, kind)
    with pytest.raises(EngineError, match=r"stage\.npz: found .*; needed golden outputs"):
        read_golden(str(path))


def test_an_error_is_of_the_largest_expected_value():
    assert largest_error(EXPECTED, EXPECTED) == 0
    assert largest_error(EXPECTED + np.float32(1), EXPECTED) == 0.25


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_within_no_limit(value):
    found = EXPECTED.copy()
    found[0, 1] = value
    assert not largest_error(found, EXPECTED) <= 1e30


def test_outputs_of_zeros_are_compared_too():
    zeros = np.zeros_like(EXPECTED)
    assert largest_error(zeros, zeros) == 0
    assert largest_error(zeros + np.float32(0.1), zeros) > 1e4
