"""Stages of a bundle, loaded, with their exits; and what makes one answer of an ensemble's."""

from typing import Any, Collection, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ..arrays import Array
from ..backends import Backend, Program, smallest_limit
from ..bundle import Bundle, EnsembleClassifier
from ..core.events import Scores
from ..core.spec import Bottleneck, Stage
from ..kernels import ExitScores, exit_scores


def constants(backend: Backend, parameters: Sequence[Optional[np.ndarray]]) -> Tuple[Any, ...]:
    """The parameters of a head, as the kernels of `backend` take them."""
    return tuple(
        None if values is None else backend.memory.constant(values) for values in parameters
    )


class ExitHead:
    """The head behind one stage: fused parameters, or a graph that gives logits."""

    def __init__(self, bundle: Bundle, exit_index: int, backend: Backend) -> None:
        part = bundle.manifest.parts[0]
        spec = part.exits[exit_index]
        self._kernels = backend.kernels
        self.max_batch: Optional[int] = None
        self._fused: Optional[Tuple[Any, ...]] = None
        if spec.kind == "fused":
            self._fused = constants(backend, bundle.head(0, exit_index))
        else:
            self._class_count = len(bundle.manifest.labels)
            self._graph = backend.load(
                bundle.file(spec.file),
                part.segments[exit_index].output_shape,
                (self._class_count,),
            )
            self.max_batch = self._graph.max_batch

    def __call__(self, features: Array, with_logits: bool) -> ExitScores:
        """Scores of float32 `features` [B, C, S...]; `.logits` [B, N] if `with_logits`."""
        if self._fused is not None:
            found: ExitScores = self._kernels.exit_head(features, *self._fused, logits=with_logits)
            return found
        logits = np.empty((len(features), self._class_count), np.float32)
        self._graph.run(features, logits)
        return exit_scores(logits)


class FeatureExit:
    """The exit of an ensemble's part behind one stage. Its scores are of the answer that would be
    given if this part were the only one: for the policy, which decides in each part by itself."""

    max_batch: Optional[int] = None

    def __init__(
        self,
        bundle: Bundle,
        classifier: EnsembleClassifier,
        part: int,
        exit_index: int,
        backend: Backend,
    ) -> None:
        self._kernels = backend.kernels
        self._head = constants(backend, bundle.feature_head(part, exit_index))
        self._weight, self._bias = classifier.alone(part)

    def __call__(self, features: Array, with_logits: bool) -> ExitScores:
        """Of float32 `features` [B, C, S...]; `.logits` is F_j, float32 [B, D], in any case."""
        projection, scale, shift = self._head
        feature = self._kernels.exit_feature(features, scale, shift, projection)
        with np.errstate(all="ignore"):  # what is not finite is seen in the scores
            logits = feature @ self._weight.T + self._bias
        return exit_scores(logits)._replace(logits=feature)


class Ensemble:
    """Makes one answer of the features of all parts (DistrEE, Fig. 1)."""

    def __init__(self, bundle: Bundle) -> None:
        self._weight, self._bias, self._missing = bundle.classifier()

    @property
    def feature_bytes(self) -> int:
        """Of one part: float32 [D]."""
        return int(self._missing[0].nbytes)

    def classify(self, features: Sequence[Optional[bytes]]) -> Tuple[Scores, np.ndarray]:
        """Scores and logits float32 [N] of one item. A part without a feature counts with its mean
        in training."""
        rows = [
            missing if feature is None else np.frombuffer(feature, np.float32)
            for feature, missing in zip(features, self._missing)
        ]
        with np.errstate(all="ignore"):  # what is not finite is seen in the scores
            logits = self._weight @ np.concatenate(rows) + self._bias
        columns = [column.tolist() for column in exit_scores(logits[np.newaxis])[:4]]
        return Scores(*[column[0] for column in columns]), logits


