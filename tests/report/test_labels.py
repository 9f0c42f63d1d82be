"""Files of labels, as people have them."""

import pytest

from edgesdk.errors import ConfigError
from edgesdk.report.labels import read_labels

NAMES = ("cat", "dog", "7")


def read(folder, name, text, names=NAMES):
    path = folder / name
    path.write_bytes(text.encode("utf-8"))
    return read_labels(str(path), names)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"0": "cat", "1": 1, "x": "dog"}'),
        ("a.csv", "tag,label\n0,cat\n1,1\nx,dog\n"),
        ("a.csv", '"0",cat\r\n1,"dog"\r\nx,dog\r\n'),
    ],
)
def test_are_by_tag_and_may_be_names_or_indices(tmp_path, name, text):
    labels = read(tmp_path, name, text)
    assert [labels.of(tag) for tag in (0, "0", 1, "x", 5, None)] == [0, 0, 1, 1, -1, -1]
    assert len(labels) == 3


@pytest.mark.parametrize(("name", "text"), [("a.txt", "dog\ncat\r\n\n"), ("a.json", "[1, 0]")])
def test_or_one_for_each_tag_in_turn(tmp_path, name, text):
    labels = read(tmp_path, name, text)
    assert [labels.of(tag) for tag in range(3)] == [1, 0, -1]


def test_a_name_goes_before_an_index(tmp_path):
    assert read(tmp_path, "a.txt", "7\n").of(0) == 2


def test_without_names_of_classes_indices_are_enough(tmp_path):
    assert read(tmp_path, "a.txt", "17\n", ()).of(0) == 17


@pytest.mark.parametrize(
    ("name", "text", "names", "message"),
    [
        ("a.txt", "cat\ncow\n", NAMES, r"a.txt:2: found the label 'cow', expected one of cat"),
        ("a.txt", "3\n", NAMES, "or an index below 3"),
        ("a.txt", "cat\n", (), "give --bundle too"),
        ("a.txt", "\u00b2\n", (), "expected the index of a class"),
        ("a.csv", "1,cat,x\n", NAMES, "found 3 columns, expected two"),
        ("a.csv", '1,"cat\n', NAMES, "not CSV"),
        ("a.csv", "1,cat\n1,dog\n", NAMES, "a.csv:2: found the tag 1 again"),
        ("a.json", "{", NAMES, "not JSON"),
        ("a.json", "5", NAMES, "found 5; expected JSON"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, text, names, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, name, text, names)


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_labels(str(tmp_path / "none.txt"), ())
    (tmp_path / "picture.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_labels(str(tmp_path / "picture.txt"), ())
