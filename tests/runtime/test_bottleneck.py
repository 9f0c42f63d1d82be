"""Bottlenecks on the way: what arrives, what it costs, and what never passes them."""

import itertools
import logging
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import tiny_ensemble as te
from clusters import WAIT_S, Clustered, worker
from test_edgesdk_worker import Command

from edgesdk import ConfigError, Pipeline, kernels
from edgesdk.backends import open_backend
from edgesdk.bundle import write_bundle
from edgesdk.core import wire
from edgesdk.core.codec_choice import LEARN_EVERY
from edgesdk.core.events import NAN, Keep, RunStage, Send
from edgesdk.core.link import DELAY_WEIGHT
from edgesdk.core.messages import DATA, Envelope, ItemId, Task
from edgesdk.core.tensor import LEARNED
from edgesdk.errors import PeerError
from edgesdk.preprocess import Preprocessor
from edgesdk.runtime import bottleneck, member
from edgesdk.runtime.bottleneck import Bottlenecks
from edgesdk.runtime.executor import Executor
from edgesdk.runtime.inprocess import Hub, InProcess
from edgesdk.runtime.network import Network
from edgesdk.runtime.packer import AUTO, Packer, raw_tensor
from edgesdk.runtime.stages import load_stages, onnx_files

PLACE = (0, 2)
SHAPE, CODE_COUNT = (2, tiny.SIZE, tiny.SIZE), tiny.SIZE * tiny.SIZE
LEARNED_TOP = 'codec = "learned"\n'
NEIGHBOUR = 2
FRONT, BACK = worker("front", stages=[0, 1]), worker("back", stages=[2])


@pytest.fixture
def bundle(tmp_path):
    return tiny.write_with_bottleneck(tmp_path / "bundle")


@pytest.fixture
def swapping(tmp_path):
    """Whatever has passed the bottleneck is taken for the other class."""
    return tiny.write_with_bottleneck(tmp_path / "swapping", swaps=True)


@pytest.fixture
def executor(bundle):
    return Executor(bundle, "full", open_backend("onnxruntime"))


@pytest.fixture
def bottlenecks(bundle, executor):
    return Bottlenecks(bundle, "full", executor)


def noise(seed=0):
    """An image that the final exit answers, as it is and behind a bottleneck."""
    return np.random.RandomState(seed).randint(95, 130, (tiny.SIZE, tiny.SIZE)).astype(np.uint8)


def features(seed=0):
    x = np.random.RandomState(seed).rand(1, tiny.SIZE, tiny.SIZE).astype(np.float32)
    return np.concatenate([x, 1 - x])


def travelled(each):
    """What must come of features, by hand: one channel in 256 levels."""
    quantized, scale, zero = kernels.quantize_u8(each[:1])
    x = kernels.dequantize_u8(quantized, scale, zero)
    return np.concatenate([x, 1 - x])


class Opened(Clustered):
    """Workers by their names, who say what they sent by which codec: (stage, codec, bytes)."""

    def __init__(self, folder, bundle, monkeypatch, over="memory"):
        super().__init__(folder, bundle, over)
        self.sent = []
        encode = Packer.encode

        def noted(packer, peer, item, place, *others):
            tensor = encode(packer, peer, item, place, *others)
            self.sent.append((place[1], tensor.codec, memoryview(tensor.body).nbytes))
            return tensor

        monkeypatch.setattr(Packer, "encode", noted)


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """A function that makes a cluster of a bundle."""
    made = []

    def make(bundle, over="memory"):
        made.append(Opened(tmp_path, bundle, monkeypatch, over))
        return made[-1]

    yield make
    for each in made:
        each.close()


