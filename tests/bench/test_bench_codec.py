"""bench codec: real features, checked before they are timed."""

import json

import numpy as np
import pytest

from edgesdk import codec
from edgesdk.backends import open_backend
from edgesdk.bench import __main__ as command
from edgesdk.bench import codec as bench
from edgesdk.core.tensor import LOSSY_CODECS
from edgesdk.errors import EdgeError

pytest.importorskip("onnxruntime")


@pytest.fixture
def borders(whole_bundle, brightnesses):
    return bench.borders(whole_bundle, open_backend("onnxruntime"), brightnesses.images)


def measured(**changes):
    border = bench.Border(3, [np.zeros((4, 16, 16), np.float32)])
    one = bench.Measured(border, "lz4", 2.0, 0.0, 4.096, 1.024)
    return one._replace(**changes)


def test_features_are_those_that_enter_each_segment(borders):
    assert [border.name for border in borders] == [
        "before segment 0, 1x6x6",
        "before segment 1, 2x6x6",
        "before segment 2, 2x6x6",
    ]
    assert all(len(border.maps) == bench.IMAGES for border in borders)
    image, split = borders[0].maps[3], borders[1].maps[3]
    assert np.allclose(split[0], image[0]) and np.allclose(split[1], 1 - image[0])


def test_every_codec_is_checked_and_timed(borders):
    names = codec.available()
    found = bench.measure(borders[1], names, 0.001)
    assert [one.codec for one in found] == list(names)
    for one in found:
        assert one.encode_us > 0 and one.decode_us > 0
        assert (one.error > 0) <= (one.codec in LOSSY_CODECS)
    assert {one.codec: one.ratio for one in found}["uint8"] == 4.0


@pytest.mark.parametrize(("name", "wrong"), [("raw", 1e-6), ("float16", 10.0), ("raw", np.nan)])
def test_a_codec_that_gives_back_something_else_is_not_timed(borders, monkeypatch, name, wrong):
    right = codec.decode
    monkeypatch.setattr(codec, "decode", lambda tensor: right(tensor) + np.float32(wrong))
    monkeypatch.setattr(bench, "interleaved", lambda *_: pytest.fail("timed a wrong codec"))
    with pytest.raises(EdgeError, match=name + ": found an error of .* standard deviations"):
        bench.measure(borders[2], [name], 0.001)


def test_the_break_even_rate_is_that_of_the_rule():
    """2,048 of 4,096 bytes saved in 5.12 us: 400 MB/s."""
    assert measured().break_even_mbit_s == pytest.approx(3200)
    assert measured(ratio=1.0).break_even_mbit_s == 0


def test_a_row_shows_speeds_of_the_array():
    assert bench.row(measured()) == ("3  4x16x16   lz4", "2.00", "1000", "4000", "0", "3200")
    assert bench.row(measured(ratio=1.0))[-1] == "never"
    assert bench.row(measured(codec="uint8", error=0.0123))[-2] == "0.0123"
    assert bench.row(measured(codec="raw")) is None
    assert bench.raw_line([measured(codec="raw"), measured()]).startswith("raw: 4.1 us to encode")


def test_the_command_prints_a_table_and_figures(whole_bundle, brightnesses, monkeypatch, capsys):
    monkeypatch.setattr(command, "pin", lambda threads: None)
    monkeypatch.setattr(command, "read_test_images", lambda data, labels: brightnesses)
    monkeypatch.setattr(command, "available", lambda: ("raw", "uint8"))
    run = ["codec", "--bundle", whole_bundle.path, "--seconds", "0.001", "--json"]
    assert command.main(run) == 0
    out, err = capsys.readouterr()
    names = [figure["name"] for figure in json.loads(out)["figures"]]
    assert len(names) == len(set(names)) == 3 * 2 * 5
    assert "before segment 1, 2x6x6, uint8: break-even link" in names
    assert 'not measured: zstd; pip install "edgesdk[zstd]"' in err
    assert "1  2x6x6     uint8" in err
