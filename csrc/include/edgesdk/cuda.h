/* The kernels on a CUDA device: the names and arguments of kernels.h, with the suffix _cuda and a
 * stream. Every array pointer, those inside the structs included, is a device pointer (TensorRT's
 * output buffers are used in place); the structs themselves are passed from the host.
 *
 * A call only enqueues work: it allocates nothing and waits for nothing, so `stream` (a
 * cudaStream_t, NULL for the default one) may be captured into a graph. Scratch values live in
 * arrays that the caller gives and may use afterwards; calls that run at the same time need arrays
 * of their own. EDGESDK_OK says that the work was enqueued. What only the device sees, it marks in
 * its outputs: nothing is written for an index out of range, and a scale of NaN is
 * EDGESDK_NOT_QUANTIZABLE.
 */
#ifndef EDGESDK_CUDA_H
#define EDGESDK_CUDA_H

#include "edgesdk/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Blocks that look for the range of an array to be quantized. */
#define EDGESDK_CUDA_RANGE_COUNT 256

edgesdk_status edgesdk_exit_head_cuda(const edgesdk_features *input, const float *weight__nc,
                                      const float *bias__n, int64_t N, edgesdk_scores scores,
                                      float *logits__bn, float *pooled__bc, void *stream);

edgesdk_status edgesdk_exit_scores_cuda(const float *logits__bn, int64_t B, int64_t N,
                                        edgesdk_scores scores, void *stream);

/* pooled__bc receives what the projection is applied to; NULL without a projection. */
edgesdk_status edgesdk_exit_feature_cuda(const edgesdk_features *input,
                                         const float *projection__dc /* or NULL */, int64_t D,
                                         float *feature__bd, float *pooled__bc /* or NULL */,
                                         void *stream);

edgesdk_status edgesdk_cosine_difference_cuda(const float *feature__bd, const float *first__bd,
                                              int64_t B, int64_t D, float *difference__b,
                                              void *stream);

edgesdk_status edgesdk_gather_rows_cuda(const void *rows__br, int64_t B, int64_t row_bytes,
                                        const int64_t *indices__k, int64_t K, void *gathered__kr,
                                        void *stream);

/* scale_zero__2 receives both numbers on the device, NaN where the values cannot be quantized (then
 * quantized__n is not written). range__2g is scratch for 2 * EDGESDK_CUDA_RANGE_COUNT numbers. */
edgesdk_status edgesdk_quantize_u8_cuda(const float *values__n, int64_t N, uint8_t *quantized__n,
                                        float *scale_zero__2, float *range__2g, void *stream);

edgesdk_status edgesdk_dequantize_u8_cuda(const uint8_t *quantized__n, int64_t N,
                                          const float *scale_zero__2, float *values__n,
                                          void *stream);

/* Why the last call of this thread gave EDGESDK_NO_DEVICE or EDGESDK_LAUNCH_FAILED, in CUDA's
 * words; asking forgets it. */
const char *edgesdk_cuda_failure(void);

#ifdef __cplusplus
}
#endif
#endif