class TestOneHop:
    def test_gives_what_encoder_and_decoder_give(self, bottlenecks):
        tensor = bottlenecks.encode(7, PLACE, features())
        assert (tensor.codec, tensor.shape, len(tensor.body)) == (LEARNED, SHAPE, CODE_COUNT)
        assert np.array_equal(bottlenecks.decode(PLACE, tensor), travelled(features()))

    def test_what_arrived_stays_when_others_arrive(self, bottlenecks):
        first, second = [bottlenecks.encode(seed, PLACE, features(seed)) for seed in (0, 1)]
        arrived = bottlenecks.decode(PLACE, first)
        bottlenecks.decode(PLACE, second)
        assert np.array_equal(arrived, travelled(features(0)))

    def test_only_the_stages_of_the_plan_that_begin_there_have_it(self, tmp_path, executor):
        manifest, files = tiny.tiny_manifest(), tiny.tiny_files()
        tiny.add_bottleneck(manifest, files, 0, border=1)
        plans = manifest["parts"][0]["plans"]
        first, _, last = plans["full"]["stages"]
        plans["merged"] = {"stages": [dict(first, last_segment=1, exit=None), last]}
        both = write_bundle(tmp_path / "both", manifest, files)
        assert (0, 1) in Bottlenecks(both, "full", executor)
        merged = Bottlenecks(both, "merged", executor)
        assert not any((0, stage) in merged for stage in range(3))
        assert len(onnx_files(both, "full", (), True)) == 2
        assert onnx_files(both, "merged", (), True) == onnx_files(both, "full", ()) == []

    @pytest.mark.parametrize("size", [0, CODE_COUNT - 1, CODE_COUNT + 1, 4 * CODE_COUNT])
    def test_a_body_of_another_size_is_refused_before_anything_runs(self, bottlenecks, size):
        never_run(bottlenecks)
        tensor = raw_tensor(features(), None)._replace(codec=LEARNED, scale=1.0, offset=0.0)
        expected = "body of learned: found {} bytes, expected {}".format(size, CODE_COUNT)
        with pytest.raises(PeerError, match=expected):
            bottlenecks.decode(PLACE, tensor._replace(body=bytes(size)))

    def test_a_code_where_there_is_no_bottleneck_is_refused(self, bottlenecks):
        tensor = bottlenecks.encode(7, PLACE, features())
        with pytest.raises(PeerError, match="codec of part 0 stage 1: found learned"):
            bottlenecks.decode((0, 1), tensor)

    def test_what_is_not_finite_has_no_code(self, bottlenecks):
        assert bottlenecks.encode(7, PLACE, np.full(SHAPE, np.nan, np.float32)) is None

    def test_networks_that_fail_cost_bytes_and_are_named_once(self, bottlenecks, caplog):
        def fail(*arrays):
            raise RuntimeError("out of memory")

        tensor = bottlenecks.encode(7, PLACE, features())
        loaded = SimpleNamespace(run=fail)
        change(bottlenecks, encoder=loaded, decoder=loaded)
        with caplog.at_level(logging.WARNING, "edgesdk.network"):
            assert [bottlenecks.encode(8, PLACE, features()) for _ in range(2)] == [None, None]
        (record,) = caplog.records
        assert record.getMessage().startswith("encoder of part 0 stage 2: out of memory")
        with pytest.raises(PeerError, match="decoder of part 0 stage 2: found out of memory"):
            bottlenecks.decode(PLACE, tensor)


def change(bottlenecks, **programs):
    bottlenecks._loaded[PLACE] = bottlenecks._loaded[PLACE]._replace(**programs)


def never_run(bottlenecks):
    """From now on no network may be computed."""

    def run(*arrays):
        raise AssertionError("a network was computed")

    change(bottlenecks, encoder=SimpleNamespace(run=run), decoder=SimpleNamespace(run=run))


