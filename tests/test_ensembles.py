"""Ensembles (DistrEE): students leave by themselves, and one answer is made of their features."""

import numpy as np
import pytest
import tiny
import tiny_ensemble as te
from clusters import WAIT_S, Clustered, eventually, worker

from edgesdk import (
    BundleError,
    ConfigError,
    CosineDifference,
    Entropy,
    Failed,
    FixedExit,
    Margin,
    MaxProbability,
    NeighbourSimilarity,
    Patience,
    Pipeline,
    RandomExit,
)
from edgesdk.bundle import read_plain_bundle, write_bundle
from edgesdk.core.missing import MISSING_US

BRIGHTNESSES = (0.0, 0.2, 0.45, 0.55, 0.9, 1.0)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    return te.write_tiny_ensemble(tmp_path_factory.mktemp("engines") / "ensemble" / "1")


def expected(brightness, *exits):
    """Logits by hand; an exit that is None is of a student that is not there."""
    features = [
        np.array(te.MISSING) if index is None else te.feature(brightness, part, index)
        for part, index in enumerate(exits)
    ]
    return te.logits(*features)


def is_answer(result, brightness, *exits):
    """Whether a result is what these exits of the students say together."""
    logits = expected(brightness, *exits)
    deepest = max(index for index in exits if index is not None)
    assert result.exit_index == deepest
    assert result.class_index == int(np.argmax(logits))
    probabilities = np.exp(logits) / np.exp(logits).sum()
    assert result.max_probability == pytest.approx(probabilities.max(), abs=1e-5)
    assert result.degraded is (None in exits)
    return True


def probabilities_alone(brightness, part, exit_index):
    """What the answer would be if the other student had never been there."""
    exits = [None] * te.PART_COUNT
    exits[part] = exit_index
    terms = np.exp(expected(brightness, *exits))
    return terms / terms.sum()


