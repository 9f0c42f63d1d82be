"""The child's task "look": what GPU there is, and what a build can be asked for."""

from typing import Any, Dict

from .gpu import Gpu, on_gpu


def answer(request: Dict[str, Any]) -> Dict[str, Any]:
    """`Gpu.facts`."""
    return on_gpu(Gpu.facts)
