"""Two processes with torch.distributed.rpc, for `bench peers`: the stages before the cut are
computed here in torch eager, the features go there, and the class comes back."""

import os
import tempfile
from collections import deque
from typing import Any, Deque, List, Optional, Sequence

import numpy as np

from ..backends.pytorch import torch
from ..bundle import Bundle, read_plain_bundle
from ..core.spec import Plan
from ..errors import TransportError
from ..preprocess import Preprocessor
from .link_contender import Options
from .link_process import Child, Ready
from .link_torch import HERE, THERE, join, load_rpc
from .link_torch import serve as serve_rpc
from .peers_torch import head_module, stage_modules

SECOND: Any = None  # the stages behind the cut, made in the other process


def second_half(features: Any) -> Any:
    """What is called there: float32 features [B, ...] to classes int64 [B]."""
    with torch.inference_mode():
        return SECOND(features).argmax(1)


class TorchPair:
    """`plan` of the bundle, the first `cut` stages here, the others in a process on `cores`.

    Of its kind there can be one in a process, and only once. Close it.
    """

    def __init__(
        self, bundle: Bundle, plan: Plan, cut: int, threads: int, cores: Optional[List[int]]
    ) -> None:
        rpc = load_rpc()
        torch.set_num_threads(threads)
        self._preprocess = Preprocessor(bundle.manifest.preprocessing)
        self._first = torch.nn.Sequential(*stage_modules(bundle, plan)[:cut])
        self._folder = tempfile.TemporaryDirectory(prefix="edgesdk-peers-")
        self._rpc: Any = None
        store = os.path.join(self._folder.name, "store")
        options = {"store": store, "bundle": bundle.path, "plan": plan.name, "cut": cut}
        self._child = Child(__name__ + ":serve", dict(options, threads=threads), cores)
        try:
            join(rpc, HERE, 0, store)
        except RuntimeError as error:
            raise self._failed(error) from error
        self._rpc = rpc

    def infer(self, image: Any) -> int:
        """The class of one image. Raises TransportError."""
        try:
            return int(self._rpc.rpc_sync(THERE, second_half, (self._features(image),)))
        except RuntimeError as error:
            raise self._failed(error) from error

    def stream(self, images: Sequence[Any], window: int) -> np.ndarray:
        """int64 [n]: the classes, with at most `window` on the way. Raises TransportError."""
        waiting: Deque[Any] = deque()
        classes = []
        try:
            for image in images:
                if len(waiting) == window:
                    classes.append(int(waiting.popleft().wait()))
                features = self._features(image)
                waiting.append(self._rpc.rpc_async(THERE, second_half, (features,)))
            classes += [int(future.wait()) for future in waiting]
        except RuntimeError as error:
            raise self._failed(error) from error
        return np.array(classes, np.int64)

    def close(self) -> None:
        """End both sides. May be called twice."""
        rpc, self._rpc = self._rpc, None
        if rpc is not None:
            rpc.shutdown(graceful=False)
        self._child.stop()
        self._folder.cleanup()

    def _features(self, image: Any) -> Any:
        with torch.inference_mode():
            return self._first(torch.from_numpy(self._preprocess(image)))

    def _failed(self, error: RuntimeError) -> TransportError:
        text = "torch RPC: {}; {}".format(error, self._child.explain())
        self.close()
        return TransportError(text)


def serve(options: Options, ready: Ready) -> None:
    """The other side; never returns."""
    global SECOND
    torch.set_num_threads(options["threads"])
    bundle = read_plain_bundle(options["bundle"])
    plan = bundle.manifest.parts[0].plans[options["plan"]]
    modules = stage_modules(bundle, plan)[options["cut"] :]
    modules.append(head_module(bundle, plan.exit_indices[-1]))
    SECOND = torch.nn.Sequential(*modules)
    serve_rpc(options, ready)