class TestCodesThatAreKnown:
    def packer(self, bottlenecks, name=LEARNED, choices=()):
        greeting = SimpleNamespace(codecs=("raw", LEARNED))
        link = SimpleNamespace(round_trip_us=1e6)
        peer = SimpleNamespace(greeting=greeting, link=link, control_round_trip_us=0.0)
        return Packer(name, choices, {NEIGHBOUR: peer}.get, {}, [].append, bottlenecks)

    def test_a_second_try_computes_nothing(self, bottlenecks):
        packer, beside = self.packer(bottlenecks), np.ones(3, np.float32)
        first = packer.encode(NEIGHBOUR, 7, PLACE, features(), None)
        never_run(bottlenecks)
        again = packer.encode(NEIGHBOUR, 7, PLACE, features(), beside)
        assert again._replace(auxiliary=None) == first and first.codec == LEARNED
        assert bytes(again.auxiliary) == beside.tobytes()

    def test_what_goes_on_as_it_came_loses_nothing_more(self, bottlenecks):
        packer = self.packer(bottlenecks)
        came = bottlenecks.encode(7, PLACE, features())
        arrived = packer.decode(came, PLACE)
        packer.remember(-5, PLACE, came)
        never_run(bottlenecks)
        assert packer.encode(NEIGHBOUR, -5, PLACE, arrived, None) == came

    def test_a_task_of_others_is_passed_on_with_the_code_that_it_came_with(
        self, bottlenecks, executor
    ):
        hub, packer = Hub(), self.packer(bottlenecks)
        here, there = InProcess(hub, 1), InProcess(hub, NEIGHBOUR)
        network = Network(here, executor, {}, packer)
        came = bottlenecks.encode(7, PLACE, features())
        task = Task(1, 1, ItemId(NEIGHBOUR, 1, 0), 0, 2, 0, 1, 0, NAN, (0, 0))
        there.send(1, DATA, wire.encode(Envelope(5, 6, task), came))
        assert network.receive(0).envelope.message == task
        network.keep(Keep(-5))
        never_run(bottlenecks)
        network.send(Send(NEIGHBOUR, DATA, Envelope(5, 6, task), -5))
        (_, tensor) = wire.decode(there.receive().frames)
        assert bytes(tensor.body) == bytes(came.body) and tensor.scale == came.scale

    def test_behind_the_next_stage_features_are_others(self, bottlenecks):
        packer = self.packer(bottlenecks)
        packer.remember(7, (0, 1), bottlenecks.encode(6, PLACE, features(1)))
        found = packer.encode(NEIGHBOUR, 7, PLACE, features(), None)
        assert np.array_equal(packer.decode(found, PLACE), travelled(features()))

    def test_few_are_kept(self, bottlenecks):
        for item in range(3 * bottleneck.CODES_KEPT):
            bottlenecks.encode(item, PLACE, features())
        assert len(bottlenecks._codes) == bottleneck.CODES_KEPT
        assert bottlenecks.known(3 * bottleneck.CODES_KEPT - 1, PLACE) is not None

    def test_auto_chooses_it_where_there_is_one_and_it_pays(self, bottlenecks, monkeypatch):
        monkeypatch.setattr("edgesdk.core.codec_choice.SMALL_BYTES", 1)
        packer = self.packer(bottlenecks, AUTO, (LEARNED,))
        for place, expected in ((PLACE, LEARNED), ((0, 1), "raw")):
            found = [
                packer.encode(NEIGHBOUR, item, place, features(), None).codec
                for item in range(10 * LEARN_EVERY)
            ]
            assert found.count(expected) > len(found) // 2
            assert expected == LEARNED or set(found) == {"raw"}

    def test_auto_lets_go_of_it_when_the_link_becomes_fast(self, bottlenecks, monkeypatch):
        """Where a body is small and its coding slow, the round trip says little of the link."""
        monkeypatch.setattr("edgesdk.core.codec_choice.SMALL_BYTES", 1)
        clock = itertools.count(0.0, 10e-6)  # whatever is timed takes 10 us
        monkeypatch.setattr("edgesdk.runtime.packer.perf_counter", lambda: next(clock))
        packer = self.packer(bottlenecks, AUTO, (LEARNED,))
        link, items = packer._find_peer(NEIGHBOUR).link, itertools.count()
        for bytes_per_s, expected in ((1e5, LEARNED), (1e8, "raw")):
            found = []
            for _ in range(200):
                tensor = packer.encode(NEIGHBOUR, next(items), PLACE, features(), None)
                found.append(tensor.codec)
                took_us = memoryview(tensor.body).nbytes * 1e6 / bytes_per_s
                if tensor.codec == LEARNED:
                    packer.decode(tensor, PLACE)
                    took_us += 40.0
                link.round_trip_us += (took_us - link.round_trip_us) * DELAY_WEIGHT
            assert found[100:].count(expected) > 80

    def test_only_who_may_lose_something_takes_it(self, bottlenecks):
        tensor = bottlenecks.encode(7, PLACE, features())
        with pytest.raises(PeerError, match="codec: found learned, expected one that loses nothin"):
            self.packer(bottlenecks, AUTO, ()).decode(tensor, PLACE)


