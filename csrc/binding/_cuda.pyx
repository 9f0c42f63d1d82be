# cython: language_level=3, embedsignature=True
"""The kernels of csrc/cuda on device memory; edgesdk/kernels/reference.py says what they compute.

Arrays are given as device addresses (integers), with their sizes: TensorRT's output buffers are
used in place. Types and orders are those of the reference, and edgesdk.kernels.device_checks
refuses what cannot be right with ConfigError. Every function only enqueues work on `stream` (a
cudaStream_t as an integer, 0 for the default one) of the current device; nothing is read back.
Where there is no usable GPU they raise BackendUnavailable, where CUDA refuses a launch KernelError.
"""

from libc.stdint cimport int64_t, uint8_t, uintptr_t

from edgesdk_cuda cimport *
from edgesdk_kernels cimport *

from edgesdk.errors import BackendUnavailable, KernelError
from edgesdk.kernels.device_checks import (
    FLOAT_BYTES, INDEX_BYTES, address, handle, optional_address, score_addresses, shape, size,
    together,
)

RANGE_VALUE_COUNT = 2 * EDGESDK_CUDA_RANGE_COUNT  # float32 values of quantize_u8's scratch


def exit_head(features, sizes, weight, bias, class_count, *, scores, logits, pooled, scale=None,
              shift=None, stream=0):
    """features [B,C,S...] of these `sizes`, weight [N,C], bias [N], scale and shift [C] or None.

    Written: `scores`, the addresses of class_index int64 [B], max_probability, margin and entropy
    [B]; logits [B,N]; and pooled [B,C], the averages that the weights are applied to.
    """
    cdef edgesdk_features view = view_of(features, sizes, scale, shift)
    cdef int64_t N = size("class_count", class_count)
    cdef edgesdk_scores targets = scores_of(scores, view.B)
    cdef const float *weight__nc = floats("weight", weight, 1)
    cdef const float *bias__n = floats("bias", bias, 1)
    cdef float *logits__bn = floats("logits", logits, view.B)
    cdef float *pooled__bc = floats("pooled", pooled, view.B)
    cdef void *queue = pointer(stream)
    raise_for(edgesdk_exit_head_cuda(
        &view, weight__nc, bias__n, N, targets, logits__bn, pooled__bc, queue))


def exit_scores(logits, sizes, *, scores, stream=0):
    """logits [B,N] of these `sizes`; `scores` as for exit_head."""
    B, N = shape("sizes", sizes, "BN")
    cdef edgesdk_scores targets = scores_of(scores, B)
    raise_for(edgesdk_exit_scores_cuda(
        floats("logits", logits, B), B, N, targets, pointer(stream)))


def exit_feature(features, sizes, projection=None, feature_size=None, *, feature, pooled=None,
                 scale=None, shift=None, stream=0):
    """features [B,C,S...] of these `sizes`, projection [D,C] with D `feature_size`, or None.

    Written: feature [B,D]; and with a projection pooled [B,C], what it is applied to.
    """
    cdef edgesdk_features view = view_of(features, sizes, scale, shift)
    cdef int64_t D = view.C
    cdef const float *projection__dc = NULL
    cdef float *pooled__bc = NULL
    if projection is not None:
        D = size("feature_size", feature_size)
        projection__dc = floats("projection", projection, 1)
        pooled__bc = floats("pooled", pooled, view.B)
    cdef float *feature__bd = floats("feature", feature, view.B)
    raise_for(edgesdk_exit_feature_cuda(
        &view, projection__dc, D, feature__bd, pooled__bc, pointer(stream)))


def cosine_difference(feature, first, sizes, *, difference, stream=0):
    """feature and first [B,D] of these `sizes`; written: difference [B]."""
    B, D = shape("sizes", sizes, "BD")
    raise_for(edgesdk_cosine_difference_cuda(
        floats("feature", feature, B), floats("first", first, B), B, D,
        floats("difference", difference, B), pointer(stream)))


def gather_rows(rows, row_count, row_bytes, indices, index_count, *, gathered, stream=0):
    """rows [B] of `row_bytes` each, indices int64 [K]; written: gathered [K] of `row_bytes` each.

    Nothing is written when an index is out of range; the host is not told.
    """
    cdef int64_t B = size("row_count", row_count, 0), R = size("row_bytes", row_bytes, 0)
    cdef int64_t K = size("index_count", index_count, 0)
    raise_for(edgesdk_gather_rows_cuda(
        <void *><uintptr_t>address("rows", rows, 1, B * R), B, R,
        <const int64_t *><uintptr_t>address("indices", indices, INDEX_BYTES, K), K,
        <void *><uintptr_t>address("gathered", gathered, 1, K * R), pointer(stream)))


def quantize_u8(values, count, *, quantized, scale_zero, ranges, stream=0):
    """values [count]; written: quantized uint8 [count] and scale_zero [2].

    Both are NaN, and nothing is quantized, where the reference refuses the values. `ranges` is
    scratch for RANGE_VALUE_COUNT float32 values.
    """
    cdef int64_t N = size("count", count, 0)
    raise_for(edgesdk_quantize_u8_cuda(
        floats("values", values, N), N,
        <uint8_t *><uintptr_t>address("quantized", quantized, 1, N),
        floats("scale_zero", scale_zero, 1), floats("ranges", ranges, 1), pointer(stream)))


def dequantize_u8(quantized, count, scale_zero, *, values, stream=0):
    """quantized uint8 [count], scale_zero [2]; written: values [count]."""
    cdef int64_t N = size("count", count, 0)
    raise_for(edgesdk_dequantize_u8_cuda(
        <const uint8_t *><uintptr_t>address("quantized", quantized, 1, N), N,
        floats("scale_zero", scale_zero, 1), floats("values", values, N), pointer(stream)))


cdef int raise_for(edgesdk_status status) except -1:
    """The one place where a status becomes an exception."""
    if status == EDGESDK_OK:
        return 0
    why = edgesdk_cuda_failure().decode("utf-8", "replace")
    if status == EDGESDK_NO_DEVICE:
        raise BackendUnavailable(
            "CUDA kernels: found no usable GPU ({}), expected one with its driver; "
            "edgesdk.kernels computes on the CPU".format(why))
    raise KernelError(
        "CUDA kernels: the launch was refused ({}); if they were built for other GPUs, build them "
        "in the source tree with EDGESDK_BUILD_CUDA=yes EDGESDK_CUDA_ARCHITECTURES=... "
        "pip install .".format(why))


# Addresses seen from C.

cdef float *floats(name, value, int64_t count) except? NULL:
    return <float *><uintptr_t>address(name, value, FLOAT_BYTES, count)

cdef void *pointer(stream) except? NULL:
    return <void *><uintptr_t>handle("stream", stream)

cdef edgesdk_features view_of(features, sizes, scale, shift) except *:
    B, C, S = shape("sizes", sizes, "BCS")
    together(scale, shift)
    return edgesdk_features(
        floats("features", features, B),
        <float *><uintptr_t>optional_address("scale", scale, FLOAT_BYTES),
        <float *><uintptr_t>optional_address("shift", shift, FLOAT_BYTES), B, C, S)

cdef edgesdk_scores scores_of(scores, int64_t B) except *:
    class_index, max_probability, margin, entropy = score_addresses(scores, B)
    return edgesdk_scores(
        <int64_t *><uintptr_t>class_index, <float *><uintptr_t>max_probability,
        <float *><uintptr_t>margin, <float *><uintptr_t>entropy)
