"""`Pipeline` among neighbours, as an application sees it: the same answers, whoever computes."""

import threading
from pathlib import Path

import numpy as np
import pytest
import tiny
from clusters import CAMERA, HELPER, WAIT_S, Clustered, eventually, worker
from gated import BRIGHT, DIM, MEDIUM, dim

from edgesdk import (
    ConfigError,
    CosineDifference,
    Expired,
    Failed,
    FixedExit,
    Margin,
    MaxProbability,
    NeighbourSimilarity,
    Patience,
    Pipeline,
    RandomExit,
    digits,
)
from edgesdk.bundle import read_bundle, write_bundle
from edgesdk.runtime.packer import Packer

OVER = ["memory", "sockets"]
TRAINED = str(Path(__file__).resolve().parent.parent / "engines" / "wrn16_1-digits" / "1")


@pytest.fixture(params=OVER)
def clustered(request, tmp_path, bundle):
    if request.param == "sockets":
        pytest.importorskip("zmq")
    made = Clustered(tmp_path, bundle, request.param)
    yield made
    made.close()


@pytest.fixture
def memory(tmp_path, bundle):
    made = Clustered(tmp_path, bundle)
    yield made
    made.close()


def images(count=41):
    """Some that leave at every exit."""
    return np.stack([tiny.image(brightness) for brightness in np.linspace(0, 1, count)])


def answers(outcomes):
    """Everything that must not depend on who computes."""
    return [
        (o.label, o.class_index, o.exit_index, o.reason, o.max_probability, o.margin, o.entropy)
        for o in outcomes
    ]


