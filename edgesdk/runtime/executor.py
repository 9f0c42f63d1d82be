"""Runs stages and exit heads on a backend: what `RunStage` means in the real world."""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .. import kernels
from ..backends import Backend, Program
from ..bundle import Bundle, Head
from ..core.events import RunStage, Scores, StageDone
from ..core.spec import Stage
from .buffers import Buffer, BufferPool, Rows


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


class Executor:
    """Holds every item's tensors and computes on them.

    Inputs enter by `admit`, possibly from another thread; everything else belongs to the thread
    that drives the loop.
    """

    def __init__(
        self,
        bundle: Bundle,
        plan_name: str,
        backend: Backend,
        needs: Sequence[str] = (),
        keep_logits: bool = False,
    ) -> None:
        self._pool = BufferPool()
        self._rows = Rows(self._pool)
        self._needs = frozenset(needs)
        self._keep_logits = keep_logits
        self._keep_outputs = keep_logits or bool(needs)
        self._first: Dict[int, np.ndarray] = {}  # outputs of exit 0 and of the latest exit:
        self._latest: Dict[int, np.ndarray] = {}  # for a classifier, its logits
        self._stages = load_stages(bundle, plan_name, backend)

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
        stage = self._stages[action.stage]
        features = self._rows.collect(action.items)
        output = self._pool.take(len(action.items), stage.output_shape)
        try:
            stage.program.run(features.array, output.array)
        except BaseException:
            self._pool.give(output)
            raise
        self._rows.move(features, output)
        scores = self._evaluate(stage, action.items, output.array) if action.evaluate else None
        return StageDone(action.part, action.stage, action.items, scores)

    def logits(self, item: int) -> Optional[np.ndarray]:
        """float32 [N] of the latest exit evaluated for `item`, if they are wanted."""
        return self._latest.get(item) if self._keep_logits else None

    def release(self, item: int) -> None:
        """Forget everything held for `item`."""
        self._rows.release(item)
        self._first.pop(item, None)
        self._latest.pop(item, None)

    @property
    def held_count(self) -> int:
        """Items whose tensors are held."""
        return len(self._rows)

    def _evaluate(
        self, stage: "LoadedStage", items: Tuple[int, ...], features: np.ndarray
    ) -> List[Scores]:
        assert stage.head is not None  # the core evaluates only where the plan has an exit
        found = stage.head(features, self._keep_outputs)
        columns: List[List[float]] = [column.tolist() for column in found[:4]]
        if self._keep_outputs and found.logits is not None:
            if self._needs:
                columns += self._compare(items, found.logits, stage.exit_index == 0)
            for item, row in zip(items, found.logits):
                self._latest[item] = row
        return list(map(Scores, *columns))

    def _compare(
        self, items: Tuple[int, ...], outputs: np.ndarray, first_exit: bool
    ) -> List[List[float]]:
        """Cosine difference to the first exit, and similarity to the one before: columns."""
        if first_exit:
            for item, row in zip(items, outputs):
                self._first[item] = row
            return [[1.0] * len(items), [float("nan")] * len(items)]
        difference = similarity = [float("nan")] * len(items)
        if "difference" in self._needs:
            first = np.stack([self._first[item] for item in items])
            difference = kernels.cosine_difference(outputs, first).tolist()
        if "similarity" in self._needs:
            before = np.stack([self._latest[item] for item in items])
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