class TestABackendThatComputesOneThingAtATime:
    @pytest.fixture
    def busy(self, executor, monkeypatch):
        """An executor in the middle of a stage; gives the event that ends it."""
        monkeypatch.setattr(bottleneck, "PAUSE_S", 0.05)
        monkeypatch.setattr(executor.backend, "is_exclusive", True, raising=False)
        executor.admit((1,), executor.take_input(1, (1, tiny.SIZE, tiny.SIZE)))
        run = executor.begin(RunStage(0, 0, (1,), False))
        entered, ended = threading.Event(), threading.Event()

        def wait(features, out):
            entered.set()
            assert ended.wait(WAIT_S)

        run.stage = run.stage._replace(program=SimpleNamespace(run=wait))
        thread = threading.Thread(target=executor.compute, args=(run,))
        thread.start()
        assert entered.wait(WAIT_S)
        yield SimpleNamespace(run=run, ended=ended, thread=thread)
        ended.set()
        thread.join(WAIT_S)

    def test_is_not_disturbed_and_not_waited_for_long(self, busy, bottlenecks):
        never_run(bottlenecks)
        assert bottlenecks.encode(7, PLACE, features()) is None
        tensor = raw_tensor(features(), None)._replace(
            codec=LEARNED, body=bytes(CODE_COUNT), scale=1.0, offset=0.0
        )
        with pytest.raises(PeerError, match="a stage has run for more than 0"):
            bottlenecks.decode(PLACE, tensor)

    def test_is_free_again_when_the_stage_ends(self, busy, bottlenecks):
        busy.ended.set()
        busy.thread.join(WAIT_S)
        assert bottlenecks.encode(7, PLACE, features()) is not None

    def test_is_free_again_when_the_stage_is_given_up(self, busy, executor, bottlenecks):
        executor.forsake(busy.run)
        assert bottlenecks.encode(7, PLACE, features()) is not None

    def test_is_not_disturbed_while_it_loads(self, executor, bottlenecks, monkeypatch):
        monkeypatch.setattr(bottleneck, "PAUSE_S", 0.05)
        monkeypatch.setattr(executor.backend, "is_exclusive", True, raising=False)
        executor.keep_stages([(0, 0)])
        load, found = executor.backend.load, []

        def encode_meanwhile(*arguments):
            found.append(bottlenecks.encode(7, PLACE, features()))
            return load(*arguments)

        monkeypatch.setattr(executor.backend, "load", encode_meanwhile)
        executor.load_stages([(0, 0), (0, 1)])
        assert found == [None] and bottlenecks.encode(7, PLACE, features()) is not None

    def test_others_are_not_waited_for(self, busy, executor, bottlenecks, monkeypatch):
        monkeypatch.setattr(executor.backend, "is_exclusive", False)
        assert bottlenecks.encode(7, PLACE, features()) is not None