class TestTheSameAnswers:
    @pytest.mark.parametrize(
        "policy",
        [
            None,
            "final",
            FixedExit(1),
            MaxProbability(0.72),
            Margin(0.5),
            Patience(2),
            CosineDifference(0.95),
            NeighbourSimilarity(0.9),
        ],
        ids=repr,
    )
    def test_bit_for_bit_as_alone(self, clustered, bundle, policy):
        clustered.describe(CAMERA, HELPER)
        clustered.open("helper", policy)
        camera = clustered.open("camera", policy)
        clustered.meet()
        with Pipeline.open(bundle.path, policy=policy) as alone:
            expected = [alone.infer(image) for image in images()]
        together = camera.infer(images())
        assert answers(together) == answers(expected)
        assert answers([camera.infer(image) for image in images(5)]) == answers(
            [expected[0], expected[10], expected[20], expected[30], expected[40]]
        )
        assert camera.stats()["counters"]["tasks_sent"] >= 46
        assert camera._executor.held_count == 0

    def test_a_drawn_exit_travels(self, memory):
        memory.describe(CAMERA, HELPER)
        memory.open("helper", RandomExit())
        camera = memory.open("camera", RandomExit())
        memory.meet()
        found = [o.exit_index for o in camera.infer(images(60))]
        assert set(found) == {0, 1, 2}

    @pytest.mark.parametrize("policy", [Patience(3), CosineDifference(0.99)], ids=repr)
    def test_what_a_policy_remembers_travels_from_stage_to_stage(self, clustered, bundle, policy):
        """Each worker holds one stage: nobody computes two in a row."""
        parts = [worker("w{}".format(stage), stages=[stage]) for stage in range(3)]
        clustered.describe(*parts)
        for stage in range(3):
            clustered.open("w{}".format(stage), policy)
        first = clustered.meet()[0]
        with Pipeline.open(bundle.path, policy=policy) as alone:
            expected = answers(alone.infer(images()))
        assert answers(first.infer(images())) == expected

    @pytest.mark.parametrize("codec", ["auto", "raw", "zstd", "lz4"])
    def test_of_a_trained_network_by_every_codec_that_loses_nothing(self, tmp_path, codec):
        if codec in ("zstd", "lz4"):
            pytest.importorskip({"zstd": "zstandard"}.get(codec, codec))
        trained = read_bundle(TRAINED)
        made = Clustered(tmp_path, trained)
        made.describe(worker("camera", stages=[0]), HELPER, top='codec = "{}"\n'.format(codec))
        try:
            made.open("helper")
            camera = made.open("camera")
            made.meet()
            pictures = digits.load_digits_split("test").images[:12]
            with Pipeline.open(trained.path, backend="onnxruntime") as alone:
                expected = answers([alone.infer(picture) for picture in pictures])
            assert answers([camera.infer(picture) for picture in pictures]) == expected
            assert camera.stats()["transport"] == {}
        finally:
            made.close()

    def test_of_a_trained_network_by_one_that_calibration_has_allowed(self, tmp_path, monkeypatch):
        sent = []
        encode = Packer.encode
        monkeypatch.setattr(Packer, "encode", lambda *a: sent.append(encode(*a)) or sent[-1])
        made = Clustered(tmp_path, read_bundle(TRAINED))
        made.describe(worker("camera", stages=[0]), HELPER, top='codec = "float16"\n')
        try:
            made.open("helper")
            camera = made.open("camera")
            made.meet()
            pictures = digits.load_digits_split("test").images[:12]
            with Pipeline.open(TRAINED, backend="onnxruntime") as alone:
                expected = [alone.infer(picture).label for picture in pictures]
            assert [camera.infer(picture).label for picture in pictures] == expected
            assert {tensor.codec for tensor in sent} == {"float16"}
        finally:
            made.close()

    def test_features_go_from_stage_to_stage_in_the_same_memory(self, memory, monkeypatch):
        """One copy when an image is handed in, and none on the way."""
        monkeypatch.setattr("edgesdk.runtime.executor.KEPT_UNCOPIED_BYTES_MIN", 1)
        memory.describe(worker("front", stages=[0]), worker("back", stages=[1, 2]))
        back, front = memory.open("back", gated=True), memory.open("front", gated=True)
        memory.meet()
        ways = []
        for pipe in (front, back):
            for (_, stage), loaded in pipe._executor._stages.items():

                def noted(features, out, run=loaded.program.run, stage=stage):
                    ways.append((stage, features.ctypes.data, out.ctypes.data))
                    run(features, out)

                monkeypatch.setattr(loaded.program, "run", noted)
        # A gated program knows its number by the order in which it was loaded.
        for number, stage in enumerate((1, 2)):
            back._executor._stages[(0, stage)].program._stage = number + 1
        assert front.infer(dim()[0]).exit_index == 2
        (_, _, left), (_, arrived, _), _ = ways
        assert [stage for stage, _, _ in ways] == [0, 1, 2] and left == arrived


class TestWaysToAsk:
    @pytest.fixture
    def camera(self, clustered):
        clustered.describe(CAMERA, HELPER)
        clustered.open("helper")
        camera = clustered.open("camera")
        clustered.meet()
        return camera

    def test_futures_with_tags(self, camera):
        brightnesses = [BRIGHT, MEDIUM, DIM, 0.0] * 10
        futures = [camera.submit(tiny.image(b), tag=b) for b in brightnesses]
        found = [future.result(20) for future in futures]
        assert [result.tag for result in found] == brightnesses
        assert [result.exit_index for result in found] == [0, 1, 2, 0] * 10
        assert {result.worker for result in found} == {"helper"}

    @pytest.mark.parametrize("options", [{}, {"in_flight": 1}, {"in_flight": 8, "ordered": True}])
    def test_streams(self, camera, options):
        found = list(camera.map(images(30), **options))
        assert sorted(o.tag for o in found) == list(range(30))
        if options:
            assert [o.tag for o in found] == list(range(30))

    def test_several_threads_at_once(self, camera):
        wrong = []

        def work():
            for brightness, exit_index in ((BRIGHT, 0), (MEDIUM, 1), (DIM, 2)) * 10:
                if camera.infer(tiny.image(brightness)).exit_index != exit_index:
                    wrong.append(brightness)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        futures = [camera.submit(tiny.image(DIM)) for _ in range(30)]
        assert all(future.result(20).exit_index == 2 for future in futures)
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert wrong == []
        assert camera.stats()["in_flight_count"] == 0

    def test_a_callback_may_ask_again(self, camera):
        inner, done = [], threading.Event()

        def again(future):
            inner.append(camera.infer(tiny.image(DIM)).exit_index)
            done.set()

        camera.submit(tiny.image(BRIGHT)).add_done_callback(again)
        assert done.wait(20) and inner == [2]

    def test_an_image_may_be_changed_at_once(self, camera):
        image = tiny.image(BRIGHT)
        futures = []
        for _ in range(20):
            image[...] = 255
            futures.append(camera.submit(image))
            image[...] = 0
        assert {future.result(20).label for future in futures} == {"bright"}

    def test_logits_only_where_the_last_exit_was_here(self, memory):
        memory.describe(worker("front", stages=[0]), HELPER)
        memory.open("helper")
        front = memory.open("front", logits=True)
        memory.meet()
        assert front.infer(tiny.image(BRIGHT)).logits is not None
        assert front.infer(tiny.image(DIM)).logits is None


