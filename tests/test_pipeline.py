"""`Pipeline` as an application sees it."""

import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tiny
import trace_events
from gated import BRIGHT, DIM, MEDIUM, dim, slow_down

import edgesdk
from edgesdk import (
    BundleError,
    ConfigError,
    CosineDifference,
    Entropy,
    Expired,
    Failed,
    FixedExit,
    Margin,
    MaxProbability,
    NeighbourSimilarity,
    Overloaded,
    Patience,
    Pipeline,
    RandomExit,
    digits,
)


class TestInfer:
    @pytest.mark.parametrize(
        ("brightness", "exit_index", "reason"),
        [(BRIGHT, 0, "threshold"), (MEDIUM, 1, "threshold"), (DIM, 2, "final")],
    )
    def test_says_what_where_and_why(self, pipe, brightness, exit_index, reason):
        result = pipe.infer(tiny.image(brightness))
        assert (result.label, result.class_index) == ("bright", 0)
        assert (result.exit_index, result.reason) == (exit_index, reason)
        expected = tiny.max_probability(brightness, exit_index)
        assert result.max_probability == pytest.approx(expected, rel=1e-5)
        assert result.margin == pytest.approx(2 * expected - 1, abs=1e-5)
        entropy = -expected * np.log(expected) - (1 - expected) * np.log(1 - expected)
        assert result.entropy == pytest.approx(entropy, rel=1e-4)
        assert result.ok and not result.degraded
        assert result.latency_us > 0
        assert result.logits is None

    def test_in_a_batch_every_image_leaves_at_its_own_exit_and_order_is_kept(self, pipe):
        brightnesses = [DIM, BRIGHT, 0.0, MEDIUM, 0.45, BRIGHT]
        outcomes = pipe.infer(np.stack([tiny.image(b) for b in brightnesses]))
        assert [o.exit_index for o in outcomes] == [2, 0, 0, 1, 2, 0]
        assert [o.label for o in outcomes] == ["bright"] * 2 + ["dark"] + [
            "bright",
            "dark",
            "bright",
        ]
        for brightness, outcome in zip(brightnesses, outcomes):
            alone = pipe.infer(tiny.image(brightness))
            assert outcome.max_probability == pytest.approx(alone.max_probability, rel=1e-6)

    def test_batches_larger_than_the_largest_batch(self, pipe):
        outcomes = pipe.infer(dim(100))
        assert len(outcomes) == 100
        assert len({o.item for o in outcomes}) == 100

    def test_an_empty_batch_has_no_outcomes(self, pipe):
        assert pipe.infer(np.zeros((0, 6, 6), np.uint8)) == []

    def test_a_list_of_one_image_is_a_batch(self, pipe):
        assert [o.label for o in pipe.infer([tiny.image(BRIGHT)])] == ["bright"]

    def test_float_images_are_taken_as_they_are(self, pipe):
        result = pipe.infer(np.full((1, 6, 6), 0.9, np.float32))
        assert result.max_probability == pytest.approx(1 / (1 + np.exp(-1.6)), rel=1e-5)

    def test_the_image_may_be_changed_at_once(self, gated):
        pipe, _ = gated()
        image = tiny.image(BRIGHT)
        future = pipe.submit(image)
        image[...] = 0
        assert future.result(20).label == "bright"

    def test_logits_on_request(self, bundle):
        with Pipeline.open(bundle.path, logits=True) as pipe:
            result = pipe.infer(tiny.image(DIM))
            assert result.logits.dtype == np.float32
            difference = 2 * 4.0 * (2 * round(255 * DIM) / 255 - 1)
            assert result.logits[0] - result.logits[1] == pytest.approx(difference, rel=1e-5)

    def test_results_say_that_nan_is_no_answer(self, gated):
        pipe, _ = gated()
        pipe._intake._preprocessor.write = lambda image, out: out.fill(np.nan)
        with pytest.raises(Failed, match="NaN at exit 2"):
            pipe.infer(tiny.image(BRIGHT))


