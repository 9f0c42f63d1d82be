"""Engines are found only where they fit, and read only as they were built."""

import json
import os
import re
import shutil

import pytest

from edgesdk import engine_store
from edgesdk.engine_store import (
    Device,
    Engine,
    EngineKey,
    EngineSet,
    find_engine,
    folder_of,
    read_engine,
    read_set,
    read_sets,
    write_set,
)
from edgesdk.errors import EngineError
from edgesdk.manifest import sha256

NANO = Device("8.2.1", "NVIDIA Tegra X1", (5, 3))
ORIN = Device("8.5.2", "Orin", (8, 7))
ONNX, OTHER = "onnx/segment_0.onnx", "onnx/segment_1.onnx"
MAXN = {"power_mode": "MAXN", "clocks": {}}
COMMAND = "python -m edgesdk.build "


@pytest.fixture
def bundle(tmp_path):
    """A folder with what the store looks at: a manifest, and ONNX files."""
    folder = tmp_path / "tiny" / "1"
    (folder / "onnx").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    for name in (ONNX, OTHER):
        (folder / name).write_bytes(b"network of " + name.encode("ascii"))
    return folder


def engine_of(bundle, onnx=ONNX, content=b"an engine", golden=None):
    digest = sha256((bundle / onnx).read_bytes())
    file = onnx.replace(".onnx", ".engine")
    return Engine(onnx, digest, file, sha256(content), len(content), golden, 7, 1.5, 2, 1e-3, MAXN)


def put(
    bundle,
    device=NANO,
    precision="fp16",
    built_at=100.0,
    max_batch=8,
    flags=(),
    engines=None,
    content=b"an engine",
):
    """A set of engines in the bundle, as the builder leaves it."""
    key = EngineKey(device, precision, max_batch, flags)
    engines = (engine_of(bundle),) if engines is None else engines
    built = EngineSet(key, built_at, tuple(engines))
    folder = folder_of(str(bundle), key)
    for engine in built.engines:
        path = os.path.join(folder, engine.file)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    write_set(folder, built)
    return built


def find(bundle, device=NANO, onnx=ONNX):
    return find_engine(str(bundle / onnx), device)


def edit(bundle, built, change):
    path = os.path.join(folder_of(str(bundle), built.key), engine_store.DOCUMENT)
    with open(path) as file:
        document = json.load(file)
    change(document)
    with open(path, "w") as file:
        json.dump(document, file)


class TestRoundTrip:
    def test_what_is_written_is_read(self, bundle):
        engines = [engine_of(bundle, golden="onnx/segment_0.npz"), engine_of(bundle, OTHER)]
        engines[1] = engines[1]._replace(error=None)
        built = put(bundle, engines=engines, flags=("optimum batch 4",))
        assert read_set(folder_of(str(bundle), built.key)) == built
        assert read_sets(str(bundle)) == ([built], [])

    def test_an_engine_is_found_and_read(self, bundle):
        built = put(bundle, engines=[engine_of(bundle, golden="onnx/segment_0.npz")])
        found = find(bundle)
        assert (found.precision, found.max_batch, found.built) == ("fp16", 8, built)
        assert found.bundle == str(bundle)
        assert os.path.relpath(found.golden, str(bundle)).endswith("/onnx/segment_0.npz")
        assert read_engine(found) == b"an engine"

    def test_a_bundle_without_golden_outputs_has_none(self, bundle):
        put(bundle)
        assert find(bundle).golden is None

    def test_the_file_may_be_named_from_anywhere(self, bundle, monkeypatch):
        put(bundle)
        monkeypatch.chdir(str(bundle / "onnx"))
        assert read_engine(find_engine("segment_0.onnx", NANO)) == b"an engine"


class TestNames:
    def test_a_folder_can_be_read(self):
        name = EngineKey(NANO, "fp16", 32).name
        assert re.fullmatch(r"trt8\.2\.1-sm53-fp16-b32-[0-9a-f]{8}", name)

    def test_every_part_of_a_key_makes_another_folder(self):
        key = EngineKey(NANO, "fp16", 32)
        others = [
            key._replace(precision="fp32"),
            key._replace(max_batch=8),
            key._replace(flags=("a",)),
            key._replace(device=NANO._replace(tensorrt="8.2.2")),
            key._replace(device=NANO._replace(gpu="Tegra X1")),
            key._replace(device=NANO._replace(compute_capability=(5, 2))),
        ]
        assert len({each.name for each in others + [key]}) == len(others) + 1

    def test_no_version_leaves_the_folder(self):
        key = EngineKey(NANO._replace(tensorrt="../8 .2"), "fp16", 32)
        assert key.name.startswith("trt.._8_.2-sm53")
        assert os.sep not in key.name


