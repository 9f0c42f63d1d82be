"""Which files are built: each once, those of a plan or of all, and only what is not there."""

import builds
import pytest
import tiny
import tiny_ensemble

from edgesdk.build.planning import Choices, renamed, stage_files, what_to_do
from edgesdk.bundle import read_bundle
from edgesdk.bundle_update import update_bundle
from edgesdk.engine_store import Device, Engine, EngineKey, EngineSet, folder_of
from edgesdk.errors import ConfigError
from edgesdk.manifest import sha256

KEY = EngineKey(Device("8.2.1", "NVIDIA Tegra X1", (5, 3)), "fp16", 8)
MERGED = "onnx/stage_1_2.onnx"
FAST = [
    {"first_segment": 0, "last_segment": 0, "exit": 0, "file": "onnx/segment_0.onnx"},
    {"first_segment": 1, "last_segment": 2, "exit": 2, "file": MERGED},
]


@pytest.fixture
def planned(tmp_path):
    """A bundle with two plans, one of which has a merged stage."""
    bundle = tiny.write_tiny_bundle(tmp_path / "tiny" / "1")
    same = tiny.tiny_files()["onnx/segment_1.onnx"]
    return update_bundle(bundle.path, {}, {"fast": {"stages": FAST}}, {MERGED: same})


def names(files):
    return [file.onnx for file in files]


class TestFiles:
    def test_all_plans_each_file_once(self, planned):
        segments = ["onnx/segment_{}.onnx".format(number) for number in range(3)]
        assert names(stage_files(planned.manifest)) == [*segments, MERGED]

    def test_one_plan(self, planned):
        found = stage_files(planned.manifest, "fast")
        assert names(found) == ["onnx/segment_0.onnx", MERGED]
        assert (found[1].border, found[1].input_shape, found[1].output_shape) == (
            1,
            (2, tiny.SIZE, tiny.SIZE),
            (2, tiny.SIZE, tiny.SIZE),
        )
        with pytest.raises(ConfigError, match="found 'slow', expected one of full, fast"):
            stage_files(planned.manifest, "slow")

    def test_a_graph_head_reads_what_stands_in_front_of_it(self, tmp_path):
        bundle = builds.with_graph_head(tmp_path / "1")
        head = stage_files(bundle.manifest)[-1]
        assert (head.onnx, head.border, head.output_shape) == ("heads/exit_2.onnx", 3, (2,))

    def test_a_bottleneck_has_an_encoder_and_a_decoder(self, tmp_path):
        bundle = tiny.write_with_bottleneck(tmp_path / "1")
        *_, encoder, decoder = stage_files(bundle.manifest)
        features, code = (2, tiny.SIZE, tiny.SIZE), (1, tiny.SIZE, tiny.SIZE)
        assert encoder[:5] == ("onnx/encoder.onnx", 0, 2, features, code)
        assert decoder[:5] == ("onnx/decoder.onnx", 0, 2, code, features)
        assert (encoder.encoder, decoder.encoder) == ("", "onnx/encoder.onnx")

    def test_students_each_have_theirs(self, tmp_path):
        tiny_ensemble.write_tiny_ensemble(tmp_path / "1")
        found = stage_files(read_bundle(str(tmp_path / "1")).manifest)
        assert {file.part for file in found} == {0, 1} and len(set(names(found))) == len(found)

    def test_the_names_of_engines(self):
        assert renamed("onnx/segment_0.onnx", ".engine") == "onnx/segment_0.engine"


class TestWork:
    def engines(self, bundle, **changed):
        """Engines of all files, on disk."""
        found = []
        for file in stage_files(bundle.manifest):
            engine = Engine(
                file.onnx, file.sha256, renamed(file.onnx, ".engine"), sha256(b"built"), 5, None,
                1, 1.0, 0, 0.1, {},
            )  # fmt: skip
            path = bundle.path + "/compiled/" + KEY.name + "/" + engine.file
            builds.Path(path).parent.mkdir(parents=True, exist_ok=True)
            builds.Path(path).write_bytes(b"built")
            found.append(engine._replace(**changed))
        return EngineSet(KEY, 1.0, tuple(found))

    def work(self, bundle, there, plan=None, **choices):
        chosen = Choices(plan=plan, **choices)
        files = stage_files(bundle.manifest, plan)
        work = what_to_do(bundle, KEY, there, files, chosen)
        return [engine.onnx for engine in work.kept], names(work.wanted)

    def test_where_nothing_is_all_is_wanted(self, planned):
        assert self.work(planned, None) == ([], names(stage_files(planned.manifest)))

    def test_what_is_there_is_kept_also_for_other_plans(self, planned):
        there = self.engines(planned)
        assert self.work(planned, there, "fast") == (names(stage_files(planned.manifest)), [])

    def test_force_builds_what_was_asked_for_and_keeps_the_rest(self, planned):
        kept, wanted = self.work(planned, self.engines(planned), "fast", is_forced=True)
        assert kept == ["onnx/segment_1.onnx", "onnx/segment_2.onnx"]
        assert wanted == ["onnx/segment_0.onnx", MERGED]

    @pytest.mark.parametrize(
        "changed",
        [
            {"onnx_sha256": "0" * 64},
            {"sha256": "0" * 64},
            {"bytes": 4},
            {"error": None},
            {"golden": "onnx/none.npz"},
            {"file": "onnx/none.engine"},
        ],
    )
    def test_what_is_not_whole_is_built_again(self, planned, changed):
        assert self.work(planned, self.engines(planned, **changed))[0] == []

    def test_unchecked_is_enough_for_who_asks_no_check(self, planned):
        there = self.engines(planned, error=None)
        assert self.work(planned, there, is_checked=False)[1] == []

    def test_the_folder_is_that_of_the_store(self, planned):
        assert folder_of(planned.path, KEY).endswith("/compiled/" + KEY.name)