class TestPolicies:
    def exits(self, bundle, policy, brightnesses=(BRIGHT, MEDIUM, DIM), **options):
        with Pipeline.open(bundle.path, policy=policy, **options) as pipe:
            return [pipe.infer(tiny.image(b)).exit_index for b in brightnesses]

    @pytest.mark.parametrize(
        ("policy", "exits"),
        [
            (None, [0, 1, 2]),
            ("calibrated", [0, 1, 2]),
            ("final", [2, 2, 2]),
            (FixedExit(1), [1, 1, 1]),
            (MaxProbability(0.72), [0, 1, 2]),
            (Margin([0.46, 0.6, 0]), [0, 1, 2]),
            (Entropy([0.59, 0.5, 0]), [0, 1, 2]),
            (Patience(1), [0, 0, 0]),
            (Patience(2), [1, 1, 1]),
            (Patience([9, 9, 9]), [2, 2, 2]),
            # All logits of this network point the same way: difference and similarity are 1.
            (CosineDifference(1.01), [2, 2, 2]),
            (NeighbourSimilarity(0.99), [1, 1, 1]),
        ],
        ids=repr,
    )
    def test_each_leaves_where_it_should(self, bundle, policy, exits):
        assert self.exits(bundle, policy) == exits

    def test_random_is_seeded(self, bundle):
        runs = [self.exits(bundle, RandomExit(), [DIM] * 30, seed=s) for s in (1, 1, 2)]
        assert runs[0] == runs[1] != runs[2]
        assert set(runs[0]) == {0, 1, 2}

    def test_batches_and_single_images_leave_at_the_same_exits(self, bundle):
        brightnesses = np.linspace(0, 1, 41)
        images = np.stack([tiny.image(b) for b in brightnesses])
        for policy in (Margin(0.5), Patience(2), CosineDifference(), NeighbourSimilarity(0.9)):
            if policy.kind in ("difference", "similarity"):
                policy = type(policy)(0.95)
            with Pipeline.open(bundle.path, policy=policy) as pipe:
                together = [o.exit_index for o in pipe.infer(images)]
                assert together == [pipe.infer(image).exit_index for image in images]

    @pytest.mark.parametrize(
        ("policy", "message"),
        [
            ("best", r"policy: found 'best', expected one of calibrated"),
            (MaxProbability([0.5] * 7), "found 7 thresholds, expected 3 for 3 exits"),
            (FixedExit(5), "exit_index 5 is not among"),
            (CosineDifference(), "found 7 thresholds, expected 3"),
        ],
    )
    def test_one_that_does_not_fit_is_refused(self, bundle, policy, message):
        with pytest.raises(ConfigError, match=message):
            Pipeline.open(bundle.path, policy=policy)