class TestAmongNeighbours:
    def direct(self, bundle, image):
        """The final exit's scores of an image whose features have passed the bottleneck."""
        stages = load_stages(bundle, "full", open_backend("onnxruntime"))
        values = Preprocessor(bundle.manifest.preprocessing)(image)
        for stage in range(3):
            values = travelled(values[0])[np.newaxis] if stage == 2 else values
            out = np.empty((1,) + SHAPE, np.float32)
            stages[0, stage].program.run(values, out)
            values = out
        return stages[0, 2].head(values, False)

    def test_codes_travel_where_there_is_a_bottleneck_and_answers_are_theirs(self, opened, bundle):
        made = opened(bundle).describe(
            worker("first", stages=[0]), worker("second", stages=[1]), BACK, top=LEARNED_TOP
        )
        first, _, _ = [made.open(name) for name in ("first", "second", "back")]
        made.meet()
        for seed in range(5):
            image = noise(seed)
            outcome, expected = first.infer(image), self.direct(bundle, image)
            assert outcome.exit_index == 2
            assert outcome.max_probability == float(expected.max_probability[0])
        raw_bytes = 4 * int(np.prod(SHAPE))
        assert set(made.sent) == {(1, "raw", raw_bytes), (2, LEARNED, CODE_COUNT)}
        assert "codec_fallbacks" not in first.stats()["transport"]

    def test_everything_that_travels_passes_it(self, opened, swapping):
        made = opened(swapping).describe(FRONT, BACK, top=LEARNED_TOP)
        back, front = made.open("back"), made.open("front")
        made.meet()
        assert [each.label for each in front.infer([tiny.image(0.55)] * 10)] == ["dark"] * 10
        assert {codec for _, codec, _ in made.sent} == {LEARNED}
        assert back.stats()["counters"]["tasks_received"] == 10

    def test_nothing_that_stays_does(self, opened, swapping):
        """Nobody is there to send to: all stages are computed where the image came."""
        made = opened(swapping).describe(worker("front"), BACK, top=LEARNED_TOP)
        front = made.open("front")
        assert [each.label for each in front.infer([tiny.image(0.55)] * 10)] == ["bright"] * 10
        assert made.sent == []

    def test_of_an_ensemble_a_student_may_have_one(self, opened, tmp_path):
        """What the second student says of an image is what it would say of its opposite."""
        manifest, files = te.ensemble_manifest(), te.ensemble_files()
        manifest["policies"]["last"] = {"kind": "fixed", "exit_index": 2}
        manifest["default_policy"] = "last"
        tiny.add_bottleneck(manifest, files, 1, border=2, swaps=True)
        made = opened(write_bundle(tmp_path / "ensemble", manifest, files))
        made.describe(FRONT, BACK, top=LEARNED_TOP)
        made.open("back")
        front = made.open("front")
        made.meet()
        found = front.infer(tiny.image(0.8))
        assert {codec for _, codec, _ in made.sent} == {"raw", LEARNED}
        terms = np.exp(te.logits(te.feature(0.8, 0, 2), te.feature(0.2, 1, 2)))
        assert found.max_probability == pytest.approx(terms.max() / terms.sum(), abs=1e-5)
        assert found.max_probability < 0.6, "they contradict each other"

    @pytest.mark.parametrize("top", ["", 'codec = "raw"\n', 'lossy = true\ncodec = "auto"\n'])
    def test_who_does_not_decode_it_gets_raw_features(self, opened, swapping, top):
        made = opened(swapping).describe(FRONT, BACK, top=top)
        decodes = "lossy" in top
        back = made.open("back")
        front = made.describe(FRONT, BACK, top=LEARNED_TOP).open("front")
        made.meet()
        (peer,) = front._loop.core.neighbours.values()
        assert (LEARNED in peer.greeting.codecs) is decodes
        assert front.infer(tiny.image(0.55)).label == ("dark" if decodes else "bright")
        counted = front.stats()["transport"].get("codec_fallbacks", 0)
        assert counted == (0 if decodes else len(made.sent))
        assert back.stats()["counters"]["tasks_received"] == 1

    def test_a_malformed_code_is_dropped_and_counted_and_others_are_computed(
        self, opened, bundle, monkeypatch
    ):
        made = opened(bundle).describe(FRONT, BACK, top=LEARNED_TOP)
        back, front = made.open("back"), made.open("front")
        made.meet()
        monkeypatch.setattr("edgesdk.core.link.TASK_RETRANSMIT_US_MIN", 10_000)
        encode, spoilt = Bottlenecks.encode, []

        def spoil(*arguments):
            tensor = encode(*arguments)
            spoilt.append(tensor)
            return tensor._replace(body=bytes(tensor.body) + b"\0")

        monkeypatch.setattr(Bottlenecks, "encode", spoil)
        assert front.infer(noise()).exit_index == 2, "its second try is the code as it was made"
        assert len(spoilt) == 1
        assert back.stats()["transport"]["malformed_messages"] >= 1

    def test_workers_with_other_bottlenecks_do_not_work_together(self, bundle, swapping):
        assert bundle.manifest.model_id == swapping.manifest.model_id
        policy = bundle.manifest.policies["calibrated"]
        found = [
            member._agreement(each, [each.manifest.parts[0].plans["full"]], policy)
            for each in (bundle, bundle, swapping)
        ]
        assert found[0] == found[1] != found[2]

    @pytest.mark.parametrize(
        ("write", "says"),
        [
            (tiny.write_tiny_bundle, "expected a codec that needs no bottlenecks, for"),
            (tiny.write_with_bottleneck, "found 'learned', which calibration has not found harm"),
        ],
    )
    def test_a_bundle_that_does_not_allow_it_is_refused(self, opened, tmp_path, write, says):
        other = write(tmp_path / "other")
        made = opened(other).describe(FRONT, BACK, top=LEARNED_TOP)
        with pytest.raises(ConfigError, match=says):
            Pipeline.open(cluster=made.path, name="front", policy="final")


class TestProcesses:
    """The back of the network in a process of its own, over ZeroMQ."""

    ITEM_COUNT = 60

    def run(self, made, top):
        """The outcomes, and the bytes that went to the other process."""
        made.describe(FRONT, BACK, top=top)
        command = Command("--cluster", made.path, "--name", "back")
        front = made.open("front")
        try:
            outcomes = front.infer([noise(seed) for seed in range(self.ITEM_COUNT)])
            return outcomes, front.stats()["neighbours"]["back"]["sent_bytes"]
        finally:
            front.close()
            command.close()

    def test_get_codes_which_are_smaller_and_give_the_same_answers(self, opened, bundle):
        pytest.importorskip("zmq")
        made = opened(bundle, "sockets")
        plain, plain_bytes = self.run(made, 'codec = "raw"\n')
        raw_bytes = {size for _, _, size in made.sent}
        made.sent.clear()
        coded, coded_bytes = self.run(made, LEARNED_TOP)
        assert raw_bytes == {8 * CODE_COUNT} and set(made.sent) == {(2, LEARNED, CODE_COUNT)}
        assert plain_bytes - coded_bytes > self.ITEM_COUNT * 7 * CODE_COUNT / 2, "heartbeats apart"
        direct = TestAmongNeighbours().direct
        for seed, (before, after) in enumerate(zip(plain, coded)):
            expected = direct(bundle, noise(seed))
            assert after.worker == before.worker == "back"
            assert after.max_probability == float(expected.max_probability[0])
        assert [each.max_probability for each in plain] != [each.max_probability for each in coded]