class TestOneProcess:
    @pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
    def test_every_student_leaves_by_itself(self, ensemble, backend):
        with Pipeline.open(ensemble.path, backend=backend, logits=True) as pipe:
            for brightness in BRIGHTNESSES:
                result = pipe.infer(tiny.image(brightness))
                assert is_answer(result, brightness, 2, 1)  # 1 / cos 0.3 < 1.2 < 1 / cos 0.8
                assert result.reason == "final"  # of the student that was waited for
                assert result.logits == pytest.approx(expected(brightness, 2, 1), abs=1e-4)

    def test_a_batch_gives_what_single_images_give(self, ensemble):
        images = np.stack([tiny.image(b) for b in BRIGHTNESSES])
        with Pipeline.open(ensemble.path, max_batch=4) as pipe:
            together = pipe.infer(images)
            alone = [pipe.infer(image) for image in images]
            assert pipe._executor.held_count == 0
        for one, other, brightness in zip(together, alone, BRIGHTNESSES):
            assert one[2:6] == other[2:6] and is_answer(one, brightness, 2, 1)

    @pytest.mark.parametrize("index", range(te.EXIT_COUNT))
    def test_exits_can_be_forced(self, ensemble, index):
        with Pipeline.open(ensemble.path, policy=FixedExit(index)) as pipe:
            for brightness in BRIGHTNESSES:
                result = pipe.infer(tiny.image(brightness))
                assert is_answer(result, brightness, index, index)

    @pytest.mark.parametrize(
        ("policy", "exits"),
        [
            ("final", (2, 2)),
            (CosineDifference([1.0, 1.04, 1.0]), (1, 1)),
            (CosineDifference([1.0, 9.0, 1.0]), (2, 2)),
            (NeighbourSimilarity([0.9, 0.9]), (1, 2)),  # cos 0.3 > 0.9 > cos 0.8
        ],
        ids=repr,
    )
    def test_policies(self, ensemble, policy, exits):
        with Pipeline.open(ensemble.path, policy=policy) as pipe:
            for brightness in BRIGHTNESSES:
                assert is_answer(pipe.infer(tiny.image(brightness)), brightness, *exits)

    def test_a_random_exit_is_drawn_for_every_student(self, ensemble):
        with Pipeline.open(ensemble.path, policy=RandomExit(), logits=True) as pipe:
            found = set()
            for _ in range(200):
                logits = pipe.infer(tiny.image(0.9)).logits
                for exits in np.ndindex(te.EXIT_COUNT, te.EXIT_COUNT):
                    if np.allclose(logits, expected(0.9, *exits), atol=1e-4):
                        found.add(exits)
        assert len(found) == te.EXIT_COUNT**te.PART_COUNT

    @pytest.mark.parametrize(
        ("policy", "leaves"),
        [
            (MaxProbability(0.995), lambda p: p[-1].max() > 0.995),
            (Margin(0.99), lambda p: abs(p[-1][0] - p[-1][1]) > 0.99),
            (Entropy(0.03), lambda p: -(p[-1] * np.log(p[-1])).sum() < 0.03),
            (Patience(2), lambda p: len(p) > 1 and p[-1].argmax() == p[-2].argmax()),
        ],
        ids=lambda each: getattr(each, "kind", "leaves"),
    )
    def test_a_student_is_as_sure_as_the_answer_would_be_without_the_others(
        self, ensemble, policy, leaves
    ):
        found = set()
        with Pipeline.open(ensemble.path, policy=policy) as pipe:
            for brightness in np.linspace(0, 1, 21):
                exits = []
                for part in range(te.PART_COUNT):
                    alone = [probabilities_alone(brightness, part, k) for k in range(3)]
                    exits.append(next((k for k in (0, 1) if leaves(alone[: k + 1])), 2))
                found.add(tuple(exits))
                assert is_answer(pipe.infer(tiny.image(brightness)), brightness, *exits)
        assert len(found) > 1  # or nothing would have been decided

    def test_a_student_that_fails_degrades_the_answer(self, ensemble):
        with Pipeline.open(ensemble.path) as pipe:

            def fail(features, out):
                raise ValueError("it broke")

            pipe._executor._stages[(1, 0)].program.run = fail
            assert is_answer(pipe.infer(tiny.image(0.9)), 0.9, 2, None)
            assert pipe.stats()["ended"] == {"result.degraded": 1}
            pipe._executor._stages[(0, 1)].program.run = fail
            with pytest.raises(Failed, match="it broke"):
                pipe.infer(tiny.image(0.9))
            assert pipe._executor.held_count == 0

    def test_what_is_not_finite_is_no_answer(self, ensemble):
        with Pipeline.open(ensemble.path) as pipe:
            run = pipe._executor._stages[(1, 0)].program.run

            def spoil(features, out):
                run(features, out)
                out[...] = np.nan

            pipe._executor._stages[(1, 0)].program.run = spoil
            assert is_answer(pipe.infer(tiny.image(0.9)), 0.9, 2, None)

    def test_stages_are_counted_by_part(self, ensemble):
        with Pipeline.open(ensemble.path) as pipe:
            pipe.infer(tiny.image(0.9))
            counts = {(s["part"], s["stage"]): s["run_count"] for s in pipe.stats()["stages"]}
        assert counts == {(0, 0): 1, (0, 1): 1, (0, 2): 1, (1, 0): 1, (1, 1): 1, (1, 2): 0}


class TestTheBundle:
    def write(self, tmp_path, change, files=()):
        manifest, contents = te.ensemble_manifest(), te.ensemble_files()
        change(manifest)
        contents.update(files)
        return write_bundle(tmp_path / "changed", manifest, contents)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (
                lambda m: m.pop("classifier"),
                "classifier: found none, expected one, for there are 2",
            ),
            (lambda m: m["classifier"].update(file="x.npz"), r"classifier\.file: found 'x.npz'"),
            (lambda m: m["classifier"].update(feature_size=0), r"classifier\.feature_size"),
            (
                lambda m: m["parts"][1]["exits"][2]["head"].update(kind="fused"),
                r"parts\[1\]\.exits\[2\]\.head\.kind.*'feature', for there is a classifier",
            ),
            (
                lambda m: m["parts"][1]["plans"].update(other=m["parts"][1]["plans"]["full"]),
                r"parts\[1\]\.plans",
            ),
        ],
        ids=range(5),
    )
    def test_what_does_not_fit_is_refused(self, tmp_path, change, match):
        with pytest.raises(BundleError, match=match):
            self.write(tmp_path, change)

    @pytest.mark.parametrize(
        ("name", "arrays"),
        [
            ("heads/classifier.npz", {"weight": np.zeros((2, 4), np.float32)}),
            (
                "heads/classifier.npz",
                {
                    "weight": np.zeros((2, 3), np.float32),
                    "bias": np.zeros(2, np.float32),
                    "missing": np.zeros((2, 2), np.float32),
                },
            ),
            ("heads/1_0.npz", {"projection": np.zeros((3, 2), np.float32)}),
        ],
        ids=range(3),
    )
    def test_arrays_that_do_not_fit_are_refused_when_it_is_opened(self, tmp_path, name, arrays):
        bundle = self.write(tmp_path, lambda m: None, {name: tiny._npz(**arrays)})
        with pytest.raises(BundleError, match=name):
            Pipeline.open(bundle.path)

    def test_what_knows_plain_networks_only_says_so(self, ensemble):
        with pytest.raises(ConfigError, match="found an ensemble of 2, expected a plain network"):
            read_plain_bundle(ensemble.path)

    def test_its_identity_depends_on_the_classifier(self, tmp_path, ensemble):
        changed = tiny._npz(
            weight=np.zeros((2, 4), np.float32),
            bias=np.zeros(2, np.float32),
            missing=np.zeros((2, 2), np.float32),
        )
        other = self.write(tmp_path, lambda m: None, {"heads/classifier.npz": changed})
        assert other.manifest.model_id != ensemble.manifest.model_id