class TestSubmit:
    def test_the_future_resolves_to_a_result_with_the_tag(self, pipe):
        future = pipe.submit(tiny.image(BRIGHT), tag={"frame": 3})
        result = future.result(20)
        assert (result.label, result.tag) == ("bright", {"frame": 3})

    def test_many_futures_from_many_threads(self, pipe):
        brightnesses = [BRIGHT, MEDIUM, DIM, 0.0]
        wrong = []

        def work(index):
            futures = [pipe.submit(tiny.image(b), tag=b) for b in brightnesses * 10]
            for future in futures:
                result = future.result(60)
                if result.exit_index != {BRIGHT: 0, MEDIUM: 1, DIM: 2, 0.0: 0}[result.tag]:
                    wrong.append(result)
                if pipe.infer(tiny.image(DIM)).exit_index != 2:
                    wrong.append("infer")

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []
        stats = pipe.stats()
        assert stats["admitted_count"] == stats["latency"]["count"] == 320
        assert stats["in_flight_count"] == 0

    def test_what_arrives_while_a_stage_runs_shares_the_next_batch(self, gated):
        pipe, backend = gated()
        backend.gate.clear()
        futures = [pipe.submit(dim()[0])]
        backend.wait_until_entered()
        futures += [pipe.submit(dim()[0]) for _ in range(3)]
        backend.gate.set()
        assert all(f.result(20).exit_index == 2 for f in futures)
        assert backend.batches[:2] == [(0, 1), (0, 3)]
        assert sum(size for stage, size in backend.batches if stage == 2) == 4

    def test_without_room_it_waits_or_raises(self, gated):
        pipe, backend = gated(in_flight_max=2, max_batch=2)
        backend.gate.clear()
        futures = [pipe.submit(dim()[0]) for _ in range(2)]
        with pytest.raises(Overloaded, match="2 images are in flight"):
            pipe.submit(dim()[0], block=False)
        threading.Timer(0.05, backend.gate.set).start()
        futures.append(pipe.submit(dim()[0]))
        assert len({f.result(20).item for f in futures}) == 3

    def test_a_refused_image_takes_no_room(self, gated):
        pipe, _ = gated(in_flight_max=1, max_batch=1)
        for _ in range(3):
            with pytest.raises(ConfigError, match="9 x 9"):
                pipe.submit(np.zeros((9, 9), np.uint8), block=False)
        assert pipe.submit(dim()[0], block=False).result(20).ok

    def test_a_waiting_image_can_be_cancelled_a_running_one_not(self, gated):
        pipe, backend = gated()
        backend.gate.clear()
        running = pipe.submit(dim()[0])
        backend.wait_until_entered()
        waiting = pipe.submit(dim()[0])
        assert waiting.cancel() and not running.cancel()
        backend.gate.set()
        assert running.result(20).ok
        assert waiting.cancelled()
        pipe.infer(dim()[0])
        assert pipe.stats()["ended"]["failed.cancelled"] == 1

    def test_latest_expires_frames_that_still_wait(self, gated):
        pipe, backend = gated()
        backend.gate.clear()
        first = pipe.submit(dim()[0])
        backend.wait_until_entered()
        stale = pipe.submit(dim()[0], latest=True)
        newest = pipe.submit(dim()[0], latest=True)
        backend.gate.set()
        assert first.result(20).ok and newest.result(20).ok
        with pytest.raises(Expired, match="superseded") as caught:
            stale.result(20)
        assert caught.value.reason == "superseded" and not caught.value.ok

    def test_a_callback_may_use_the_pipeline(self, pipe):
        inner = []
        future = pipe.submit(tiny.image(BRIGHT))
        done = threading.Event()

        def again(finished):
            inner.append(pipe.infer(tiny.image(DIM)).exit_index)
            done.set()

        future.add_done_callback(again)
        assert done.wait(20) and inner == [2]

    @pytest.mark.parametrize("wrong", [{"deadline_ms": 0}, {"on_deadline": "x"}])
    def test_refused_options_take_no_room(self, gated, wrong):
        pipe, _ = gated(in_flight_max=1, max_batch=1)
        with pytest.raises(ConfigError):
            pipe.submit(dim()[0], block=False, **wrong)
        assert pipe.submit(dim()[0], block=False).result(20).ok

    def test_takes_one_image(self, pipe):
        with pytest.raises(ConfigError, match="found a batch of 2, expected one image"):
            pipe.submit(dim(2))


class TestDeadlines:
    def test_an_image_that_waits_too_long_expires(self, gated):
        pipe, backend = gated()
        backend.gate.clear()
        blocking = pipe.submit(dim()[0])
        backend.wait_until_entered()
        late = pipe.submit(dim()[0], tag="late", deadline_ms=5)
        time.sleep(0.02)
        backend.gate.set()
        with pytest.raises(Expired) as caught:
            late.result(20)
        assert (caught.value.tag, caught.value.reason) == ("late", "deadline")
        assert caught.value.latency_us >= 5000
        assert blocking.result(20).ok

    def test_best_answers_with_the_latest_exit_passed(self, gated):
        pipe, _ = gated()
        slow_down(pipe, stage=2, seconds=0.3)
        future = pipe.submit(dim()[0], deadline_ms=150, on_deadline="best")
        result = future.result(20)
        assert (result.reason, result.exit_index) == ("deadline", 1)
        assert pipe.stats()["ended"] == {"result.deadline": 1}

    def test_one_that_is_met_changes_nothing(self, pipe):
        assert pipe.infer(tiny.image(DIM), deadline_ms=60_000).exit_index == 2
        assert pipe._loop._armed == {}

    @pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "5", True])
    def test_must_be_milliseconds_above_zero(self, pipe, wrong):
        with pytest.raises(ConfigError, match="deadline_ms: found"):
            pipe.infer(tiny.image(DIM), deadline_ms=wrong)

    def test_on_deadline_has_two_values(self, pipe):
        with pytest.raises(ConfigError, match='expected "best" or "expire"'):
            pipe.submit(tiny.image(DIM), on_deadline="never")


