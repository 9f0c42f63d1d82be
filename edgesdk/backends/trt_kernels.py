"""Exit heads and batches on features that are on the GPU: the CUDA kernels where they were built,
else the ones of the host on a copy.

`exit_scores` and `cosine_difference` have no place here: what they read, logits and features of 40
to 256 bytes, comes to the host for policies, results and links anyway.
"""

import importlib
import logging
from typing import Any, Optional, Tuple

import numpy as np

from .. import kernels
from ..arrays import Array, on_host
from ..errors import BackendUnavailable, KernelError
from ..kernels import ExitScores
from ..kernels.checks import index_range
from ..kernels.selection import BUILD_CUDA_COMMAND
from .trt_gpu import Gpu
from .trt_memory import ITEM_BYTES, CudaArray, CudaMemory, Staging

_logger = logging.getLogger("edgesdk")

MODULE = "edgesdk.kernels._cuda"
INDEX_BYTES = 8


def find_native(gpu: Gpu) -> Any:
    """edgesdk.kernels._cuda, if it was built, and for this GPU; else None, and why is logged."""
    try:
        native = importlib.import_module(MODULE)
        _try_out(native, gpu)
    except (ImportError, OSError, BackendUnavailable, KernelError) as error:
        _logger.warning(
            "exit heads are computed on the CPU, on copies of what the GPU holds: the CUDA kernels "
            "cannot be used (%s); build them in the source tree, where nvcc is, with: %s",
            error,
            BUILD_CUDA_COMMAND,
        )
        return None
    return native


def _try_out(native: Any, gpu: Gpu) -> None:
    """One launch: kernels that were built for other GPUs are refused at the first."""
    with gpu.computing():
        block = gpu.allocate(2 * INDEX_BYTES, "a trial of the kernels")
        gpu.cuda.memcpy_htod_async(block, np.zeros(2, np.int64), gpu.compute.stream)
        try:
            native.gather_rows(
                block,
                1,
                INDEX_BYTES,
                block,
                1,
                gathered=block + INDEX_BYTES,
                stream=gpu.compute.handle,
            )
        finally:
            gpu.compute.wait()
            gpu.release(block)


