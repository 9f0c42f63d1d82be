# cython: language_level=3, boundscheck=False, wraparound=False
"""The kernels of csrc/cpu as Python functions; edgesdk/kernels/reference.py documents them.

Arguments are tested in C for the usual case; whatever is not usual goes to edgesdk.kernels.checks,
which raises or lets it pass. So native and reference refuse the same things in the same words.
"""

from libc.stdint cimport int64_t, uint8_t

cimport numpy as cnp

from edgesdk_kernels cimport *

import numpy

from edgesdk.kernels import checks
from edgesdk.kernels.checks import ExitScores

cnp.import_array()

cdef int FLOAT32 = cnp.NPY_FLOAT32, INT64 = cnp.NPY_INT64, UINT8 = cnp.NPY_UINT8
cdef enum: ANY = -1, POSITIVE = -2  # in place of an expected size
cdef float LARGEST = checks.FLOAT32_MAX
cdef object new_tuple = tuple.__new__  # a NamedTuple's own constructor takes longer than a kernel


def exit_head(features, weight, bias, scale=None, shift=None, logits=False, out=None):
    if not (
        is_features(features, scale, shift)
        and is_matrix(weight, POSITIVE, size(features, 1))
        and is_vector(bias, FLOAT32, size(weight, 0))
        and (out is None or is_scores(out, size(features, 0)) and out[4] is None and not logits)
    ):
        checks.exit_head(features, weight, bias, scale, shift, logits, out)
    cdef edgesdk_features view = view_of(features, scale, shift)
    cdef int64_t N = size(weight, 0)
    if out is None:
        out = new_scores(view.B, new(FLOAT32, 2, view.B, N) if logits else None)
    cdef edgesdk_scores scores = targets(out)
    cdef const float *weight__nc = floats(weight), *bias__n = floats(bias)
    cdef float *logits__bn = floats(out[4])
    cdef edgesdk_status status
    with nogil:
        status = edgesdk_exit_head(&view, weight__nc, bias__n, N, scores, logits__bn)
    raise_for(status)
    return out


def exit_scores(logits, out=None):
    if not (is_matrix(logits, ANY, POSITIVE) and (out is None or is_scores(out, size(logits, 0)))):
        checks.exit_scores(logits, out)
    cdef int64_t B = size(logits, 0), N = size(logits, 1)
    if out is None:
        out = new_scores(B, logits)
    elif out[4] is not logits:
        out = new_tuple(ExitScores, out[:4] + (logits,))
    cdef edgesdk_scores scores = targets(out)
    cdef const float *logits__bn = floats(logits)
    cdef edgesdk_status status
    with nogil:
        status = edgesdk_exit_scores(logits__bn, B, N, scores)
    raise_for(status)
    return out


def exit_feature(features, scale=None, shift=None, projection=None, out=None):
    if not (
        out is None
        and is_features(features, scale, shift)
        and (projection is None or is_matrix(projection, POSITIVE, size(features, 1)))
    ):
        checks.exit_feature(features, scale, shift, projection, out)
    cdef edgesdk_features view = view_of(features, scale, shift)
    cdef int64_t D = view.C if projection is None else size(projection, 0)
    if out is None:
        out = new(FLOAT32, 2, view.B, D)
    cdef const float *projection__dc = floats(projection)
    cdef float *feature__bd = floats(out)
    cdef edgesdk_status status
    with nogil:
        status = edgesdk_exit_feature(&view, projection__dc, D, feature__bd)
    raise_for(status)
    return out


def cosine_difference(feature, first, out=None):
    if not (
        out is None
        and is_matrix(feature, ANY, POSITIVE)
        and is_matrix(first, size(feature, 0), size(feature, 1))
    ):
        checks.cosine_difference(feature, first, out)
    cdef int64_t B = size(feature, 0), D = size(feature, 1)
    if out is None:
        out = new(FLOAT32, 1, B)
    cdef const float *feature__bd = floats(feature), *first__bd = floats(first)
    cdef float *difference__b = floats(out)
    cdef edgesdk_status status
    with nogil:
        status = edgesdk_cosine_difference(feature__bd, first__bd, B, D, difference__b)
    raise_for(status)
    return out


def gather_rows(rows, indices, out=None):
    checks.gather_rows(rows, indices, out)
    cdef int64_t B = size(rows, 0), K = size(indices, 0)
    if out is None:
        out = numpy.empty((K,) + rows.shape[1:], rows.dtype)
    cdef int64_t row_bytes = cnp.PyArray_ITEMSIZE(rows) * size_from(rows, 1)
    cdef const void *rows__br = cnp.PyArray_DATA(rows)
    cdef const int64_t *indices__k = <const int64_t *>cnp.PyArray_DATA(indices)
    cdef void *gathered__kr = cnp.PyArray_DATA(out)
    cdef edgesdk_status status
    with nogil:
        status = edgesdk_gather_rows(rows__br, B, row_bytes, indices__k, K, gathered__kr)
    raise_for(status, indices, B)
    return out


