"""Runs stages and exit heads on a backend: what `RunStage` means in the real world.

A run has three steps, so that another thread can compute: `begin` and `finish` belong to the thread
that drives the loop, which owns all tables here; `compute` touches nothing but the run's arrays.
"""

import contextlib
import threading
from typing import Collection, ContextManager, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from .. import kernels
from ..arrays import HOST, Array
from ..backends import Backend, smallest_limit
from ..bundle import Bundle
from ..core.events import Answer, Classified, Classify, RunStage, Scores, StageDone
from ..core.worker import DEFAULT_MAX_BATCH
from ..engine_store import build_command
from ..errors import EngineError, PeerError
from .buffers import Buffer, BufferPool, Rows, gather
from .clock import now_us
from .stages import Ensemble, LoadedStage, PlaceOf, StageTotals, input_shapes, load_stages

# Smaller features that come over a link are copied into a block of the pool: it costs less than
# what a backend does with memory that it has not seen before.
KEPT_UNCOPIED_BYTES_MIN = 65536


class Run:
    """One batch on its way through a stage: `features` and `output` are held for it. `found` are
    the scores of its head, None where none is asked for; who computes it holds `turn`, and says in
    `taken_us` how long that took."""

    __slots__ = ("action", "features", "found", "output", "stage", "taken_us", "turn")

    def __init__(
        self,
        action: RunStage,
        stage: LoadedStage,
        features: Buffer,
        output: Buffer,
        turn: ContextManager[bool],
    ) -> None:
        self.action = action
        self.stage = stage
        self.features = features
        self.output = output
        self.turn = turn
        self.found: "Optional[kernels.ExitScores]" = None
        self.taken_us = 0


