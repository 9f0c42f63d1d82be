"""Sets of engines are put together aside, and appear whole."""

import os

import pytest

from edgesdk.build.workshop import finish, keep, workshop
from edgesdk.engine_store import Device, Engine, EngineKey, EngineSet, folder_of, read_set
from edgesdk.errors import EngineError

KEY = EngineKey(Device("8.2.1", "NVIDIA Tegra X1", (5, 3)), "fp16", 8)
ENGINE = Engine("onnx/a.onnx", "0", "onnx/a.engine", "1", 5, "onnx/a.npz", 1, 1.0, 0, 0.1, {})
BUILT = EngineSet(KEY, 1.0, (ENGINE,))


@pytest.fixture
def bundle(tmp_path):
    return str(tmp_path)


def put(folder, content=b"built"):
    os.makedirs(os.path.join(folder, "onnx"))
    for name in (ENGINE.file, ENGINE.golden):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)


def content_of(folder):
    with open(os.path.join(folder, ENGINE.file), "rb") as file:
        return file.read()


def build(bundle, content=b"built"):
    with workshop(bundle) as folder:
        put(folder, content)
        return finish(bundle, BUILT, folder)


def left(bundle):
    return sorted(set(os.listdir(os.path.join(bundle, "compiled"))) - {".lock"})


def test_a_finished_set_is_at_its_place_and_nothing_else(bundle):
    place = build(bundle)
    assert place == folder_of(bundle, KEY) and read_set(place) == BUILT
    assert left(bundle) == [KEY.name]


def test_another_takes_its_place(bundle):
    build(bundle)
    assert content_of(build(bundle, b"again")) == b"again"
    assert left(bundle) == [KEY.name]


def test_what_fails_leaves_what_was_there(bundle):
    place = build(bundle)
    with pytest.raises(KeyboardInterrupt), workshop(bundle) as folder:
        put(folder, b"again")
        raise KeyboardInterrupt
    assert content_of(place) == b"built" and left(bundle) == [KEY.name]


def test_what_a_kill_left_is_taken_away(bundle):
    put(os.path.join(bundle, "compiled", ".building-x"))
    with workshop(bundle) as folder:
        assert left(bundle) == [os.path.basename(folder)]
    assert left(bundle) == []


def test_one_at_a_time(bundle):
    with workshop(bundle):
        with pytest.raises(EngineError, match="found another build at work"), workshop(bundle):
            pass
        assert len(left(bundle)) == 1, "the first one's folder is there still"
    with workshop(bundle):
        pass


@pytest.mark.parametrize("links", [True, False])
def test_engines_that_are_there_come_along(bundle, monkeypatch, links):
    build(bundle)
    if not links:

        def refuse(source, target):
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    with workshop(bundle) as folder:
        keep(bundle, BUILT, ENGINE, folder)
        keep(bundle, BUILT, ENGINE._replace(file="onnx/a.npz", golden=None), folder + "/other")
        place = finish(bundle, BUILT, folder)
    assert content_of(place) == b"built"
    assert os.path.exists(os.path.join(place, ENGINE.golden))


def test_where_nothing_can_be_written_it_says_so(bundle):
    with open(os.path.join(bundle, "compiled"), "w"):
        pass
    said = r"cannot be written .* copy it to where you may"
    with pytest.raises(EngineError, match=said), workshop(bundle):
        pass