class TestWhichFits:
    @pytest.mark.parametrize(
        "device",
        [
            ORIN,
            NANO._replace(tensorrt="8.2.2"),
            NANO._replace(gpu="NVIDIA Tegra X2"),
            NANO._replace(compute_capability=(6, 2)),
        ],
    )
    def test_another_device_finds_none_and_is_told_what_there_is(self, bundle, device):
        put(bundle)
        put(bundle, precision="int8", device=ORIN._replace(gpu="Xavier"))
        with pytest.raises(EngineError) as caught:
            find(bundle, device)
        said = str(caught.value)
        assert (
            "found TensorRT 8.2.1 on NVIDIA Tegra X1 (5.3), fp16, batch up to 8; TensorRT" in said
        )
        assert "on Xavier (8.7), int8" in said
        assert "needed {}; ".format(device) in said
        assert said.endswith(COMMAND + str(bundle))

    def test_no_byte_of_an_engine_for_another_device_is_read(self, bundle, monkeypatch):
        put(bundle)
        monkeypatch.setattr(engine_store, "read_engine", None)
        shutil.rmtree(os.path.join(str(bundle), "compiled", read_sets(str(bundle))[0][0].key.name,
                                   "onnx"))  # fmt: skip
        with pytest.raises(EngineError, match="no engine for this device"):
            find(bundle, ORIN)

    def test_without_any_the_command_is_named(self, bundle):
        with pytest.raises(EngineError, match=r"found none; needed TensorRT 8.2.1 on NVIDIA"):
            find(bundle)

    def test_of_several_precisions_the_last_built_is_taken(self, bundle):
        put(bundle, precision="fp32", built_at=300.0)
        put(bundle, precision="fp16", built_at=400.0)
        put(bundle, precision="int8", built_at=200.0)
        assert find(bundle).precision == "fp16"

    def test_a_set_without_the_stage_is_passed_over(self, bundle):
        put(bundle, precision="fp16", built_at=400.0)
        put(bundle, precision="fp32", engines=[engine_of(bundle, OTHER)])
        assert find(bundle, onnx=OTHER).precision == "fp32"

    def test_a_stage_that_is_in_no_set_is_named_so(self, bundle):
        put(bundle)
        with pytest.raises(EngineError, match=r"batch up to 8 \(without this stage\); needed"):
            find(bundle, onnx=OTHER)

    def test_a_file_in_no_bundle_is_refused(self, tmp_path):
        (tmp_path / "a.onnx").write_bytes(b"a")
        with pytest.raises(EngineError, match=r"found no manifest.json in any folder above"):
            find_engine(str(tmp_path / "a.onnx"), NANO)


class TestWhatHasChanged:
    def test_a_changed_onnx_file_is_named(self, bundle):
        put(bundle)
        (bundle / ONNX).write_bytes(b"another network")
        with pytest.raises(EngineError, match=r"has changed since its engine was built.*sha256"):
            find(bundle)

    def test_an_older_set_of_the_right_file_is_taken(self, bundle):
        put(bundle, precision="fp32", built_at=1.0)
        put(bundle, built_at=2.0, engines=[engine_of(bundle)._replace(onnx_sha256="0" * 64)])
        assert find(bundle).precision == "fp32"

    def test_a_missing_onnx_file_is_named(self, bundle):
        (bundle / ONNX).unlink()
        with pytest.raises(EngineError, match="the ONNX file cannot be read"):
            find(bundle)

    @pytest.mark.parametrize(
        "content, said",
        [(b"an engin", "found 8 bytes, needed 9"), (b"an Engine", "found sha256")],
    )
    def test_an_engine_that_was_cut_or_damaged_is_refused(self, bundle, content, said):
        put(bundle)
        found = find(bundle)
        with open(found.path, "wb") as file:
            file.write(content)
        with pytest.raises(EngineError, match=said + ".*--force"):
            read_engine(found)

    def test_a_missing_engine_is_named(self, bundle):
        put(bundle)
        found = find(bundle)
        os.remove(found.path)
        with pytest.raises(EngineError, match=r"cannot be read.*No such file.*--force"):
            read_engine(found)


class TestDamagedDocuments:
    @pytest.mark.parametrize(
        "change, said",
        [
            (lambda d: d.pop("key"), "key: missing"),
            (lambda d: d.update(format="other"), "format: found 'other'"),
            (lambda d: d.update(format_version=2), "format_version: found 2, expected 1"),
            (lambda d: d["key"].update(precision="fp8"), "key.precision: found 'fp8'"),
            (lambda d: d["key"].update(compute_capability=[5]), "expected two numbers"),
            (lambda d: d["engines"][0].update(file="../a"), r"engines\[0\].file: found '../a'"),
            (lambda d: d["engines"][0].update(golden="/a"), r"engines\[0\].golden: found '/a'"),
            (lambda d: d["engines"][0].update(bytes=0), r"engines\[0\].bytes: found 0"),
            (lambda d: d["engines"][0].pop("error"), r"engines\[0\].error: missing"),
            (lambda d: d["key"].update(max_batch=9), "which is another folder's"),
        ],
    )
    def test_it_is_named_and_the_others_are_found(self, bundle, change, said):
        built = put(bundle)
        edit(bundle, built, change)
        with pytest.raises(EngineError, match=said):
            find(bundle)
        put(bundle, precision="fp32")
        assert find(bundle).precision == "fp32"

    @pytest.mark.parametrize(
        "content", [b"", b"[]", b"{", b"\xff", b"[" * 100000, b" " * (2 << 20)]
    )
    def test_whatever_stands_there_is_an_error_of_ours(self, bundle, content):
        folder = bundle / "compiled" / "trt1"
        folder.mkdir(parents=True)
        (folder / engine_store.DOCUMENT).write_bytes(content)
        with pytest.raises(EngineError, match=r"engine.json: .*build the engines again"):
            find(bundle)

    def test_what_a_killed_build_left_is_not_looked_at(self, bundle):
        built = put(bundle)
        folder = folder_of(str(bundle), built.key)
        os.rename(folder, os.path.join(os.path.dirname(folder), ".building-1"))
        assert read_sets(str(bundle)) == ([], [])
