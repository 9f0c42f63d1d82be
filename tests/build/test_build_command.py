"""`python -m edgesdk.build` on machines that are doubles, as whole processes."""

import json
import os
import resource
import shutil
import signal
import sys
from pathlib import Path

import builds
import numpy as np
import pytest
import tiny
import trt_names
from builds import ORIN, in_compiled, one_node, quantized, run, start, tiny_with
from trt_bench import Bench

from edgesdk.build import narrator
from edgesdk.build.trial import TOLERANCES
from edgesdk.engine_store import Device, find_engine, read_engine, read_sets
from edgesdk.errors import EngineError

NANO = {"gpu": "NVIDIA Tegra X1", "compute_capability": (5, 3)}
ONNX = ["onnx/segment_0.onnx", "onnx/segment_1.onnx", "onnx/segment_2.onnx"]
# TensorRT 11 has no flag for fp16, and what converts ONNX files needs a newer Python.
HALF = pytest.mark.skipif(sys.version_info < (3, 8), reason="the converter is not for this Python")
VERSIONS = [
    pytest.param(version, marks=HALF if version.startswith("11") else ())
    for version in trt_names.VERSIONS
]


@pytest.fixture
def bundle(tmp_path):
    """A tiny bundle of this test's own."""
    return tiny.write_tiny_bundle(tmp_path / "tiny" / "1")


@pytest.fixture
def alone(tmp_path):
    """A bundle of one stage of this test's own."""
    return builds.of_one_stage(tmp_path / "tiny" / "1")


def found_engines(bundle, version, **gpu):
    device = Device(version, **dict(NANO, **gpu))
    return [find_engine(bundle.file(name), device) for name in ONNX]


class TestEveryVersion:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_what_is_built_is_found_and_computes(self, bundle, version):
        done = run(bundle, version, "--max-batch", "8", "--json")
        assert (done.status, done.complaints) == (0, ""), done.err
        assert done.told["built"] == ONNX and done.told["precision"] == "fp16"
        bench = Bench(version)
        for found in found_engines(bundle, version):
            assert (found.precision, found.max_batch) == ("fp16", 8)
            assert found.engine.layer_count > 0 and found.engine.error < TOLERANCES["fp16"]
            with np.load(found.golden) as golden:
                out = bench.run(read_engine(found), golden["features"])
                assert np.abs(out - golden["features_out"]).max() < 0.01
        bench.close()

    def test_what_is_up_to_date_is_not_built_again(self, bundle):
        run(bundle, "8.2.1")
        again = run(bundle, "8.2.1", "--json", broken=["build fails"])
        assert again.status == 0 and again.told["built"] == []
        forced = run(bundle, "8.2.1", "--force", broken=["build fails"])
        assert forced.status == 1 and "Could not find any implementation" in forced.err
        assert "--workspace-mib 512" in forced.err
        assert len(found_engines(bundle, "8.2.1")) == 3, "what was there is there still"

    def test_engines_of_another_version_are_told_of(self, bundle):
        run(bundle, "8.2.1", "--unchecked")
        with pytest.raises(EngineError) as caught:
            found_engines(bundle, "8.4.1.5")
        assert "found TensorRT 8.2.1 on NVIDIA Tegra X1 (5.3), fp16" in str(caught.value)
        assert "needed TensorRT 8.4.1.5 on" in str(caught.value)

    def test_a_damaged_engine_is_refused_and_built_again(self, bundle):
        run(bundle, "8.2.1", "--unchecked")
        path = found_engines(bundle, "8.2.1")[1].path
        with open(path, "r+b") as file:
            file.truncate(os.path.getsize(path) - 1)
        with pytest.raises(EngineError, match=r"found \d+ bytes, needed \d+"):
            read_engine(found_engines(bundle, "8.2.1")[1])
        again = run(bundle, "8.2.1", "--unchecked", "--json")
        assert again.told["built"] == [ONNX[1]]
        read_engine(found_engines(bundle, "8.2.1")[1])

    def test_a_graph_head_is_an_engine_too(self, tmp_path):
        bundle = builds.with_graph_head(tmp_path / "1")
        done = run(bundle, "8.2.1", "--json")
        assert done.told["built"] == [*ONNX, "heads/exit_2.onnx"], done.err


