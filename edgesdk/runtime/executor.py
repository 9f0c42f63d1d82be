"""Runs stages and exit heads on a backend: what `RunStage` means in the real world.

A run has three steps, so that another thread can compute: `begin` and `finish` belong to the thread
that drives the loop, which owns all tables here; `compute` touches nothing but the run's arrays.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .. import kernels
from ..backends import Backend, Program
from ..bundle import Bundle, Head
from ..core.events import RunStage, Scores, StageDone
from ..core.spec import Stage
from ..errors import PeerError
from .buffers import Buffer, BufferPool, Rows
from .clock import now_us

# Smaller features that come over a link are copied into a block of the pool: it costs less than
# what a backend does with memory that it has not seen before.
KEPT_UNCOPIED_BYTES_MIN = 65536


class ExitHead:
    """The head behind one stage: fused parameters, or a graph that gives logits."""

    def __init__(self, bundle: Bundle, exit_index: int, backend: Backend) -> None:
        part = bundle.manifest.parts[0]
        spec = part.exits[exit_index]
        self._fused: Optional[Head] = None
        if spec.kind == "fused":
            self._fused = bundle.head(0, exit_index)
        else:
            self._class_count = len(bundle.manifest.labels)
            self._graph = backend.load(
                bundle.file(spec.file),
                part.segments[exit_index].output_shape,
                (self._class_count,),
            )

    def __call__(self, features: np.ndarray, with_logits: bool) -> "kernels.ExitScores":
        """Scores of float32 `features` [B, C, S...]; `.logits` [B, N] if `with_logits`."""
        if self._fused is not None:
            return kernels.exit_head(features, *self._fused, logits=with_logits)
        logits = np.empty((len(features), self._class_count), np.float32)
        self._graph.run(features, logits)
        return kernels.exit_scores(logits)


class LoadedStage(NamedTuple):
    """A stage ready to run; `output_shape` is per sample, `head` None where no exit is."""

    program: Program
    output_shape: Tuple[int, ...]
    exit_index: Optional[int]
    head: Optional[ExitHead]


class StageTotals:
    """What one stage has computed here so far; `busy_us` with its exit heads."""

    __slots__ = ("busy_us", "item_count", "run_count")

    def __init__(self) -> None:
        self.run_count = self.item_count = self.busy_us = 0


class Run:
    """One batch on its way through a stage: `features` and `output` are held for it. `found` are
    the scores of its head, None where none is asked for; who computes it says in `taken_us` how
    long that took."""

    __slots__ = ("action", "features", "found", "output", "stage", "taken_us")

    def __init__(
        self, action: RunStage, stage: LoadedStage, features: Buffer, output: Buffer
    ) -> None:
        self.action = action
        self.stage = stage
        self.features = features
        self.output = output
        self.found: "Optional[kernels.ExitScores]" = None
        self.taken_us = 0


class Executor:
    """Holds every item's tensors and computes on them.

    Inputs enter by `admit`, possibly from another thread; of everything else only `compute` may
    run outside the thread that drives the loop.
    """

    def __init__(
        self,
        bundle: Bundle,
        plan_name: str,
        backend: Backend,
        needs: Sequence[str] = (),
        keep_logits: bool = False,
        held_stages: Optional[Sequence[int]] = None,
    ) -> None:
        part = bundle.manifest.parts[0]
        self._class_count = len(bundle.manifest.labels)
        self._pool = BufferPool()
        self._rows = Rows(self._pool)
        self._needs = frozenset(needs)
        self._keep_logits = keep_logits
        self._keep_outputs = keep_logits or bool(needs)
        self._first: Dict[int, np.ndarray] = {}  # outputs of exit 0 and of the latest exit:
        self._latest: Dict[int, np.ndarray] = {}  # for a classifier, its logits
        self._latest_exit: Dict[int, int] = {}  # whose they are, of those evaluated here
        # What travels with a task because the policy compares with it.
        self._compared = self._first if "difference" in self._needs else self._latest
        stages = part.plans[plan_name].stages
        self._stages = {
            index: _load(bundle, stage, backend)
            for index, stage in enumerate(stages)
            if held_stages is None or index in held_stages
        }
        self._totals = {index: StageTotals() for index in range(len(stages))}
        self.input_shapes = [part.segments[stage.first_segment].input_shape for stage in stages]

    def take_input(self, row_count: int, shape: Tuple[int, ...]) -> Buffer:
        """A buffer for the inputs of a batch, to be filled and then admitted."""
        return self._pool.take(row_count, shape)

    def discard_input(self, buffer: Buffer) -> None:
        """Return a buffer from `take_input` that will not be admitted."""
        self._pool.give(buffer)

    def admit(self, items: Tuple[int, ...], buffer: Buffer) -> None:
        """Row i of `buffer` is the model input of item i."""
        self._rows.place(items, buffer)

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
        """Gather what a batch needs."""
        stage = self._stages[action.stage]
        features = self._rows.collect(action.items)
        self._rows.hold(features)
        return Run(action, stage, features, self._pool.take(len(action.items), stage.output_shape))

    def compute(self, run: Run) -> None:
        """Compute a batch, in any thread, one at a time. Exceptions of the backend pass."""
        stage, output = run.stage, run.output.array
        stage.program.run(run.features.array, output)
        if run.action.evaluate:
            assert stage.head is not None  # the core evaluates only where the plan has an exit
            run.found = stage.head(output, self._keep_outputs)

    def finish(self, run: Run) -> StageDone:
        """What was computed is what the items hold from now on."""
        part, stage_index, items, _ = run.action
        self._rows.move(run.features, run.output)
        totals = self._totals[stage_index]
        totals.run_count += 1
        totals.item_count += len(items)
        totals.busy_us += run.taken_us
        scores = None
        if run.found is not None:
            scores = self._evaluate(run.stage, items, run.found)
        return StageDone(part, stage_index, items, scores)

    def abandon(self, run: Run) -> None:
        """A batch came to nothing: its items hold what they held before."""
        self._pool.give(run.output)
        self._rows.let_go(run.features)

    def forsake(self, run: Run) -> None:
        """A batch does not end: its items hold what they held before, and none of its memory is
        used again, for whoever computes may still write there."""
        run.features.shelf = None
        self._rows.let_go(run.features)

    def logits(self, item: int, exit_index: int) -> Optional[np.ndarray]:
        """float32 [N] of this exit for `item`, if they are wanted and it is the latest one that was
        evaluated here."""
        is_latest = self._keep_logits and self._latest_exit.get(item) == exit_index
        return self._latest.get(item) if is_latest else None

    def features(self, item: int) -> Tuple[np.ndarray, Optional[np.ndarray]]:
        """What travels with a task of `item`: its features [C,H,W], a view, and the vector that
        the policy compares with, or None."""
        compared = self._compared.get(item) if self._needs else None
        return self._rows.row(item), compared

    def lend(self, item: int) -> None:
        """The features of `item` are being read by a link, and may be for a while."""
        self._rows.lend(item)

    def check_compared(self, stage: int, compared: Optional[np.ndarray]) -> None:
        """Raise PeerError unless a task of `stage` must come with `compared`."""
        expected = self._class_count if self._needs and stage else 0
        found = 0 if compared is None else len(compared)
        if found != expected:
            raise PeerError(
                "vector that the policy compares with: found {} values, expected {}".format(
                    found, expected
                )
            )

    def keep(self, item: int, features: np.ndarray, compared: Optional[np.ndarray]) -> None:
        """`features` came over a link; they are those of `item` from now on, uncopied if they can
        be computed on where they are."""
        batch = features[np.newaxis]
        if (
            features.nbytes < KEPT_UNCOPIED_BYTES_MIN
        ):  # a pooled block saves the backend a new binding
            buffer = self._pool.take(1, features.shape)
            buffer.array[...] = batch
        else:
            buffer = Buffer(batch, None)
        self._rows.place((item,), buffer)
        if compared is not None:
            self._compared[item] = compared
        self._latest_exit.pop(item, None)

    def release(self, item: int) -> None:
        """Forget everything held for `item`."""
        self._rows.release(item)
        self._first.pop(item, None)
        self._latest.pop(item, None)
        self._latest_exit.pop(item, None)

    def stage_totals(self) -> List[Dict[str, int]]:
        """stage, run_count, item_count, busy_us of every stage of the plan."""
        return [
            {
                "stage": index,
                "run_count": totals.run_count,
                "item_count": totals.item_count,
                "busy_us": totals.busy_us,
            }
            for index, totals in self._totals.items()
        ]

    @property
    def held_count(self) -> int:
        """Items whose tensors are held."""
        return len(self._rows)

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


def load_stages(bundle: Bundle, plan_name: str, backend: Backend) -> List[LoadedStage]:
    """The stages of a plan, compiled by `backend`, with their heads. Raises what `load` raises."""
    plan = bundle.manifest.parts[0].plans[plan_name]
    return [_load(bundle, stage, backend) for stage in plan.stages]


def _load(bundle: Bundle, stage: Stage, backend: Backend) -> LoadedStage:
    part = bundle.manifest.parts[0]
    output_shape = part.segments[stage.last_segment].output_shape
    return LoadedStage(
        program=backend.load(
            bundle.file(stage.file), part.segments[stage.first_segment].input_shape, output_shape
        ),
        output_shape=output_shape,
        exit_index=stage.exit_index,
        head=None if stage.exit_index is None else ExitHead(bundle, stage.exit_index, backend),
    )