@pytest.fixture(params=["memory", "sockets"])
def fleet(request, tmp_path, ensemble):
    """A camera without students, and a worker for each."""
    if request.param == "sockets":
        pytest.importorskip("zmq")
    made = Clustered(tmp_path, ensemble, request.param)
    made.describe(
        worker("camera", stages=[]),
        worker("one", parts=[0], neighbours=["camera"]),
        worker("two", parts=[1], neighbours=["camera"]),
    )
    yield made
    made.close()


class TestSeveralDevices:
    def test_each_computes_its_student_and_the_answer_is_the_same(self, fleet, ensemble):
        one, two = fleet.open("one"), fleet.open("two")
        camera = fleet.open("camera")
        assert camera.wait_until_up(timeout=WAIT_S)
        images = [tiny.image(b) for b in BRIGHTNESSES]
        with Pipeline.open(ensemble.path) as alone:
            for image, brightness in zip(images, BRIGHTNESSES):
                result = camera.infer(image)
                assert is_answer(result, brightness, 2, 1)
                assert result[2:6] == alone.infer(image)[2:6]
        assert {s["part"] for s in one.stats()["stages"] if s["run_count"]} == {0}
        assert {s["part"] for s in two.stats()["stages"] if s["run_count"]} == {1}
        assert camera._executor.held_count == 0

    def test_only_images_go_there_and_only_features_come_back(self, fleet):
        fleet.open("one"), fleet.open("two")
        camera = fleet.open("camera")
        assert camera.wait_until_up(timeout=WAIT_S)
        camera.infer(np.stack([tiny.image(0.9)] * 20))
        counters = camera.stats()["counters"]
        assert counters["tasks_sent"] == 40 and "tasks_received" not in counters

    def test_a_student_that_is_not_there_is_done_without(self, fleet):
        fleet.open("one")
        camera = fleet.open("camera")
        assert camera.wait_until_up("one", timeout=WAIT_S)
        result = camera.submit(tiny.image(0.9), deadline_ms=500, on_deadline="best").result(WAIT_S)
        assert is_answer(result, 0.9, 2, None) and result.reason == "degraded"
        assert is_answer(camera.infer(tiny.image(0.9)), 0.9, 2, None)  # without a deadline too
        for _ in range(3):  # nor do all others wait for it
            result = camera.infer(tiny.image(0.9))
            assert result.degraded and result.latency_us < MISSING_US / 2
        fleet.open("two")
        assert camera.wait_until_up(timeout=WAIT_S)
        eventually(lambda: not camera.infer(tiny.image(0.9)).degraded)
        assert camera._executor.held_count == 0

    def test_one_that_dies_degrades_what_it_had(self, fleet):
        fleet.open("one")
        two = fleet.open("two")
        camera = fleet.open("camera")
        assert camera.wait_until_up(timeout=WAIT_S)
        two.close(drain=False)
        results = [camera.infer(tiny.image(b), deadline_ms=8000) for b in BRIGHTNESSES[:2]]
        assert all(is_answer(r, b, 2, None) for r, b in zip(results, BRIGHTNESSES))

    def test_a_feature_of_another_size_is_refused(self, fleet, ensemble):
        fleet.open("one")
        two = fleet.open("two")
        camera = fleet.open("camera")
        assert camera.wait_until_up(timeout=WAIT_S)
        finish = two._executor.finish

        def cut(run):
            done = finish(run)
            return done._replace(features=[f[:-4] for f in done.features or []] or None)

        two._executor.finish = cut
        result = camera.submit(tiny.image(0.9), deadline_ms=500, on_deadline="best").result(WAIT_S)
        assert is_answer(result, 0.9, 2, None)
        assert camera.stats()["transport"]["malformed_messages"] >= 1