class TestChoices:
    def test_a_dry_run_says_what_would_be_done_and_writes_nothing(self, bundle):
        done = run(bundle, "8.2.1", "--dry-run")
        assert done.status == 0 and done.out.count("to be built") == 3
        assert str(Path(bundle.path) / "compiled" / "trt8.2.1-sm53-fp16-b32-") in done.out
        assert not (Path(bundle.path) / "compiled").exists()
        run(bundle, "8.2.1", "--unchecked")
        done = run(bundle, "8.2.1", "--unchecked", "--dry-run", "--json")
        assert done.told["to_be_built"] == [] and len(done.told["engines"]) == 3

    def test_a_gpu_without_fp16_gets_fp32(self, bundle):
        done = run(bundle, "8.2.1", "--json", fast_fp16=False)
        assert done.told["precision"] == "fp32"
        assert max(engine["error"] for engine in done.told["engines"]) < 1e-6

    def test_batches_and_memory_are_those_asked_for(self, alone):
        options = [
            "--max-batch",
            "4",
            "--optimum-batch",
            "2",
            "--workspace-mib",
            "16",
            "--unchecked",
        ]
        done = run(alone, "8.2.1", *options)
        assert done.status == 0 and "batch up to 4, optimum batch 2" in done.out
        (built,) = read_sets(alone.path)[0]
        assert built.key.flags == ("optimum batch 2",)
        assert built.engines[0].conditions["workspace_mib"] == 16

    @pytest.mark.parametrize(
        "options, said",
        [
            (["--plan", "fast"], "plan: found 'fast', expected one of full"),
            (["--max-batch", "2", "--optimum-batch", "3"], "optimum-batch: found 3, expected at"),
            (["--precision", "int8"], "found no QuantizeLinear in any stage"),
        ],
    )
    def test_what_cannot_be_had_is_refused(self, alone, options, said):
        done = run(alone, "8.2.1", *options)
        assert done.status == 1 and said in done.err

    def test_int8_wants_files_that_say_how_to_round(self, tmp_path, bundle):
        done = run(bundle, "8.5.3", "--precision", "int8", **ORIN)
        assert done.status == 1 and "found no QuantizeLinear in any stage" in done.err
        rounded = tiny_with(tmp_path / "rounded", segment_1=quantized())
        done = run(rounded, "8.5.3", "--json", **ORIN)
        assert done.status == 0, done.err
        assert done.told["precision"] == "int8" and len(done.told["built"]) == 3
        for asked in ([], ["--precision", "int8"]):
            nano = run(rounded, "8.2.1", *asked)
            assert nano.status == 1 and "(5.3), which does not compute in INT8" in nano.err
        done = run(rounded, "8.5.3", "--precision", "fp16", **ORIN)
        assert done.status == 1 and "found QuantizeLinear in onnx/segment_1.onnx" in done.err

    @pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
    def test_int8_is_flags_or_the_graph_alone(self, tmp_path, version):
        rounded = tiny_with(tmp_path / "rounded", segment_1=quantized())
        done = run(rounded, version, "--precision", "int8", **ORIN)
        assert (done.status, done.complaints) == (0, ""), done.err

    def test_without_a_check_nothing_of_the_cpu_is_needed(self, alone):
        done = run(alone, "8.2.1", "--unchecked")
        assert done.status == 0 and done.out.count("unchecked") == 1
        (built,) = read_sets(alone.path)[0]
        assert [engine.golden for engine in built.engines] == [None]
        assert run(alone, "8.2.1", "--json").told["built"] == ONNX[:1], "now it is checked"


class TestTroubles:
    @pytest.mark.parametrize(
        "fault, said",
        [
            ("no gpu", "BackendUnavailable: found no GPU (cuInit failed"),
            ("no driver", "BackendUnavailable: found no pycuda that loads (libcuda.so.1"),
            ("old driver", "EngineError: TensorRT 8.2.1 cannot use this GPU: CUDA init"),
            ("kills builder", "segment_0.onnx: the process that computed it was killed (SIGKILL)"),
            ("memory at build", "the GPU had too little memory for it"),
            ("memory at alloc", "out of memory"),
            ("memory at context", "1: Cuda Runtime (out of memory)"),
            ("execute", "segment_0.onnx: TensorRT: found Error Code 3"),
        ],
    )
    def test_each_is_told_apart_and_leaves_nothing(self, alone, fault, said):
        done = run(alone, "8.2.1", broken=[fault])
        assert done.status == 1 and said in done.err, done.err
        assert done.complaints == ""
        assert len(done.err.splitlines()) == 1, "no traceback"
        if (Path(alone.path) / "compiled").exists():
            assert [name for name in in_compiled(alone) if "timing" not in name] == []

    def test_a_stage_that_cannot_be_read_is_named_with_its_operator(self, tmp_path):
        bundle = tiny_with(tmp_path / "1", segment_1=one_node("Softsign"))
        old = run(bundle, "8.2.1", "--unchecked")
        assert "onnx/segment_1.onnx: TensorRT 8.2.1 cannot read it: found node 0:" in old.err
        assert "No importer registered for op: Softsign" in old.err
        new = run(bundle, "10.3.0", "--unchecked")
        assert "found node 0 'odd' (Softsign): No importer" in new.err
        assert in_compiled(bundle) == ["timing-trt10.3.0-sm53.cache", "timing-trt8.2.1-sm53.cache"]

    def test_an_opset_that_is_too_new_is_told_in_a_sentence(self, tmp_path):
        bundle = tiny_with(tmp_path / "1", segment_1=one_node("Relu", opset=14))
        done = run(bundle, "8.2.1", "--unchecked")
        assert "the file is of opset 14, and TensorRT 8.2 reads opset 13 at most" in done.err
        assert run(bundle, "8.4.1.5", "--unchecked").status == 0

    def test_tactics_that_were_skipped_are_counted(self, alone):
        done = run(alone, "8.2.1", "--unchecked", broken=["skips tactics"])
        assert done.status == 0
        assert "skipped for lack of memory: 1. The engines are right" in done.out
        (built,) = read_sets(alone.path)[0]
        assert [engine.skipped_tactic_count for engine in built.engines] == [1]

    def test_a_timing_cache_that_is_no_good_is_left_aside_with_a_word(self, alone, tmp_path):
        cache = tmp_path / "timing"
        cache.write_bytes(b"rubbish")
        options = ["--unchecked", "--timing-cache", str(cache)]
        done = run(alone, "8.2.1", *options)
        assert done.status == 0 and "timing: damaged, or of another GPU or TensorRT" in done.out
        foreign = run(alone, "8.4.1.5", *options)
        assert foreign.status == 0 and "of another GPU or TensorRT; begun anew" in foreign.out
        assert "begun anew" not in run(alone, "8.4.1.5", "--force", *options).out

    def test_a_full_disk_leaves_what_was_there(self, alone):
        run(alone, "8.2.1", "--max-batch", "4", "--unchecked")
        before = in_compiled(alone)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
        try:
            process = start(alone, "8.2.1", "--max-batch", "8", "--unchecked")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        done = builds.end(process)
        assert done.status == 1 and "cannot be written (File too large)" in done.err
        assert in_compiled(alone) == before

    def test_a_alone_that_cannot_be_written_says_so(self, alone):
        (Path(alone.path) / "compiled").write_text("in the way")
        done = run(alone, "8.2.1")
        assert done.status == 1 and "engines are kept in their bundle: copy it" in done.err

    def test_a_damaged_list_of_engines_is_built_anew(self, alone):
        run(alone, "8.2.1", "--unchecked")
        (document,) = Path(alone.path).glob("compiled/*/engine.json")
        document.write_text("{")
        assert run(alone, "8.2.1", "--unchecked", "--json").told["built"] == ONNX[:1]
        json.loads(document.read_text())