class TestFailures:
    def test_a_stage_that_raises_fails_its_batch_and_the_pipeline_goes_on(self, gated):
        pipe, backend = gated()
        backend.error = RuntimeError("the accelerator fell off")
        with pytest.raises(Failed, match="stage 1: RuntimeError: the accelerator fell off"):
            pipe.infer(dim()[0])
        outcomes = pipe.infer(np.stack([tiny.image(BRIGHT), tiny.image(DIM)]))
        assert [o.ok for o in outcomes] == [True, False]
        backend.error = None
        assert pipe.infer(dim()[0]).ok
        assert pipe._executor.held_count == 0

    def test_an_interrupt_reaches_the_caller_and_loses_nothing(self, gated):
        pipe, backend = gated()
        backend.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            pipe.infer(dim()[0])
        backend.error = None
        assert pipe.infer(dim()[0]).ok
        assert pipe.stats()["ended"] == {"failed.stage_failed": 1, "result.final": 1}

    def test_a_bug_of_ours_breaks_the_pipeline_loudly(self, gated):
        pipe, _ = gated()

        def broken(event, now_us):
            raise ZeroDivisionError("bug")

        pipe._loop._worker.handle = broken
        with pytest.raises(ZeroDivisionError):
            pipe.infer(dim()[0])
        with pytest.raises(ConfigError, match=r"the pipeline broke.*open a new one"):
            pipe.infer(dim()[0])


class TestWithoutOnnxruntime:
    PROGRAM = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "onnxruntime":
            raise ImportError("onnxruntime is absent")

sys.meta_path.insert(0, Absent())
import edgesdk, numpy
from edgesdk import digits
images = digits.load_digits_split("test").images[:60]
with edgesdk.Pipeline.open(sys.argv[1]) as pipe:
    one_by_one = [pipe.infer(image) for image in images]
    batch = pipe.infer(images)
    stream = list(pipe.map(images, in_flight=8, ordered=True))
    futures = [pipe.submit(image).result() for image in images[:5]]
    ways = [[(o.label, o.exit_index) for o in way] for way in (one_by_one, batch, stream)]
    assert ways[0] == ways[1] == ways[2], ways
    assert [(o.label, o.exit_index) for o in futures] == ways[0][:5]
    print(json.dumps([pipe.backend.name, ways[0]]))
