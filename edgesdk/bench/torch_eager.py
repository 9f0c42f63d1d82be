"""What a user would write in PyTorch instead of a kernel, one operation after the other.

Each function takes the kernel's arguments and returns a call to be timed. The sequences are the
shortest that give the same results, margin left out; tensors share the memory of the arrays.
"""

from typing import Any, Callable, Dict, Optional

import numpy as np

Call = Callable[[], Any]


def load(thread_count: int) -> Optional[Any]:
    """torch with that many threads, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(thread_count)
    return torch


def sequence(torch: Any, operation: str, arguments: Any) -> Call:
    """The PyTorch sequence for `operation` on these arguments, without gradients."""
    tensors = [
        torch.from_numpy(value) if isinstance(value, np.ndarray) else value for value in arguments
    ]
    call = _BUILDERS[operation](torch, *tensors)

    def timed() -> Any:
        with torch.inference_mode():
            return call()

    return timed


def _pooled(torch: Any, features: Any, scale: Any, shift: Any) -> Call:
    functional = torch.nn.functional
    mean, variance = torch.zeros(len(scale)), torch.ones(len(scale))

    def call() -> Any:
        normed = functional.batch_norm(features, mean, variance, scale, shift, False, 0.0, 0.0)
        return functional.relu(normed).mean((2, 3))

    return call


def _scored(torch: Any, logits: Any) -> Any:
    probability = torch.softmax(logits, 1)
    max_probability, class_index = probability.max(1)
    entropy = -(probability * probability.log()).sum(1)
    return class_index, max_probability, entropy


def _exit_head(torch: Any, features: Any, weight: Any, bias: Any, scale: Any, shift: Any) -> Call:
    pooled = _pooled(torch, features, scale, shift)
    return lambda: _scored(torch, torch.nn.functional.linear(pooled(), weight, bias))


def _exit_scores(torch: Any, logits: Any) -> Call:
    return lambda: _scored(torch, logits)


def _exit_feature(torch: Any, features: Any, scale: Any, shift: Any, projection: Any) -> Call:
    pooled = _pooled(torch, features, scale, shift)
    return lambda: torch.nn.functional.linear(pooled(), projection)


def _cosine_difference(torch: Any, feature: Any, first: Any) -> Call:
    return lambda: feature.norm(dim=1) * first.norm(dim=1) / (feature * first).sum(1)


def _distree_exit(
    torch: Any, features: Any, scale: Any, shift: Any, projection: Any, first: Any
) -> Call:
    feature = _exit_feature(torch, features, scale, shift, projection)
    return lambda: 1 / torch.nn.functional.cosine_similarity(feature(), first)


def _gather_rows(torch: Any, rows: Any, indices: Any) -> Call:
    return lambda: rows.index_select(0, indices)


def _quantize_u8(torch: Any, values: Any) -> Call:
    def call() -> Any:
        low, high = torch.aminmax(values)
        scale = (high - low) / 255
        return ((values - low) / scale).round().to(torch.uint8), scale.item(), low.item()

    return call


def _dequantize_u8(torch: Any, quantized: Any, scale: float, zero: float) -> Call:
    return lambda: quantized.float() * scale + zero


_BUILDERS: Dict[str, Callable[..., Call]] = {
    "exit_head": _exit_head,
    "exit_scores": _exit_scores,
    "exit_feature": _exit_feature,
    "cosine_difference": _cosine_difference,
    "distree_exit": _distree_exit,
    "gather_rows": _gather_rows,
    "quantize_u8": _quantize_u8,
    "dequantize_u8": _dequantize_u8,
}
