"""Declarations of csrc/include/edgesdk/kernels.h, nothing else."""

from libc.stdint cimport int64_t, uint8_t

cdef extern from "edgesdk/kernels.h" nogil:
    ctypedef enum edgesdk_status:
        EDGESDK_OK
        EDGESDK_OUT_OF_MEMORY
        EDGESDK_INDEX_OUT_OF_RANGE
        EDGESDK_NOT_QUANTIZABLE

    ctypedef struct edgesdk_scores:
        int64_t *class_index__b
        float *max_probability__b
        float *margin__b
        float *entropy__b

    ctypedef struct edgesdk_features:
        const float *features__bcs
        const float *scale__c
        const float *shift__c
        int64_t B, C, S

    edgesdk_status edgesdk_exit_head(
        const edgesdk_features *input, const float *weight__nc, const float *bias__n, int64_t N,
        edgesdk_scores scores, float *logits__bn)

    edgesdk_status edgesdk_exit_scores(
        const float *logits__bn, int64_t B, int64_t N, edgesdk_scores scores)

    edgesdk_status edgesdk_exit_feature(
        const edgesdk_features *input, const float *projection__dc, int64_t D, float *feature__bd)

    edgesdk_status edgesdk_cosine_difference(
        const float *feature__bd, const float *first__bd, int64_t B, int64_t D,
        float *difference__b)

    edgesdk_status edgesdk_gather_rows(
        const void *rows__br, int64_t B, int64_t row_bytes, const int64_t *indices__k, int64_t K,
        void *gathered__kr)

    edgesdk_status edgesdk_quantize_u8(
        const float *values__n, int64_t N, uint8_t *quantized__n, float *scale, float *zero)

    edgesdk_status edgesdk_dequantize_u8(
        const uint8_t *quantized__n, int64_t N, float scale, float zero, float *values__n)
