"""Declarations of csrc/include/edgesdk/cuda.h, nothing else."""

from libc.stdint cimport int64_t, uint8_t

from edgesdk_kernels cimport edgesdk_features, edgesdk_scores, edgesdk_status

cdef extern from "edgesdk/cuda.h" nogil:
    cdef int EDGESDK_CUDA_RANGE_COUNT
    cdef edgesdk_status EDGESDK_NO_DEVICE
    cdef edgesdk_status EDGESDK_LAUNCH_FAILED

    edgesdk_status edgesdk_exit_head_cuda(
        const edgesdk_features *input, const float *weight__nc, const float *bias__n, int64_t N,
        edgesdk_scores scores, float *logits__bn, float *pooled__bc, void *stream)

    edgesdk_status edgesdk_exit_scores_cuda(
        const float *logits__bn, int64_t B, int64_t N, edgesdk_scores scores, void *stream)

    edgesdk_status edgesdk_exit_feature_cuda(
        const edgesdk_features *input, const float *projection__dc, int64_t D, float *feature__bd,
        float *pooled__bc, void *stream)

    edgesdk_status edgesdk_cosine_difference_cuda(
        const float *feature__bd, const float *first__bd, int64_t B, int64_t D,
        float *difference__b, void *stream)

    edgesdk_status edgesdk_gather_rows_cuda(
        const void *rows__br, int64_t B, int64_t row_bytes, const int64_t *indices__k, int64_t K,
        void *gathered__kr, void *stream)

    edgesdk_status edgesdk_quantize_u8_cuda(
        const float *values__n, int64_t N, uint8_t *quantized__n, float *scale_zero__2,
        float *range__2g, void *stream)

    edgesdk_status edgesdk_dequantize_u8_cuda(
        const uint8_t *quantized__n, int64_t N, const float *scale_zero__2, float *values__n,
        void *stream)

    const char *edgesdk_cuda_failure()