class Executor:
    """Holds every item's tensors and computes on them.

    Each part of an item has its own, under a key: the item's name where there is one part, and for
    tasks of others, which come a part at a time; see `_key`. Inputs enter by `admit`, possibly from
    another thread; of everything else only `compute` may run outside the thread that drives the
    loop.
    """

    def __init__(
        self,
        bundle: Bundle,
        plan_name: str,
        backend: Backend,
        needs: Sequence[str] = (),
        keep_logits: bool = False,
        held_stages: Optional[Collection[PlaceOf]] = None,
    ) -> None:
        manifest = bundle.manifest
        self._part_count = len(manifest.parts)
        self._ensemble = None if manifest.classifier is None else Ensemble(bundle)
        # Values of what a policy compares.
        self._output_size = len(manifest.labels)
        if manifest.classifier is not None:
            self._output_size = manifest.classifier.feature_size
        self._backend = backend
        self._turn = threading.Lock()  # of whoever computes
        self._inputs = BufferPool()  # of what comes from outside: always on the host
        self._pool = BufferPool(backend.memory)
        self._rows = Rows(self._pool)
        self._needs = frozenset(needs)
        self._keep_logits = keep_logits
        self._keep_outputs = keep_logits or bool(needs)
        self._logits: Dict[int, np.ndarray] = {}  # of an ensemble's item that has been classified
        self._first: Dict[int, np.ndarray] = {}  # outputs of exit 0 and of the latest exit:
        self._latest: Dict[int, np.ndarray] = {}  # a classifier's logits, F_j
        self._latest_exit: Dict[int, int] = {}  # whose they are, of those evaluated here
        # What travels with a task because the policy compares with it.
        self._compared = self._first if "difference" in self._needs else self._latest
        self._bundle, self._plan_name = bundle, plan_name
        self._batch_max = 0
        self._stages = load_stages(bundle, plan_name, backend, held_stages)
        self.input_shapes = input_shapes(bundle, plan_name)
        self._totals = {place: StageTotals() for place in self.input_shapes}

    def max_batch(self, asked: Optional[int]) -> int:
        """Samples to compute at once: `asked`, or if that is None what suits the stages. Raises
        EngineError if a stage cannot take so many."""
        limit = smallest_limit(stage.max_batch for stage in self._stages.values())
        if asked is None:
            self._batch_max = min(DEFAULT_MAX_BATCH, limit or DEFAULT_MAX_BATCH)
            return self._batch_max
        if limit is not None and limit < asked:
            raise EngineError(
                "max_batch: found {}, needed at most {}, for which engines were built; open with "
                "max_batch={}, or build others: {}".format(
                    asked,
                    limit,
                    limit,
                    build_command(self._bundle.path, "--max-batch {}".format(asked)),
                )
            )
        self._batch_max = asked
        return asked

    def load_stages(self, places: Collection[PlaceOf]) -> None:
        """Make those of `places` ready that are not yet, beside the others; in the thread that
        computes. Raises what loading raises, and EngineError for one that takes smaller batches
        than are computed here."""
        missing = [place for place in places if place not in self._stages]
        with self._turn:  # engines share memory that grows while they are loaded
            found = load_stages(self._bundle, self._plan_name, self._backend, missing)
        limit = smallest_limit(stage.max_batch for stage in found.values())
        if limit is not None and limit < self._batch_max:
            raise EngineError(
                "stages {}: found engines for batches of at most {}, expected {}, as this worker "
                "computes; open with max_batch={}".format(missing, limit, self._batch_max, limit)
            )
        self._stages.update(found)

    def keep_stages(self, places: Collection[PlaceOf]) -> None:
        """Forget all stages but `places`, when what they compute now has ended."""
        for place in list(self._stages):
            if place not in places:
                del self._stages[place]

    def take_input(self, row_count: int, shape: Tuple[int, ...]) -> Buffer:
        """A buffer for the inputs of a batch, to be filled and then admitted."""
        return self._inputs.take(row_count, shape)

    def discard_input(self, buffer: Buffer) -> None:
        """Return a buffer from `take_input` that will not be admitted."""
        self._inputs.give(buffer)

    def admit(self, items: Tuple[int, ...], buffer: Buffer) -> None:
        """Row i of `buffer` is the model input of item i, and of each of its parts."""
        for part in range(1, self._part_count):
            copy = self._inputs.take(len(items), buffer.array.shape[1:])
            HOST.copy(buffer.array, copy.array)
            self._rows.place(self._keys(part, items), copy)
        self._rows.place(self._keys(0, items), buffer)

    def run(self, action: RunStage) -> StageDone:
        """Run one stage, and its head if asked, on a batch. Exceptions of the backend pass."""
        run = self.begin(action)
        begin_us = now_us()
        try:
            self.compute(run)
        except BaseException:
            self.abandon(run)
            raise
        run.taken_us = now_us() - begin_us
        return self.finish(run)

    def begin(self, action: RunStage) -> Run:
        """Say what a batch needs."""
        stage = self._stages[(action.part, action.stage)]
        features = self._rows.collect(self._keys(action.part, action.items))
        output = self._pool.take(len(action.items), stage.output_shape)
        return Run(action, stage, features, output, self._turn)

    def compute(self, run: Run) -> None:
        """Compute a batch, in any thread, one at a time. Exceptions of the backend pass."""
        stage, output = run.stage, run.output.array
        with run.turn, self._backend.computing():
            gather(run.features, self._backend)
            stage.program.run(run.features.array, output)
            if run.action.evaluate:
                assert stage.head is not None  # the core evaluates only where the plan has an exit
                run.found = stage.head(output, self._keep_outputs)

    @property
    def backend(self) -> Backend:
        """What it computes on."""
        return self._backend

    @contextlib.contextmanager
    def pause(self, wait_s: float) -> Iterator[bool]:
        """In there the thread that drives the loop may run programs of the backend: no stage is
        computed, if that must not be at the same time. False: one did not end within `wait_s`."""
        turn = self._turn
        if not self._backend.is_exclusive:
            yield True
        elif turn.acquire(timeout=wait_s):
            try:
                yield True
            finally:
                turn.release()
        else:
            yield False

    def finish(self, run: Run) -> StageDone:
        """What was computed is what the items hold from now on."""
        part, stage, items, _ = run.action
        self._rows.move(run.features, run.output)
        totals = self._totals[(part, stage)]
        totals.run_count += 1
        totals.item_count += len(items)
        totals.busy_us += run.taken_us
        if run.found is None:
            return StageDone(part, stage, items, None)
        scores = self._evaluate(run.stage, self._keys(part, items), run.found)
        if self._ensemble is None:
            return StageDone(part, stage, items, scores)
        assert run.found.logits is not None  # an ensemble's exits have their features there
        return StageDone(part, stage, items, scores, [row.tobytes() for row in run.found.logits])

    def classify(self, action: Classify) -> Classified:
        """One answer of the features of an item's parts."""
        assert self._ensemble is not None  # the core asks for it only then
        scores, logits = self._ensemble.classify(action.features)
        if self._keep_logits:
            self._logits[action.item] = logits
        return Classified(action.item, scores)

    def abandon(self, run: Run) -> None:
        """A batch came to nothing: its items hold what they held before."""
        self._pool.give(run.output)
        self._rows.let_go(run.features)

    def forsake(self, run: Run) -> None:
        """A batch does not end: its items hold what they held before, and none of its memory is
        used again, for whoever computes may still write there. Nobody waits for that one's turn."""
        self._rows.forsake(run.features)
        self._turn = threading.Lock()

    def logits(self, item: int, exit_index: int) -> Optional[np.ndarray]:
        """float32 [N] of this exit for `item`, if they are wanted and it is the latest one that was
        evaluated here, or of an ensemble."""
        if self._ensemble is not None:
            return self._logits.get(item)
        is_latest = self._keep_logits and self._latest_exit.get(item) == exit_index
        return self._latest.get(item) if is_latest else None

    def features(self, item: int, part: int) -> Tuple[Array, Optional[np.ndarray]]:
        """What travels with a task of a part of `item`: its features [C,H,W], a view, and the
        vector that the policy compares with, or None."""
        key = self._key(part, item)
        compared = self._compared.get(key) if self._needs else None
        return self._rows.row(key), compared

    def lend(self, item: int, part: int) -> None:
        """The features of a part of `item` are being read by a link, and may be for a while."""
        self._rows.lend(self._key(part, item))

    def check_answer(self, answer: Answer) -> None:
        """Raise PeerError unless an answer from elsewhere has the feature that it must have."""
        expected = 0 if self._ensemble is None else self._ensemble.feature_bytes
        if len(answer.feature) != expected:
            raise PeerError(
                "feature of an answer: found {} bytes, expected {}".format(
                    len(answer.feature), expected
                )
            )

    def check_compared(self, stage: int, compared: Optional[np.ndarray]) -> None:
        """Raise PeerError unless a task of `stage` must come with `compared`."""
        expected = self._output_size if self._needs and stage else 0
        found = 0 if compared is None else len(compared)
        if found != expected:
            raise PeerError(
                "vector that the policy compares with: found {} values, expected {}".format(
                    found, expected
                )
            )

    def keep(
        self, item: int, part: int, features: np.ndarray, compared: Optional[np.ndarray]
    ) -> None:
        """`features` came over a link; they are those of a part of `item` from now on, uncopied if
        they can be computed on where they are."""
        key = self._key(part, item)
        batch = features[np.newaxis]
        if (
            features.nbytes < KEPT_UNCOPIED_BYTES_MIN
        ):  # a pooled block saves the backend a new binding
            buffer = self._inputs.take(1, features.shape)
            HOST.copy(batch, buffer.array)
        else:
            buffer = Buffer(batch, None)
        self._rows.place((key,), buffer)
        if compared is not None:
            self._compared[key] = compared
        self._latest_exit.pop(key, None)

    def release(self, item: int) -> None:
        """Forget everything held for `item`."""
        self._logits.pop(item, None)
        for part in range(1 if item < 0 else self._part_count):
            key = self._key(part, item)
            self._rows.release(key)
            self._first.pop(key, None)
            self._latest.pop(key, None)
            self._latest_exit.pop(key, None)

    def stage_totals(self) -> List[Dict[str, int]]:
        """part, stage, run_count, item_count, busy_us of every stage of the plan, and whether it is
        `held` here."""
        return [
            {
                "part": part,
                "stage": stage,
                "run_count": totals.run_count,
                "item_count": totals.item_count,
                "busy_us": totals.busy_us,
                "held": (part, stage) in self._stages,
            }
            for (part, stage), totals in self._totals.items()
        ]

    @property
    def held_count(self) -> int:
        """Items, or parts of them, whose tensors are held."""
        return len(self._rows)

    def _key(self, part: int, item: int) -> int:
        """Of a part of an item of ours; a task of others has a name of its own."""
        return item if item < 0 else item * self._part_count + part

    def _keys(self, part: int, items: Tuple[int, ...]) -> Tuple[int, ...]:
        if self._part_count == 1:
            return items
        return tuple([self._key(part, item) for item in items])

    def _evaluate(
        self, stage: LoadedStage, items: Tuple[int, ...], found: "kernels.ExitScores"
    ) -> List[Scores]:
        columns: List[List[float]] = [column.tolist() for column in found[:4]]
        if self._keep_outputs and found.logits is not None:
            held = [item in self._rows for item in items]  # not released meanwhile
            if self._needs:
                columns += self._compare(items, held, found.logits, stage.exit_index == 0)
            for item, is_held, row in zip(items, held, found.logits):
                if is_held and stage.exit_index is not None:
                    self._latest[item], self._latest_exit[item] = row, stage.exit_index
        return list(map(Scores, *columns))

    def _compare(
        self, items: Tuple[int, ...], held: List[bool], outputs: np.ndarray, first_exit: bool
    ) -> List[List[float]]:
        """Cosine difference to the first exit, and similarity to the one before: columns. What is
        not held any more is compared with itself, for nobody reads it."""
        if first_exit:
            for item, is_held, row in zip(items, held, outputs):
                if is_held:
                    self._first[item] = row
            return [[1.0] * len(items), [float("nan")] * len(items)]
        difference = similarity = [float("nan")] * len(items)
        if "difference" in self._needs:
            first = np.stack([self._first.get(i, row) for i, row in zip(items, outputs)])
            difference = kernels.cosine_difference(outputs, first).tolist()
        if "similarity" in self._needs:
            before = np.stack([self._latest.get(i, row) for i, row in zip(items, outputs)])
            similarity = (1.0 / kernels.cosine_difference(outputs, before)).tolist()
        return [difference, similarity]