def quantize_u8(values):
    if not is_plain(values, FLOAT32):
        checks.quantize_u8(values)
    quantized = new_like(values, UINT8)
    cdef int64_t N = cnp.PyArray_SIZE(values)
    cdef const float *values__n = floats(values)
    cdef uint8_t *quantized__n = <uint8_t *>cnp.PyArray_DATA(quantized)
    cdef float scale, zero
    cdef edgesdk_status status
    with nogil:
        status = edgesdk_quantize_u8(values__n, N, quantized__n, &scale, &zero)
    raise_for(status, values)
    return quantized, scale, zero


def dequantize_u8(quantized, scale, zero, out=None):
    if not (
        out is None
        and is_plain(quantized, UINT8)
        and is_number(scale, 0) and is_number(zero, -LARGEST)
    ):
        checks.dequantize_u8(quantized, scale, zero, out)
    if out is None:
        out = new_like(quantized, FLOAT32)
    cdef int64_t N = cnp.PyArray_SIZE(quantized)
    cdef const uint8_t *quantized__n = <const uint8_t *>cnp.PyArray_DATA(quantized)
    cdef float *values__n = floats(out)
    cdef float step = scale, offset = zero
    cdef edgesdk_status status
    with nogil:
        status = edgesdk_dequantize_u8(quantized__n, N, step, offset, values__n)
    raise_for(status)
    return out


cdef int raise_for(edgesdk_status status, object values=None, int64_t row_count=0) except -1:
    """The one place where a status becomes an exception."""
    if status == EDGESDK_OUT_OF_MEMORY:
        raise MemoryError("edgesdk kernels: no memory for scratch values")
    if status == EDGESDK_INDEX_OUT_OF_RANGE:
        checks.index_range(values, row_count)
    if status == EDGESDK_NOT_QUANTIZABLE:
        checks.quantizable(values)
    return 0


# Tests of the usual case.

cdef inline bint agrees(int64_t found, int64_t expected) noexcept:
    return expected == ANY or (found > 0 if expected == POSITIVE else found == expected)

cdef inline bint is_plain(object value, int type_number) noexcept:
    return cnp.PyArray_Check(value) and cnp.PyArray_TYPE(value) == type_number and (
        cnp.PyArray_ISCARRAY_RO(value))

cdef inline bint is_vector(object value, int type_number, int64_t length) noexcept:
    return is_plain(value, type_number) and cnp.PyArray_NDIM(value) == 1 and (
        size(value, 0) == length)

cdef inline bint is_matrix(object value, int64_t rows, int64_t columns) noexcept:
    return (
        is_plain(value, FLOAT32) and cnp.PyArray_NDIM(value) == 2
        and agrees(size(value, 0), rows) and agrees(size(value, 1), columns)
    )

cdef inline bint is_features(object features, object scale, object shift) noexcept:
    if not is_plain(features, FLOAT32) or cnp.PyArray_NDIM(features) < 2:
        return False
    cdef int64_t C = size(features, 1)
    return size_from(features, 1) > 0 and (
        scale is None and shift is None
        or is_vector(scale, FLOAT32, C) and is_vector(shift, FLOAT32, C)
    )

cdef inline bint is_scores(object out, int64_t batch):
    if type(out) is not ExitScores:
        return False
    cdef tuple arrays = <tuple>out
    cdef int field
    for field in range(4):
        if not (
            is_vector(arrays[field], FLOAT32 if field else INT64, batch)
            and cnp.PyArray_ISWRITEABLE(arrays[field])
        ):
            return False
    return True

cdef inline bint is_number(object value, float lowest):
    return type(value) is float and lowest <= <double>value <= LARGEST


# Arrays seen from C.

cdef inline int64_t size(object array, int axis) noexcept:
    return cnp.PyArray_DIM(array, axis)

cdef inline int64_t size_from(object array, int axis) noexcept:
    """The product of the sizes from `axis` on."""
    cdef int rest = cnp.PyArray_NDIM(array) - axis
    return cnp.PyArray_MultiplyList(cnp.PyArray_DIMS(array) + axis, rest)

cdef inline float *floats(object array) noexcept:
    if array is None:
        return NULL
    return <float *>cnp.PyArray_DATA(array)

cdef inline object new(int type_number, int ndim, int64_t first, int64_t second=0):
    cdef cnp.npy_intp shape[2]
    shape[0] = first
    shape[1] = second
    return cnp.PyArray_EMPTY(ndim, shape, type_number, 0)

cdef inline object new_like(object array, int type_number):
    return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), type_number, 0)

cdef inline object new_scores(int64_t B, object logits):
    return new_tuple(ExitScores, (
        new(INT64, 1, B), new(FLOAT32, 1, B), new(FLOAT32, 1, B), new(FLOAT32, 1, B), logits,
    ))

cdef inline edgesdk_scores targets(object out):
    cdef tuple arrays = <tuple>out
    return edgesdk_scores(
        <int64_t *>cnp.PyArray_DATA(arrays[0]),
        floats(arrays[1]), floats(arrays[2]), floats(arrays[3]))

cdef inline edgesdk_features view_of(object features, object scale, object shift):
    return edgesdk_features(
        floats(features), floats(scale), floats(shift),
        size(features, 0), size(features, 1), size_from(features, 2))