class TestTime:
    @pytest.fixture
    def held(self, memory):
        """A camera whose helper waits for the test."""
        memory.describe(CAMERA, HELPER)
        helper = memory.open("helper", gated=True)
        camera = memory.open("camera")
        memory.meet()
        helper.gated.gate.clear()
        return camera, helper

    def test_a_deadline_ends_what_is_elsewhere(self, held):
        camera, helper = held
        future = camera.submit(dim()[0], deadline_ms=30)
        with pytest.raises(Expired) as caught:
            future.result(20)
        assert caught.value.reason == "deadline"
        helper.gated.gate.set()
        eventually(lambda: helper._executor.held_count == 0)
        assert camera.infer(dim()[0]).ok

    def test_the_best_answer_known_here_counts(self, memory):
        memory.describe(worker("front", stages=[0]), worker("back", stages=[1, 2]))
        back = memory.open("back", gated=True)
        front = memory.open("front")
        memory.meet()
        back.gated.gate.clear()
        result = front.submit(dim()[0], deadline_ms=300, on_deadline="best").result(20)
        assert (result.reason, result.exit_index) == ("deadline", 0)

    def test_infer_has_a_deadline_too(self, held):
        with pytest.raises(Expired):
            held[0].infer(dim()[0], deadline_ms=20)

    def test_what_has_left_cannot_be_cancelled_what_waits_can(self, held):
        camera, helper = held
        away = [camera.submit(dim()[0]) for _ in range(8)]
        helper.gated.wait_until_entered()
        eventually(lambda: camera.stats()["counters"]["tasks_sent"] >= 8)
        waiting = [camera.submit(dim()[0]) for _ in range(80)]
        assert not away[0].cancel()
        cancelled = [future for future in waiting if future.cancel()]
        assert cancelled
        helper.gated.gate.set()
        assert all(future.result(20).ok for future in away)
        for future in waiting:
            assert future in cancelled or future.result(20).ok
        eventually(lambda: camera.stats()["in_flight_count"] == 0)

    def test_latest_drops_what_still_waits(self, held):
        camera, helper = held
        futures = [camera.submit(dim()[0]) for _ in range(80)]
        helper.gated.wait_until_entered()
        newest = camera.submit(dim()[0], latest=True)
        helper.gated.gate.set()
        assert newest.result(20).ok
        ended = [future.exception(20) for future in futures]
        assert None in ended
        assert {type(error) for error in ended} <= {type(None), Expired}
        assert any(error is not None and error.reason == "superseded" for error in ended)


