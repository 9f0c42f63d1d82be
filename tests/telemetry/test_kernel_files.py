"""Small files of the kernel: read, or empty."""

import os

import pytest

from edgesdk.telemetry import kernel_files as kf


def test_text_is_what_stands_in_a_file_without_ends(tmp_path):
    (tmp_path / "model").write_bytes(b"  NVIDIA Jetson\0\n")
    assert kf.text(str(tmp_path / "model")) == "NVIDIA Jetson"
    assert kf.text(str(tmp_path / "model"), 8) == "NVIDIA"


def test_what_cannot_be_read_is_empty(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (folder, tmp_path / "missing", "nul\0in its name", tmp_path / ("long" * 100)):
        assert kf.text(str(path)) == "" and kf.lines(str(path)) == []
        assert kf.whole(str(path)) is None


def test_bytes_that_are_no_text_are_replaced(tmp_path):
    (tmp_path / "odd").write_bytes(b"\xff\xfeA")
    assert kf.text(str(tmp_path / "odd")) == "\ufffd\ufffdA"


@pytest.mark.parametrize(("content", "value"), [("42\n", 42), ("-1", -1), ("", None), ("4x", None)])
def test_whole_numbers(tmp_path, content, value):
    (tmp_path / "file").write_text(content)
    assert kf.whole(str(tmp_path / "file")) == value


def test_what_is_found_is_in_the_order_of_its_numbers(tmp_path):
    root = tmp_path / "[odd]*"
    for name in ("zone10", "zone2", "zone1"):
        (root / name).mkdir(parents=True)
    names = [os.path.basename(path) for path in kf.found(str(root), "zone*")]
    assert names == ["zone1", "zone2", "zone10"]
