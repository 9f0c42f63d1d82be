"""What `RunStage` means: features from stage to stage, scores from heads, nothing kept."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from gated import BRIGHT, DIM, GatedBackend

from edgesdk.backends import open_backend
from edgesdk.core.events import RunStage
from edgesdk.errors import EngineError
from edgesdk.runtime.executor import Executor


@pytest.fixture
def executor_of(bundle):
    """A function that makes executors on the tiny bundle."""

    def make(backend=None, **options):
        return Executor(bundle, "full", backend or open_backend("onnxruntime"), **options)

    return make


def admit(executor, *brightnesses):
    """Items 0, 1, ... with images of these brightnesses."""
    buffer = executor.take_input(len(brightnesses), (1, tiny.SIZE, tiny.SIZE))
    for row, brightness in zip(buffer.array, brightnesses):
        row[...] = round(255 * brightness) / 255
    items = tuple(range(len(brightnesses)))
    executor.admit(items, buffer)
    return items


def run(executor, stage, items, evaluate=True):
    return executor.run(RunStage(0, stage, tuple(items), evaluate))


class TestStages:
    def test_scores_are_those_of_the_network(self, executor_of):
        executor = executor_of()
        items = admit(executor, BRIGHT, DIM, 0.2)
        for stage in range(tiny.EXIT_COUNT):
            done = run(executor, stage, items)
            assert (done.part, done.stage, done.items) == (0, stage, items)
            for brightness, scores in zip((BRIGHT, DIM, 0.2), done.scores):
                expected = tiny.max_probability(brightness, stage)
                assert scores.max_probability == pytest.approx(expected, rel=1e-5)
                assert scores.class_index == (0 if brightness > 0.5 else 1)

    def test_scores_are_plain_numbers_for_the_core(self, executor_of):
        executor = executor_of()
        (scores,) = run(executor, 0, admit(executor, BRIGHT)).scores
        assert [type(value) for value in scores] == [int] + [float] * 5

    def test_without_evaluation_there_are_none(self, executor_of):
        executor = executor_of()
        assert run(executor, 0, admit(executor, BRIGHT), evaluate=False).scores is None

    def test_part_of_a_batch_goes_on(self, executor_of):
        executor = executor_of()
        admit(executor, 0.9, 0.1, 0.8, 0.3)
        run(executor, 0, (0, 1, 2, 3))
        executor.release(1)
        executor.release(2)
        done = run(executor, 1, (0, 3))
        found = [scores.max_probability for scores in done.scores]
        assert found == pytest.approx([tiny.max_probability(b, 1) for b in (0.9, 0.3)], rel=1e-5)

    def test_items_of_different_batches_meet(self, executor_of):
        executor = executor_of()
        admit(executor, 0.9, 0.1, 0.8)
        run(executor, 0, (0,))
        run(executor, 0, (1, 2))
        done = run(executor, 1, (2, 0))
        found = [scores.max_probability for scores in done.scores]
        assert found == pytest.approx([tiny.max_probability(b, 1) for b in (0.8, 0.9)], rel=1e-5)

    def test_a_stage_is_the_next_ones_input_without_a_copy(self, executor_of):
        backend = GatedBackend()
        executor = executor_of(backend)
        seen = []
        for stage in executor._stages.values():
            original = stage.program.run

            def spy(features, out, original=original):
                seen.append((features.ctypes.data, out.ctypes.data))
                original(features, out)

            stage.program.run = spy
        items = admit(executor, BRIGHT, DIM)
        for stage in range(3):
            run(executor, stage, items)
        assert seen[0][1] == seen[1][0] and seen[1][1] == seen[2][0]


class TestMemory:
    def test_released_items_leave_nothing(self, executor_of):
        executor = executor_of(needs=("difference",), keep_logits=True)
        items = admit(executor, BRIGHT, DIM)
        run(executor, 0, items)
        for item in items:
            executor.release(item)
        assert executor.held_count == 0
        assert (executor._first, executor._latest) == ({}, {})

    def test_images_one_after_the_other_use_the_same_memory(self, executor_of):
        executor = executor_of()
        addresses = set()
        for _ in range(20):
            admit(executor, BRIGHT)
            for stage in range(3):
                run(executor, stage, (0,))
            addresses.add(executor._rows._buffers[0].array.ctypes.data)
            executor.release(0)
        assert len(addresses) <= 2

    def test_a_stage_that_raises_gives_its_buffer_back(self, executor_of):
        backend = GatedBackend()
        backend.error, backend.fails_at = MemoryError("no"), 0
        executor = executor_of(backend)
        admit(executor, BRIGHT)
        for _ in range(2):
            with pytest.raises(MemoryError):
                run(executor, 0, (0,))
        blocks = executor._pool._free[(1, (2, tiny.SIZE, tiny.SIZE))]
        assert len(blocks) == 1

    def test_an_input_that_is_not_admitted_is_given_back(self, executor_of):
        executor = executor_of()
        buffer = executor.take_input(1, (1, 6, 6))
        executor.discard_input(buffer)
        assert executor.take_input(1, (1, 6, 6)) is buffer


class TestDemandedScores:
    @pytest.fixture
    def turning(self, executor_of):
        """An executor whose exits give these logits, one list per exit and item."""

        def make(needs, outputs):
            executor = executor_of(needs=needs)
            for index, rows in enumerate(outputs):
                logits = np.array(rows, np.float32)

                def head(features, with_logits, logits=logits):
                    count = len(features)
                    zeros = np.zeros(count, np.float32)
                    columns = (np.zeros(count, np.int64), zeros, zeros, zeros)
                    return Found(columns, logits if with_logits else None)

                executor._stages[(0, index)] = executor._stages[(0, index)]._replace(head=head)
            return executor

        return make

    def test_cosine_difference_to_the_first_exit(self, turning):
        outputs = [[[1, 0], [1, 0]], [[1, 1], [0, 2]], [[3, 4], [-1, 0]]]
        executor = turning(("difference",), outputs)
        items = admit(executor, BRIGHT, DIM)
        found = [[s.difference for s in run(executor, k, items).scores] for k in range(3)]
        assert found[0] == [1.0, 1.0]  # by definition
        assert found[1] == [pytest.approx(2**0.5, rel=1e-6), np.inf]
        assert found[2] == [pytest.approx(5 / 3, rel=1e-6), np.inf]

    def test_similarity_to_the_exit_before(self, turning):
        outputs = [[[1, 0]], [[1, 1]], [[2, 2]]]
        executor = turning(("similarity",), outputs)
        items = admit(executor, BRIGHT)
        found = [run(executor, k, items).scores[0].similarity for k in range(3)]
        assert np.isnan(found[0])
        assert found[1:] == pytest.approx([0.5**0.5, 1.0], rel=1e-6)

    def test_nobody_else_pays_for_them(self, executor_of):
        executor = executor_of()
        items = admit(executor, BRIGHT)
        (scores,) = run(executor, 0, items).scores
        assert np.isnan(scores.difference) and np.isnan(scores.similarity)
        assert executor._latest == {}

    def test_logits_are_given_only_if_they_are_wanted(self, executor_of):
        for wanted in (False, True):
            executor = executor_of(needs=("difference",), keep_logits=wanted)
            run(executor, 0, admit(executor, BRIGHT))
            assert (executor.logits(0, 0) is not None) is wanted
            assert executor.logits(0, 1) is None  # of another exit


class Found(SimpleNamespace):
    """Scores as a head gives them: four columns by index, and logits."""

    def __init__(self, columns, logits):
        super().__init__(columns=columns, logits=logits)

    def __getitem__(self, part):
        return self.columns[part]


class TestStagesThatComeAndGo:
    def test_are_computed_while_they_are_there(self, executor_of):
        executor = executor_of(held_stages=[(0, 0)])
        items = admit(executor, BRIGHT)
        executor.load_stages([(0, 0), (0, 1)])
        run(executor, 0, items)
        executor.keep_stages([(0, 1)])
        expected = tiny.max_probability(BRIGHT, 1)
        assert run(executor, 1, items).scores[0].max_probability == pytest.approx(expected)
        executor.keep_stages([])
        with pytest.raises(KeyError):
            run(executor, 1, items)

    def test_one_that_is_let_go_ends_what_it_computes(self, executor_of):
        executor = executor_of()
        items = admit(executor, BRIGHT)
        begun = executor.begin(RunStage(0, 0, items, True))
        executor.keep_stages([])
        executor.compute(begun)
        expected = tiny.max_probability(BRIGHT, 0)
        assert executor.finish(begun).scores[0].max_probability == pytest.approx(expected)

    def test_what_is_there_is_not_loaded_again(self, executor_of):
        backend = GatedBackend()
        executor = executor_of(backend)
        executor.load_stages([(0, 0), (0, 1)])
        assert backend._loaded == tiny.EXIT_COUNT

    def test_an_engine_for_smaller_batches_is_refused(self, executor_of, monkeypatch):
        executor = executor_of(held_stages=[(0, 0)])
        assert executor.max_batch(8) == 8
        load = executor._backend.load

        def loaded(*arguments):
            program = load(*arguments)
            program.max_batch = 4
            return program

        monkeypatch.setattr(executor._backend, "load", loaded)
        with pytest.raises(
            EngineError, match=r"found engines for batches of at most 4, expected 8"
        ):
            executor.load_stages([(0, 1)])
        assert list(executor._stages) == [(0, 0)]
