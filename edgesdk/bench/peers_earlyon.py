"""The bundle's network in earlyon (PyPI), for `bench peers`: its stages and heads in torch, wrapped
as earlyon wraps a network, with the same thresholds.

Its package `earlyon.models` needs torchvision; what is used here, the wrapper and the staged model,
does not. It estimates FLOPs with fvcore where that is installed, once, before anything is timed.
"""

import math
import warnings
from typing import Any, Callable, Sequence

import numpy as np

from ..bundle import Bundle
from ..core.exits import Entropy, MaxProbability, ThresholdPolicy
from ..core.spec import Plan
from ..errors import BackendUnavailable
from ..preprocess import Preprocessor
from .contenders import Answers
from .peers_torch import head_module, stage_modules, torch

NEVER = 2.0  # a confidence that nothing reaches; a softmax in float32 does reach 1
FINAL = -1  # earlyon's number of the final exit


class Earlyon:
    """`plan` of the bundle with a policy's thresholds, or with none that anybody reaches.

    `single`: how one image is answered; `batch`: earlyon's batched mode, in which all leave
    together. Both take uint8 images and return earlyon's own result. Raises BackendUnavailable
    without earlyon, or for a policy that it does not have.
    """

    def __init__(
        self, bundle: Bundle, plan: Plan, policy: ThresholdPolicy, threads: int, none_leave: bool
    ) -> None:
        _require()
        if not isinstance(policy, (MaxProbability, Entropy)):
            raise BackendUnavailable(
                "earlyon has no policy of kind {}; choose one of kind max_probability or entropy "
                "by --policy".format(policy.kind)
            )
        torch.set_num_threads(threads)
        self._exits = plan.exit_indices
        self._wrapper = _wrapped(bundle, plan, policy)
        if none_leave:  # its own check allows no such threshold
            self._wrapper.config.routing_policy = "confidence"
            self._wrapper.config.confidence_thresholds = [NEVER] * (len(self._exits) - 1)
        self._staged: Any = None
        self._preprocess = Preprocessor(bundle.manifest.preprocessing)

    def single(self, image: Any) -> Any:
        """One image, through earlyon's wrapper: hooks behind the layers with exits."""
        return self._wrapper(self._tensor(image))

    def staged(self) -> Callable[[Any], Any]:
        """The same with earlyon's staged model, made for deployment: one stage after the other."""
        from earlyon.staged import staged_model

        infer = staged_model(self._wrapper).infer
        return lambda image: infer(self._tensor(image))

    def batch(self, images: Sequence[Any]) -> Any:
        """Several images."""
        return self._wrapper.forward_inference_batched(self._tensor(images))

    def answers(self, found: Any) -> Answers:
        """What a result says, for every image."""
        logits = found.prediction if hasattr(found, "prediction") else found.predictions
        classes = logits.argmax(1).numpy().astype(np.int64)
        exit_index = self._exits[-1 if found.exit_taken == FINAL else found.exit_taken]
        return Answers(classes, np.full(len(classes), exit_index, np.int64))

    def _tensor(self, images: Any) -> Any:
        return torch.from_numpy(self._preprocess(images))


def _require() -> None:
    try:
        import earlyon.staged  # noqa: F401
    except ImportError as error:
        raise BackendUnavailable(
            "earlyon cannot be imported ({}); it needs Python 3.10 and torch: pip install "
            "--no-deps earlyon (the rest that it asks for is for its own models), or pip install "
            '"edgesdk[peers]"'.format(error)
        ) from None


def _wrapped(bundle: Bundle, plan: Plan, policy: ThresholdPolicy) -> Any:
    """An `EarlyExitWrapper` whose backbone is the stages of the plan and the final head, one after
    the other, with an exit behind each stage that has one."""
    from earlyon import EarlyExitWrapper

    modules = stage_modules(bundle, plan) + [head_module(bundle, plan.exit_indices[-1])]
    heads = {_name(each): head_module(bundle, each) for each in plan.exit_indices[:-1]}
    wrapper = EarlyExitWrapper(
        torch.nn.Sequential(*modules),
        heads,
        torch.nn.Identity(),
        _config(bundle, plan, policy),
        input_shape=(1,) + bundle.manifest.parts[0].segments[0].input_shape,
    )
    wrapper.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that fvcore knows no costs of modules like these
        wrapper.flops_estimate  # noqa: B018  # it is made on first use, else in the first answer
    return wrapper


def _config(bundle: Bundle, plan: Plan, policy: ThresholdPolicy) -> Any:
    from earlyon import EarlyExitConfig, ExitPoint

    segments = bundle.manifest.parts[0].segments
    exits = plan.exit_indices[:-1]
    layers = {stage.exit_index: str(number) for number, stage in enumerate(plan.stages)}
    enabled = [policy.evaluates(each, None) for each in exits]
    is_entropy = isinstance(policy, Entropy)
    class_count = getattr(policy, "class_count", None)
    unit = math.log(class_count) if class_count else 1.0
    thresholds = [
        unit * policy.threshold(each) if is_on else 0.0 for each, is_on in zip(exits, enabled)
    ]
    return EarlyExitConfig(
        backbone="custom",
        num_classes=len(bundle.manifest.labels),
        exit_points=[
            ExitPoint(_name(each), layers[each], segments[each].output_shape[0]) for each in exits
        ],
        confidence_thresholds=[] if is_entropy else thresholds,
        entropy_thresholds=thresholds if is_entropy else [],
        enabled_exits=enabled,
        routing_policy="entropy" if is_entropy else "confidence",
    )


def _name(exit_index: int) -> str:
    return "exit_{}".format(exit_index)