class CudaKernels:
    """The functions of `edgesdk.kernels` that `Backend.kernels` has, in the stream of the stages.

    Each head costs one copy to the host, of all that was asked for, and one wait.
    """

    implementation = "cuda"

    def __init__(self, gpu: Gpu, memory: CudaMemory, native: Any) -> None:
        self._gpu = gpu
        self._memory = memory
        self._native = native
        self._features = Staging(gpu, gpu.compute)  # of callers that have them on the host
        self._indices = Staging(gpu, gpu.compute)
        self._found = Staging(gpu, gpu.compute)
        self._pooled: Optional[CudaArray] = None

    def exit_head(
        self,
        features: Array,
        weight: CudaArray,
        bias: CudaArray,
        scale: Optional[CudaArray] = None,
        shift: Optional[CudaArray] = None,
        logits: bool = False,
    ) -> ExitScores:
        """See `edgesdk.kernels.exit_head`."""
        batch, classes = len(features), weight.shape[0]
        with self._gpu.computing():
            scores_bytes = batch * (INDEX_BYTES + 3 * ITEM_BYTES)
            logits_bytes = batch * classes * ITEM_BYTES
            place = self._found.reserve(scores_bytes + logits_bytes)
            first = place + batch * INDEX_BYTES  # of the three columns of float32
            self._native.exit_head(
                self._address(features),
                features.shape,
                weight.address,
                bias.address,
                classes,
                scores=[place] + [first + k * batch * ITEM_BYTES for k in range(3)],
                logits=place + scores_bytes,
                pooled=self._scratch(features.shape),
                scale=_address(scale),
                shift=_address(shift),
                stream=self._gpu.compute.handle,
            )
            raw = self._found.take(scores_bytes + (logits_bytes if logits else 0)).copy()
        index = raw[: batch * INDEX_BYTES].view(np.int64)
        columns = raw[batch * INDEX_BYTES : scores_bytes].view(np.float32).reshape(3, batch)
        values = raw[scores_bytes:].view(np.float32).reshape(batch, classes) if logits else None
        return ExitScores(index, columns[0], columns[1], columns[2], values)

    def exit_feature(
        self,
        features: Array,
        scale: Optional[CudaArray] = None,
        shift: Optional[CudaArray] = None,
        projection: Optional[CudaArray] = None,
    ) -> np.ndarray:
        """See `edgesdk.kernels.exit_feature`."""
        shape = (len(features), features.shape[1] if projection is None else projection.shape[0])
        size_bytes = shape[0] * shape[1] * ITEM_BYTES
        with self._gpu.computing():
            self._native.exit_feature(
                self._address(features),
                features.shape,
                _address(projection),
                shape[1],
                feature=self._found.reserve(size_bytes),
                pooled=self._scratch(features.shape),
                scale=_address(scale),
                shift=_address(shift),
                stream=self._gpu.compute.handle,
            )
            return self._found.take(size_bytes).copy().view(np.float32).reshape(shape)

    def gather_rows(self, rows: Array, indices: np.ndarray, out: CudaArray) -> CudaArray:
        """See `edgesdk.kernels.gather_rows`; `rows` may be of the host."""
        index_range(indices, len(rows))  # the GPU would write nothing, and tell nobody
        if isinstance(rows, np.ndarray):
            return _copy_rows(self._memory, rows, indices, out)
        with self._gpu.computing():
            self._native.gather_rows(
                rows.address,
                len(rows),
                rows.nbytes // len(rows),
                self._indices.put(indices),
                len(indices),
                gathered=out.address,
                stream=self._gpu.compute.handle,
            )
        return out

    def _address(self, features: Array) -> int:
        on_gpu = isinstance(features, CudaArray)
        return features.address if on_gpu else self._features.put(features)

    def _scratch(self, shape: Tuple[int, ...]) -> int:
        """Where a kernel keeps the averages [B,C] of features."""
        size = shape[0] * shape[1]
        if self._pooled is None or self._pooled.shape[0] < size:
            if self._pooled is not None:
                self._gpu.compute.wait()
                self._gpu.release(self._pooled.address)
                self._pooled = None
            self._pooled = self._memory.empty((1 << (size - 1).bit_length(),))
        return self._pooled.address


class HostKernels:
    """The same where the CUDA kernels were not built; parameters are of the host."""

    implementation = kernels.implementation

    def __init__(self, memory: CudaMemory) -> None:
        self._memory = memory

    def exit_head(
        self,
        features: Array,
        weight: np.ndarray,
        bias: np.ndarray,
        scale: Optional[np.ndarray] = None,
        shift: Optional[np.ndarray] = None,
        logits: bool = False,
    ) -> ExitScores:
        """See `edgesdk.kernels.exit_head`."""
        return kernels.exit_head(on_host(features), weight, bias, scale, shift, logits)

    def exit_feature(
        self,
        features: Array,
        scale: Optional[np.ndarray] = None,
        shift: Optional[np.ndarray] = None,
        projection: Optional[np.ndarray] = None,
    ) -> np.ndarray:
        """See `edgesdk.kernels.exit_feature`."""
        return kernels.exit_feature(on_host(features), scale, shift, projection)

    def gather_rows(self, rows: Array, indices: np.ndarray, out: CudaArray) -> CudaArray:
        """See `edgesdk.kernels.gather_rows`; rows are copied where they are."""
        index_range(indices, len(rows))
        return _copy_rows(self._memory, rows, indices, out)


def _copy_rows(memory: CudaMemory, rows: Array, indices: np.ndarray, out: CudaArray) -> CudaArray:
    for target, row in enumerate(indices.tolist()):
        memory.copy(rows[row], out[target])
    return out


def _address(array: Optional[CudaArray]) -> Optional[int]:
    return None if array is None else array.address
