"""Who takes part in `bench peers` on one core: edgesdk, and what one would use instead."""

import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..bundle import Bundle, read_plain_bundle
from ..core.exits import Patience, ThresholdPolicy
from ..core.spec import Plan
from ..errors import BackendUnavailable, ConfigError, EngineError
from ..pipeline import Pipeline
from .contenders import EAGER, PLAIN, Answers
from .peers_answers import POLICY, TOGETHER, Expected, Leaves
from .peers_static import up_to_exit
from .plain import PlainOnnxruntime, PlainTorch

OURS = "edgesdk"
OURS_TORCH = "edgesdk on torch"
FINAL, NOBODY = "final exit", "nobody leaves"
EARLYON, STAGED = "earlyon", "earlyon staged"
BATCH = 32
BOTH = (1, BATCH)


class Peer(NamedTuple):
    """`run` takes one image, or a list of `BATCH`, and is timed; `answers` reads what it returned.
    `leaves`: where images have to leave; None for another network, which nothing can check."""

    name: str
    leaves: Optional[Leaves]
    run: Callable[[Any], Any]
    answers: Callable[[Any], Answers]
    batches: Tuple[int, ...] = BOTH
    close: Callable[[], Any] = lambda: None


class Lineup(NamedTuple):
    """Those who take part, and why the others do not, by name."""

    peers: List[Peer]
    left_out: Dict[str, str]


class Choice(NamedTuple):
    """What is compared: the network, the plan and thresholds that all follow, threads of each."""

    bundle: Bundle
    plan: Plan
    policy: ThresholdPolicy
    policy_name: str
    threads: int


def open_peers(choice: Choice, expected: Expected, statics: Sequence[str]) -> Lineup:
    """Everyone who can be opened here, plain onnxruntime first. `statics`: folders of bundles whose
    uncut network takes part as a static one.

    Raises BackendUnavailable without onnxruntime, BundleError without the uncut network.
    """
    lineup = Lineup([_plain(PLAIN, choice, expected.last)], {})
    _try(lineup, EAGER, _eager, choice, expected.last)
    _try(lineup, OURS, _ours, choice, expected.last)
    _try(lineup, OURS_TORCH, _ours_on_torch, choice)
    _try(lineup, EARLYON, _earlyon, choice, expected.last)
    for exit_index in near(*accuracies(choice, expected)):
        name = "static, ends at exit {}".format(exit_index)
        _try(lineup, name, _static, name, choice, exit_index)
    for path in statics:
        lineup.peers.append(_other(path, choice))
    return lineup


def near(accuracies: Sequence[float], wanted: float) -> List[int]:
    """The early exit that is at least as accurate as `wanted`, where there is one, and the one
    before: between them a static network would be as accurate."""
    last = len(accuracies) - 1
    least = min((each for each in range(last) if accuracies[each] >= wanted), default=last)
    return [each for each in (least - 1, least) if 0 <= each < last]


def accuracies(choice: Choice, expected: Expected) -> Tuple[Sequence[float], float]:
    """0..1 of every exit, if all leave there, and of the policy: on the whole test set, as the
    bundle says; where it does not, on the images of `expected`."""
    document = choice.bundle.manifest.document
    try:
        policy = document["policies"][choice.policy_name]["provenance"]["test"]["accuracy"]
        exits = document["provenance"]["test"]["accuracy_per_exit"]
        if len(exits) == len(expected.logits):
            return [float(each) for each in exits], float(policy)
    except (KeyError, TypeError, ValueError):  # whoever wrote the bundle says what they like there
        pass
    counted = [expected.accuracy_at(each) for each in range(len(expected.logits))]
    return counted, expected.policy_accuracy()


def _try(lineup: Lineup, name: str, opened: Callable[..., List[Peer]], *arguments: Any) -> None:
    try:
        lineup.peers.extend(opened(*arguments))
    except (BackendUnavailable, EngineError) as error:
        lineup.left_out[name] = str(error)