class TestWhoComputes:
    def test_two_sources_share_a_worker(self, clustered):
        clustered.describe(CAMERA, worker("second", stages=[]), HELPER)
        helper = clustered.open("helper")
        sources = [clustered.open("camera"), clustered.open("second")]
        clustered.meet("camera", "helper")
        clustered.meet("second", "helper")
        futures = [[s.submit(image) for image in images(40)] for s in sources for _ in range(3)]
        for of_one in futures:
            assert [f.result(20).label for f in of_one] == ["dark"] * 20 + ["bright"] * 20
        stats = helper.stats()
        assert stats["admitted_count"] == 0
        assert stats["counters"]["tasks_received"] >= 240
        eventually(lambda: helper._executor.held_count == 0)

    def test_the_helper_may_be_a_source_too(self, clustered):
        clustered.describe(worker("a"), worker("b"))
        pair = [clustered.open("a"), clustered.open("b")]
        clustered.meet()
        futures = [p.submit(image) for image in images(60) for p in pair]
        for index, future in enumerate(futures):
            assert future.result(20).label == ("dark" if index < 60 else "bright")

    def test_a_busy_worker_hands_on(self, memory):
        memory.describe(worker("busy", max_batch=1), worker("idle"))
        idle, busy = memory.open("idle", gated=True), memory.open("busy", gated=True)
        memory.meet()
        busy.gated.gate.clear()
        futures = [busy.submit(dim()[0]) for _ in range(30)]
        busy.gated.wait_until_entered()
        busy.gated.gate.set()
        assert all(future.result(20).exit_index == 2 for future in futures)
        eventually(lambda: idle.stats()["counters"].get("tasks_received", 0) > 0)

    def test_nobody_who_could_is_there_yet(self, memory):
        memory.describe(CAMERA, HELPER)
        camera = memory.open("camera")
        future = camera.submit(dim()[0])
        assert not future.done()
        memory.open("helper")
        assert future.result(20).exit_index == 2

    def test_a_worker_that_leaves_costs_no_image(self, clustered):
        clustered.describe(CAMERA, HELPER, worker("other"))
        camera = clustered.open("camera")
        helper = clustered.open("helper")
        clustered.open("other")
        clustered.meet()
        futures = []
        for index in range(200):
            futures.append(camera.submit(dim()[0]))
            if index == 80:
                helper.close()
        assert all(future.result(20).exit_index == 2 for future in futures)
        assert camera.stats()["neighbours"]["helper"]["state"] in ("absent", "leaving")

    def test_one_that_vanishes_costs_no_image_either(self, memory):
        memory.describe(CAMERA, HELPER, worker("other"))
        camera, helper = memory.open("camera"), memory.open("helper", gated=True)
        memory.open("other")
        memory.meet()
        helper.gated.gate.clear()
        futures = [camera.submit(dim()[0]) for _ in range(40)]
        helper.gated.wait_until_entered()
        helper._loop._transport.close(0)  # its last word is never heard
        assert all(future.result(20).exit_index == 2 for future in futures)


