"""bench pipeline: checked before it is timed, the tables, the figures and their targets."""

import json

import numpy as np
import pytest

from edgesdk.bench import __main__ as bench
from edgesdk.bench import pipeline
from edgesdk.bench.contenders import EAGER, PLAIN, Answers, Contender, none_taken
from edgesdk.pipeline import Pipeline


@pytest.fixture(autouse=True)
def unpinned(monkeypatch):
    monkeypatch.setattr(bench, "pin", lambda threads: None)


def entry(name, kind, mean_us, accuracy=0.9, pipe=None):
    """A contender that took `mean_us` for every image, in whatever batch."""
    answers = Answers(np.zeros(4, np.int64), np.zeros(4, np.int64))
    times = {batch: np.full(4, mean_us * batch) for batch in pipeline.BATCHES}
    return pipeline.Entry(Contender(name, kind, len, pipe), answers, accuracy, times)


@pytest.fixture
def opened(whole_bundle):
    with Pipeline.open(whole_bundle.path, backend="onnxruntime") as pipe:
        yield pipe


def named(figures, ending):
    return next(figure for figure in figures if figure["name"].endswith(ending))


class TestFigures:
    def test_all_exits_are_held_to_their_limit(self, opened):
        plain = entry(PLAIN, "plain", 100.0)
        for took_us, ok in ((140.0, True), (150.0, False)):
            ours = entry("onnxruntime " + none_taken("full"), "whole", took_us, pipe=opened)
            found = named(pipeline.figures([plain, ours]), ": times plain")
            assert (found["target"], found["ok"]) == (1.45, ok)
            assert found["value"] == pytest.approx(took_us / 100)

    def test_kept_exits_are_held_to_a_tighter_one(self, whole_bundle):
        with Pipeline.open(whole_bundle.path, policy="final", plan="merged") as pipe:
            ours = entry("onnxruntime " + none_taken("merged"), "whole", 120.0, pipe=pipe)
            found = named(pipeline.figures([entry(PLAIN, "plain", 100.0), ours]), ": times plain")
        assert (found["target"], found["ok"]) == (1.15, False)

    def test_leaving_early_must_gain_time_and_lose_little(self, opened):
        plain = entry(PLAIN, "plain", 100.0, accuracy=0.9)
        ours = entry("onnxruntime policy p", "early", 50.0, accuracy=0.88, pipe=opened)
        found = pipeline.figures([plain, ours])
        lost = named(found, "accuracy lost")
        assert (round(lost["value"], 6), lost["ok"]) == (2.0, False)
        for ending in ("mean latency, times better than plain", "at 32, times better than plain"):
            assert named(found, ending)["value"] == pytest.approx(2.0)
            assert named(found, ending)["ok"] is True

    def test_torch_is_compared_with_torch(self, opened, monkeypatch):
        monkeypatch.setattr(opened.backend, "name", "torch", raising=False)
        entries = [entry(PLAIN, "plain", 1.0), entry(EAGER, "plain", 300.0)]
        ours = entry("torch cut, final exit only", "whole", 200.0, pipe=opened)
        found = named(pipeline.figures([*entries, ours]), "speed over torch eager")
        assert (found["value"], found["target"], found["ok"]) == (1.5, 1.3, True)
        found = named(pipeline.figures([entries[0], ours]), "(torch is not installed)")
        assert (found["value"], found["ok"]) == (0.0, False)

    def test_throughput_is_images_over_time(self):
        found = pipeline.figures([entry(PLAIN, "plain", 100.0)])
        assert named(found, "batches of 8")["value"] == pytest.approx(10000)
        assert named(found, "p95 latency")["value"] == 100.0

    def test_a_row_for_everyone(self, opened):
        entries = [entry(PLAIN, "plain", 100.0), entry("ours", "early", 50.0, pipe=opened)]
        found = pipeline.rows(entries)
        assert all(len(cells) == len(pipeline.HEADER) for cells in found)
        assert found[1][1:6] == ("90.00 %", "50", "50", "50", "2.00")
        assert found[1][-1] == "20000 (2.00x)"