class LoadedStage(NamedTuple):
    """A stage ready to run; `output_shape` is per sample, `head` None where no exit is."""

    program: Program
    output_shape: Tuple[int, ...]
    exit_index: Optional[int]
    head: Union[ExitHead, FeatureExit, None]

    @property
    def max_batch(self) -> Optional[int]:
        """The most samples that the stage and its exit take at once; None: any number."""
        head = None if self.head is None else self.head.max_batch
        return smallest_limit([self.program.max_batch, head])


class StageTotals:
    """What one stage has computed here so far; `busy_us` with its exit heads."""

    __slots__ = ("busy_us", "item_count", "run_count")

    def __init__(self) -> None:
        self.run_count = self.item_count = self.busy_us = 0


PlaceOf = Tuple[int, int]  # (part, stage)


def load_stages(
    bundle: Bundle,
    plan_name: str,
    backend: Backend,
    held: Optional[Collection[PlaceOf]] = None,
) -> Dict[PlaceOf, LoadedStage]:
    """The stages of a plan, of all parts, compiled by `backend`, with their exits; of those in
    `held`, if that is given. Raises what `load` raises."""
    classifier = None if bundle.manifest.classifier is None else bundle.classifier()
    return {
        (part, index): _load(bundle, classifier, part, stage, backend)
        for part, spec in enumerate(bundle.manifest.parts)
        for index, stage in enumerate(spec.plans[plan_name].stages)
        if held is None or (part, index) in held
    }


def onnx_files(
    bundle: Bundle,
    plan_name: str,
    held: Optional[Collection[PlaceOf]] = None,
    with_bottlenecks: bool = False,
) -> List[str]:
    """Every file that `load_stages` has a backend load, and `Bottlenecks` if that is used."""
    files = []
    for bottleneck in bottlenecks_of(bundle, plan_name).values() if with_bottlenecks else ():
        files += [bundle.file(bottleneck.encoder), bundle.file(bottleneck.decoder)]
    for part, spec in enumerate(bundle.manifest.parts):
        for index, stage in enumerate(spec.plans[plan_name].stages):
            if held is not None and (part, index) not in held:
                continue
            files.append(bundle.file(stage.file))
            head = None if stage.exit_index is None else spec.exits[stage.exit_index]
            if head is not None and head.kind == "graph":
                files.append(bundle.file(head.file))
    return files


def input_shapes(bundle: Bundle, plan_name: str) -> Dict[PlaceOf, Tuple[int, ...]]:
    """What every stage of a plan takes, per sample."""
    return {
        (part, index): spec.segments[stage.first_segment].input_shape
        for part, spec in enumerate(bundle.manifest.parts)
        for index, stage in enumerate(spec.plans[plan_name].stages)
    }


def bottlenecks_of(bundle: Bundle, plan_name: str) -> Dict[PlaceOf, Bottleneck]:
    """Those that stand in front of stages of a plan, by (part, stage)."""
    found = {
        (part, index): spec.bottleneck_before(stage)
        for part, spec in enumerate(bundle.manifest.parts)
        for index, stage in enumerate(spec.plans[plan_name].stages)
    }
    return {place: each for place, each in found.items() if each is not None}


def _load(
    bundle: Bundle,
    classifier: Optional[EnsembleClassifier],
    part: int,
    stage: Stage,
    backend: Backend,
) -> LoadedStage:
    segments = bundle.manifest.parts[part].segments
    output_shape = segments[stage.last_segment].output_shape
    return LoadedStage(
        program=backend.load(
            bundle.file(stage.file), segments[stage.first_segment].input_shape, output_shape
        ),
        output_shape=output_shape,
        exit_index=stage.exit_index,
        head=_exit(bundle, classifier, part, stage.exit_index, backend),
    )


def _exit(
    bundle: Bundle,
    classifier: Optional[EnsembleClassifier],
    part: int,
    exit_index: Optional[int],
    backend: Backend,
) -> Union[ExitHead, FeatureExit, None]:
    if exit_index is None:
        return None
    if classifier is not None:
        return FeatureExit(bundle, classifier, part, exit_index, backend)
    return ExitHead(bundle, exit_index, backend)
