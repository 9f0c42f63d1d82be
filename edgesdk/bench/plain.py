"""What a user would run instead of edgesdk: the uncut network in onnxruntime, or in torch."""

from typing import Any, Optional

import numpy as np

from ..backends import open_backend
from ..bundle import Bundle
from ..errors import BackendUnavailable, BundleError
from ..manifest import UNCUT_FILE
from ..preprocess import Preprocessor


class PlainOnnxruntime:
    """The same images, the same preprocessing, the whole network in one session, argmax.

    `network`: an ONNX file's content instead of the bundle's uncut network.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int = 1,
        color: str = "rgb",
        network: Optional[bytes] = None,
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendUnavailable(
                "the comparison with plain onnxruntime needs it ({}); install it with: pip install "
                '"edgesdk[onnx]"'.format(error)
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            _uncut(bundle) if network is None else network,
            options,
            providers=["CPUExecutionProvider"],
        )
        self._input = self._session.get_inputs()[0].name
        self.preprocess = Preprocessor(bundle.manifest.preprocessing, color)

    def logits(self, images: Any) -> np.ndarray:
        """float32 [B, N] for one image or a batch, as `Pipeline.infer` takes them."""
        found: np.ndarray = self._session.run(None, {self._input: self.preprocess(images)})[0]
        return found

    def infer(self, images: Any) -> np.ndarray:
        """int64 [B]: the class of each image."""
        return self.logits(images).argmax(axis=1)


class PlainTorch:
    """The same in torch, operator by operator as PyTorch runs a model that is not compiled."""

    def __init__(self, bundle: Bundle, threads: int = 1, color: str = "rgb") -> None:
        from ..backends.pytorch import eager_module, torch

        torch.set_num_threads(threads)
        self._torch: Any = torch
        self._module = eager_module(_uncut(bundle))
        self.preprocess = Preprocessor(bundle.manifest.preprocessing, color)

    def infer(self, images: Any) -> np.ndarray:
        """int64 [B]: the class of each image."""
        with self._torch.inference_mode():
            inputs = self._torch.from_numpy(self.preprocess(images))
            found: np.ndarray = self._module(inputs).argmax(1).numpy()
            return found


class UncutTorch:
    """The torch backend on the uncut network: what it does to a graph, without any cut."""

    def __init__(self, bundle: Bundle, threads: int = 1, color: str = "rgb") -> None:
        manifest = bundle.manifest
        self._classes = len(manifest.labels)
        shape = manifest.parts[0].segments[0].input_shape
        self._program = open_backend("torch", threads).load(_uncut(bundle), shape, (self._classes,))
        self.preprocess = Preprocessor(manifest.preprocessing, color)

    def infer(self, images: Any) -> np.ndarray:
        """int64 [B]: the class of each image."""
        inputs = self.preprocess(images)
        logits = np.empty((len(inputs), self._classes), np.float32)
        self._program.run(inputs, logits)
        return logits.argmax(axis=1)


def _uncut(bundle: Bundle) -> str:
    """The path of the uncut network. Raises BundleError if the bundle holds none."""
    if UNCUT_FILE not in bundle.manifest.document["files"]:
        raise BundleError(
            "{}: holds no {}, the uncut network to compare with; export the bundle again".format(
                bundle.path, UNCUT_FILE
            )
        )
    return bundle.file(UNCUT_FILE)