class TestGroups:
    def test_single_images_are_spread_over_the_test_images(self, monkeypatch):
        monkeypatch.setattr(pipeline, "TIMED_IMAGES_MAX", 4)
        assert pipeline._groups(list(range(10)), 1) == [0, 2, 5, 7]

    def test_batches_are_whole(self):
        assert pipeline._groups(list(range(5)), 4) == [[0, 1, 2, 3], [4, 0, 1, 2]]
        assert [len(group) for group in pipeline._groups(list(range(3)), 8)] == [8]

    def test_everyone_gets_every_group_in_turns(self):
        seen = []
        one, two = (entry(name, "plain", 1.0) for name in "ab")
        one = one._replace(contender=one.contender._replace(infer=lambda x: seen.append("a")))
        two = two._replace(contender=two.contender._replace(infer=lambda x: seen.append("b")))
        pipeline.clock([one, two], list(range(40)), 1, 1e-9)
        changes = sum(before != after for before, after in zip(seen, seen[1:]))
        assert changes >= 2 * pipeline.ROUNDS_MIN
        assert np.isfinite(one.times_us[1]).all() and len(one.times_us[1]) == 40


class TestCommand:
    @pytest.fixture
    def run(self, whole_bundle, brightnesses, monkeypatch):
        """Runs the command on the tiny bundle and its images."""
        monkeypatch.setattr(pipeline, "read_test_images", lambda data, labels: brightnesses)

        def call(*options):
            arguments = ["--bundle", whole_bundle.path, "--seconds", "0.001", *options]
            return bench.main(["pipeline", *arguments])

        return call

    def test_one_json_object(self, run, capsys):
        assert run("--json") == 0
        out, err = capsys.readouterr()
        found = json.loads(out)
        assert sorted(found) == ["conditions", "figures", "versions"]
        names = [figure["name"] for figure in found["figures"]]
        assert len(set(names)) == len(names)
        for figure in found["figures"]:
            assert sorted(figure) == ["name", "ok", "target", "unit", "value"]
            assert (figure["target"] is None) == (figure["ok"] is None)
        assert named(found["figures"], PLAIN + ": accuracy")["value"] == 100.0
        for part in ("in all", "preprocess", "stages", "heads", "core", "buffers, loop, results"):
            assert part + ", every exit evaluated" in names
        assert "40 test images of brightnesses" in err

    def test_a_person_sees_both_tables(self, run, capsys):
        assert run() == 0
        out = capsys.readouterr().out
        assert "onnxruntime uncut" in out and "preprocess" in out

    def test_a_wrong_label_stops_it_before_anything_is_timed(self, run, capsys, monkeypatch):
        right = pipeline.answers

        def spoiled(contender, images):
            found = right(contender, images)
            if "calibrated" in contender.name:
                found.class_index[0] = 1 - found.class_index[0]
            return found

        monkeypatch.setattr(pipeline, "answers", spoiled)
        monkeypatch.setattr(pipeline, "clock", lambda *_: pytest.fail("timed a wrong contender"))
        assert run("--json") == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert "onnxruntime policy calibrated: found 1 answers" in err.splitlines()[-1]

    def test_a_bundle_without_the_uncut_network(self, run, bundle, capsys):
        assert run("--bundle", bundle.path) == 1
        assert "the uncut network to compare with" in capsys.readouterr().err

    def test_data_that_does_not_exist(self, whole_bundle, tmp_path, capsys):
        pytest.importorskip("tqdm")
        arguments = ["--bundle", whole_bundle.path, "--data", str(tmp_path / "none")]
        assert bench.main(["pipeline", *arguments]) == 1
        assert "found nothing at" in capsys.readouterr().err