class TestWhatGoesWrong:
    def test_a_stage_that_raises_at_a_worker_is_tried_elsewhere(self, memory):
        memory.describe(CAMERA, HELPER, worker("other"))
        camera, helper = memory.open("camera"), memory.open("helper", gated=True)
        memory.open("other")
        memory.meet()
        helper.gated.error, helper.gated.fails_at = RuntimeError("no memory"), 1
        found = [camera.submit(dim()[0]) for _ in range(30)]
        outcomes = [future.exception(20) for future in found]
        assert outcomes.count(None) >= 1
        for error in outcomes:
            assert error is None or (isinstance(error, Failed) and error.reason == "stage_failed")

    def test_one_that_raises_everywhere_fails_its_image_with_the_first_cause(self, memory):
        memory.describe(CAMERA, HELPER)
        helper, camera = memory.open("helper", gated=True), memory.open("camera")
        memory.meet()
        helper.gated.error = RuntimeError("the accelerator fell off")
        with pytest.raises(Failed, match="stage 1: RuntimeError: the accelerator fell off"):
            camera.submit(dim()[0]).result(20)
        helper.gated.error = None
        assert camera.infer(dim()[0]).ok

    @pytest.mark.parametrize(
        ("what", "options"),
        [
            ("model", {"bundle": "another"}),
            ("plan", {"policy": Patience(2)}),
            ("plan", {"plan": "two", "policy": MaxProbability([0.7, 1.0, 0.0])}),
        ],
    )
    def test_who_does_not_agree_works_alone_and_says_why(
        self, memory, tmp_path, caplog, what, options
    ):
        other_bundle = merged(tmp_path)
        memory.bundle = other_bundle
        memory.describe(worker("here"), worker("there"))
        if options.get("bundle"):
            manifest = tiny.tiny_manifest()
            manifest["name"] = "another"
            files = tiny.tiny_files()
            manifest["labels"] = ["light", "dark"]
            options = {"bundle": write_bundle(tmp_path / "another", manifest, files)}
        there, here = memory.open("there", **options), memory.open("here")
        eventually(lambda: "greetings_declined" in here.stats()["counters"])
        assert here.infer(tiny.image(DIM)).exit_index == 2
        assert there.infer(tiny.image(DIM)).ok
        said = [r.getMessage() for r in caplog.records if r.name == "edgesdk.incidents"]
        assert any(
            text.startswith("here: greetings_declined neighbour=there: {}: found ".format(what))
            for text in said
        ), said

    def test_an_application_can_wait_until_they_are_there(self, clustered):
        clustered.describe(CAMERA, HELPER, worker("late"))
        camera = clustered.open("camera")
        assert not camera.wait_until_up("helper", timeout=0.05)
        clustered.open("helper")
        assert camera.wait_until_up("helper", timeout=WAIT_S)
        assert not camera.wait_until_up(timeout=0.05)
        clustered.open("late")
        assert camera.wait_until_up(timeout=WAIT_S)
        with pytest.raises(ConfigError, match=r"nobody.*expected neighbours: he"):
            camera.wait_until_up("nobody")

    def test_stats_say_who_is_there_and_what_went_over_the_links(self, clustered):
        clustered.describe(CAMERA, HELPER)
        helper, camera = clustered.open("helper"), clustered.open("camera")
        clustered.meet()
        camera.infer(images(10))
        stats = camera.stats()
        assert stats["worker"] == "camera"
        assert stats["neighbours"]["helper"]["state"] == "up"
        assert stats["transport"] == {}
        assert stats["counters"]["tasks_sent"] == 10
        assert helper.stats()["counters"]["tasks_received"] == 10


def merged(tmp_path):
    """The tiny bundle with a second plan."""
    manifest = tiny.tiny_manifest()
    manifest["parts"][0]["plans"]["two"] = {
        "stages": [
            {"first_segment": 0, "last_segment": 0, "exit": 0, "file": "onnx/segment_0.onnx"},
            {"first_segment": 1, "last_segment": 2, "exit": 2, "file": "onnx/segment_1.onnx"},
        ]
    }
    return write_bundle(tmp_path / "merged", manifest, tiny.tiny_files())


class TestAdmission:
    def test_by_rate_is_reported_and_paces_streams(self, memory):
        top = '[admission]\nkind = "rate"\nperiod_ms = 20\ninterarrival_ms = 2\n'
        memory.describe(CAMERA, HELPER, top="", security=top + "[security]\ninsecure = true\n")
        memory.open("helper", admission="none")
        camera = memory.open("camera")
        memory.meet()
        found = list(camera.map(images(30), ordered=True))
        assert [o.tag for o in found] == list(range(30))
        admission = camera.stats()["admission"]
        assert admission["interarrival_us"] > 0 and admission["threshold"] is None

    def test_by_threshold_decides_who_leaves(self, memory):
        top = '[admission]\nkind = "threshold"\nthreshold = 0.99\nperiod_ms = 60000\n'
        memory.describe(CAMERA, HELPER, security=top + "[security]\ninsecure = true\n")
        memory.open("helper", admission="none")
        camera = memory.open("camera")
        memory.meet()
        eventually(lambda: camera.stats()["admission"]["threshold"] == 0.99)
        assert camera.infer(tiny.image(MEDIUM)).exit_index == 2  # 1, by the policy of the bundle

    def test_by_threshold_needs_a_policy_that_has_one(self, memory):
        memory.describe(CAMERA, HELPER)
        with pytest.raises(ConfigError, match=r"found 'threshold' beside the policy .*Patience"):
            memory.open("camera", Patience(2), admission="threshold")
