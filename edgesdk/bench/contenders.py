"""Who takes part in `bench pipeline`: what a user would run instead, and edgesdk's own ways."""

import math
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..backends import BACKENDS
from ..bundle import Bundle
from ..core.exits import FixedExit, Patience
from ..core.spec import FULL_PLAN
from ..errors import BackendUnavailable, EdgeError, EngineError
from ..pipeline import Pipeline
from .plain import PlainOnnxruntime, PlainTorch, UncutTorch

PLAIN_BACKEND, TENSORRT = "onnxruntime", "tensorrt"
PLAIN = PLAIN_BACKEND + " uncut"
EAGER = "torch eager uncut"
TORCH_UNCUT = "torch backend uncut"
CUT = "cut, final exit only"
ANSWER_BATCH = 32
# How far, in logits, an answer may be behind the best one of the uncut network: float32 rounds
# differently when layers are fused differently.
LOGIT_TOLERANCE = 1e-3


def none_taken(plan: str) -> str:
    """The name, after the backend's, of the contender whom every exit of `plan` is evaluated for,
    and who leaves at none."""
    return "plan {}, none taken".format(plan)


class Contender(NamedTuple):
    """`infer` takes one image or a list. `pipe` is None for those that are not edgesdk; `kind` is
    "plain", "whole" (nobody leaves early) or "early"."""

    name: str
    kind: str
    infer: Callable[[Any], Any]
    pipe: Optional[Pipeline] = None


class Answers(NamedTuple):
    """int64 [n] each: class, and the exit that gave it."""

    class_index: np.ndarray
    exit_index: np.ndarray


def open_contenders(bundle: Bundle, threads: int) -> Tuple[List[Contender], List[str]]:
    """All that can be opened here, plain onnxruntime first; and what is missing, with its remedy.

    Raises BackendUnavailable without onnxruntime, BundleError without the uncut network.
    """
    found = [Contender(PLAIN, "plain", PlainOnnxruntime(bundle, threads).infer)]
    missing: List[str] = []
    try:
        found.append(Contender(EAGER, "plain", PlainTorch(bundle, threads).infer))
        found.append(Contender(TORCH_UNCUT, "plain", UncutTorch(bundle, threads).infer))
    except BackendUnavailable as error:
        missing.append(str(error))
    for backend in [name for name, _, _ in BACKENDS]:
        try:
            found += _pipelines(bundle, backend, threads, everything=backend == PLAIN_BACKEND)
        except (BackendUnavailable, EngineError) as error:
            if backend != TENSORRT or isinstance(error, EngineError):  # few machines have a GPU
                missing.append(str(error))
    return found, missing


def _pipelines(bundle: Bundle, backend: str, threads: int, everything: bool) -> List[Contender]:
    """edgesdk on one backend: the full network cut, and the default policy; with `everything` also
    nobody leaving on each plan, and every other policy that lets items leave."""
    manifest, result = bundle.manifest, []

    def add(about: str, kind: str, policy: Any, plan: Optional[str] = None) -> None:
        pipe = Pipeline.open(
            bundle.path, policy=policy, backend=backend, plan=plan, threads=threads
        )
        result.append(Contender("{} {}".format(backend, about), kind, pipe.infer, pipe))

    add(CUT, "whole", "final", FULL_PLAN)
    for plan in manifest.parts[0].plans if everything else ():
        add(none_taken(plan), "whole", Patience(math.inf), plan)  # evaluates every exit it meets
    for name, policy in manifest.policies.items():
        if policy.kind != "final" and (everything or name == manifest.default_policy):
            add("policy " + name, "early", name)
    return result


def answers(contender: Contender, images: Sequence[Any]) -> Answers:
    """What `contender` says of every image, computed in batches. Raises Failed if it fails."""
    classes: List[int] = []
    exits: List[int] = []
    for begin in range(0, len(images), ANSWER_BATCH):
        found = contender.infer(images[begin : begin + ANSWER_BATCH])
        if contender.pipe is None:
            classes += [int(value) for value in found]
            exits += [-1] * len(found)
            continue
        for outcome in found:
            if not outcome.ok:
                raise outcome
            classes.append(outcome.class_index)
            exits.append(outcome.exit_index)
    return Answers(np.array(classes, np.int64), np.array(exits, np.int64))


def check(contender: Contender, found: Answers, images: Sequence[Any], logits: np.ndarray) -> None:
    """Raise EdgeError if an answer is not the network's: wrong contenders are not timed.

    `logits` float32 [n,N] are the uncut network's. Whoever went to the final exit must agree with
    them; whoever left early must agree with that exit when all images leave there together.
    """
    if contender.pipe is None:
        stayed = np.ones(len(images), bool)
    else:
        stayed = found.exit_index == contender.pipe.plan.exit_indices[-1]
    behind = logits.max(axis=1) - logits[np.arange(len(logits)), found.class_index]
    _raise_for(contender, np.flatnonzero(stayed & ~(behind <= LOGIT_TOLERANCE)), found, "the uncut")
    for exit_index in sorted(set(found.exit_index[~stayed].tolist())):
        left = np.flatnonzero(found.exit_index == exit_index)
        expected = _left_together(contender, exit_index, [images[i] for i in left.tolist()])
        wrong = left[expected != found.class_index[left]]
        _raise_for(contender, wrong, found, "exit {} of the".format(exit_index))


def _left_together(contender: Contender, exit_index: int, images: Sequence[Any]) -> np.ndarray:
    """int64 [n]: the classes at one exit when nobody leaves before."""
    pipe = contender.pipe
    assert pipe is not None  # only a pipeline has exits
    with Pipeline.open(
        pipe.bundle.path,
        policy=FixedExit(exit_index),
        backend=pipe.backend.name,
        plan=pipe.plan.name,
    ) as forced:
        return answers(Contender("", "early", forced.infer, forced), images).class_index


def _raise_for(contender: Contender, wrong: np.ndarray, found: Answers, whose: str) -> None:
    if len(wrong):
        raise EdgeError(
            "{}: found {} answers that are not those of {} network, the first for image {} (class "
            "{}); expected the same ones; it is not timed: run the tests of its backend".format(
                contender.name, len(wrong), whose, wrong[0], found.class_index[wrong[0]]
            )
        )
