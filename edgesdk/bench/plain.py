"""What a user would run instead of edgesdk: the uncut network as one file in onnxruntime."""

from typing import Any

import numpy as np

from ..bundle import Bundle
from ..errors import BackendUnavailable, BundleError
from ..manifest import UNCUT_FILE
from ..preprocess import Preprocessor


class PlainOnnxruntime:
    """The same images, the same preprocessing, the whole network in one session, argmax."""

    def __init__(self, bundle: Bundle, threads: int = 1, color: str = "rgb") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendUnavailable(
                "the comparison with plain onnxruntime needs it ({}); install it with: pip install "
                '"edgesdk[onnx]"'.format(error)
            ) from None
        if UNCUT_FILE not in bundle.manifest.document["files"]:
            raise BundleError(
                "{}: holds no {}, the uncut network to compare with; export the bundle "
                "again".format(bundle.path, UNCUT_FILE)
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            bundle.file(UNCUT_FILE), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._preprocess = Preprocessor(bundle.manifest.preprocessing, color)

    def logits(self, images: Any) -> np.ndarray:
        """float32 [B, N] for one image or a batch, as `Pipeline.infer` takes them."""
        found: np.ndarray = self._session.run(None, {self._input: self._preprocess(images)})[0]
        return found

    def infer(self, images: Any) -> np.ndarray:
        """int64 [B]: the class of each image."""
        return self.logits(images).argmax(axis=1)