class TestKills:
    def test_kill_9_leaves_nothing_half_written_and_nobody_at_work(self, alone):
        process, child = builds.start_for_ever(alone)
        builds.kill(process.pid)
        builds.end(process)
        builds.wait_until(lambda: not builds.is_alive(child), "the end of the child")
        assert read_sets(alone.path) == ([], [])
        assert [name for name in in_compiled(alone) if not name.startswith(".building-")] == []
        assert run(alone, "8.2.1", "--unchecked", "--json").told["built"] == ONNX[:1]
        assert not [name for name in in_compiled(alone) if name.startswith(".")]

    def test_two_builds_at_once_are_refused(self, alone):
        first, _ = builds.start_for_ever(alone)
        second = run(alone, "8.4.1.5")
        assert second.status == 1 and "found another build at work" in second.err
        first.send_signal(signal.SIGINT)
        done = builds.end(first)
        assert done.status == 130 and "interrupted" in done.err
        assert in_compiled(alone) == []

    def test_a_child_that_is_killed_alone_is_told_apart(self, alone):
        process, child = builds.start_for_ever(alone)
        os.kill(child, signal.SIGTERM)
        done = builds.end(process)
        assert "the process that computed it was ended by SIGTERM and said nothing" in done.err
        assert done.status == 1


class TestOnTheCpu:
    @pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
    def test_stages_are_loaded_and_compared_and_nothing_is_kept(self, bundle, backend):
        done = run(bundle, "8.2.1", "--backend", backend, broken=["no driver"])
        assert done.status == 0, done.err
        assert "nothing was kept: " + backend in done.out
        assert done.out.count("onnx/segment_") == 3
        assert not (Path(bundle.path) / "compiled").exists()


def test_it_is_never_silent(monkeypatch, capsys):
    """Where there is no terminal a line comes every so often; here time passes faster."""
    now = [0.0]
    monkeypatch.setattr(narrator.time, "monotonic", lambda: now[0])
    with narrator.Narrator().about("onnx/segment_0.onnx") as tick:
        for now[0] in (10.0, 31.0, 40.0, 62.0):
            tick(0)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "onnx/segment_0.onnx ... 31 s",
        "onnx/segment_0.onnx ... 62 s",
        "onnx/segment_0.onnx: 62.0 s",
    ]


def test_real_networks_build_too(tmp_path):
    """The bundle of the repository, whose stages have what TensorRT meets."""
    source = builds.ROOT / "engines" / "wrn16_1-digits" / "1"
    ignored = shutil.ignore_patterns("compiled")
    bundle = tmp_path / "digits"
    shutil.copytree(str(source), str(bundle), ignore=ignored)
    done = run(builds.read_bundle(str(bundle)), "8.2.1", "--max-batch", "4", "--json")
    assert done.status == 0 and len(done.told["built"]) == 7, done.err
    assert max(engine["error"] for engine in done.told["engines"]) < TOLERANCES["fp16"]
