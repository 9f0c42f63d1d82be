"""Torch networks made of a bundle, stage by stage, as `bench peers` gives them to others."""

from typing import Any, List

from ..backends.pytorch import eager_module, torch
from ..bundle import Bundle, Head
from ..core.spec import Plan

functional = torch.nn.functional


class FusedHead(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """What `kernels.exit_head` computes, up to the logits, in torch's own operations."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        tensors = [None if each is None else torch.from_numpy(each.copy()) for each in head]
        self._scale, self._shift = tensors[2:]
        self._weight: Any = tensors[0]
        self._bias: Any = tensors[1]

    def forward(self, features: Any) -> Any:
        """float32 [B, C, S...] to logits float32 [B, N]."""
        if self._scale is not None and self._shift is not None:
            sizes = (1, -1) + (1,) * (features.dim() - 2)
            features = features * self._scale.view(sizes) + self._shift.view(sizes)
        pooled = functional.relu(features).flatten(2).mean(2)
        return functional.linear(pooled, self._weight, self._bias)


def stage_modules(bundle: Bundle, plan: Plan) -> List[Any]:
    """The stages of a plan without their heads, as ordinary modules: nothing traced or frozen.

    Raises BundleError or EngineError.
    """
    return [eager_module(bundle.file(stage.file)) for stage in plan.stages]


def head_module(bundle: Bundle, exit_index: int) -> Any:
    """The head of a trained exit, from features to logits. Raises BundleError or EngineError."""
    spec = bundle.manifest.parts[0].exits[exit_index]
    if spec.kind == "graph":
        return eager_module(bundle.file(spec.file))
    return FusedHead(bundle.head(0, exit_index)).eval()