"""

    def test_the_whole_pipeline_runs_on_torch_with_the_same_answers(self):
        pytest.importorskip("torch")
        bundle = os.path.join(os.path.dirname(__file__), "..", "engines", "wrn16_1-digits", "1")
        done = subprocess.run(
            [sys.executable, "-c", self.PROGRAM, bundle],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert done.returncode == 0, done.stderr.decode()
        backend, answers = json.loads(done.stdout.decode())
        assert backend == "torch"
        images = digits.load_digits_split("test").images[:60]
        with Pipeline.open(bundle, backend="onnxruntime") as pipe:
            assert [[o.label, o.exit_index] for o in pipe.infer(images)] == answers


class TestOpen:
    @pytest.mark.parametrize("failure", [None, "ImportError: not built"])
    def test_says_once_that_the_kernels_are_slow(self, bundle, failure, monkeypatch, caplog):
        monkeypatch.setattr("edgesdk.kernels.native_failure", failure)
        edgesdk.kernels.selection.say_once_if_slow.cache_clear()
        for _ in range(2):
            Pipeline.open(bundle.path).close()
        edgesdk.kernels.selection.say_once_if_slow.cache_clear()
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == (0 if failure is None else 1)
        assert failure is None or ("computed in numpy" in said[0] and failure in said[0])

    def test_draws_a_timeline(self, bundle, tmp_path):
        path = tmp_path / "t.json"
        with Pipeline.open(bundle.path, timeline=str(path)) as pipe:
            results = pipe.infer([dim()[0], tiny.image(1.0)])
            futures = [pipe.submit(dim()[0], tag=tag) for tag in range(3)]
            results += [future.result() for future in futures]
        events = trace_events.read(path)
        assert trace_events.problems(events) == []
        rows = trace_events.threads(events)
        items = [e for e in events if e["ph"] == "X" and "items" not in e["args"]]
        assert sorted(e["args"]["item"] for e in items) == ["local {}".format(n) for n in range(5)]
        assert sorted(e["name"] for e in items) == sorted(
            "exit {}".format(result.exit_index) for result in results
        )
        assert {rows[e["pid"], e["tid"]].split()[0] for e in events if "ts" in e} == {
            "compute", "items"
        }  # fmt: skip

    def test_draws_it_also_when_it_is_closed_inside_a_callback(self, bundle, tmp_path):
        path = tmp_path / "t.json"
        pipe = Pipeline.open(bundle.path, timeline=str(path))
        future = pipe.submit(dim()[0])
        future.add_done_callback(lambda future: pipe.close())
        future.result()
        pipe._loop._thread.join(10)
        assert path.read_text().endswith("]\n")
        with pytest.raises(ConfigError, match="the timeline cannot be written"):
            Pipeline.open(bundle.path, timeline=str(tmp_path / "no" / "t.json"))

    def test_what_is_not_there(self, tmp_path):
        with pytest.raises(BundleError, match="no such folder; expected a bundle such as engines/"):
            Pipeline.open(tmp_path / "nothing")

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            (
                "backend",
                "tflite",
                "backend: found 'tflite', expected one of tensorrt, onnxruntime, torch",
            ),
            ("plan", "fast", "plan: found 'fast', expected one of full"),
            ("threads", 0, "threads: found 0, expected a whole number from 1"),
            ("max_batch", 1.5, "max_batch: found 1.5"),
            ("in_flight_max", True, "in_flight_max: found True"),
            ("color", "yuv", "color"),
            ("resize", "cubic", "resize"),
        ],
    )
    def test_wrong_options(self, bundle, option, value, message):
        with pytest.raises(ConfigError, match=message):
            Pipeline.open(bundle.path, **{option: value})

    def test_a_merged_plan_gives_the_same_answers(self, tmp_path):
        manifest, files = tiny.tiny_manifest(), tiny.tiny_files()
        # Segments 1 and 2 pass their input on, so one of them is both.
        manifest["parts"][0]["plans"]["two"] = {
            "stages": [
                {"first_segment": 0, "last_segment": 0, "exit": 0, "file": "onnx/segment_0.onnx"},
                {"first_segment": 1, "last_segment": 2, "exit": 2, "file": "onnx/segment_1.onnx"},
            ]
        }
        manifest["policies"]["fast"] = {
            "kind": "max_probability",
            "thresholds": [0.7, 1.0, 0.0],
            "plan": "two",
        }
        path = edgesdk.bundle.write_bundle(tmp_path / "b", manifest, files).path
        with Pipeline.open(path, policy="fast") as pipe:
            assert pipe.plan.name == "two"
            assert [pipe.infer(tiny.image(b)).exit_index for b in (BRIGHT, MEDIUM)] == [0, 2]
        with pytest.raises(ConfigError, match=r"leaves at exit 1, but the plan only has exits \[0"):
            Pipeline.open(path, policy="calibrated", plan="two")

    @pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
    def test_a_graph_head_gives_the_same_answers(self, tmp_path, backend):
        path = tiny.write_with_graph_head(tmp_path / "b").path
        with Pipeline.open(path, policy=FixedExit(1), backend=backend) as pipe:
            for brightness in (BRIGHT, 0.2):
                found = pipe.infer(tiny.image(brightness)).max_probability
                assert found == pytest.approx(tiny.max_probability(brightness, 1), rel=1e-5)

    def test_stats_say_what_runs(self, pipe):
        pipe.infer(tiny.image(BRIGHT))
        stats = pipe.stats()
        assert stats["exit_counts"] == [1, 0, 0]
        assert stats["backend"] == pipe.backend.name
        assert stats["model_id"] == pipe.bundle.manifest.model_id
        assert stats["policy"]["kind"] == "max_probability"
        assert stats["kernels"] in ("native", "reference")
        assert stats["latency"]["p95_us"] >= stats["latency"]["p50_us"] > 0