def _plain(
    name: str, choice: Choice, exit_index: Optional[int], network: Optional[bytes] = None
) -> Peer:
    plain = PlainOnnxruntime(choice.bundle, choice.threads, network=network)
    return _argmax(name, exit_index, plain.infer)


def _argmax(name: str, exit_index: Optional[int], run: Callable[[Any], Any]) -> Peer:
    """A network that always ends at the same place, and returns classes."""
    place = -1 if exit_index is None else exit_index
    return Peer(
        name,
        exit_index,
        run,
        lambda found: Answers(np.asarray(found, np.int64), np.full(len(found), place, np.int64)),
    )


def _eager(choice: Choice, last: int) -> List[Peer]:
    return [_argmax(EAGER, last, PlainTorch(choice.bundle, choice.threads).infer)]


def _static(name: str, choice: Choice, exit_index: int) -> List[Peer]:
    return [_plain(name, choice, exit_index, up_to_exit(choice.bundle, exit_index))]


def _other(path: str, choice: Choice) -> Peer:
    bundle = read_plain_bundle(path)
    if bundle.manifest.labels != choice.bundle.manifest.labels:
        raise ConfigError(
            "--static: found {} with other classes than {}; name a bundle for the same data".format(
                path, choice.bundle.path
            )
        )
    name = "static, {}".format(bundle.manifest.document["name"])
    return _plain(name, choice._replace(bundle=bundle), None)


def _ours(choice: Choice, last: int) -> List[Peer]:
    nobody = Patience(math.inf)  # evaluates every exit it meets
    return [
        _pipeline("{}, {}".format(OURS, FINAL), choice, "final", last),
        _pipeline("{}, {}".format(OURS, NOBODY), choice, nobody, last, choice.plan.name),
        _early(OURS, choice),
    ]


def _ours_on_torch(choice: Choice) -> List[Peer]:
    return [_early(OURS_TORCH, choice, "torch")]


def _early(name: str, choice: Choice, backend: Optional[str] = None) -> Peer:
    name = "{}, {}".format(name, choice.policy_name)
    return _pipeline(name, choice, choice.policy, POLICY, choice.plan.name, backend)


def _pipeline(
    name: str,
    choice: Choice,
    policy: Any,
    leaves: Leaves,
    plan: Optional[str] = None,
    backend: Optional[str] = None,
) -> Peer:
    """edgesdk as a program uses it."""
    pipe = Pipeline.open(
        choice.bundle.path, policy=policy, backend=backend, plan=plan, threads=choice.threads
    )
    return Peer(name, leaves, pipe.infer, outcome_answers, close=pipe.close)


def outcome_answers(found: Any) -> Answers:
    """What `Pipeline.infer` returned. Raises Failed for an item that has no answer."""
    outcomes = found if isinstance(found, list) else [found]
    for outcome in outcomes:
        if not outcome.ok:
            raise outcome
    return Answers(
        np.array([outcome.class_index for outcome in outcomes], np.int64),
        np.array([outcome.exit_index for outcome in outcomes], np.int64),
    )


def _earlyon(choice: Choice, last: int) -> List[Peer]:
    from .peers_earlyon import Earlyon

    bundle, plan, policy, policy_name, threads = choice
    nobody = Earlyon(bundle, plan, policy, threads, none_leave=True)
    early = Earlyon(bundle, plan, policy, threads, none_leave=False)
    name = "{}, {}".format(EARLYON, policy_name)
    return [
        Peer("{}, {}".format(EARLYON, NOBODY), last, nobody.single, nobody.answers, (1,)),
        Peer(name, POLICY, early.single, early.answers, (1,)),
        Peer(name, TOGETHER, early.batch, early.answers, (BATCH,)),
        Peer("{}, {}".format(STAGED, policy_name), POLICY, early.staged(), early.answers, (1,)),
    ]
